"""Starts what is measured, fresh and pinned, and ends it again: the bare loop, nodes, Redis.

Servers share core 0, Redis included; the load has core 1 for itself. So the load is the same whatever
is measured, and a most is what one core carries with all its processes on it. CPU is of each process.
"""
import contextlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RELEASE = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release"
NODE = Path(os.environ.get("DUNLIN_BIN", RELEASE / "dunlin")).absolute()
SERVER_CORE, LOAD_CORE = "0", "1"
START_SECONDS, END_SECONDS, LOAD_SECONDS = 20, 40, 900

# The kinds of servers: the table's columns.
LOOP, MEMORY, ONE, TWO, REDIS = "bare loop", "Dunlin", "Dunlin + Redis", "two nodes + Redis", "bare Redis"
PUBLISHING = "publishing node"

# Limits that a load of this kind meets on purpose are off; nothing else differs from the defaults.
CONFIG = """
listen = "127.0.0.1:0"
internal = "127.0.0.1:0"
[limits]
frames_per_second = 0
publishes_per_second = 0
handshakes_per_second = 0
[[endpoint]]
path = "/**"
subscribe = ["*"]
publish = ["*"]
defaults = []
"""


@contextlib.contextmanager
def process(command, core, folder, name):
    """A pinned process; ends with the `with` block. What it says on stderr is in the folder."""
    with open(folder / f"{name}.log", "wb") as log:
        child = subprocess.Popen(["taskset", "-c", core, *map(str, command)], stdin=subprocess.DEVNULL,
                                 stdout=subprocess.PIPE, stderr=log, text=True, cwd=folder)
    try:
        yield child
    finally:
        child.terminate()
        child.wait(timeout=END_SECONDS)


@dataclass
class Counters:
    """What Redis has done and used, as `INFO` tells it: since it started, or between two moments."""
    at: float
    cpu_us: float
    input_bytes: int
    calls: dict

    def __sub__(self, earlier):
        calls = {name: calls - earlier.calls.get(name, 0) for name, calls in self.calls.items()}
        return Counters(self.at - earlier.at, self.cpu_us - earlier.cpu_us, self.input_bytes - earlier.input_bytes,
                        {name: count for name, count in calls.items() if count})


class Redis:
    """A running Redis without persistence."""

    def __init__(self, port, pid):
        self.port, self.pid = port, pid
        self.url = f"redis://127.0.0.1:{port}"
        self.connection = socket.create_connection(("127.0.0.1", port), timeout=START_SECONDS).makefile("rwb")

    def counters(self):
        """Redis' own counters now; those of asking are left out."""
        self.connection.write(b"INFO all\r\n")
        self.connection.flush()
        text = self.connection.read(int(self.connection.readline()[1:]) + 2).decode()
        at = time.monotonic()
        values = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
        calls = {name.removeprefix("cmdstat_"): int(value.split(",")[0].removeprefix("calls="))
                 for name, value in values.items() if name.startswith("cmdstat_")}
        calls.pop("info", None)
        cpu = float(values["used_cpu_user"]) + float(values["used_cpu_sys"])
        return Counters(at, cpu * 1e6, int(values["total_net_input_bytes"]), calls)


class Subscriber(threading.Thread):
    """A plain subscriber of one channel that counts bytes and forgets them."""

    def __init__(self, redis, channel):
        super().__init__(daemon=True)
        self.connection = socket.create_connection(("127.0.0.1", redis.port), timeout=START_SECONDS)
        self.connection.sendall(f"SUBSCRIBE {channel}\r\n".encode())
        self.connection.recv(1 << 16)
        self.connection.settimeout(None)
        self.heard = 0
        self.changed = threading.Condition()
        self.start()

    def run(self):
        with contextlib.suppress(ConnectionResetError):
            while count := len(self.connection.recv(1 << 20)):
                with self.changed:
                    self.heard += count
                    self.changed.notify()

    def wait_for(self, count):
        """Returns when so many bytes have come."""
        with self.changed:
            if not self.changed.wait_for(lambda: self.heard >= count, timeout=END_SECONDS):
                sys.exit(f"a subscriber got {self.heard} of {count} bytes: redis hung up, or it can't keep up")


