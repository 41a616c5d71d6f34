// The demo page in a real browser against a running node (behaviours C1, E8, P1, T2, T12, W5; interfaces
// "Frames"). DUNLIN_URL names the node, SCREENSHOTS the folder for the pictures.

import assert from "node:assert/strict";
import { EventEmitter, once } from "node:events";
import { after, before, test } from "node:test";
import {
  DESKTOP, PHONE, banner, closeBrowser, connected, line, openBrowser, openWindow, people, picture, say, seen, settled,
  status, unique, violations,
} from "./windows.mjs";

const POLICY = [
  "default-src 'none'", "script-src 'self'", "style-src 'self'", "base-uri 'none'", "form-action 'none'",
  "frame-ancestors 'none'",
];
const DEADLINE = { timeout: 60_000 };
// How often the page asks its node whether it reaches the others.
const ASK_MS = 3000;

const url = process.env.DUNLIN_URL;

before(() => {
  assert.ok(url, "DUNLIN_URL is missing: start a node without endpoints and set DUNLIN_URL=http://127.0.0.1:PORT");
  return openBrowser();
});

after(closeBrowser);

test("the page comes with the headers that lock it in", DEADLINE, async () => {
  // P1
  const answer = await fetch(url);
  const policy = answer.headers.get("content-security-policy") ?? "";
  assert.equal(answer.status, 200);
  assert.match(answer.headers.get("content-type"), /^text\/html/);
  assert.equal(answer.headers.get("x-content-type-options"), "nosniff");
  assert.equal(answer.headers.get("referrer-policy"), "no-referrer");
  for (const rule of POLICY) {
    assert.ok(policy.split(/;\s*/).includes(rule), `the policy lacks ${rule}: ${policy}`);
  }
});

test("two windows talk both ways, each seeing a line once, and both count two people", DEADLINE, async (t) => {
  // C1, T2
  const [ann, ben] = [await visit(t, { name: "Ann Avocet" }), await visit(t, { name: "Ben Bittern" })];
  await Promise.all([ann, ben].map((page) => people(page, "2 people here")));
  const flock = (Math.floor(Date.now() / 1000) % 1e5).toLocaleString("en");
  const hello = `Good morning! I counted ${flock} dunlins on the mud.`;
  const answer = `${flock} here too, on the other side of the river. The flock must have split when the tide came in.`;

  await say(ann, hello);
  await seen(ben, hello);
  await say(ben, answer);
  await seen(ann, answer);

  for (const page of [ann, ben]) {
    for (const text of [hello, answer]) assert.equal(await line(page, text).count(), 1);
  }
  assert.equal(await line(ben, hello).locator(".name").innerText(), "Ann Avocet");
  await settled(ann, hello);
  await say(ann, "And a godwit!");
  await settled(ann, "And a godwit!");
  await banner(ann).waitFor({ state: "hidden" });
  await picture(ann, "desktop-light");

  await ben.context().close();
  await people(ann, "1 person here");
});

test("rooms are apart", DEADLINE, async (t) => {
  // E2: nothing crosses namespaces
  const [lobby, workshop] = [await visit(t), await visit(t, { hash: "#workshop" })];
  const [elsewhere, here] = [unique("only in the workshop"), unique("only in the lobby")];
  await people(lobby, "1 person here");

  await say(workshop, elsewhere);
  await settled(workshop, elsewhere);
  await workshop.getByRole("link", { name: "Lobby" }).click();
  await people(lobby, "2 people here");
  await say(workshop, here);
  await seen(lobby, here);

  assert.equal(await line(lobby, elsewhere).count(), 0);
  assert.equal(await line(workshop, elsewhere).count(), 0);
  await workshop.getByRole("link", { name: "Workshop" }).click();
  await seen(workshop, elsewhere);
  await people(lobby, "1 person here");
});

test("markup in a message or a name is text", DEADLINE, async (t) => {
  // P1
  const attack = unique(`<img src=x onerror="document.title='owned'"><script>document.title='owned'</script>`);
  const [ann, ben] = [await visit(t, { name: "<b>Ann</b>" }), await visit(t)];
  await say(ann, attack);
  for (const page of [ann, ben]) {
    await seen(page, attack);
    assert.equal(await line(page, attack).locator(".name").textContent(), "<b>Ann</b>");
    assert.equal(await page.locator(".lines img, .lines script, .lines b").count(), 0);
    assert.equal(await page.title(), "Lobby · Dunlin");
  }
});

