"""Starts processes fresh and pinned, and ends them again; Redis and its counters.

Servers share core 0, Redis included; the load has core 1 for itself. So the load is the same whatever
is measured, and a most is what one core carries with all its processes on it. CPU is of each process.
"""
import contextlib
import os
import socket
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RELEASE = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release"
SERVER_CORE, LOAD_CORE = "0", "1"
START_SECONDS, END_SECONDS, LOAD_SECONDS = 20, 40, 900


class Failed(Exception):
    """A measurement that can't be had: a server that did not start, a load that could not measure."""


class Died(Failed):
    """A server ended while it was measured."""


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
        try:
            child.wait(timeout=END_SECONDS)
        except subprocess.TimeoutExpired:
            print(f"  {name} did not end within {END_SECONDS} s and was killed", file=sys.stderr)
            child.kill()
            child.wait()


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


def free_port():
    """A port for servers that can't choose one themselves."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def last_words(folder, name):
    """The end of what a process said on stderr."""
    return (folder / f"{name}.log").read_text(errors="replace")[-2000:]


def wait_for(child, name, folder, look):
    """What `look` finds, as soon as it finds something; a server that ends before has failed."""
    deadline = time.monotonic() + START_SECONDS
    while not (found := look()):
        if child.poll() is not None or time.monotonic() > deadline:
            raise Failed(f"{name} did not start: {last_words(folder, name)}")
        time.sleep(0.02)
    return found


@contextlib.contextmanager
def redis_server(folder):
    """A Redis on a free port, with the buffers that a cluster's bus is advised to have."""
    port = free_port()
    command = ["redis-server", "--port", port, "--bind", "127.0.0.1", "--dir", folder, "--save", "",
               "--appendonly", "no", "--client-output-buffer-limit", "pubsub 256mb 64mb 60",
               "--logfile", folder / "redis.log"]
    with process(command, SERVER_CORE, folder, "redis") as child:
        def look():
            with contextlib.suppress(ConnectionRefusedError):
                return Redis(port, child.pid)
        yield wait_for(child, "redis", folder, look)
