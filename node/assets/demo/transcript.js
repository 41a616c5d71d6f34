// What was said in one room, newest last, as data and as the list on the page.
// Invariant: `list` has an element for every line but the `hidden` oldest, in the same order; settled
// lines are at most LINES_MAX, lines that still wait to be sent are never dropped.

import { recall, remember } from "./memory.js";
import { paintFace } from "./people.js";

/** A message from anywhere, or null for what isn't one: payloads are whatever others sent. */
export function parseMessage(payload) {
  if (!payload || typeof payload.name !== "string" || typeof payload.text !== "string") return null;
  const text = payload.text.trim();
  const name = payload.name.trim().slice(0, NAME_MAX) || "Nameless";
  return text ? { name, text, at: isTime(payload.at) ? payload.at : null } : null;
}

/** The lines of one room. `resend` is called with a line whose "Try again" was pressed. */
export class Transcript {
  list = document.createElement("ol");
  /** How many of the oldest lines are not shown until somebody reads back to them. */
  hidden = 0;
  #lines = [];
  #resend;

  constructor(resend) {
    this.#resend = resend;
    this.list.className = "lines";
  }

  get size() {
    return this.#lines.length;
  }

  get isFull() {
    return this.size >= LINES_MAX;
  }

  /** Own lines that no node has taken yet, oldest first, the failed ones included. */
  get unsent() {
    return this.#lines.filter((line) => line.state !== "sent");
  }

  /**
   * Adds a line of this window's own, which waits until `settle` or `fail`. Its `id` goes with it
   * each time it is sent, so that a node takes it once.
   */
  write({ id = freshId(), ...message }) {
    OWN_WORDS.add(message);
    const line = { ...this.#draw(message, identity(message)), id };
    this.#mark(line, "pending");
    this.#put([...this.#lines, line]);
    return line;
  }

  /** Adds one live message; one that is here already (its sender sent it twice) only settles. */
  add(message) {
    const known = message.at !== null && this.#lines.find((line) => line.key === identity(message));
    if (known) return this.settle(known);
    this.#put([...this.#lines, this.#draw(message, identity(message))]);
  }

  /**
   * Takes what a `list` topic holds, which is all there is to show, then what waits to be sent. What
   * fell out of the list stays above it while the two join on; else the list begins anew, and this
   * says so by returning false.
   */
  replace(messages) {
    const next = this.#drawAll(messages);
    const sent = this.#lines.filter((line) => line.state === "sent");
    const first = sent.findIndex(({ key }) => next.has(key));
    const joins = first >= 0 && sent[first].key === next.keys().next().value;
    const isFirst = !sent.some(({ message }) => message);
    const above = isFirst ? sent : sent.slice(0, joins ? first : 0);
    this.#put([...above, ...next.values(), ...this.#waiting(next)], !joins);
    return joins;
  }

  /** Shows exactly these messages because the nodes' memory is another one; what it lacks is told. */
  reset(messages) {
    const next = this.#drawAll(messages);
    const isLost = this.#lines.some((line) => line.message && line.state === "sent" && !next.has(line.key));
    const above = isLost ? [drawRemark("The nodes lost some of what was said here.")] : [];
    this.#put([...above, ...next.values(), ...this.#waiting(next)], true);
  }

  /** Puts older messages above all others, hidden; those that are here already are passed over. */
  prepend(messages) {
    const here = new Set(this.#lines.filter(({ message }) => message).map(({ message }) => identity(message)));
    const older = this.#drawAll(messages.filter((message) => !here.has(identity(message))));
    this.#put([...older.values(), ...this.#lines]);
  }

  /** Shows more of the oldest lines. */
  reveal() {
    this.hidden = Math.max(0, this.hidden - SHOWN_AT_ONCE);
    this.#show();
  }

  /** Adds a remark of the page itself. */
  remark(text) {
    this.#put([...this.#lines, drawRemark(text)]);
  }

  settle(line) {
    this.#mark(line, "sent");
  }

  /** Says something beneath a line, until its state changes. */
  note(line, text) {
    line.element.querySelector(".fate").replaceChildren(text);
  }

  fail(line, reason) {
    this.#mark(line, "failed");
    const again = document.createElement("button");
    again.type = "button";
    again.textContent = "Try again";
    again.onclick = () => {
      this.#mark(line, "pending");
      this.#resend(line);
    };
    line.element.querySelector(".fate").append(`Not sent: ${reason}. `, again);
  }

  #mark(line, state) {
    if (line.state === state) return;
    line.state = state;
    line.element.dataset.state = state;
    line.element.querySelector(".fate")?.replaceChildren();
  }

  #draw(message, key) {
    const element = TEMPLATE.content.firstElementChild.cloneNode(true);
    element.classList.toggle("own", OWN_WORDS.has(message));
    paintFace(element.querySelector(".avatar"), message.name);
    element.querySelector(".name").textContent = message.name;
    element.querySelector(".text").textContent = excerpt(message.text);
    drawTime(element.querySelector("time"), message.at);
    return { key, message, element, state: "sent", follows: false };
  }