test("payloads of a wrong shape are passed over", DEADLINE, async (t) => {
  const door = new Door();
  const page = await visit(t, { door });
  const [odd, last] = [unique("odd clock"), unique("no clock")];
  const wrong = [
    null, 7, "wrong", {}, { name: 1, text: "wrong" }, { name: "wrong", text: {} }, { name: "wrong", text: " " },
  ];
  for (const payload of wrong) door.tell(payload);
  door.tell({ name: "Script", text: odd, at: 1e300 });
  door.tell({ name: "Script", text: last });
  await seen(page, last);
  await seen(page, odd);
  assert.equal(await page.locator(".line").filter({ hasText: "wrong" }).count(), 0);
});

test("a list that joins on adds its news, any other replaces all but what waits", DEADLINE, async (t) => {
  // T7: on a list topic every delivery is the whole capped array
  const door = new Door();
  const page = await visit(t, { door });
  const shown = () => page.locator(".line .text").allTextContents();
  const [mine, one, two, three, other] = ["mine", "one", "two", "three", "other"].map(unique);
  const message = (text, at) => ({ name: "Lister", text, at });
  door.refusal = { code: "unavailable", error: "the broker is away" };
  await say(page, mine);
  await line(page, mine).getByText("Not sent yet").waitFor();
  door.tell([message(one, 1), message(two, 2)]);
  await seen(page, two);
  assert.deepEqual(await shown(), [one, two, mine]);
  door.tell([message(two, 2), message(two, 2), message(three, 3)]);
  await seen(page, three);
  assert.deepEqual(await shown(), [one, two, three, mine]);
  door.tell([message(other, 4)]);
  await seen(page, other);
  assert.deepEqual(await shown(), [other, mine]);
  door.tell([]);
  await line(page, other).waitFor({ state: "detached" });
  assert.deepEqual(await shown(), [mine]);
});

test("a thousand messages leave at most 500 lines on a page that goes on answering", DEADLINE, async (t) => {
  const door = new Door();
  const page = await visit(t, { door });
  const last = unique("the last of many");
  for (let n = 0; n < 999; n += 1) door.tell({ name: "Flock", text: `${n} ${"wing ".repeat(n % 40)}`, at: n });
  door.tell({ name: "Flock", text: last, at: 1000 });
  await seen(page, last);
  assert.equal(await page.locator(".lines > li").count(), 500);
  assert.ok(await line(page, last).isVisible());
  const text = unique("an answer");
  await say(page, text);
  await settled(page, text);
});

test("who reads back keeps the place and is told of news", DEADLINE, async (t) => {
  const door = new Door();
  const page = await visit(t, { door });
  const [old, news] = [unique("an old line"), unique("news")];
  for (let n = 0; n < 100; n += 1) door.tell({ name: "Flock", text: n === 50 ? old : `wing ${n}`, at: n });
  await line(page, old).scrollIntoViewIfNeeded();
  await page.waitForFunction(() => document.getElementById("log").scrollTop < -40);
  const place = (await line(page, old).boundingBox()).y;
  door.tell({ name: "Flock", text: news, at: 100 });
  await page.getByRole("button", { name: "New messages" }).waitFor();
  assert.ok(Math.abs((await line(page, old).boundingBox()).y - place) < 1);
  await page.getByRole("button", { name: "New messages" }).click();
  await page.getByRole("button", { name: "New messages" }).waitFor({ state: "hidden" });
  assert.equal(await page.locator("#log").evaluate((log) => log.scrollTop), 0);
});

for (const colorScheme of ["light", "dark"]) {
  for (const [kind, viewport] of [["desktop", DESKTOP], ["phone", PHONE]]) {
    test(`axe finds nothing on a ${colorScheme} ${kind}`, DEADLINE, async (t) => {
      const page = await visit(t, { name: "Cleo Curlew", colorScheme, viewport });
      await people(page, "1 person here");
      const text = unique("Is everyone able to read this?");
      await say(page, text);
      await settled(page, text);
      assert.deepEqual(await violations(page), []);
      if (colorScheme === "dark" && kind === "phone") await picture(page, "phone-dark");
      await page.locator(".try").evaluate((details) => (details.open = true));
      assert.deepEqual(await violations(page), []);
    });
  }
}

test("while the node is away the page says so, keeps what is written and sends it afterwards", DEADLINE, async (t) => {
  const door = new Door();
  const [ann, ben] = [await visit(t, { door }), await visit(t)];
  const text = unique("written while away");
  await ann.clock.install();
  await ann.clock.pauseAt(Date.now() + 60_000);

  door.shut({ code: 1012, reason: "restarting" });
  await status(ann, "Reconnecting…");
  await say(ann, text);
  assert.equal(await line(ann, text).getAttribute("data-state"), "pending");

  door.reopen();
  await ann.getByRole("button", { name: "Try now" }).click();
  await settled(ann, text);
  await seen(ben, text);
  assert.equal(await line(ben, text).count(), 1);
});

