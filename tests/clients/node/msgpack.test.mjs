// The package @msgpack/msgpack over ws, speaking dunlin.msgpack.v1 to clients that speak JSON.

import assert from "node:assert/strict";
import { test } from "node:test";
import { decode, encode } from "@msgpack/msgpack";
import WebSocket from "ws";
import { NODE, Peer } from "./peer.mjs";

const BIG = { useBigInt64: true };

class Packed extends Peer {
  constructor(socket) {
    super(socket);
    this.frames = [];
    socket.addEventListener("message", ({ data }) => this.frames.push(data));
  }

  static async open(path) {
    const peer = new Packed(new WebSocket(`${NODE}${path}`, "dunlin.msgpack.v1"));
    await peer.until("open", () => peer.opened > 0);
    return peer;
  }

  say(frame) {
    this.socket.send(encode(frame, BIG));
  }

  /** Waits for the frame that fits, and takes it out with all before it. */
  async take(fits, options = {}) {
    let found;
    const look = () => {
      const at = this.frames.findIndex((data) => typeof data !== "string" && fits(decode(data)));
      if (at >= 0) [found] = this.frames.splice(0, at + 1).slice(-1);
      return at >= 0;
    };
    await this.until("message", look, String(fits));
    return decode(found, options);
  }

  publication(options) {
    return this.take((frame) => frame.topic === "chat" && "payload" in frame, options);
  }

  async join() {
    this.say({ type: "subscribe", topic: "chat", id: "join" });
    assert.deepEqual(await this.take((frame) => frame.id === "join"), { type: "ok", id: "join", topic: "chat" });
  }
}

/** A client that speaks JSON, with the text of what it hears. */
async function jsonPeer(path) {
  const peer = await Peer.connect((url) => new WebSocket(url, "dunlin.json.v1"), `${NODE}${path}`);
  peer.texts = [];
  peer.socket.addEventListener("message", ({ data }) => peer.texts.push(data));
  await peer.subscribe("chat");
  return peer;
}

async function both(path) {
  const packed = await Packed.open(path);
  const welcome = await packed.take((frame) => frame.type === "welcome");
  assert.equal(welcome.ping_ms, 5000);
  await packed.join();
  return [packed, await jsonPeer(path)];
}

test("a client of either dialect hears the other", async () => {
  // W7, T2
  const [packed, json] = await both("/topics/msgpack/talk");
  const said = { text: "Grüezi ✓", list: [1, -1.5, null, true, {}], deep: { a: [[]] } };
  packed.say({ type: "publish", topic: "chat", payload: said });
  await json.hear({ topic: "chat", payload: said });
  json.publish("chat", said);
  assert.deepEqual(await packed.publication(), { topic: "chat", payload: said });
  for (const falsy of [0, false, "", null, []]) {
    json.publish("chat", falsy);
    assert.deepEqual(await packed.publication(), { topic: "chat", payload: falsy });
    packed.say({ type: "publish", topic: "chat", payload: falsy });
    await json.hear({ topic: "chat", payload: falsy });
  }
  await Promise.all([packed.leave(), json.leave()]);
});

test("bytes are a bin on one side and base64 on the other", async () => {
  // W7
  const [packed, json] = await both("/topics/msgpack/bytes");
  const bytes = Uint8Array.from([0, 255, 128, 10]);
  packed.say({ type: "publish", topic: "chat", payload: bytes });
  await json.hear({ topic: "chat", base64: Buffer.from(bytes).toString("base64") });
  json.send({ type: "publish", topic: "chat", base64: Buffer.from(bytes).toString("base64") });
  const { payload } = await packed.publication();
  assert.ok(payload instanceof Uint8Array);
  assert.deepEqual([...payload], [...bytes]);
  await Promise.all([packed.leave(), json.leave()]);
});

test("integers of 64 bits keep their digits, longer ones become strings", async () => {
  // W7
  const [packed, json] = await both("/topics/msgpack/numbers");
  for (const digits of ["9007199254740993", "18446744073709551615", "-9223372036854775808"]) {
    packed.say({ type: "publish", topic: "chat", payload: BigInt(digits) });
    const text = `{"topic":"chat","payload":${digits}}`;
    await json.until("message", () => json.texts.includes(text), text);
    json.send(`{"type":"publish","topic":"chat","payload":${digits}}`);
    assert.equal((await packed.publication(BIG)).payload, BigInt(digits));
  }
  json.send('{"type":"publish","topic":"chat","payload":[123456789012345678901,1e400]}');
  assert.deepEqual((await packed.publication()).payload, ["123456789012345678901", "1e400"]);
  for (const text of ["1.0", "-0", "1e2", "0.1", "5e-324", "1.7976931348623157e308"]) {
    json.send(`{"type":"publish","topic":"chat","payload":${text}}`);
    assert.ok(Object.is((await packed.publication()).payload, JSON.parse(text)), text);
  }
  await Promise.all([packed.leave(), json.leave()]);
});

test("what JSON has no words for is an error with a code", async () => {
  // W7, W3
  const packed = await Packed.open("/topics/msgpack/errors");
  for (const payload of [new Date(0), NaN, [Infinity], [Uint8Array.of(1)]]) {
    packed.say({ type: "publish", topic: "chat", payload, id: 1 });
    const { code, type } = await packed.take((frame) => frame.id === 1);
    assert.deepEqual({ code, type }, { code: "invalid_payload", type: "error" });
  }
  packed.send("ping");
  await packed.hear("ping");
  await packed.leave();
});
