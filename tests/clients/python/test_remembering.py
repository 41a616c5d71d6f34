"""Topics that remember, to the package `websockets` that speaks v1 in JSON and in MessagePack."""

import asyncio
import time
import unittest
import uuid

from peers import JsonPeer, MsgpackPeer

# How many a list keeps, and how many of a log a newcomer is given: as dunlin.toml says.
LIST_LIMIT = 4
REPLAY = 2
MODES = ("list", "value", "map", "log")


def fresh(mode):
    """A topic of this mode that nobody has used, also not in an earlier run."""
    return f"{mode}:{uuid.uuid4()}"


def payloads(answer):
    return [publication["payload"] for publication in answer["publications"]]


class Contract:
    """What every dialect is promised; `client` is the subclass's."""

    async def enter(self):
        peer = await self.client.connect(f"/topics/remembering-python/{self.client.subprotocol}")
        self.addAsyncCleanup(peer.leave)
        return peer

    async def ok(self, peer, **frame):
        answer = await peer.ask(**frame)
        self.assertEqual(answer["type"], "ok", answer)
        return answer

    async def join(self, peer, topic, **more):
        return await self.ok(peer, type="subscribe", topic=topic, **more)

    async def tell(self, peer, topic, payload, **more):
        """Publishes, and returns the cursor of the publication."""
        answer = await self.ok(peer, type="publish", topic=topic, payload=payload, **more)
        self.assertIsInstance(answer["cursor"], str)
        return answer["cursor"]

    async def test_the_ok_of_a_subscribe_has_what_is_stored_and_its_cursor(self):
        # T7, T9
        ann, ben = await self.enter(), await self.enter()
        said = [{"a": 1}, {"b": [None, "✓"]}, {"a": None, "c": 0}, {"d": ""}, {"e": False}]
        stored = {
            "list": said[-LIST_LIMIT:],
            "value": said[-1],
            "map": {"b": [None, "✓"], "c": 0, "d": "", "e": False},
        }
        for mode in MODES:
            topic = fresh(mode)
            empty = await self.join(ben, topic)
            self.assertNotIn("state", empty)
            cursors = [await self.tell(ann, topic, payload) for payload in said]
            answer = await self.join(ann, topic)
            self.assertEqual((answer["cursor"], answer.get("state")), (cursors[-1], stored.get(mode)), mode)
            if mode == "log":
                self.assertEqual((empty["publications"], payloads(answer)), ([], said[-REPLAY:]))
                for publication, cursor in zip(answer["publications"], cursors[-REPLAY:], strict=True):
                    self.assertEqual(publication["cursor"], cursor)
                    self.assertLess(abs(publication["at"] / 1000 - time.time()), 60)

    async def test_who_comes_back_with_since_has_lost_nothing_and_hears_nothing_twice(self):
        # R1
        talker, topic, total = await self.enter(), fresh("log"), 40
        heard, since, spoken = [], None, 0

        async def talk(numbers):
            for number in numbers:
                await self.tell(talker, topic, number)

        async def visit(count):
            """Stays for so many and goes, while others are on their way to it."""
            nonlocal since
            peer = await self.client.connect(f"/topics/remembering-python/{self.client.subprotocol}")
            answer = await self.join(peer, topic, **({"since": since} if since else {}))
            self.assertEqual(answer.get("recovered"), True if since else None)
            heard.extend(payloads(answer))
            since = answer["cursor"]
            while len(heard) < count:
                publication = await peer.heard(topic=topic)
                heard.append(publication["payload"])
                since = publication["cursor"]
            await peer.leave()

        await visit(0)
        while spoken < total:
            await asyncio.gather(talk(range(spoken, spoken + 5)), visit(spoken + 3))
            spoken += 5
        await visit(total)
        self.assertEqual(heard, list(range(total)))

    async def test_a_since_that_proves_nothing_is_not_recovered_and_says_why(self):
        # R1
        peer, topic = await self.enter(), fresh("log")
        elsewhere = await self.tell(peer, fresh("log"), "elsewhere")
        for number in range(4):
            await self.tell(peer, topic, number)
        for since in (elsewhere, "garbage"):
            answer = await self.join(peer, topic, since=since)
            self.assertEqual((answer["recovered"], answer["reason"]), (False, "reset"))
            self.assertEqual(payloads(answer), [2, 3])

    async def test_history_is_paged_back_and_forth(self):
        # R1
        peer = await self.enter()
        for mode, kept in (("log", 10), ("list", LIST_LIMIT)):
            topic = fresh(mode)
            cursors = [await self.tell(peer, topic, number) for number in range(10)]
            back = await self.paged_back(peer, topic)
            self.assertEqual([each["payload"] for each in back], list(range(10))[-kept:])
            self.assertEqual([each["cursor"] for each in back], cursors[-kept:])
            forth = back[:1]
            while forth[-1]["cursor"] != cursors[-1]:
                answer = await self.ok(peer, type="history", topic=topic, limit=3, since=forth[-1]["cursor"])
                self.assertTrue(answer["recovered"])
                self.assertEqual(len(answer["publications"]), min(3, kept - len(forth)))
                forth += answer["publications"]
            self.assertEqual(forth, back)
        answer = await peer.ask(type="history", topic=fresh("map"), limit=3)
        self.assertEqual((answer["type"], answer["code"]), ("error", "invalid_topic"))

    async def paged_back(self, peer, topic):
        back = (await self.ok(peer, type="history", topic=topic, limit=3))["publications"]
        while True:
            answer = await self.ok(peer, type="history", topic=topic, limit=3, before=back[0]["cursor"])
            self.assertLessEqual(len(answer["publications"]), 3)
            if not answer["publications"]:
                return back
            back = answer["publications"] + back

    async def test_a_grant_takes_up_the_session_of_an_earlier_connection(self):
        # R1, T6
        ann, ben, back = await self.enter(), await self.enter(), await self.enter()
        welcome = await ann.heard(type="welcome")
        grant = welcome["grant"] if "grant" in welcome else (await ann.heard(type="grant"))["grant"]
        log, map_ = fresh("log"), fresh("map")
        since = (await self.join(ann, log))["cursor"]
        await ann.leave()
        for number in range(3):
            await self.tell(ben, log, number)
        await self.tell(ben, map_, {"kept": True})
        topics = [{"topic": log, "since": since}, {"topic": map_}, {"topic": "secret"}]
        answers = [await back.ask(type="resume", grant=grant, topics=topics)]
        answers += [await back.heard(id=answers[0]["id"]) for _ in topics[1:]]
        of = {answer["topic"]: answer for answer in answers}
        self.assertEqual((of[log]["recovered"], payloads(of[log])), (True, [0, 1, 2]))
        self.assertEqual(of[map_]["state"], {"kept": True})
        self.assertEqual((of["secret"]["type"], of["secret"]["code"]), ("error", "forbidden"))
        cursor = await self.tell(ben, log, "live")
        self.assertEqual(await back.heard(topic=log), {"topic": log, "payload": "live", "cursor": cursor})
        forged = grant[:-10] + ("B" if grant[-10] == "A" else "A") + grant[-9:]
        answer = await ben.ask(type="resume", grant=forged, topics=topics)
        self.assertEqual((answer["type"], answer["code"]), ("error", "unauthenticated"))

    async def test_a_key_that_comes_twice_is_one_publication_with_one_cursor(self):
        # R1
        ann, ben, listener = await self.enter(), await self.enter(), await self.enter()
        both = {"list": [{"once": 1}, {"last": 3}], "map": {"last": 3, "once": 1}}
        for mode in MODES:
            topic, key = fresh(mode), str(uuid.uuid4())
            await self.join(listener, topic)
            first = await self.tell(ann, topic, {"once": 1}, key=key)
            for peer, payload in ((ann, {"once": 1}), (ben, {"twice": 2})):
                self.assertEqual(await self.tell(peer, topic, payload, key=key), first, mode)
            self.assertEqual((await listener.heard(topic=topic))["cursor"], first)
            last = await self.tell(ben, topic, {"last": 3})
            heard = await listener.heard(topic=topic)
            self.assertEqual(heard, {"topic": topic, "payload": both.get(mode, {"last": 3}), "cursor": last})


class Json(Contract, unittest.IsolatedAsyncioTestCase):
    client = JsonPeer


class Msgpack(Contract, unittest.IsolatedAsyncioTestCase):
    client = MsgpackPeer


if __name__ == "__main__":
    unittest.main()
