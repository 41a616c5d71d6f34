"""One connection of either Python client, behind the same few verbs."""

import asyncio
import json
import os

import aiohttp
import msgpack
import websockets

NODE = os.environ["DUNLIN_URL"].replace("http", "ws", 1)
STAY_SECONDS = float(os.environ.get("STAY_SECONDS", "30"))
DEADLINE_SECONDS = 10


class Peer:
    """What does not depend on the client; the subclasses connect, send, receive and close."""

    async def hear(self, expected):
        """Takes what comes until it is `expected`, and returns what came before."""
        before = []
        try:
            async with asyncio.timeout(DEADLINE_SECONDS):
                while (data := read(await self.receive())) != expected:
                    before.append(data)
        except TimeoutError:
            raise AssertionError(f"waited for {expected!r}, heard {before}") from None
        return before

    async def say(self, **frame):
        await self.send(json.dumps(frame))

    async def subscribe(self, topic):
        """Returns what came before the answer."""
        await self.say(type="subscribe", topic=topic, id=topic)
        return await self.hear({"type": "ok", "id": topic, "topic": topic})


class WebsocketsPeer(Peer):
    """The package `websockets` with its own pings, every second instead of every twenty."""

    @classmethod
    async def connect(cls, path):
        peer = cls()
        peer.socket = await websockets.connect(NODE + path, ping_interval=1, ping_timeout=1)
        return peer

    async def send(self, data):
        await self.socket.send(data)

    async def receive(self):
        return await self.socket.recv()

    async def leave(self):
        """Closes, and returns the code that the node answered."""
        await self.socket.close(1000, "done")
        return self.socket.close_code


class AiohttpPeer(Peer):
    """The client of `aiohttp`, as it comes: it answers pings while it is read, and asks for compression."""

    @classmethod
    async def connect(cls, path):
        peer = cls()
        peer.session = aiohttp.ClientSession()
        peer.socket = await peer.session.ws_connect(NODE + path, compress=15)
        return peer

    async def send(self, data):
        await (self.socket.send_str(data) if isinstance(data, str) else self.socket.send_bytes(data))

    async def receive(self):
        message = await self.socket.receive()
        assert message.type in (aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY), message
        return message.data

    async def leave(self):
        """Closes, and returns the code that the node answered."""
        await self.socket.close(code=1000, message=b"done")
        await self.session.close()
        return self.socket.close_code


class V1Peer(WebsocketsPeer):
    """The package `websockets` speaking a v1 dialect; it hears frames as dicts. The subclasses name the format."""

    @classmethod
    async def connect(cls, path):
        peer = cls()
        peer.asked = 0
        peer.socket = await websockets.connect(NODE + path, subprotocols=[cls.subprotocol])
        return peer

    async def say(self, **frame):
        await self.send(self.pack(frame))

    async def receive(self):
        return self.unpack(await self.socket.recv())

    async def heard(self, **keys):
        """The first frame with these keys; what comes before is passed over."""
        async with asyncio.timeout(DEADLINE_SECONDS):
            while True:
                frame = await self.receive()
                if frame | keys == frame:
                    return frame

    async def ask(self, **frame):
        """The answer to a frame; what comes before is passed over."""
        self.asked += 1
        await self.say(**frame, id=self.asked)
        return await self.heard(id=self.asked)


class JsonPeer(V1Peer):
    subprotocol = "dunlin.json.v1"
    pack = staticmethod(json.dumps)
    unpack = staticmethod(json.loads)


class MsgpackPeer(V1Peer):
    subprotocol = "dunlin.msgpack.v1"
    pack = staticmethod(msgpack.packb)
    unpack = staticmethod(msgpack.unpackb)


def read(data):
    """A frame as a dict, other text and bytes as they are."""
    return json.loads(data) if isinstance(data, str) and data.startswith("{") else data
