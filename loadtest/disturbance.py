"""What is done to a node or to the load while it is measured, and what the report must then show.

Times are in seconds since the load said `measuring`, as on the report's axis behind its mark of that name.
"""
import contextlib
import os
import signal
import subprocess
import sys
import threading
import time

from servers import SERVER_CORE, Failed

STOP_SECONDS, STOP_EVERY, FIRST_STOP = 0.3, 3.0, 1.5
# A stop of 300 ms makes what was due at its beginning that late; less is another cause.
LATE_MS = 250.0
# What is late because it waited in a queue behind a stop still comes within this time.
AFTERMATH_SECONDS = 0.3

SPIN = """
import sys, time
sys.stdin.readline()
end = time.monotonic() + float(sys.argv[1])
while time.monotonic() < end: pass
sys.stdin.readline()
"""


class Disturbance:
    """Runs beside a load from its `measuring` on; `spans` is when it did what."""

    def __init__(self, seconds):
        self.seconds = seconds
        self.spans = []
        self.over = threading.Event()
        self.thread = None

    def begin(self, load_pid):
        self.began = time.monotonic()
        self.thread = threading.Thread(target=self.disturb, args=(load_pid,))
        self.thread.start()

    def end(self):
        self.over.set()
        if self.thread:
            self.thread.join()

    def disturb(self, load_pid):
        """Does it. Whoever waits in here waits for `over`."""

    def beside(self):
        """Arguments by which the load also reports what disturbs."""
        return []

    def now(self):
        return time.monotonic() - self.began

    def sleep_until(self, at):
        """Whether that moment came before the load's end."""
        return not self.over.wait(max(0.0, at - self.now()))


class Stops(Disturbance):
    """A process stands still again and again. It goes on, whatever happens here."""

    def __init__(self, seconds, server_pid=None):
        super().__init__(seconds)
        # None: it is the load.
        self.server_pid = server_pid

    def disturb(self, load_pid):
        pid = self.server_pid or load_pid
        at = FIRST_STOP
        while at + STOP_SECONDS + AFTERMATH_SECONDS < self.seconds and self.sleep_until(at):
            began = self.now()
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)
                try:
                    self.over.wait(STOP_SECONDS)
                finally:
                    os.kill(pid, signal.SIGCONT)
            self.spans.append((began, self.now()))
            at += STOP_EVERY


class BusyLoop(Disturbance):
    """A process that wants all of the node's core in the middle third of the load."""
    NAME = "busy loop"

    def __init__(self, seconds):
        super().__init__(seconds)
        command = ["taskset", "-c", SERVER_CORE, sys.executable, "-c", SPIN, str(seconds / 3)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, text=True)

    def beside(self):
        return ["--beside", f"{self.NAME}={self.process.pid}"]

    def disturb(self, load_pid):
        if self.sleep_until(self.seconds / 3):
            self.process.stdin.write("\n")
            self.process.stdin.flush()
            self.spans.append((self.seconds / 3, self.seconds * 2 / 3))

    def end(self):
        super().end()
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()


class Seen:
    """A report's samples, sorted by what was done meanwhile."""

    def __init__(self, report, spans):
        marks = {mark["text"]: mark["at_s"] for mark in report["marks"]}
        self.began, ended = marks["measuring"], marks["measured"]
        self.report, self.spans = report, spans
        self.samples = [each for each in report["samples"]
                        if self.began < each["at_s"] <= ended + each["span_s"] and each["latency"]]

    def within(self, began, ended):
        """The samples that have a part in this time."""
        began, ended = began + self.began, ended + self.began
        return [each for each in self.samples if each["at_s"] > began and each["at_s"] - each["span_s"] < ended]

    def inside(self, began, ended):
        """The samples that lie in this time."""
        began, ended = began + self.began, ended + self.began
        return [each for each in self.samples if each["at_s"] - each["span_s"] >= began and each["at_s"] <= ended]

    def calm(self):
        """The samples in which nothing was done and nothing is left of what was."""
        disturbed = [each for began, ended in self.spans for each in self.within(began, ended + AFTERMATH_SECONDS)]
        return [each for each in self.samples if each not in disturbed]

    def figure(self, name):
        return next(each["value"] for each in self.report["figures"] if each["name"] == name)