test("what was written while away survives a reload", DEADLINE, async (t) => {
  const door = new Door();
  const page = await visit(t, { door });
  const text = unique("written before a reload");
  door.shut({ code: 1001, reason: "" });
  await status(page, "Reconnecting…");
  await say(page, text);
  await page.getByLabel("Message").fill("half a thought");
  assert.deepEqual(await violations(page), []);
  await picture(page, "away");
  door.reopen();
  await page.reload();
  await settled(page, text);
  assert.equal(await page.getByLabel("Message").inputValue(), "half a thought");
});

for (const [code, reason, comesBack] of [
  [1000, "No pong received", true], [1000, "Inactivity timeout", true], [1001, "", true], [1011, "", true],
  [1013, "", true], [4500, "", true], [4999, "", true], [1000, "", false], [1008, "too many frames", false],
  [4001, "no token", false], [4010, "disconnected", false],
]) {
  const outcome = comesBack ? "comes back" : "says why and waits for a person";
  test(`after ${code} "${reason}" the page ${outcome}`, DEADLINE, async (t) => {
    const door = new Door();
    const page = await visit(t, { door });
    const before = door.opened;
    door.close({ code, reason });
    if (!comesBack) {
      await status(page, "Disconnected");
      assert.match(await page.getByRole("alert").innerText(), new RegExp(`closed the connection.*${reason}.*${code}`));
      assert.equal(door.opened, before);
      await page.getByRole("button", { name: "Connect again" }).click();
    }
    await connected(page);
    assert.equal(door.opened, before + 1);
  });
}

test("a refused message says why and goes out when tried again", DEADLINE, async (t) => {
  const door = new Door();
  const [ann, ben] = [await visit(t, { door }), await visit(t)];
  const text = unique("refused at first");
  door.refusal = { code: "rate", error: "too many publishes, at most 50 a second" };
  await say(ann, text);
  await line(ann, text).getByText("Not sent: too many publishes, at most 50 a second").waitFor();
  assert.deepEqual(await violations(ann), []);
  door.refusal = null;
  await line(ann, text).getByRole("button", { name: "Try again" }).click();
  await settled(ann, text);
  await seen(ben, text);
});

test("a window is used by keyboard alone and keeps its name over a reload", DEADLINE, async (t) => {
  const page = await visit(t, { name: "Dora Dunlin" });
  await page.reload();
  await connected(page);
  assert.equal(await page.getByLabel("You are").inputValue(), "Dora Dunlin");
  await page.getByLabel("You are").focus();
  await page.keyboard.press("Enter");
  const text = unique("typed");
  await page.keyboard.type("first");
  await page.keyboard.press("Shift+Enter");
  await page.keyboard.type(text);
  await page.keyboard.press("Enter");
  await settled(page, text);
  assert.match(await line(page, text).locator(".text").textContent(), /^first\ntyped/);
});

test("the code the page offers prints what is said in the room", DEADLINE, async (t) => {
  const [listener, speaker] = [await visit(t), await visit(t)];
  const text = unique("heard in the console");
  const heard = listener.waitForEvent("console", (message) => message.text().includes(text));
  const joined = listener.waitForEvent("console", (message) => message.text().includes(`"ok"`));
  await listener.evaluate(await listener.locator("#code").textContent());
  await joined;
  await say(speaker, text);
  await heard;
});

test("a node that lost the others says so when asked, and nobody needs to write for that", DEADLINE, async (t) => {
  // T12
  const door = new Door();
  const page = await visit(t, { door, isPaused: true });
  await answered(page);
  door.isAlone = true;
  await page.clock.runFor(ASK_MS);
  await banner(page).waitFor();
  door.isAlone = false;
  await page.clock.runFor(ASK_MS);
  await banner(page).waitFor({ state: "hidden" });
});

test("a message that its node can't pass on is marked, with the banner at once, and waits", DEADLINE, async (t) => {
  // T12
  const door = new Door();
  const [page, other] = [await visit(t, { door, isPaused: true }), await visit(t)];
  const [before, during, after] = ["before", "during", "after"].map((text) => unique(`${text} the outage`));
  await say(page, before);
  await settled(page, before);
  door.isAlone = true;
  door.refusal = { code: "unavailable", error: "the other nodes are out of reach" };
  await say(page, during);
  await line(page, during).getByText("Not sent yet").waitFor();
  await banner(page).waitFor();
  const refusedAgain = once(door, "refused");
  await page.clock.runFor(ASK_MS);
  await refusedAgain;
  assert.equal(await line(page, during).getAttribute("data-state"), "pending");
  assert.equal(await line(other, during).count(), 0);

  door.isAlone = false;
  door.refusal = null;
  await page.clock.runFor(ASK_MS);
  await settled(page, during);
  await banner(page).waitFor({ state: "hidden" });
  await say(page, after);
  await settled(page, after);
  await seen(other, after);
  assert.equal(await page.locator(".line .fate").filter({ hasText: /./ }).count(), 0);
  for (const text of [before, during, after]) assert.equal(await line(other, text).count(), 1);
});

