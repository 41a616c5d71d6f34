"""The kinds of servers that are measured: the table's columns. What runs, how it says that it is ready,
and how the load must speak to it.

Every kind has its defaults, except for limits that a load of this kind meets on purpose, and logging.
others/README.md says what that means for servers that aren't ours.
"""
import argparse
import contextlib
import json
import os
import resource
import socket
from dataclasses import dataclass
from pathlib import Path

import requirements
from servers import RELEASE, free_port, wait_for

LOOP, COALESCING, MEMORY, ONE, TWO, REDIS = (
    "bare loop", "coalescing loop", "Dunlin", "Dunlin + Redis", "two nodes + Redis", "bare Redis")
LOG, ONE_LOG, TWO_LOG = "Dunlin, log", "Dunlin + Redis, log", "two nodes + Redis, log"
WS, CROSSWS, BUN, SOCKET_IO, NCHAN, NCHAN_REDIS, NATS = (
    "ws", "crossws", "Bun", "Socket.IO + Redis", "nchan", "nchan + Redis", "nats-server")

OTHERS = Path(__file__).resolve().parent / "others"
NODE = Path(os.environ.get("DUNLIN_BIN", RELEASE / "dunlin")).absolute()

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

# What `--mode` of the load asks for.
REMEMBERING = """
[[topic]]
match = "log:*"
mode = "log"
[[topic]]
match = "value:*"
mode = "value"
[[topic]]
match = "list:*"
mode = "list"
limit = 10
[[topic]]
match = "map:*"
mode = "map"
"""


@dataclass
class Place:
    """What a server is started in: its folder, its name there, and the Redis it may use."""
    folder: Path
    name: str
    redis: object

    def write(self, name, text):
        path = self.folder / name
        path.write_text(text)
        return path

    def filled(self, name, **values):
        """A configuration from the folder `others`, with what is between @ signs filled in."""
        text = (OTHERS / name).read_text()
        for key, value in {"folder": self.folder, **values}.items():
            text = text.replace(f"@{key.upper()}@", str(value))
        return self.write(name, text)


def loop(name):
    return lambda _place: [RELEASE / "examples" / name, "--listen", "127.0.0.1:0"]


def dunlin(place):
    redis = f'[redis]\nurl = "{place.redis.url}"\n' if place.redis else ""
    return [NODE, "--config", place.write(f"{place.name}.toml", CONFIG + REMEMBERING + redis)]


def script(name):
    def command(place):
        return ["node", OTHERS / "node" / name, *([place.redis.url] if place.redis else [])]
    return command


def bun(_place):
    return [OTHERS / "node/node_modules/.bin/bun", OTHERS / "node/bun.mjs"]


def nginx(place):
    _, files = resource.getrlimit(resource.RLIMIT_NOFILE)
    redis = place.redis
    config = place.filled("nginx.conf", port=free_port(), module=requirements.NCHAN_MODULE, files=files,
                          upstream=f"upstream redis {{ nchan_redis_server {redis.url}; }}" if redis else "",
                          store="nchan_redis_pass redis;" if redis else "")
    return ["nginx", "-p", place.folder, "-c", config, "-e", "stderr"]


def nats(place):
    return ["nats-server", "-c", place.filled("nats.conf")]


def said(child, place):
    """A server that says `ready listen=ADDRESS`: its address and process number."""
    line = child.stdout.readline()
    words = dict(word.split("=", 1) for word in line.split() if "=" in word)
    return words.get("listen") or wait_for(child, place.name, place.folder, lambda: None), child.pid


def nginx_ready(child, place):
    """nginx forks the one process that works, which answers 503 until its Redis is there."""
    address = (place.folder / "nginx.conf").read_text().split("listen ", 1)[1].split()[0]
    wait_for(child, place.name, place.folder, lambda: upgrades(address, "/sub/ready"))
    workers = Path(f"/proc/{child.pid}/task/{child.pid}/children").read_text().split()
    return address, int(workers[0])


def upgrades(address, path):
    """Whether a WebSocket is opened there."""
    host, port = address.split(":")
    with contextlib.suppress(ConnectionError), socket.create_connection((host, int(port))) as peer:
        peer.sendall(f"GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
                     "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".encode())
        return peer.makefile("rb").readline().startswith(b"HTTP/1.1 101 ")


def nats_ready(child, place):
    """nats-server writes its ports into a file."""
    def look():
        for path in place.folder.glob("*.ports"):
            try:
                return json.loads(path.read_text())["websocket"][0].removeprefix("ws://")
            except (ValueError, KeyError):
                return None
    return wait_for(child, place.name, place.folder, look), child.pid


@dataclass
class Kind:
    """One column. `key` is its name on the command line."""
    key: str
    command: object
    ready: object = said
    # How the load speaks to it.
    arguments: tuple = ()
    has_redis: bool = False
    # Publishers and subscribers are on different nodes.
    is_two: bool = False
    needs: tuple = ()


# A log's publications have cursors in this dialect.
AS_LOG = ("--mode", "log", "--subprotocol", "dunlin.json.v1")
NPM = ("node", "npm", "packages")
KINDS = {
    LOOP: Kind("bare-loop", loop("bare_loop"), arguments=("--no-ack",)),
    COALESCING: Kind("coalescing-loop", loop("coalescing_loop"), arguments=("--no-ack",)),
    MEMORY: Kind("dunlin", dunlin),
    ONE: Kind("dunlin-redis", dunlin, has_redis=True, needs=("redis",)),
    TWO: Kind("two-nodes", dunlin, has_redis=True, is_two=True, needs=("redis",)),
    LOG: Kind("dunlin-log", dunlin, arguments=AS_LOG),
    ONE_LOG: Kind("dunlin-redis-log", dunlin, arguments=AS_LOG, has_redis=True, needs=("redis",)),
    TWO_LOG: Kind("two-nodes-log", dunlin, arguments=AS_LOG, has_redis=True, is_two=True, needs=("redis",)),
    REDIS: Kind("redis", None, has_redis=True, needs=("redis",)),
    BUN: Kind("bun", bun, needs=NPM),
    WS: Kind("ws", script("ws.mjs"), needs=NPM),
    CROSSWS: Kind("crossws", script("crossws.mjs"), needs=NPM),
    SOCKET_IO: Kind("socket-io", script("socket-io.mjs"), arguments=("--adapter", "socket-io"), has_redis=True,
                    needs=(*NPM, "redis")),
    NCHAN: Kind("nchan", nginx, nginx_ready, ("--adapter", "nchan"), needs=("nchan",)),
    NCHAN_REDIS: Kind("nchan-redis", nginx, nginx_ready, ("--adapter", "nchan"), has_redis=True,
                      needs=("nchan", "redis")),
    NATS: Kind("nats", nats, nats_ready, ("--adapter", "nats"), needs=("nats",)),
}
NOT_OURS = (BUN, WS, CROSSWS, SOCKET_IO, NCHAN, NCHAN_REDIS, NATS)
# Groups of columns by their names on the command line.
GROUPS = {"default": tuple(name for name in KINDS if name not in NOT_OURS), "others": NOT_OURS, "all": tuple(KINDS)}


def chosen(text):
    """The kinds that `--kinds` names, in the order of the table."""
    wanted = set()
    for key in text.split(","):
        wanted.update(GROUPS.get(key) or [name for name, kind in KINDS.items() if kind.key == key] or [None])
        if None in wanted:
            known = ", ".join([*GROUPS, *(kind.key for kind in KINDS.values())])
            raise argparse.ArgumentTypeError(f"no kind is called {key!r}; there are {known}")
    return tuple(name for name in KINDS if name in wanted)
