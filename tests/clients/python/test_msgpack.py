"""The packages `msgpack` and `websockets`, speaking dunlin.msgpack.v1 to a client that speaks JSON."""

import asyncio
import unittest

import msgpack
from peers import MsgpackPeer, WebsocketsPeer


class Msgpack(unittest.IsolatedAsyncioTestCase):
    async def pair(self, name):
        packed = await MsgpackPeer.connect(f"/topics/msgpack-python/{name}")
        json = await WebsocketsPeer.connect(f"/topics/msgpack-python/{name}")
        welcome = await packed.receive()
        self.assertEqual((welcome["type"], welcome["user"]), ("welcome", None))
        await asyncio.gather(packed.subscribe("chat"), json.subscribe("chat"))
        return packed, json

    async def test_a_client_of_either_dialect_hears_the_other(self):
        # W7, T2
        packed, json = await self.pair("talk")
        for payload in ({"text": "Grüezi", "list": [1, -1.5, None, True]}, "", 0, 2**64 - 1, -(2**63), 1.0, [[]]):
            frame = {"topic": "chat", "payload": payload}
            await packed.say(type="publish", **frame)
            await json.hear(frame)
            await json.say(type="publish", **frame)
            heard = await packed.heard(topic="chat")
            self.assertEqual((heard, type(heard["payload"])), (frame, type(payload)))
        await json.say(type="publish", topic="chat", payload=2**64)
        self.assertEqual((await packed.heard(topic="chat"))["payload"], str(2**64))
        await asyncio.gather(packed.leave(), json.leave())

    async def test_bytes_are_a_bin_and_a_bare_message(self):
        # W7
        packed, plain = await self.pair("bytes")
        data = bytes([0, 255, 128, 10])
        await packed.say(type="publish", topic="chat", payload=data)
        await plain.hear(data)
        await plain.say(type="publish", topic="chat", base64="AP+ACg==")
        self.assertEqual(await packed.heard(topic="chat"), {"topic": "chat", "payload": data})
        await asyncio.gather(packed.leave(), plain.leave())

    async def test_what_json_has_no_words_for_is_an_error_with_a_code(self):
        # W3, W7
        packed, json = await self.pair("errors")
        for payload in (float("nan"), msgpack.Timestamp(0), {1: 2}, [b"inside"]):
            await packed.say(type="publish", topic="chat", payload=payload, id=7)
            answer = await packed.heard(id=7)
            self.assertEqual((answer["type"], answer["code"]), ("error", "invalid_payload"))
        await asyncio.gather(packed.leave(), json.leave())


if __name__ == "__main__":
    unittest.main()
