// Clients with the browser's WebSocket interface, as their packages come, against a running node.

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import CrosswsWebSocket from "crossws/websocket";
import PartySocket from "partysocket/ws";
import ReconnectingWebSocket from "reconnecting-websocket";
import { WebSocket as UndiciWebSocket } from "undici";
import WsWebSocket from "ws";
import { NODE, Peer, STAY_MS } from "./peer.mjs";

// undici's is what Node 22 and later call WebSocket. The two that reconnect need one to build on.
const CLIENTS = {
  ws: (url) => new WsWebSocket(url),
  undici: (url) => new UndiciWebSocket(url),
  crossws: (url) => new CrosswsWebSocket(url),
  "reconnecting-websocket": (url) => new ReconnectingWebSocket(url, [], { WebSocket: WsWebSocket }),
  partysocket: (url) => new PartySocket(url, [], { WebSocket: WsWebSocket }),
};
const PARALLEL = { concurrency: true };
const LONG = { timeout: STAY_MS + 60_000 };

describe("clients", PARALLEL, () => {
  for (const [name, open] of Object.entries(CLIENTS)) {
    describe(name, PARALLEL, () => contract(name, open));
  }

  test("ws answers pings, and more come", LONG, async () => {
    // H1: the fifth comes only to who has answered the first three
    const peer = await Peer.connect(CLIENTS.ws, `${NODE}/topics/pinged/ws`);
    let pings = 0;
    await new Promise((resolve) => peer.socket.on("ping", () => ++pings === 5 && resolve()));
    assert.deepEqual(peer.closed, []);
    await peer.leave();
  });

  test("ws without its answers to pings is closed with the reason", LONG, async () => {
    // H1
    const deaf = (url) => new WsWebSocket(url, { autoPong: false });
    const peer = await Peer.connect(deaf, `${NODE}/topics/deaf/ws`);
    const end = await peer.leaving(40_000);
    assert.deepEqual(end, { code: 1000, reason: "No pong received", wasClean: true });
  });
});

function contract(name, open) {
  const pair = (path) => Promise.all([1, 2].map(() => Peer.connect(open, `${NODE}${path}/${name}`)));

  test("two talk on a topic, each hearing the other once and not itself", LONG, async () => {
    // W1, W3, T2
    const [ann, ben] = await pair("/topics/talk");
    await Promise.all([ann.subscribe("chat"), ben.subscribe("chat")]);
    const [hello, answer] = [{ text: "Grüezi, 12 dunlins" }, ["and", "one", "godwit", null]];
    ann.publish("chat", hello);
    await ben.hear({ topic: "chat", payload: hello });
    ben.publish("chat", answer);
    await ann.hear({ topic: "chat", payload: answer });
    await Promise.all([ann.subscribe("chat"), ben.subscribe("chat")]);
    const counts = (peer) => [hello, answer].map((payload) => peer.count({ topic: "chat", payload }));
    assert.deepEqual([counts(ann), counts(ben)], [[0, 1], [1, 0]]);
    await Promise.all([ann.leave(), ben.leave()]);
  });

  test("the session topic counts who is here", LONG, async () => {
    // C1
    const users = (count) => ({ topic: "session", payload: { users: count } });
    const ann = await Peer.connect(open, `${NODE}/topics/session/${name}`);
    await ann.hear(users(1));
    const ben = await Peer.connect(open, `${NODE}/topics/session/${name}`);
    await Promise.all([ann.hear(users(2)), ben.hear(users(2))]);
    ann.received.length = 0;
    await ben.leave();
    await ann.hear(users(1));
    await ann.leave();
  });

  test("text stays text and bytes stay bytes on a raw endpoint", LONG, async () => {
    // W6, W7, L5
    const [ann, ben] = await pair("/raw/kinds");
    const bytes = Buffer.from([0, 255, 128, 10, 13]);
    for (const [from, to] of [[ann, ben], [ben, ann]]) {
      for (const data of ["text ✓", bytes]) from.send(data);
      await to.hear(bytes);
      assert.deepEqual(to.received, ["text ✓", bytes]);
    }
    await Promise.all([ann.leave(), ben.leave()]);
  });

  test("a text ping is answered with ping", LONG, async () => {
    // W2
    const peer = await Peer.connect(open, `${NODE}/topics/ping/${name}`);
    peer.send("ping");
    await peer.hear("ping");
    await peer.leave();
  });

  test("its close is answered with its code", LONG, async () => {
    // H3
    const peer = await Peer.connect(open, `${NODE}/topics/close/${name}`);
    const { code } = await peer.leave(4321, "enough");
    assert.equal(code, 4321);
  });

  test("it stays connected while nothing is said", LONG, async () => {
    // H1
    const [ann, ben] = await pair("/raw/stay");
    await Promise.race([delay(STAY_MS), ...[ann, ben].map((peer) => peer.leaving(LONG.timeout))]);
    ann.send("still here");
    await ben.hear("still here");
    assert.deepEqual([ann, ben].map(({ opened, closed }) => ({ opened, closed })), [
      { opened: 1, closed: [] },
      { opened: 1, closed: [] },
    ]);
    await Promise.all([ann.leave(), ben.leave()]);
  });
}
