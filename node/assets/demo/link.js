// One room's connection: a WebSocket speaking `dunlin.json.v1`, opened again whenever the way it
// ended allows. Invariant: at most one socket and one timer to open the next; a request is either
// answered, or rejected when its socket is gone.

/** The node answered `error`: asking again unchanged is for a person to decide. */
export class Refused extends Error {
  constructor({ code, error }) {
    super(words(error) || words(code) || "no reason given");
    this.code = code;
  }
}

/** The connection ended before the answer: whether the request was carried out is unknown. */
export class Lost extends Error {}

/**
 * Keeps one topic of one namespace subscribed until `close`.
 *
 * The listener is told `onState({ name: "joining" | "live" | "away" | "ended", node?, why? })` at
 * each change, `onJoined(ok)` with the answer to each subscribe just after `live`, and `onFrame`
 * with every frame that answers no request. It says by `since()` which cursor it has reached, if any.
 */
export class Link {
  #url;
  #topic;
  #listener;
  #state = "";
  #socket = null;
  #asked = new Map();
  #lastId = 0;
  #failures = 0;
  #timer = 0;

  constructor(url, topic, listener) {
    this.#url = url;
    this.#topic = topic;
    this.#listener = listener;
    this.#tell({ name: "joining" });
    this.#open();
  }

  /** Sends a frame and resolves with its `ok`; rejects with `Refused` or `Lost`. */
  request(frame) {
    const id = ++this.#lastId;
    return new Promise((resolve, reject) => {
      const deadline = setTimeout(() => this.#lose(), ANSWER_MS_MAX);
      this.#asked.set(id, { resolve, reject, deadline });
      this.#socket.send(JSON.stringify({ ...frame, id }));
    });
  }

  /** Tries at once if this link waits for its next attempt, and otherwise does nothing. */
  hurry() {
    if (this.#timer && !this.#socket) this.#open();
  }

  /** Leaves for good. */
  close() {
    clearTimeout(this.#timer);
    this.#timer = 0;
    this.#forget();
  }

  #open() {
    const socket = new WebSocket(this.#url, SUBPROTOCOL);
    this.#socket = socket;
    socket.onmessage = (event) => this.#receive(event.data);
    socket.onclose = (event) => this.#ended(event.code, event.reason);
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#lose(), ANSWER_MS_MAX);
  }

  #receive(text) {
    const frame = parse(text);
    if (!frame) return;
    if (frame.type === "welcome") return this.#join(frame);
    const asked = this.#asked.get(frame.id);
    if (!asked) return this.#listener.onFrame(frame);
    this.#asked.delete(frame.id);
    clearTimeout(asked.deadline);
    if (frame.type === "ok") asked.resolve(frame);
    else asked.reject(new Refused(frame));
  }

  async #join(welcome) {
    clearTimeout(this.#timer);
    try {
      const since = this.#listener.since();
      const ok = await this.request({ type: "subscribe", topic: this.#topic, since });
      // A node that accepts and then closes must not be called without pause, so the count of
      // failures is forgotten only by a link that has held.
      this.#timer = setTimeout(() => (this.#failures = 0), STEADY_MS);
      this.#tell({ name: "live", node: words(welcome.node) });
      this.#listener.onJoined(ok);
    } catch (error) {
      if (!(error instanceof Refused)) return;
      if (PASSING.includes(error.code)) this.#lose();
      else this.#end(`This room can't be joined: ${error.message}.`);
    }
  }

  // A socket that stopped answering may take minutes to notice by itself.
  #lose() {
    this.#ended(LOST, "");
  }

  #ended(code, reason) {
    if (!mayReconnect(code, reason)) return this.#end(farewell(code, reason));
    this.#forget();
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#open(), pause(this.#failures++));
    this.#tell({ name: "away" });
  }

  // Each further failure while away is no news.
  #tell(state) {
    if (state.name === this.#state) return;
    this.#state = state.name;
    this.#listener.onState(state);
  }

  #end(why) {
    this.close();
    this.#tell({ name: "ended", why });
  }

  #forget() {
    const socket = this.#socket;
    this.#socket = null;
    if (socket) {
      socket.onmessage = socket.onclose = null;
      socket.close(1000);
    }
    for (const { reject, deadline } of this.#asked.values()) {
      clearTimeout(deadline);
      reject(new Lost());
    }
    this.#asked.clear();
  }
}

// Any other code is a decision about this peer, which coming back would not change.
function mayReconnect(code, reason) {
  if (code === 1000) return reason === "No pong received" || reason === "Inactivity timeout";
  return [1001, LOST, 1011, 1012, 1013].includes(code) || (code >= 4500 && code <= 4999);
}

function farewell(code, reason) {
  return `The node closed the connection${reason && `: ${reason}`} (${code}).`;
}

// Chance spreads the peers of a node that went away, so that they don't all arrive at once.
function pause(failures) {
  const longest = Math.min(PAUSE_MS_MAX, PAUSE_MS_MIN * 2 ** failures);
  return longest * (0.25 + 0.75 * Math.random());
}

function parse(text) {
  try {
    const frame = JSON.parse(text);
    return frame && typeof frame === "object" ? frame : null;
  } catch {
    return null;
  }
}

function words(value) {
  return typeof value === "string" ? value : "";
}

const SUBPROTOCOL = "dunlin.json.v1";
const LOST = 1006;
/** Codes of refusals that pass by themselves. */
export const PASSING = ["unavailable", "timeout"];
const ANSWER_MS_MAX = 10_000;
const STEADY_MS = 10_000;
const PAUSE_MS_MIN = 500;
const PAUSE_MS_MAX = 15_000;
