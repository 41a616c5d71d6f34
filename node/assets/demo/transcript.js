// What was said in one room, newest last, as data and as the list on the page.
// Invariant: every line is an element of `list`, in the same order; settled lines are at most
// LINES_MAX, lines that still wait to be sent are never dropped.

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
  #lines = [];
  #resend;

  constructor(resend) {
    this.#resend = resend;
    this.list.className = "lines";
  }

  get isEmpty() {
    return this.#lines.length === 0;
  }

  /** Own lines that no node has taken yet, oldest first, the failed ones included. */
  get unsent() {
    return this.#lines.filter((line) => line.state !== "sent");
  }

  /** Adds a line of this window's own, which waits until `settle` or `fail`. */
  write(message) {
    OWN_WORDS.add(message);
    const line = this.#draw(message, identity(message));
    this.#mark(line, "pending");
    this.#insert([...this.#lines, line]);
    return line;
  }

  /** Adds one live message; one that is here already (its sender sent it twice) only settles. */
  add(message) {
    const known = message.at !== null && this.#lines.find((line) => line.key === identity(message));
    if (known) return this.settle(known);
    this.#insert([...this.#lines, this.#draw(message, identity(message))]);
  }

  /** Shows exactly these messages, then what waits to be sent: a `list` topic sends all it has. */
  replace(messages) {
    const here = new Map(this.#lines.map((line) => [line.key, line]));
    const next = new Map();
    for (const message of messages.slice(-LINES_MAX)) {
      const key = vacantKey(message, next);
      next.set(key, here.get(key) ?? this.#draw(message, key));
    }
    for (const line of next.values()) this.settle(line);
    const waiting = this.#lines.filter((line) => line.state !== "sent" && !next.has(line.key));
    this.#insert([...next.values(), ...waiting]);
  }

  /** Adds a remark of the page itself. */
  remark(text) {
    const element = document.createElement("li");
    element.className = "remark";
    element.textContent = text;
    this.#insert([...this.#lines, { key: null, message: null, element, state: "sent", follows: false }]);
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

  // Elements that stay where they are aren't touched, so that a reader's place, a selection and
  // what a screen reader announces survive a whole list arriving for one new line.
  #insert(lines) {
    this.#lines = withinLimit(lines);
    const kept = new Set(this.#lines.map((line) => line.element));
    for (const element of [...this.list.children]) if (!kept.has(element)) element.remove();
    let place = this.list.firstElementChild;
    for (const { element } of this.#lines) {
      if (element === place) place = place.nextElementSibling;
      else this.list.insertBefore(element, place);
    }
    this.#group();
  }

  #group() {
    let before = null;
    for (const line of this.#lines) {
      const follows = continues(before, line);
      if (follows !== line.follows) line.element.classList.toggle("follows", (line.follows = follows));
      before = line;
    }
  }
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
const TEXT_MAX = 4000;
const ROWS_MAX = 60;
const NAME_MAX = 32;
const PAUSE_MS_MAX = 5 * 60_000;
const OWN_WORDS = new OwnWords();
