// Topics that remember, to clients that speak v1 in JSON and in MessagePack, and to those that speak plainly.

import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { describe, test } from "node:test";
import { WebSocket as UndiciWebSocket } from "undici";
import WsWebSocket from "ws";
import { NODE, Peer } from "./peer.mjs";
import { FORMATS, V1Peer } from "./v1.mjs";

const CLIENTS = {
  ws: (url, subprotocol) => new WsWebSocket(url, subprotocol),
  undici: (url, subprotocol) => new UndiciWebSocket(url, subprotocol),
};
const PARALLEL = { concurrency: true };
/** How many a list keeps, and how many of a log a newcomer is given: as dunlin.toml says. */
const [LIST_LIMIT, REPLAY] = [4, 2];
const MODES = ["list", "value", "map", "log"];

/** A topic of this mode that nobody has used, also not in an earlier run. */
const fresh = (mode) => `${mode}:${randomUUID()}`;
const numbers = (count) => Array.from({ length: count }, (_, number) => number);
const payloads = (publications) => publications.map(({ payload }) => payload);
const leave = (...peers) => Promise.all(peers.map((peer) => peer.leave()));
const path = (name) => `${NODE}/topics/remembering/${name}`;

describe("remembering", PARALLEL, () => {
  for (const [name, open] of Object.entries(CLIENTS)) {
    for (const subprotocol of Object.keys(FORMATS)) {
      const enter = () => V1Peer.enter(open, subprotocol, path(`${name}-${subprotocol}`));
      describe(`${name}, ${subprotocol}`, PARALLEL, () => contract(enter));
    }
    describe(`${name}, plain`, PARALLEL, () => plain(name, open));
  }
});

function contract(enter) {
  state(enter);
  returning(enter);
  unproven(enter);
  resuming(enter);
  reading(enter);

  test("a key that comes twice is one publication with one cursor", async () => {
    // R1
    const [ann, ben, listener] = await Promise.all([enter(), enter(), enter()]);
    for (const mode of MODES) {
      const topic = fresh(mode);
      await listener.join(topic);
      const key = randomUUID();
      const first = await ann.tell(topic, { once: 1 }, { key });
      const repeated = [await ann.tell(topic, { once: 1 }, { key }), await ben.tell(topic, { twice: 2 }, { key })];
      assert.deepEqual(repeated, [first, first], mode);
      assert.equal((await listener.publication(topic)).cursor, first);
      const last = await ben.tell(topic, { last: 3 });
      const next = await listener.publication(topic);
      const both = { list: [{ once: 1 }, { last: 3 }], map: { last: 3, once: 1 } };
      assert.deepEqual(next, { topic, payload: both[mode] ?? { last: 3 }, cursor: last });
      assert.notEqual(last, first);
    }
    await leave(ann, ben, listener);
  });
}

function state(enter) {
  test("the ok of a subscribe has what is stored and its cursor", async () => {
    // T7, T9
    const [ann, ben] = await Promise.all([enter(), enter()]);
    const said = [{ a: 1 }, { b: [null, "✓"] }, { a: null, c: 0 }, { d: "" }, { e: false }];
    const stored = {
      list: said.slice(-LIST_LIMIT),
      value: { e: false },
      map: { b: [null, "✓"], c: 0, d: "", e: false },
    };
    for (const mode of MODES) {
      const topic = fresh(mode);
      const empty = await ben.join(topic);
      assert.equal("state" in empty, false);
      assert.deepEqual(empty.publications, mode === "log" ? [] : undefined);
      assert.equal(typeof empty.cursor, "string");
      const cursors = [];
      for (const payload of said) cursors.push(await ann.tell(topic, payload));
      const { cursor, state, publications, recovered } = await ann.join(topic);
      assert.deepEqual([cursor, state, recovered], [cursors.at(-1), stored[mode], undefined]);
      if (mode !== "log") continue;
      assert.deepEqual(payloads(publications), said.slice(-REPLAY));
      assert.deepEqual(publications.map((each) => each.cursor), cursors.slice(-REPLAY));
      for (const { at } of publications) assert.ok(Math.abs(at - Date.now()) < 60_000, `${at}`);
    }
    await leave(ann, ben);
  });

  test("a publication has the cursor that its publisher was told", async () => {
    // R1, T2
    const [ann, ben] = await Promise.all([enter(), enter()]);
    const whole = { list: [[{ a: 1 }], [{ a: 1 }, { b: 2 }]], map: [{ a: 1 }, { a: 1, b: 2 }] };
    for (const mode of MODES) {
      const topic = fresh(mode);
      await Promise.all([ann.join(topic), ben.join(topic)]);
      const heard = whole[mode] ?? [{ a: 1 }, { b: 2 }];
      for (const [number, payload] of [{ a: 1 }, { b: 2 }].entries()) {
        const cursor = await ann.tell(topic, payload);
        const expected = { topic, payload: heard[number], cursor };
        assert.deepEqual(await ben.publication(topic), expected);
        if (mode in whole) assert.deepEqual(await ann.publication(topic), expected);
      }
      assert.deepEqual(ann.frames.filter((frame) => frame.topic === topic), [], "nothing else comes to the publisher");
    }
    await leave(ann, ben);
  });
}

