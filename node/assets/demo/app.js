// The chat: which room one is in, and what the page shows of it. Every word that came from
// elsewhere reaches the page as text, never as markup.

import { Link, Refused } from "./link.js";
import { recall, remember } from "./memory.js";
import { birdName, paintFace } from "./people.js";
import { parseMessage, Transcript } from "./transcript.js";

const TOPIC = "chat";
const COPIED_MS = 2000;
const ASK_MS = 3000;
const NODE_DIGITS = 6;
const STATUS = { joining: "Connecting…", away: "Reconnecting…", ended: "Disconnected" };
const REMEDY = { away: "Try now", ended: "Connect again" };
const AWAY = "The connection was lost. What you write is kept, and sent once it is back.";

const $ = (id) => document.getElementById(id);
const log = $("log");
const doors = [...document.querySelectorAll(".rooms a")];

/** One room: its namespace, what was said in it while this page looked, and what waits to be. */
class Room {
  constructor(door) {
    this.door = door;
    this.title = door.textContent;
    this.path = `/rooms/${door.hash.slice(1)}`;
    this.leftAt = null;
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
    remember(this.path, this.transcript.unsent.map((line) => line.message));
  }
}

const rooms = new Map(doors.map((door) => [door.hash, new Room(door)]));
let room = null;
let link = null;
let isLive = false;
let isAsking = false;
let isReadingBack = false;

function enter(next) {
  link?.close();
  if (room) leave(room);
  room = next;
  showRoom();
  log.ariaBusy = "true";
  link = new Link(room.address, TOPIC, { onState, onJoined, onFrame });
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

function onJoined({ state, cursor }) {
  const { transcript, leftAt } = room;
  if (Array.isArray(state)) take(state);
  else if (!cursor && leftAt) transcript.remark(absence(leftAt));
  room.leftAt = null;
  room.keep();
  for (const line of transcript.unsent) if (line.state === "pending") publish(room, line);
  showLines();
  requestAnimationFrame(() => (log.ariaBusy = "false"));
}

function onFrame({ topic, type, payload, state, reason }) {
  if (topic === "session") return showPeople(payload?.users);
  if (topic !== TOPIC) return;
  if (type === "gap") noteGap(reason);
  else take(type === "reset" ? state : payload);
  showLines();
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
    showReach(await link.request({ type: "hello" }));
  } catch {
    // Refused or lost: nothing is known that was not known before, and the next question comes soon.
  }
  isAsking = false;
}

// A `list` topic sends all it holds, any other the one message.
function take(payload) {
  if (Array.isArray(payload)) return room.transcript.replace(payload.map(parseMessage).filter(Boolean));
  const message = parseMessage(payload);
  if (message) room.transcript.add(message);
}

async function publish(to, line) {
  if (!isLive || to !== room) return;
  try {
    const ok = await link.request({ type: "publish", topic: TOPIC, payload: line.message });
    to.transcript.settle(line);
    if (ok.local) {
      to.transcript.note(line, "Only on this node");
      showReach(ok);
    }
  } catch (error) {
    // A lost answer leaves the line waiting: it goes out again once the room is joined again.
    if (error instanceof Refused) to.transcript.fail(line, error.message);
  }
  to.keep();
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
  $("empty").hidden = !room.transcript.isEmpty;
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
setInterval(askReach, ASK_MS);
const follow = () => enter(rooms.get(location.hash) ?? rooms.get(doors[0].hash));
addEventListener("hashchange", follow);

$("text").value = recall("draft", "");
$("name").value = recall("name", "");
settleName();
follow();