def expect(is_so, words):
    if not is_so:
        raise Failed(words)


def shows_stopped_node(seen):
    """Each stop is a peak, and there is no other. The load itself was in time."""
    expect(seen.spans, "the load was over before the node stood still")
    for began, ended in seen.spans:
        around = seen.within(began, ended + AFTERMATH_SECONDS)
        expect(around, f"nothing was delivered after the node stood still at {began:.1f} s")
        worst = max(around, key=lambda each: each["latency"]["max_ms"])
        expect(worst["latency"]["max_ms"] >= LATE_MS and worst["latency"]["p99_ms"] >= LATE_MS,
               f"the node stood still at {began:.1f} s, and the worst latency there is {worst['latency']}")
        # What left late may have come an interval later.
        latest = max(each["behind_ms"] for each in around)
        expect(latest < LATE_MS, f"the load was {latest:.0f} ms late when the node stood still")
    for each in seen.calm():
        # How late the load was is its own: this machine may be busy.
        p99 = each["latency"]["p99_ms"] - each["behind_ms"]
        expect(p99 < LATE_MS, f"p99 is {p99:.0f} ms at {each['at_s'] - seen.began:.1f} s, where nothing stood still")
    return f"{len(seen.spans)} stops, {len(seen.calm())} calm intervals"


def shows_stopped_load(seen):
    """The latencies in each stop are as high as the load was late, and the report says how late that was."""
    expect(seen.spans, "the load was over before it stood still")
    for began, ended in seen.spans:
        around = seen.within(began, ended + AFTERMATH_SECONDS)
        expect(around, f"nothing was delivered after the load stood still at {began:.1f} s")
        latest = max(each["behind_ms"] for each in around)
        own = max(each["latency"]["max_ms"] for each in around) - latest
        expect(latest >= LATE_MS, f"the load stood still at {began:.1f} s, and was {latest:.0f} ms late by its report")
        expect(own < LATE_MS / 2, f"{own:.0f} ms of the latency at {began:.1f} s are blamed on the node")
    expect(seen.figure("client behind its pace") >= LATE_MS, "the report's figures don't tell that the load was late")
    return f"{len(seen.spans)} stops, the load {seen.figure('client behind its pace'):.0f} ms late"


def shows_busy_core(seen):
    """The loop and the node share the core, so the node has less of it and delivers less or later."""
    expect(seen.spans, "the load was over before the busy loop began")
    [(began, ended)] = seen.spans
    during, before = seen.inside(began + 0.5, ended), seen.inside(0.0, began)
    expect(during and before, "too few intervals to tell")
    loop = mean(during, lambda each: each["beside"].get(BusyLoop.NAME, 0.0))
    expect(loop >= 0.3, f"the busy loop had {loop:.2f} of the core")
    cores = lambda each: each["server_user"] + each["server_system"]
    carried = lambda each: each["deliveries_per_second"]
    p99 = lambda each: each["latency"]["p99_ms"]
    less = mean(during, carried) / mean(before, carried)
    later = mean(during, p99) / mean(before, p99)
    expect(mean(during, cores) < 0.8 * mean(before, cores), "the node had as much CPU as before beside a busy loop")
    expect(less < 0.8 and later > 1.25, f"beside a busy loop the node delivered {less:.2f} of what it did before, "
                                        f"with {later:.2f} times the p99")
    return (f"the loop had {loop:.2f} of the core, the node {mean(during, cores):.2f} instead of "
            f"{mean(before, cores):.2f}; deliveries times {less:.2f}, p99 times {later:.2f}")


def shows_losses(seen):
    """The check counts each kind of fault, interval by interval and in all, and the verdict is bad."""
    counts = {name: seen.figure(name) for name in ("lost", "duplicated", "reordered")}
    expect(all(counts.values()), f"faults were made, and the report has {counts}")
    expect(seen.report["verdict"]["is"] == "bad", "faults were made, and the verdict is good")
    expect(seen.report["samples"][-1]["faults"] > 0, "faults were made, and none is in the plot")
    return ", ".join(f"{count:.0f} {name}" for name, count in counts.items())


def mean(samples, pick):
    return sum(pick(each) * each["span_s"] for each in samples) / sum(each["span_s"] for each in samples)
