// The chat: which room one is in, and what the page shows of it. Every word that came from
// elsewhere reaches the page as text, never as markup.

import { Link, PASSING, Refused } from "./link.js";
import { recall, remember } from "./memory.js";
import { birdName, paintFace } from "./people.js";
import { parseMessage, Transcript } from "./transcript.js";

const TOPIC = "chat";
const COPIED_MS = 2000;
const ASK_MS = 3000;
const OLDER_AT_ONCE = 50;
const NEAR_TOP_PX = 200;
const NODE_DIGITS = 6;
const STATUS = { joining: "Connecting…", away: "Reconnecting…", ended: "Disconnected" };
const REMEDY = { away: "Try now", ended: "Connect again" };
const REWRITTEN = ["forked", "reset"];
const AWAY = "The connection was lost. What you write is kept, and sent once it is back.";

const $ = (id) => document.getElementById(id);
const log = $("log");
const doors = [...document.querySelectorAll(".rooms a")];

/** One room: its namespace, what was said in it, and what waits to be. */
class Room {
  constructor(door) {
    this.door = door;
    this.title = door.textContent;
    this.path = `/rooms/${door.hash.slice(1)}`;
    this.leftAt = null;
    // How far the page has followed what is said; none where nothing is kept.
    this.cursor = undefined;
    // How far back it has asked: the `oldest` cursor, and whether the past `isWhole`.
    this.past = {};
    // Whether an empty room is known to be one.
    this.isKnown = false;
    this.transcript = new Transcript((line) => {
      publish(this, line);
      $("text").focus();
    });
    for (const message of recall(this.path, [])) this.transcript.write(message);
  }

  get address() {
    return new URL(this.path, location.href.replace(/^http/, "ws")).href;
  }

  /** Puts what is still to be sent where a reload finds it. */
  keep() {
    remember(this.path, this.transcript.unsent.map(({ message, id }) => ({ ...message, id })));
  }
}

const rooms = new Map(doors.map((door) => [door.hash, new Room(door)]));
let room = null;
let link = null;
let isLive = false;
let isAsking = false;
let isLookingBack = false;
let isReadingBack = false;

function enter(next) {
  link?.close();
  if (room) leave(room);
  room = next;
  showRoom();
  log.ariaBusy = "true";
  link = new Link(room.address, TOPIC, { since: () => next.cursor, onState, onJoined, onFrame });
}

function leave(from) {
  from.leftAt ??= new Date();
}

function onState({ name, node, why }) {
  isLive = name === "live";
  if (name === "away") leave(room);
  document.body.dataset.link = name;
  if (isLive) showNode(node);
  else $("status").textContent = STATUS[name];
  $("notice").hidden = !(name in REMEDY);
  $("why").textContent = name === "away" ? AWAY : (why ?? "");
  $("again").textContent = REMEDY[name] ?? "";
  if (!isLive) $("people").textContent = "";
  showReach({});
  askReach();
}

function onJoined({ state, publications = [], cursor, recovered, reason }) {
  const { transcript, leftAt } = room;
  reach(cursor);
  if (recovered === false && REWRITTEN.includes(reason)) startAnew(state);
  else if (Array.isArray(state)) take(state);
  else if (!cursor && !reason && leftAt) transcript.remark(absence(leftAt));
  for (const { payload } of publications) take(payload);
  room.leftAt = null;
  room.past = {};
  room.isKnown ||= Boolean(cursor);
  room.keep();
  sendWaiting();
  quietly(state ? showNews : showLines);
}

function onFrame({ topic, type, payload, state, cursor, reason }) {
  if (topic === "session") return showPeople(payload?.users);
  if (topic !== TOPIC) return;
  reach(cursor);
  if (type === "gap") noteGap(reason);
  else if (type === "reset") startAnew(state);
  else take(payload);
  showNews();
}

function reach(cursor) {
  room.cursor = cursor ?? room.cursor;
}

// The nodes' memory is not the one that this page has followed: what it holds now is what counts.
function startAnew(state) {
  room.transcript.reset(parseAll(state ?? []));
  room.past = {};
}