@contextlib.contextmanager
def redis_server(folder):
    """A Redis on a free port, with the buffers that a cluster's bus is advised to have."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = ["redis-server", "--port", port, "--bind", "127.0.0.1", "--dir", folder, "--save", "",
               "--appendonly", "no", "--client-output-buffer-limit", "pubsub 256mb 64mb 60",
               "--logfile", folder / "redis.log"]
    with process(command, SERVER_CORE, folder, "redis-stderr") as child:
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                redis = Redis(port, child.pid)
                break
            except ConnectionRefusedError:
                if child.poll() is not None or time.monotonic() > deadline:
                    sys.exit(f"redis-server did not start:\n{(folder / 'redis.log').read_text()}")
                time.sleep(0.02)
        yield redis


class Servers:
    """The servers of a kind; they end with the `with` block, Redis last."""

    def __init__(self, kind):
        self.kind = kind
        self.redis = None
        self.load_arguments = []

    def __enter__(self):
        with contextlib.ExitStack() as stack:
            self.folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="dunlin-load-")))
            if self.kind in (ONE, TWO, REDIS):
                self.redis = stack.enter_context(redis_server(self.folder))
                self.load_arguments += ["--beside", f"redis={self.redis.pid}"]
            if self.kind == TWO:
                url, pid = self.start(stack, PUBLISHING)
                self.load_arguments += ["--publish-url", url, "--beside", f"{PUBLISHING}={pid}"]
            if self.kind != REDIS:
                self.url, self.pid = self.start(stack, "node")
            self.stack = stack.pop_all()
        return self

    def __exit__(self, *why):
        return self.stack.__exit__(*why)

    def start(self, stack, name):
        """Starts the bare loop or a node: its address and process number."""
        config = self.folder / f"{name}.toml"
        config.write_text(CONFIG + (f'[redis]\nurl = "{self.redis.url}"\n' if self.redis else ""))
        command = {LOOP: [RELEASE / "examples/bare_loop", "--listen", "127.0.0.1:0"]}
        child = stack.enter_context(process(command.get(self.kind, [NODE, "--config", config]), SERVER_CORE,
                                            self.folder, name))
        ready = child.stdout.readline()
        words = dict(word.split("=", 1) for word in ready.split() if "=" in word)
        if "listen" not in words:
            sys.exit(f"{self.kind}: {name} did not start: {ready}{(self.folder / f'{name}.log').read_text()}")
        return f"ws://{words['listen']}/load", child.pid

    def load(self, scenario, *arguments, at=None):
        """Runs a scenario from the load's core and gives its report. `at` says what to do when the load
        says that it begins or ends `measuring`."""
        command = ["taskset", "-c", LOAD_CORE, str(RELEASE / "dunlin-loadtest"), scenario, "--url", self.url,
                   "--server-pid", str(self.pid), "--json", *arguments]
        if scenario in ("fanout", "most"):
            command += self.load_arguments
        if self.kind == LOOP:
            command.append("--no-ack")
        said = []
        with open(self.folder / "report.json", "w+") as output:
            load = subprocess.Popen(command, stdout=output, stderr=subprocess.PIPE, text=True)
            limit = threading.Timer(LOAD_SECONDS, load.kill)
            limit.start()
            for line in load.stderr:
                said.append(line)
                (at or {}).get(line.strip(), lambda: None)()
            load.wait()
            limit.cancel()
            output.seek(0)
            report = output.read()
        if not report:
            sys.exit(f"{' '.join(command)}\n{''.join(said)}")
        report = json.loads(report)
        if report.get("complaint") or report.get("behind_ms", 0) > 10:
            print(f"  the load was {report['behind_ms']} ms behind; complaint: {report['complaint']}", file=sys.stderr)
        return report

    def load_and_count(self, scenario, *arguments):
        """The report of a scenario, and what Redis did in its measured time."""
        moments = []
        note = lambda: moments.append(self.redis.counters())
        report = self.load(scenario, *arguments, at={"measuring": note, "measured": note})
        began, ended = moments
        return report, ended - began
