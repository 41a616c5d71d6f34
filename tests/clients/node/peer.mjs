// One connection of any client that has the browser's WebSocket interface, and what it has heard.

import assert from "node:assert/strict";
import { after } from "node:test";
import { isDeepStrictEqual } from "node:util";

/** The node under test, for example `ws://127.0.0.1:40001`. */
export const NODE = process.env.DUNLIN_URL?.replace(/^http/, "ws");
assert.ok(NODE, "DUNLIN_URL is missing: let `tests/run --only clients` set it, or start a node with clients/dunlin.toml");

/** How long a connection is watched for staying; a soak watches for longer. */
export const STAY_MS = Number(process.env.STAY_SECONDS ?? 30) * 1000;

const DEADLINE_MS = 10_000;

// What a test that failed has left open would keep the process, and so the whole run, from ending.
const sockets = new Set();
after(() => sockets.forEach((socket) => socket.close()));

export class Peer {
  opened = 0;
  closed = [];
  received = [];

  /** Connects the socket that `open(url)` gives. */
  static async connect(open, url) {
    const peer = new Peer(open(url));
    await peer.until("open", () => peer.opened > 0);
    return peer;
  }

  constructor(socket) {
    this.socket = socket;
    sockets.add(socket);
    socket.binaryType = "arraybuffer";
    socket.addEventListener("open", () => this.opened++);
    socket.addEventListener("close", ({ code, reason, wasClean }) => this.closed.push({ code, reason, wasClean }));
    socket.addEventListener("message", ({ data }) => this.received.push(read(data)));
  }

  /** Sends text and bytes as they are, and a frame as JSON. */
  send(data) {
    this.socket.send(typeof data === "string" || ArrayBuffer.isView(data) ? data : JSON.stringify(data));
  }

  async subscribe(topic) {
    const id = `subscribe ${this.received.length}`;
    this.send({ type: "subscribe", topic, id });
    await this.hear({ type: "ok", id, topic });
  }

  publish(topic, payload) {
    this.send({ type: "publish", topic, payload });
  }

  /** Waits until the text, the bytes or the frame has come. */
  async hear(expected) {
    await this.until("message", () => this.count(expected) > 0, expected);
  }

  /** How often it has come until now. */
  count(expected) {
    return this.received.filter((data) => isDeepStrictEqual(data, expected)).length;
  }

  /** Closes as the client does it, and gives what the client then says of it. */
  async leave(...arguments_) {
    this.socket.close(...arguments_);
    return this.leaving();
  }

  /** Waits for the end, and gives what the client says of it. */
  async leaving(deadlineMs) {
    await this.until("close", () => this.closed.length > 0, "the end", deadlineMs);
    return this.closed[0];
  }

  /** Waits until `holds` after some event of that name; without such an event it fails. */
  async until(name, holds, what = name, deadlineMs = DEADLINE_MS) {
    const deadline = Date.now() + deadlineMs;
    while (!holds()) {
      const came = await event(this.socket, name, deadline - Date.now());
      if (!came) assert.fail(`waited for ${show(what)}, had ${show({ received: this.received, closed: this.closed })}`);
    }
  }
}

/** Whether an event came in time. */
function event(socket, name, deadlineMs) {
  return new Promise((resolve) => {
    const timer = setTimeout(() => resolve(false), deadlineMs);
    const listener = () => {
      clearTimeout(timer);
      socket.removeEventListener(name, listener);
      resolve(true);
    };
    socket.addEventListener(name, listener);
  });
}

/** Bytes as a Buffer, a frame as an object, other text as it is. */
export function read(data) {
  if (typeof data !== "string") return Buffer.from(data);
  return data.startsWith("{") ? JSON.parse(data) : data;
}

const show = (value) => (typeof value === "string" ? value : JSON.stringify(value));
