"""One measurement: the servers of a kind, fresh, and the load that is put on them."""
import contextlib
import json
import shlex
import subprocess
import sys
import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path

from kinds import KINDS, Place
from servers import LOAD_CORE, LOAD_SECONDS, RELEASE, SERVER_CORE, Died, Failed, last_words, process, redis_server

# What the load calls the node that publishers are on, if it isn't that of the subscribers.
PUBLISHING = "publishing node"


@dataclass
class Trial:
    """A row's figures of one kind in one round, while they are measured."""
    kind: str
    effort: object
    # The figures of the kinds before it in this round.
    earlier: dict
    # Every load that was run: its command, those of the servers, and its report.
    runs: list

    def servers(self):
        return Servers(self.kind, self.runs)


class Servers:
    """The servers of a kind; they end with the `with` block, Redis last."""

    def __init__(self, name, runs):
        self.name, self.kind, self.runs = name, KINDS[name], runs
        self.redis = None
        self.commands = []
        self.children = {}
        self.crowd_arguments = []

    def __enter__(self):
        with contextlib.ExitStack() as stack:
            self.folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="dunlin-load-")))
            if self.kind.has_redis:
                self.redis = stack.enter_context(redis_server(self.folder))
                self.crowd_arguments += ["--beside", f"redis={self.redis.pid}"]
            if self.kind.is_two:
                url, pid = self.start(stack, PUBLISHING)
                self.crowd_arguments += ["--publish-url", url, "--beside", f"{PUBLISHING}={pid}"]
            if self.kind.command:
                self.url, self.pid = self.start(stack, "server")
            self.stack = stack.pop_all()
        return self

    def __exit__(self, *why):
        return self.stack.__exit__(*why)

    def start(self, stack, name):
        """Starts a server: its address and process number."""
        place = Place(self.folder, name, self.redis)
        command = [str(word) for word in self.kind.command(place)]
        self.commands.append(shlex.join(["taskset", "-c", SERVER_CORE, *command]))
        child = self.children[name] = stack.enter_context(process(command, SERVER_CORE, self.folder, name))
        address, pid = self.kind.ready(child, place)
        return f"ws://{address}/load", pid

    def load(self, scenario, *arguments, at=None):
        """Runs a scenario from the load's core and gives its report. `at` says what to do when the load
        says that it begins or ends `measuring`."""
        is_crowd = scenario in ("fanout", "topics")
        if is_crowd and self.kind.is_two:
            scenario = "cross"
        command = ["taskset", "-c", LOAD_CORE, str(RELEASE / "dunlin-loadtest"), scenario, "--url", self.url,
                   "--server-pid", str(self.pid), "--json", *arguments, *self.kind.arguments,
                   *(self.crowd_arguments if is_crowd else [])]
        print(f"  {shlex.join(command)}", file=sys.stderr)
        output, said = self.run(command, at or {})
        if not output:
            raise self.failure(f"{shlex.join(command)}\n{said}")
        if is_crowd and self.redis and not self.redis.counters().calls.get("publish"):
            raise Failed(f"nothing was published through the Redis of {self.name}")
        report = json.loads(output)
        self.runs.append({"command": shlex.join(command), "servers": self.commands, "report": report})
        if report.get("complaint") or report.get("behind_ms", 0) > 10:
            print(f"  the load was {report['behind_ms']} ms behind; complaint: {report['complaint']}", file=sys.stderr)
        return report

    def failure(self, said):
        """Why there is no report, with the last words of servers that are no more."""
        dead = [f"{name} ended with {child.returncode}: {last_words(self.folder, name)}"
                for name, child in self.children.items() if child.poll() is not None]
        return Died(said + "\n".join(dead)) if dead else Failed(said)

    def run(self, command, at):
        """What the command said on stdout and on stderr, line by line."""
        said = []
        with open(self.folder / "report.json", "w+") as output:
            load = subprocess.Popen(command, stdout=output, stderr=subprocess.PIPE, text=True)
            limit = threading.Timer(LOAD_SECONDS, load.kill)
            limit.start()
            try:
                for line in load.stderr:
                    said.append(line)
                    at.get(line.strip(), lambda: None)()
                load.wait()
            finally:
                limit.cancel()
                load.kill()
            output.seek(0)
            return output.read(), "".join(said)

    def load_and_count(self, scenario, *arguments):
        """The report of a scenario, and what Redis did in its measured time."""
        moments = []
        note = lambda: moments.append(self.redis.counters())
        report = self.load(scenario, *arguments, at={"measuring": note, "measured": note})
        began, ended = moments
        return report, ended - began