function returning(enter) {
  test("who comes back with `since` has lost nothing and hears nothing twice", async () => {
    // R1
    const talker = await enter();
    const topic = fresh("log");
    const [heard, total] = [[], 40];
    let since;
    let spoken = 0;
    const talk = async () => {
      for (const end = spoken + 5; spoken < end; spoken++) await talker.tell(topic, spoken);
    };
    /** Stays for so many and goes, while others are on their way to it. */
    const visit = async (count) => {
      const peer = await enter();
      const { recovered, publications, cursor } = await peer.join(topic, since && { since });
      assert.equal(recovered, since && true);
      heard.push(...payloads(publications));
      for (since = cursor; heard.length < count; ) {
        const { payload, cursor } = await peer.publication(topic);
        heard.push(payload);
        since = cursor;
      }
      await peer.leave();
    };
    await visit(0);
    while (spoken < total) await Promise.all([talk(), visit(spoken + 3)]);
    await visit(total);
    assert.deepEqual(heard, numbers(total));
    await leave(talker);
  });
}

function unproven(enter) {
  test("the state comes again only to who has not got it", async () => {
    // R1, T9
    const [ann, ben] = await Promise.all([enter(), enter()]);
    for (const mode of ["list", "value", "map"]) {
      const topic = fresh(mode);
      const since = await ann.tell(topic, { a: 1 });
      const known = await ben.join(topic, { since });
      assert.deepEqual([known.recovered, "state" in known], [true, false], mode);
      await ann.tell(topic, { b: 2 });
      const { state } = await ben.join(topic, { since });
      assert.deepEqual(state, { list: [{ a: 1 }, { b: 2 }], value: { b: 2 }, map: { a: 1, b: 2 } }[mode]);
    }
    await leave(ann, ben);
  });

  test("a `since` of another topic is not recovered, and says why", async () => {
    // R1
    const peer = await enter();
    const [topic, since] = [fresh("log"), await peer.tell(fresh("log"), "elsewhere")];
    for (const number of numbers(4)) await peer.tell(topic, number);
    for (const foreign of [since, "garbage"]) {
      const { recovered, reason, publications } = await peer.join(topic, { since: foreign });
      assert.deepEqual({ recovered, reason }, { recovered: false, reason: "reset" });
      assert.deepEqual(payloads(publications), [2, 3]);
    }
    await leave(peer);
  });
}

function resuming(enter) {
  test("a grant takes up the session of an earlier connection, topic by topic", async () => {
    // R1, T6
    const [ann, ben] = await Promise.all([enter(), enter()]);
    const [log, list] = [fresh("log"), fresh("list")];
    const grant = await ann.granted();
    const { cursor: since } = await ann.join(log);
    await ann.leave();
    for (const number of numbers(3)) await ben.tell(log, number);
    await ben.tell(list, "stored");
    const back = await enter();
    const topics = [{ topic: log, since }, { topic: list }, { topic: "secret" }];
    const answers = await back.answers({ type: "resume", grant, topics }, topics.length);
    const of = (topic) => answers.find((answer) => answer.topic === topic);
    assert.deepEqual([of(log).recovered, payloads(of(log).publications)], [true, numbers(3)]);
    assert.deepEqual(of(list).state, ["stored"]);
    assert.deepEqual([of("secret").type, of("secret").code], ["error", "forbidden"]);
    const cursor = await ben.tell(log, "live");
    assert.deepEqual(await back.publication(log), { topic: log, payload: "live", cursor });
    const forged = grant.replace(/.(?=.{9}$)/, (letter) => (letter === "A" ? "B" : "A"));
    assert.equal(await ben.refused({ type: "resume", grant: forged, topics }), "unauthenticated");
    await leave(ben, back);
  });
}

