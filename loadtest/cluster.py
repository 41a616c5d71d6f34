"""What is measured with Redis between: relay publishes, latency across nodes, idle peers."""
import json
import subprocess
import sys
import time

from kinds import REDIS, TWO
from servers import LOAD_CORE, RELEASE, Died, Subscriber

PAYLOAD_BYTES = 128
CHANNEL = "dunlin:bench"
# Enough on the way that the node's writer and its Redis always have work.
RELAY_PUBLISHERS, RELAY_WINDOW = 8, 1024
# A server that doesn't carry so few deliveries a second has no knee.
CLIMB_LOWEST = 100
NAN = float("nan")
# The same figure, beside a yardstick that publishes no faster.
SAME_PACE = "the same beside one plain connection at this pace"


def faults(report):
    names = ("lost", "duplicated", "reordered", "stray", "closed", "errors", "unanswered", "local")
    return sum(report.get(name, 0) for name in names)


def climbed(trial, scenario, *crowd, first):
    """The report of a climb from `first` deliveries/s on. If that was too much already, or the server died of
    what came, fresh servers start at a tenth of it."""
    while True:
        try:
            with trial.servers() as servers:
                report = servers.load(scenario, "--climb", *crowd, "--from", str(first), *trial.effort.climb)
        except Died as death:
            if first <= CLIMB_LOWEST:
                raise
            print(f"  from {first}/s on: {death}", file=sys.stderr)
        else:
            tell_climb(report)
            if report["knee"] is not None or first <= CLIMB_LOWEST:
                return report
        first //= 10


def tell_climb(report):
    last = report["steps"][-1]
    outcome = last["outcome"]
    print(f"  {len(report['steps'])} steps, the last to {outcome['intended_per_second']:.0f}/s: {last['fault']}, "
          f"p99 {outcome['latency']['p99_ms']} ms, faults {faults(outcome)}, the load "
          f"{outcome['behind_ms']} ms behind", file=sys.stderr)


def per_publish(spent):
    """Redis' side of counted `PUBLISH` commands."""
    count = spent.calls.get("publish", 0)
    if not count:
        return {"Redis CPU µs/PUBLISH": NAN, "thousand PUBLISH/s": 0.0, "bytes/PUBLISH": NAN}
    return {"Redis CPU µs/PUBLISH": spent.cpu_us / count, "thousand PUBLISH/s": count / spent.at / 1e3,
            "bytes/PUBLISH": spent.input_bytes / count}


def benchmark(trial, subscribers):
    """`redis-benchmark -P 32` of a `PUBLISH`, with its 50 connections, beside none or one subscriber."""
    count, payload = 400_000 * trial.effort.seconds, "x" * PAYLOAD_BYTES
    message = f"*3\r\n$7\r\nmessage\r\n${len(CHANNEL)}\r\n{CHANNEL}\r\n${len(payload)}\r\n{payload}\r\n"
    with trial.servers() as servers:
        redis = servers.redis
        subscriber = Subscriber(redis, CHANNEL) if subscribers else None
        began = redis.counters()
        subprocess.run(["taskset", "-c", LOAD_CORE, "redis-benchmark", "-h", "127.0.0.1", "-p", str(redis.port),
                        "-P", "32", "-n", str(count), "-q", "PUBLISH", CHANNEL, payload],
                       stdout=subprocess.DEVNULL, check=True)
        if subscriber:
            subscriber.wait_for(count * len(message))
        return per_publish(redis.counters() - began)


def relay_alone(subscribers):
    """Nothing but publications, as fast as a node answers them, heard by nobody or by one node."""
    def measure(trial):
        effort = trial.effort
        if trial.kind == REDIS:
            return benchmark(trial, subscribers)
        with trial.servers() as servers:
            report, spent = servers.load_and_count(
                "fanout", "--rate", "0", "--answered", "--window", str(RELAY_WINDOW), "--topics", "1", "--spin",
                "--publishers", str(RELAY_PUBLISHERS), "--peers", str(subscribers), "--size", str(PAYLOAD_BYTES),
                "--warmup", effort.warmup, "--duration", f"{effort.seconds}s")
        return per_publish(spent) | {"thousand publications/s": report["publications_per_second"] / 1e3,
                                     "faults": faults(report)}
    return measure


def relay_under_load(rate, topics):
    """Publications as part of a fan-out: ten deliveries each, on many topics, at a steady pace."""
    def measure(trial):
        effort = trial.effort
        topics_now, rate_now = effort.crowd(topics), effort.crowd(rate)
        if trial.kind == REDIS:
            _, spent = round_trip(trial, rate_now / 10)
            return benchmark(trial, 1) | {SAME_PACE: per_publish(spent)["Redis CPU µs/PUBLISH"]}
        with trial.servers() as servers:
            report, spent = servers.load_and_count(
                "fanout", "--rate", str(rate_now), "--topics", str(topics_now), "--peers", str(10 * topics_now),
                "--size", str(PAYLOAD_BYTES), "--spin", "--warmup", effort.warmup, "--duration", f"{effort.seconds}s")
        figures = per_publish(spent)
        return figures | {SAME_PACE: figures["Redis CPU µs/PUBLISH"],
                          "thousand publications/s": report["publications_per_second"] / 1e3, "faults": faults(report)}
    return measure