function noteGap(reason) {
  if (reason !== "link") return room.transcript.remark("Some messages may be missing here.");
  room.transcript.remark("The other nodes were out of reach: what was written there may be missing here.");
  askReach();
}

// A node doesn't say by itself that it lost the others or has them back. While somebody looks it is
// asked, one question at a time; a question without an answer ends with its link.
async function askReach() {
  if (!isLive || isAsking || document.hidden) return;
  isAsking = true;
  try {
    const ok = await link.request({ type: "hello" });
    showReach(ok);
    room.isKnown ||= !ok.local;
    showLines();
  } catch {
    // Refused or lost: nothing is known that was not known before, and the next question comes soon.
  }
  isAsking = false;
}

// A `list` topic sends all it holds, any other the one message.
function take(payload) {
  if (Array.isArray(payload)) {
    if (!room.transcript.replace(parseAll(payload))) room.past = {};
    return;
  }
  const message = parseMessage(payload);
  if (message) room.transcript.add(message);
}

function parseAll(payloads) {
  return payloads.map(parseMessage).filter(Boolean);
}

function sendWaiting() {
  for (const line of room.transcript.unsent) if (line.state === "pending") publish(room, line);
}

async function publish(to, line) {
  if (!isLive || to !== room || line.isAsked) return;
  line.isAsked = true;
  try {
    const { message: payload, id: key } = line;
    reach((await link.request({ type: "publish", topic: TOPIC, payload, key })).cursor);
    to.transcript.settle(line);
  } catch (error) {
    // A lost answer leaves the line waiting: it goes out again once the room is joined again.
    if (error instanceof Refused) refuse(to, line, error);
  }
  line.isAsked = false;
  to.keep();
}

function refuse(to, line, { code, message }) {
  if (!PASSING.includes(code)) return to.transcript.fail(line, message);
  to.transcript.note(line, "Not sent yet");
  askReach();
}

// Shows older lines: first those that are here, then those that the nodes have beyond their list. A
// page of these may be known already, or be shorter than was asked for; only an empty one is the last.
async function lookBack() {
  const { transcript, past, cursor } = room;
  if (transcript.hidden) return quietly(showOlder);
  if (!isLive || isLookingBack || past.isWhole || !cursor) return;
  isLookingBack = true;
  try {
    while (!past.isWhole && past === room.past && !transcript.hidden) {
      const limit = OLDER_AT_ONCE + (past.oldest ? 0 : transcript.size);
      const range = { before: past.oldest ?? cursor, limit };
      const { publications } = await link.request({ type: "history", topic: TOPIC, ...range });
      if (past === room.past) addOlder(publications);
    }
  } catch {
    // Refused or lost: asked again once the room is joined again.
    past.isWhole = true;
  }
  isLookingBack = false;
  if (past === room.past) quietly(showOlder);
}

function addOlder(publications) {
  const { transcript, past } = room;
  transcript.prepend(parseAll(publications.map(({ payload }) => payload)));
  past.oldest = publications[0]?.cursor;
  past.isWhole = !past.oldest || transcript.isFull;
}

function showOlder() {
  room.transcript.reveal();
  showLines();
}

// A screen reader announces what is added to the log, unless it is old.
function quietly(change) {
  log.ariaBusy = "true";
  change();
  requestAnimationFrame(() => (log.ariaBusy = "false"));
}

function say(text) {
  const message = parseMessage({ name: $("name").value, text, at: Date.now() });
  if (!message) return;
  const line = room.transcript.write(message);
  room.keep();
  publish(room, line);
  showLines();
  showNewest();
}

function showRoom() {
  for (const door of doors) door.ariaCurrent = door === room.door ? "page" : null;
  document.title = `${room.title} · Dunlin`;
  $("room").textContent = room.title;
  $("address").textContent = room.address;
  $("code").textContent = [
    `s = new WebSocket("${room.address}", "dunlin.json.v1")`,
    "s.onmessage = (e) => console.log(e.data)",
    `s.onopen = () => s.send('{"type":"subscribe","topic":"${TOPIC}","id":1}')`,
  ].join("; ");
  log.querySelector("ol")?.remove();
  log.append(room.transcript.list);
  showLines();
  showNewest();
}