test("when the other nodes are back the banner goes and a remark says what may be missing", DEADLINE, async (t) => {
  // T2: what a failed link cost is announced
  const door = new Door();
  door.isAlone = true;
  const page = await visit(t, { door, isPaused: true });
  await banner(page).waitFor();
  door.isAlone = false;
  door.send({ type: "gap", topic: "session", reason: "link" });
  door.send({ type: "gap", topic: "chat", reason: "link" });
  door.send({ type: "gap", topic: "chat", reason: "slow" });
  await banner(page).waitFor({ state: "hidden" });
  assert.deepEqual(await page.locator(".remark").allTextContents(), [
    "The other nodes were out of reach: what was written there may be missing here.",
    "Some messages may be missing here.",
  ]);
});

test("a banner leaves the lines where they are and ends with the connection", DEADLINE, async (t) => {
  const door = new Door();
  const page = await visit(t, { door, isPaused: true });
  const text = await answered(page);
  const place = await line(page, text).boundingBox();
  door.isAlone = true;
  await page.clock.runFor(ASK_MS);
  await banner(page).waitFor();
  assert.deepEqual(await line(page, text).boundingBox(), place);
  door.shut({ code: 1012, reason: "restarting" });
  await status(page, "Reconnecting…");
  await banner(page).waitFor({ state: "hidden" });
});

test("the node is asked one question at a time, and none by a window that nobody sees", DEADLINE, async (t) => {
  const door = new Door();
  const page = await visit(t, { door, isPaused: true });
  const questions = async () => (await answered(page)) && door.questions;

  await turn(page, { hidden: true });
  assert.equal(await questions(), 1);
  await page.clock.runFor(10 * ASK_MS);
  assert.equal(await questions(), 1);

  door.isSilent = true;
  await turn(page, { hidden: false });
  assert.equal(await questions(), 2);
  await page.clock.runFor(3 * ASK_MS);
  assert.equal(await questions(), 2);
});

function visit(t, options) {
  return openWindow(t, url, options);
}

/** Returns a line that was said and taken: until then the node has answered all that it was asked before. */
async function answered(page) {
  const text = unique("over");
  await say(page, text);
  await settled(page, text);
  return text;
}

/** Makes the page believe that its window was hidden or shown. */
function turn(page, { hidden }) {
  return page.evaluate((value) => {
    Object.defineProperty(document, "hidden", { configurable: true, value });
    document.dispatchEvent(new Event("visibilitychange"));
  }, hidden);
}

/**
 * Stands between a page and the node: can close, stay shut, refuse what is published, speak for the node,
 * make its answers those of a node that lost the others, and keep a `hello` from it.
 */
class Door extends EventEmitter {
  opened = 0;
  questions = 0;
  refusal = null;
  isAlone = false;
  isSilent = false;
  #socket = null;
  #closing = null;

  enter(socket) {
    if (this.#closing) return socket.close(this.#closing);
    this.opened += 1;
    this.#socket = socket;
    const node = socket.connectToServer();
    node.onMessage((text) => socket.send(this.isAlone ? asIfAlone(text) : text));
    socket.onMessage((text) => {
      const { type, id } = JSON.parse(text);
      if (type === "hello") this.questions += 1;
      if (type === "hello" && this.isSilent) return;
      if (type !== "publish" || !this.refusal) return node.send(text);
      socket.send(JSON.stringify({ type: "error", id, ...this.refusal }));
      this.emit("refused");
    });
  }

  /** Delivers a payload on `chat` as the node would. */
  tell(payload) {
    this.send({ topic: "chat", payload });
  }

  send(frame) {
    this.#socket.send(JSON.stringify(frame));
  }

  close(closing) {
    this.#socket.close(closing);
  }

  shut(closing) {
    this.#closing = closing;
    this.close(closing);
  }

  reopen() {
    this.#closing = null;
  }
}

function asIfAlone(text) {
  const frame = JSON.parse(text);
  return JSON.stringify(frame.type === "ok" ? { ...frame, local: true } : frame);
}