def per_publication(report, spent):
    """Redis' side of what a node published in the measured time, however many publications a commit held."""
    count = report["publications_per_second"] * spent.at
    commits = spent.calls.get("publish", 0)
    if not count or not commits:
        return {"Redis CPU µs/publication": NAN, "publications/commit": NAN}
    return {"Redis CPU µs/publication": spent.cpu_us / count, "Redis CPU µs/commit": spent.cpu_us / commits,
            "publications/commit": count / commits, "Redis commands/publication": sum(spent.calls.values()) / count,
            "thousand publications/s": report["publications_per_second"] / 1e3, "faults": faults(report)}


def plain(figures):
    """The yardstick's figures under the names of the others: a plain `PUBLISH` carries one publication."""
    return {"Redis CPU µs/publication": figures["Redis CPU µs/PUBLISH"],
            "thousand publications/s": figures["thousand PUBLISH/s"]}


def commits_alone(subscribers):
    """As `relay_alone`, for topics that remember beside those that don't."""
    def measure(trial):
        effort = trial.effort
        if trial.kind == REDIS:
            return plain(benchmark(trial, subscribers))
        with trial.servers() as servers:
            report, spent = servers.load_and_count(
                "fanout", "--rate", "0", "--answered", "--window", str(RELAY_WINDOW), "--topics", "1", "--spin",
                "--publishers", str(RELAY_PUBLISHERS), "--peers", str(subscribers), "--size", str(PAYLOAD_BYTES),
                "--warmup", effort.warmup, "--duration", f"{effort.seconds}s")
        return per_publication(report, spent)
    return measure


def commits_under_load(rate, topics):
    """As `relay_under_load`; the yardstick publishes one by one at the same pace."""
    def measure(trial):
        effort = trial.effort
        topics_now, rate_now = effort.crowd(topics), effort.crowd(rate)
        if trial.kind == REDIS:
            return plain(per_publish(round_trip(trial, rate_now / 10)[1]))
        with trial.servers() as servers:
            report, spent = servers.load_and_count(
                "fanout", "--rate", str(rate_now), "--topics", str(topics_now), "--peers", str(10 * topics_now),
                "--size", str(PAYLOAD_BYTES), "--spin", "--warmup", effort.warmup, "--duration", f"{effort.seconds}s")
        return per_publication(report, spent)
    return measure


def latency_across(topics, peers, lowest):
    """Publish → delivery at a tenth of what crosses at most, beside a bare round trip at the same rate."""
    def measure(trial):
        effort = trial.effort
        if trial.kind == REDIS:
            rate = trial.earlier.get(TWO, {}).get("publications/s")
            if not rate:
                return {}
            report, _ = round_trip(trial, rate)
            return {"publications/s": rate, **figures_of(report)}
        crowd = ["--topics", str(effort.crowd(topics)), "--peers", str(effort.crowd(peers)),
                 "--size", str(PAYLOAD_BYTES), "--spin"]
        report = climbed(trial, "topics", *crowd, first=lowest)
        if report["knee"] is None:
            return {}
        most = report["steps"][report["knee"]]["outcome"]["achieved_per_second"]
        with trial.servers() as servers:
            report = servers.load("topics", *crowd, "--rate", str(most / 10), "--warmup", effort.warmup,
                                  "--duration", f"{effort.seconds}s")
        return {"publications/s": most / 10 * topics / peers, **figures_of(report),
                "M deliveries/s at most": most / 1e6}

    def figures_of(report):
        return {"p50 ms": report["latency"]["p50_ms"], "p99 ms": report["latency"]["p99_ms"],
                "faults": faults(report)}
    return measure


def round_trip(trial, rate):
    """A bare `PUBLISH` → subscriber through two plain connections: the report, and what Redis did."""
    with trial.servers() as servers:
        began = servers.redis.counters()
        done = subprocess.run(["taskset", "-c", LOAD_CORE, str(RELEASE / "examples/bare_redis"),
                               "--redis", f"127.0.0.1:{servers.redis.port}", "--rate", str(rate),
                               "--size", str(PAYLOAD_BYTES), "--warmup", trial.effort.warmup,
                               "--duration", f"{trial.effort.seconds}s"], stdout=subprocess.PIPE, check=True)
        return json.loads(done.stdout), servers.redis.counters() - began


def idle_commands(peers, topics):
    """What Redis is asked while subscribed peers do nothing, and what the node alone asks of it."""
    def measure(trial):
        effort = trial.effort
        with trial.servers() as servers:
            without = count_idle(servers.redis, effort, "without peers")
            spent = []
            count = lambda: spent.append(count_idle(servers.redis, effort, "with peers"))
            hold = effort.idle_settle + effort.idle_seconds + 1
            servers.load("idle", "--peers", str(effort.crowd(peers)), "--topics", str(effort.crowd(topics)),
                         "--hold", f"{hold}s", at={"measuring": count})
        commands = lambda counters: sum(counters.calls.values()) / counters.at
        percent = lambda counters: counters.cpu_us / counters.at / 1e4
        return {"Redis commands/s": commands(spent[0]), "Redis commands/s without peers": commands(without),
                "Redis CPU % of a core": percent(spent[0]), "Redis CPU % without peers": percent(without)}
    return measure


def count_idle(redis, effort, what):
    """Counts for a while, after what the start or the peers' arrival has left to do."""
    time.sleep(effort.idle_settle)
    began = redis.counters()
    time.sleep(effort.idle_seconds)
    spent = redis.counters() - began
    each = ", ".join(f"{name} {count / spent.at:.2f}" for name, count in sorted(spent.calls.items()))
    print(f"  commands/s {what}: {each}", file=sys.stderr)
    return spent