// The first digits tell nodes apart at a glance; the title has all of them.
function showNode(node) {
  const mark = document.createElement("b");
  mark.textContent = node.slice(0, NODE_DIGITS);
  mark.title = node;
  $("status").replaceChildren("Connected to node ", mark);
}

function showReach({ local }) {
  $("alone").hidden = !local;
}

function showLines() {
  $("empty").hidden = !room.isKnown || room.transcript.size > 0;
  $("earlier").hidden = !room.transcript.hidden && (room.past.isWhole ?? true);
}

function showNews() {
  showLines();
  $("newest").hidden = !isReadingBack;
}

function showPeople(users) {
  if (!Number.isSafeInteger(users)) return;
  $("people").textContent = users === 1 ? "1 person here" : `${users} people here`;
}

// The log is laid out from its lower edge (style.css): 0 is the newest line, above it is negative.
function showNewest() {
  log.scrollTop = 0;
  noticeScroll();
}

// Kept from the last scroll, because asking at each message would lay the page out each time.
function noticeScroll() {
  isReadingBack = log.scrollTop < -40;
  if (!isReadingBack) $("newest").hidden = true;
  else if (isNearTop() && document.activeElement !== $("earlier")) lookBack();
}

function isNearTop() {
  return log.scrollHeight - log.clientHeight + log.scrollTop < NEAR_TOP_PX;
}

function absence(since) {
  const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });
  return `You were away (${clock.formatRange(since, new Date())}): what others wrote meanwhile isn't shown.`;
}

function takeName() {
  const name = $("name").value.trim();
  paintFace($("face"), name);
  remember("name", name);
}

// Nobody is nameless: whoever empties the field gets a bird's name.
function settleName() {
  $("name").value = $("name").value.trim() || birdName();
  takeName();
}

async function copy(button) {
  const source = $(button.dataset.copies);
  const verb = button.firstElementChild;
  try {
    await navigator.clipboard.writeText(source.textContent);
    verb.textContent = "Copied";
  } catch {
    // Only secure pages may write to the clipboard; on others the keyboard does the rest.
    getSelection().selectAllChildren(source);
    verb.textContent = "Selected";
  }
  setTimeout(() => (verb.textContent = "Copy"), COPIED_MS);
}

$("composer").onsubmit = (event) => {
  event.preventDefault();
  say($("text").value);
  $("text").value = "";
  remember("draft", "");
  $("text").focus();
};
$("text").onkeydown = (event) => {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  $("composer").requestSubmit();
};
$("text").oninput = () => remember("draft", $("text").value);
$("name").oninput = takeName;
$("name").onchange = settleName;
$("name").onkeydown = (event) => {
  if (event.key !== "Enter" || event.isComposing) return;
  event.preventDefault();
  $("text").focus();
};
$("again").onclick = () => (document.body.dataset.link === "ended" ? enter(room) : link.hurry());
$("newest").onclick = () => {
  showNewest();
  $("text").focus();
};
$("earlier").onclick = () => {
  log.focus({ preventScroll: true });
  lookBack();
};
log.onscroll = noticeScroll;
for (const button of document.querySelectorAll("[data-copies]")) button.onclick = () => copy(button);

const wide = matchMedia("(min-width: 56rem)");
const unfold = () => (document.querySelector(".try").open = wide.matches);
wide.onchange = unfold;
unfold();

// A window that was asleep or without a network need not wait for its next attempt.
addEventListener("online", () => link.hurry());
document.addEventListener("visibilitychange", () => {
  if (document.hidden) return;
  link.hurry();
  askReach();
});
setInterval(() => {
  askReach();
  sendWaiting();
}, ASK_MS);
const follow = () => enter(rooms.get(location.hash) ?? rooms.get(doors[0].hash));
addEventListener("hashchange", follow);

$("text").value = recall("draft", "");
$("name").value = recall("name", "");
settleName();
follow();
