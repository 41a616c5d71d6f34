// VueUse's useWebSocket, the reactive client, as its package comes, against a running node.

import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { after, describe, test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { effectScope, shallowRef, watch } from "vue";
import WebSocket from "ws";
import { NODE, Peer, STAY_MS, read } from "./peer.mjs";

// On a server VueUse opens nothing; to it this process is a worker. Node has no WebSocket of its own before 22.
globalThis.WebSocket = WebSocket;
globalThis.WorkerGlobalScope = Object;
const { useWebSocket } = await import("@vueuse/core");

const HEARTBEAT = { message: "ping", interval: 1000, pongTimeout: 1000 };
const LONG = { timeout: STAY_MS + 60_000 };

// One that a test which failed has left mounted would connect again and again.
const mounted = new Set();
after(() => mounted.forEach((component) => component.unmount()));

/** A component that uses useWebSocket: what its `data` has shown, and every socket that was opened for it. */
class Component {
  shown = [];
  peers = [];
  #scope = effectScope();

  static async mount(path) {
    const component = new Component(NODE + path);
    const { peer } = component;
    await peer.until("open", () => peer.opened > 0);
    return component;
  }

  constructor(url) {
    mounted.add(this);
    this.#scope.run(() => {
      this.client = useWebSocket(url, { heartbeat: HEARTBEAT, autoReconnect: true });
      const { data, ws } = this.client;
      watch(data, (value) => this.shown.push(read(value)), { flush: "sync" });
      watch(ws, (socket) => socket && this.peers.push(new Peer(socket)), { flush: "sync", immediate: true });
    });
  }

  /** The socket in use. */
  get peer() {
    return this.peers.at(-1);
  }

  /** What a page shows of a topic: the last payload takes the place of the one before. */
  topic(topic) {
    const state = shallowRef();
    const replace = (frame) => frame.topic === topic && "payload" in frame && (state.value = frame.payload);
    this.#scope.run(() => watch(this.client.data, (value) => replace(read(value)), { flush: "sync" }));
    return state;
  }

  send(frame) {
    this.client.send(JSON.stringify(frame));
  }

  unmount() {
    const { peer } = this;
    mounted.delete(this);
    this.#scope.stop();
    return peer.leaving();
  }
}

describe("vueuse", { concurrency: true }, () => {
  test("its heartbeat is answered, so it stays open without a reconnect", LONG, async () => {
    // W2, H1
    const component = await Component.mount("/topics/stay/vueuse");
    const { client, peer, peers, shown } = component;
    await Promise.race([delay(STAY_MS), peer.leaving(LONG.timeout)]);
    assert.equal(client.status.value, "OPEN");
    assert.equal(peers.length, 1);
    assert.ok(peer.count("ping") >= STAY_MS / HEARTBEAT.interval - 3, `${peer.count("ping")} answers`);
    assert.deepEqual(shown, [{ topic: "session", payload: { users: 1 } }]);
    await component.unmount();
  });

  test("two components talk on a topic and see each other counted", LONG, async () => {
    // W1, T2, C1
    const path = "/topics/talk/vueuse";
    const [ann, ben] = await Promise.all([Component.mount(path), Component.mount(path)]);
    await Promise.all([ann, ben].map(({ peer }) => peer.hear({ topic: "session", payload: { users: 2 } })));
    for (const component of [ann, ben]) component.send({ type: "subscribe", topic: "chat", id: 1 });
    await Promise.all([ann, ben].map(({ peer }) => peer.hear({ type: "ok", id: 1, topic: "chat" })));
    for (const [from, to] of [[ann, ben], [ben, ann]]) {
      const chat = { topic: "chat", payload: { text: "tide's out ✓" } };
      from.send({ type: "publish", ...chat });
      await to.peer.hear(chat);
      assert.deepEqual(to.shown.at(-1), chat);
    }
    await Promise.all([ann.unmount(), ben.unmount()]);
  });

  test("a list replaces the array that is shown, also for who publishes and who comes later", LONG, async () => {
    // T7, T8, T9
    const path = "/topics/list/vueuse";
    const topic = `list:${randomUUID()}`;
    const [ann, ben] = await Promise.all([Component.mount(path), Component.mount(path)]);
    const views = [ann, ben].map((component) => component.topic(topic));
    for (const component of [ann, ben]) component.send({ type: "subscribe", topic, id: 1 });
    await Promise.all([ann, ben].map(({ peer }) => peer.hear({ type: "ok", id: 1, topic })));
    assert.deepEqual(views.map(({ value }) => value), [undefined, undefined]);
    // The sixth finds four, as many as dunlin.toml lets the list keep.
    const said = ["ebb", { text: "slack ✓" }, null, "flood", ["high"], 6];
    for (const [number, payload] of said.entries()) {
      [ann, ben][number % 2].send({ type: "publish", topic, payload });
      const array = said.slice(Math.max(0, number - 3), number + 1);
      await Promise.all([ann, ben].map(({ peer }) => peer.hear({ topic, payload: array })));
      assert.deepEqual(views.map(({ value }) => value), [array, array]);
    }
    const late = await Component.mount(path);
    const view = late.topic(topic);
    late.send({ type: "subscribe", topic, id: 1 });
    await late.peer.hear({ type: "ok", id: 1, topic });
    assert.deepEqual(view.value, said.slice(-4));
    assert.deepEqual(late.shown.slice(-2).map(({ type }) => type), [undefined, "ok"]);
    await Promise.all([ann, ben, late].map((component) => component.unmount()));
  });

  test("data shows text and bytes of a raw endpoint as they were sent", LONG, async () => {
    // W6, W7
    const path = "/raw/kinds/vueuse";
    const [ann, ben] = await Promise.all([Component.mount(path), Component.mount(path)]);
    const bytes = Buffer.from([0, 255, 128]);
    for (const data of ["text ✓", bytes]) ann.client.send(data);
    await ben.peer.hear(bytes);
    assert.deepEqual(ben.shown, ["text ✓", bytes]);
    await Promise.all([ann.unmount(), ben.unmount()]);
  });

  test("unmounting closes cleanly", LONG, async () => {
    // H3
    const component = await Component.mount("/topics/close/vueuse");
    const { code, wasClean } = await component.unmount();
    assert.deepEqual({ code, wasClean }, { code: 1000, wasClean: true });
  });
});
