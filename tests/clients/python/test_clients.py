"""Python clients, as their packages come, against the running node that DUNLIN_URL names."""

import asyncio
import unittest

from peers import STAY_SECONDS, AiohttpPeer, WebsocketsPeer

CLIENTS = {"websockets": WebsocketsPeer, "aiohttp": AiohttpPeer}


def users(count):
    return {"topic": "session", "payload": {"users": count}}


class Contract:
    """What every client is promised; `name` and `client` are the subclass's."""

    async def pair(self, path):
        ann = await self.client.connect(f"{path}/{self.name}")
        ben = await self.client.connect(f"{path}/{self.name}")
        return ann, ben

    async def test_two_talk_on_a_topic_each_hearing_the_other_once_and_not_itself(self):
        # W1, W3, T2
        ann, ben = await self.pair("/topics/talk")
        await asyncio.gather(ann.subscribe("chat"), ben.subscribe("chat"))
        hello = {"topic": "chat", "payload": {"text": "Grüezi"}}
        answer = {"topic": "chat", "payload": ["and", "one", "godwit", None]}
        await ann.say(type="publish", **hello)
        await ben.hear(hello)
        await ben.say(type="publish", **answer)
        self.assertNotIn(hello, await ann.hear(answer))
        for peer in (ann, ben):
            after = await peer.subscribe("chat")
            self.assertNotIn(hello, after)
            self.assertNotIn(answer, after)
            await peer.leave()

    async def test_the_session_topic_counts_who_is_here(self):
        # C1
        ann = await self.client.connect(f"/topics/session/{self.name}")
        await ann.hear(users(1))
        ben = await self.client.connect(f"/topics/session/{self.name}")
        await asyncio.gather(ann.hear(users(2)), ben.hear(users(2)))
        await ben.leave()
        await ann.hear(users(1))
        await ann.leave()

    async def test_text_stays_text_and_bytes_stay_bytes_on_a_raw_endpoint(self):
        # W6, W7, L5
        ann, ben = await self.pair("/raw/kinds")
        data = bytes([0, 255, 128, 10, 13])
        for source, target in ((ann, ben), (ben, ann)):
            await source.send("text ✓")
            await source.send(data)
            self.assertEqual(await target.hear(data), ["text ✓"])
        await asyncio.gather(ann.leave(), ben.leave())

    async def test_a_text_ping_is_answered_with_ping(self):
        # W2
        peer = await self.client.connect(f"/topics/ping/{self.name}")
        await peer.send("ping")
        await peer.hear("ping")
        await peer.leave()

    async def test_its_close_is_answered_with_its_code(self):
        # H3
        peer = await self.client.connect(f"/topics/close/{self.name}")
        self.assertEqual(await peer.leave(), 1000)


class Websockets(Contract, unittest.IsolatedAsyncioTestCase):
    name, client = "websockets", WebsocketsPeer


class Aiohttp(Contract, unittest.IsolatedAsyncioTestCase):
    name, client = "aiohttp", AiohttpPeer


class Staying(unittest.IsolatedAsyncioTestCase):
    """Both clients in one test, so that the time passes once."""

    async def test_clients_stay_connected_while_nothing_is_said(self):
        # H1
        await asyncio.gather(*(self.stays(name, client) for name, client in CLIENTS.items()))

    async def stays(self, name, client):
        ann = await client.connect(f"/raw/stay/{name}")
        ben = await client.connect(f"/raw/stay/{name}")
        listening = [asyncio.create_task(peer.receive()) for peer in (ann, ben)]
        interrupted, _ = await asyncio.wait(listening, timeout=STAY_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        self.assertFalse(interrupted, name)
        await ann.send("still here")
        self.assertEqual(await listening[1], "still here")
        listening[0].cancel()
        await asyncio.gather(ann.leave(), ben.leave())


if __name__ == "__main__":
    unittest.main()