function reading(enter) {
  for (const [mode, kept] of [["log", 10], ["list", LIST_LIMIT]]) {
    test(`the history of a ${mode} is paged back and forth`, async () => {
      // R1
      const peer = await enter();
      const topic = fresh(mode);
      let last;
      for (const number of numbers(10)) last = await peer.tell(topic, number);
      const expected = numbers(10).slice(-kept);
      const limit = 3;

      const back = [];
      for (let page; page?.length !== 0; back.unshift(...page)) {
        const before = back[0]?.cursor;
        const answer = await peer.history(topic, { limit, before });
        page = answer.publications;
        assert.equal(answer.cursor, last);
        assert.equal(page.length, Math.min(limit, kept - back.length));
      }
      assert.deepEqual(payloads(back), expected);
      assert.equal(back.at(-1).cursor, last);

      const forth = [back[0]];
      while (forth.at(-1).cursor !== last) {
        const { recovered, publications } = await peer.history(topic, { limit, since: forth.at(-1).cursor });
        assert.equal(recovered, true);
        assert.equal(publications.length, Math.min(limit, kept - forth.length));
        forth.push(...publications);
      }
      assert.deepEqual(forth, back);
      const between = await peer.history(topic, { limit: 1000, since: back[0].cursor, before: last });
      assert.deepEqual(between.publications, back.slice(1, -1));
      await leave(peer);
    });
  }

  test("what has no history says so", async () => {
    // R1, T7
    const peer = await enter();
    for (const topic of [fresh("map"), "chat"]) {
      assert.equal(await peer.refused({ type: "history", topic, limit: 1 }), "invalid_topic");
    }
    await leave(peer);
  });
}

function plain(name, open) {
  const enter = () => Peer.connect((url) => open(url, []), path(`${name}-plain`));
  /** What came on the topic, the answer to its subscribe included. */
  const about = (peer, topic) => peer.received.filter((frame) => frame.topic === topic);

  test("what is stored comes as ordinary frames before the ok, what follows after it", async () => {
    // T7, T9, W1
    const [talker, listener] = [await V1Peer.enter(open, "dunlin.json.v1", path(`${name}-plain`)), await enter()];
    const said = [{ a: 1 }, { b: 2 }, { c: 3 }];
    const whole = { a: 1, b: 2, c: 3, d: 4 };
    const [before, after] = [
      { value: said.slice(-1), map: [{ a: 1, b: 2, c: 3 }], log: said.slice(-REPLAY), list: [said] },
      { value: { d: 4 }, map: whole, log: { d: 4 }, list: [...said, { d: 4 }] },
    ];
    for (const mode of MODES) {
      const topic = fresh(mode);
      for (const payload of said) await talker.tell(topic, payload);
      await listener.subscribe(topic);
      await talker.tell(topic, { d: 4 });
      await listener.hear({ topic, payload: after[mode] });
      const frames = about(listener, topic);
      const [ok] = frames.splice(before[mode].length, 1);
      assert.equal(ok.type, "ok");
      assert.deepEqual(frames, [...before[mode], after[mode]].map((payload) => ({ topic, payload })));
    }
    await leave(talker, listener);
  });

  test("a log replays as many as are asked for", async () => {
    // T7
    const [talker, listener] = [await V1Peer.enter(open, "dunlin.json.v1", path(`${name}-plain`)), await enter()];
    const topic = fresh("log");
    for (const number of numbers(6)) await talker.tell(topic, number);
    for (const replay of [0, 1, 5]) {
      listener.received.length = 0;
      listener.send({ type: "subscribe", topic, replay, id: replay });
      await listener.until("message", () => listener.received.some(({ id }) => id === replay), `ok ${replay}`);
      const replayed = about(listener, topic).filter(({ type }) => type === undefined);
      assert.deepEqual(payloads(replayed), numbers(6).slice(6 - replay));
      assert.equal(about(listener, topic).at(-1).type, "ok");
      listener.send({ type: "unsubscribe", topic, id: "leave" });
      await listener.hear({ type: "ok", id: "leave", topic });
    }
    await leave(talker, listener);
  });
}
