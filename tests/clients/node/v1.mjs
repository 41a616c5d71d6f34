// A client that speaks a v1 dialect, whatever its package and its format: it asks and is answered.

import assert from "node:assert/strict";
import { decode, encode } from "@msgpack/msgpack";
import { Peer } from "./peer.mjs";

/** What the dialects write and read. */
export const FORMATS = {
  "dunlin.json.v1": { pack: JSON.stringify, unpack: JSON.parse },
  "dunlin.msgpack.v1": { pack: encode, unpack: (data) => decode(data) },
};

export class V1Peer extends Peer {
  /** Frames that nobody has taken yet. */
  frames = [];
  /** The last one given; a new one may come at any time. */
  grant = null;
  #format;
  #asked = 0;

  /** Connects the socket that `open(url, subprotocol)` gives. */
  static async enter(open, subprotocol, url) {
    const peer = new V1Peer(open(url, subprotocol), FORMATS[subprotocol]);
    await peer.take(({ type }) => type === "welcome");
    return peer;
  }

  constructor(socket, format) {
    super(socket);
    this.#format = format;
    socket.addEventListener("message", ({ data }) => this.#note(format.unpack(data)));
  }

  #note(frame) {
    this.grant = frame.grant ?? this.grant;
    if (frame.type !== "grant") this.frames.push(frame);
  }

  /** Waits for the first frame that fits and takes it out; the others stay. */
  async take(fits) {
    const at = () => this.frames.findIndex(fits);
    await this.until("message", () => at() >= 0, String(fits));
    return this.frames.splice(at(), 1)[0];
  }

  /** Waits for the next publication on the topic. */
  publication(topic) {
    return this.take((frame) => frame.topic === topic && frame.type === undefined);
  }

  /** Sends the frame with an id, and gives as many answers as are expected. */
  async answers(frame, count = 1) {
    const id = ++this.#asked;
    this.send(this.#format.pack({ ...frame, id }));
    const all = [];
    while (all.length < count) all.push(await this.take((answer) => answer.id === id));
    return all;
  }

  /** The code of the error that answers the frame. */
  async refused(frame) {
    const [{ type, code }] = await this.answers(frame);
    assert.equal(type, "error");
    return code;
  }

  /** The ok that answers the frame. */
  async ask(frame) {
    const [answer] = await this.answers(frame);
    assert.equal(answer.type, "ok", JSON.stringify(answer));
    return answer;
  }

  join(topic, more = {}) {
    return this.ask({ type: "subscribe", topic, ...more });
  }

  /** Publishes, and gives the cursor of the publication. */
  async tell(topic, payload, more = {}) {
    const { cursor } = await this.ask({ type: "publish", topic, payload, ...more });
    assert.equal(typeof cursor, "string");
    return cursor;
  }

  history(topic, more) {
    return this.ask({ type: "history", topic, ...more });
  }

  /** Waits until the node has given a grant. */
  async granted() {
    await this.until("message", () => this.grant !== null, "a grant");
    return this.grant;
  }
}