  // The same message is the same line: an element that is here already is drawn no second time.
  #drawAll(messages) {
    const here = new Map(this.#lines.map((line) => [line.key, line]));
    const next = new Map();
    for (const message of messages.slice(-LINES_MAX)) {
      const key = vacantKey(message, next);
      next.set(key, here.get(key) ?? this.#draw(message, key));
    }
    return next;
  }

  #waiting(taken) {
    for (const line of taken.values()) this.settle(line);
    return this.#lines.filter((line) => line.state !== "sent" && !taken.has(line.key));
  }

  // Who has read back to a line goes on seeing all since; a list that begins anew shows its newest.
  #put(lines, isAnew = false) {
    const oldestShown = this.#lines[this.hidden];
    this.#lines = withinLimit(lines);
    this.hidden = Math.max(0, isAnew ? this.size - SHOWN_AT_ONCE : this.#lines.indexOf(oldestShown));
    this.#show();
  }

  // Elements that stay where they are aren't touched, so that a reader's place, a selection and
  // what a screen reader announces survive a whole list arriving for one new line.
  #show() {
    const shown = this.#lines.slice(this.hidden);
    const kept = new Set(shown.map((line) => line.element));
    for (const element of [...this.list.children]) if (!kept.has(element)) element.remove();
    const fresh = shown.filter(({ element }) => !element.parentNode);
    for (const { element } of fresh) element.classList.toggle("new", fresh.length === 1);
    let place = this.list.firstElementChild;
    for (const { element } of shown) {
      if (element === place) place = place.nextElementSibling;
      else this.list.insertBefore(element, place);
    }
    group(shown);
  }
}

function group(lines) {
  let before = null;
  for (const line of lines) {
    const follows = continues(before, line);
    if (follows !== line.follows) line.element.classList.toggle("follows", (line.follows = follows));
    before = line;
  }
}

function drawRemark(text) {
  const element = document.createElement("li");
  element.className = "remark";
  element.textContent = text;
  return { key: null, message: null, element, state: "sent", follows: false };
}

// What this window said, remembered over a reload, so that its lines stay on their side.
class OwnWords {
  #keys = new Set(recall("own", []));

  add({ name, at }) {
    this.#keys.add(`${at} ${name}`);
    remember("own", [...this.#keys].slice(-LINES_MAX));
  }

  has({ name, at }) {
    return this.#keys.has(`${at} ${name}`);
  }
}

// Sender's clock, name and words together: the same three are the same message, sent again after
// a lost answer. Without a time nothing tells two messages apart but their number.
function identity({ name, text, at }) {
  return `${at} ${name} ${text}`;
}

function freshId() {
  return crypto.getRandomValues(new Uint32Array(4)).join("-");
}

function vacantKey(message, taken) {
  const key = identity(message);
  if (message.at !== null) return key;
  let count = 0;
  while (taken.has(`${key} ${count}`)) count += 1;
  return `${key} ${count}`;
}

function withinLimit(lines) {
  let excess = lines.filter((line) => line.state === "sent").length - LINES_MAX;
  return excess > 0 ? lines.filter((line) => line.state !== "sent" || excess-- <= 0) : lines;
}

function continues(before, { message, element }) {
  if (!before?.message || !message || before.message.name !== message.name) return false;
  if (before.element.classList.contains("own") !== element.classList.contains("own")) return false;
  return Math.abs(message.at - before.message.at) < PAUSE_MS_MAX;
}

function drawTime(element, at) {
  if (at === null) return;
  const time = new Date(at);
  element.dateTime = time.toISOString();
  element.title = time.toLocaleString();
  element.textContent = CLOCK.format(time);
}

function excerpt(text) {
  const lines = text.slice(0, TEXT_MAX).split("\n");
  const shown = lines.slice(0, ROWS_MAX).join("\n");
  return text.length > TEXT_MAX || lines.length > ROWS_MAX ? `${shown}…` : shown;
}

function isTime(at) {
  return Number.isFinite(at) && !Number.isNaN(new Date(at).getTime());
}

const TEMPLATE = document.getElementById("line");
const CLOCK = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });
const LINES_MAX = 500;
const SHOWN_AT_ONCE = 50;
const TEXT_MAX = 4000;
const ROWS_MAX = 60;
const NAME_MAX = 32;
const PAUSE_MS_MAX = 5 * 60_000;
const OWN_WORDS = new OwnWords();
