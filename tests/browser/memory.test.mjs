// The demo page remembers what was said (behaviours T7, T9, R1): nodes of DUNLIN_BIN, some on a Redis of
// this test's own, that are killed and started again. Every test has a node of its own, empty at first.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { end, endAll, prepare, startNode, startRedisAnywhere } from "./processes.mjs";
import {
  DESKTOP, PHONE, closeBrowser, connected, line, openBrowser, openWindow, picture, say, seen, settled, status, unique,
  violations,
} from "./windows.mjs";

const DEADLINE = { timeout: 60_000 };
const REMARK = "The nodes lost some of what was said here.";
// What a browser says by itself while no node listens.
const NOBODY_THERE = /^WebSocket connection to .* failed: .*ERR_CONNECTION_(REFUSED|RESET)/;
const MANY = 120;
const SHOWN_AT_ONCE = 50;
// One link may publish 50 times a second.
const LINES_PER_LINK = 40;

before(async () => {
  await prepare();
  await openBrowser();
});

after(async () => {
  await closeBrowser();
  await endAll();
});

test("who comes later sees what was said in order, and a reload keeps it", DEADLINE, async (t) => {
  // T9
  const node = await startNode();
  const [ann, ben] = [await visit(t, node, { name: "Ann Avocet" }), await visit(t, node, { name: "Ben Bittern" })];
  const texts = [];
  for (const page of [ann, ben, ann, ben]) texts.push(await told(page));
  await seen(ann, texts.at(-1));

  const cleo = await visit(t, node);
  await seen(cleo, texts.at(-1));
  await picture(cleo, "came-later");
  for (const page of [ann, ben, cleo]) assert.deepEqual(await shown(page), texts);
  assert.deepEqual(await own(ann), [texts[0], texts[2]]);
  assert.deepEqual(await own(cleo), []);

  await Promise.all([ann, cleo].map((page) => page.reload()));
  await Promise.all([ann, cleo].map((page) => seen(page, texts.at(-1))));
  for (const page of [ann, cleo]) assert.deepEqual(await shown(page), texts);
  assert.deepEqual(await own(ann), [texts[0], texts[2]]);
  texts.push(await told(cleo));
  await Promise.all([ann, ben].map((page) => seen(page, texts.at(-1))));
  for (const page of [ann, ben, cleo]) assert.deepEqual(await shown(page), texts);
});

test("a node that starts again with nothing is followed, and what is gone is told", DEADLINE, async (t) => {
  // R1: a cursor of another memory is not recovered
  const node = await startNode();
  const expected = NOBODY_THERE;
  const [ann, ben] = [await visit(t, node, { expected }), await visit(t, node, { expected })];
  const idle = await visit(t, node, { expected, hash: "#workshop" });
  const gone = await told(ann);
  await seen(ben, gone);
  const next = await restart(node, [ann, ben, idle]);
  const waited = unique("written while the node was away");
  await say(ann, waited);
  assert.equal(await line(ann, waited).getAttribute("data-state"), "pending");
  const other = await next();

  await Promise.all([ann, ben, idle].map((page) => onNode(page, other)));
  await settled(ann, waited);
  await seen(ben, waited);
  const cleo = await visit(t, other);
  await seen(cleo, waited);
  for (const page of [ann, ben, cleo]) assert.deepEqual(await shown(page), [waited]);
  for (const page of [ann, ben]) assert.deepEqual(await remarks(page), [REMARK]);
  for (const page of [idle, cleo]) assert.deepEqual(await remarks(page), []);
  assert.deepEqual(await shown(idle), []);
});

test("a node that is killed and replaced on the same Redis loses nothing and doubles nothing", DEADLINE, async (t) => {
  // R1
  const { port } = await startRedisAnywhere();
  const [node, neighbour] = await Promise.all([startNode({ redis: port }), startNode({ redis: port })]);
  const expected = NOBODY_THERE;
  const [ann, ben] = [await visit(t, node, { expected }), await visit(t, node, { expected })];
  const cleo = await visit(t, neighbour);
  const all = [ann, ben, cleo];
  const texts = [await told(ann), await told(ben)];
  await Promise.all(all.map((page) => seen(page, texts[1])));

  // The node may or may not have taken this one, and its author can't know.
  const inFlight = unique("said just before the end");
  await say(ann, inFlight);
  const next = await restart(node, [ann, ben], { redis: port });
  const [missed, waited] = [await told(cleo), unique("written while the node was away")];
  await say(ann, waited);
  const other = await next();

  await Promise.all([ann, ben].map((page) => onNode(page, other)));
  await Promise.all(all.flatMap((page) => [inFlight, missed, waited].map((text) => settled(page, text))));
  const last = await told(ben);
  await Promise.all(all.map((page) => seen(page, last)));
  const late = await visit(t, other);
  await seen(late, last);
  const order = await shown(late);
  assert.deepEqual(order.toSorted(), [...texts, inFlight, missed, waited, last].toSorted());
  assert.deepEqual([...order.slice(0, 2), order.at(-1)], [...texts, last]);
  for (const page of all) {
    assert.deepEqual(await shown(page), order);
    assert.deepEqual(await remarks(page), []);
  }
});

test("of many lines the newest come first, and reading back reveals the others in their place", DEADLINE, async (t) => {
  const node = await startNode();
  const all = await fill(t, node);
  const page = await visit(t, node);
  await seen(page, all.at(-1));
  assert.deepEqual(await shown(page), all.slice(-SHOWN_AT_ONCE));
  await reveals(page, 2 * SHOWN_AT_ONCE, () => scrollToTop(page));
  assert.deepEqual(await shown(page), all.slice(-2 * SHOWN_AT_ONCE));
  await reveals(page, MANY, () => scrollToTop(page));
  assert.deepEqual(await shown(page), all);
  await scrollToTop(page);
  await page.locator("#earlier").waitFor({ state: "hidden" });
  assert.deepEqual(await shown(page), all);
});

test("what the nodes have beyond their list is asked for page by page until there is no more", DEADLINE, async (t) => {
  const node = await startNode();
  const all = await fill(t, node);
  const older = Array.from({ length: 10 }, (_, n) => unique(`older ${n + 1}`));
  const archive = new Archive(older.map((text, n) => ({ cursor: `c${n}`, payload: { name: "Elder", text, at: n } })));
  const page = await visit(t, node, { door: archive });
  await seen(page, all.at(-1));
  for (const count of [2 * SHOWN_AT_ONCE, MANY, MANY + older.length]) {
    await reveals(page, count, () => scrollToTop(page));
  }
  await scrollToTop(page);
  await page.locator("#earlier").waitFor({ state: "hidden" });
  assert.deepEqual(await shown(page), [...older, ...all]);
  assert.deepEqual(archive.asked.slice(1), ["c0"]);
});

test("earlier messages are reached by keyboard alone, and news stay below", DEADLINE, async (t) => {
  const node = await startNode();
  const all = await fill(t, node);
  const [page, speaker] = [await visit(t, node), await visit(t, node)];
  await seen(page, all.at(-1));
  for (const count of [2 * SHOWN_AT_ONCE, MANY]) {
    await reveals(page, count, async () => {
      await page.locator("#earlier").focus();
      const places = await placesOf(page);
      await page.keyboard.press("Enter");
      return places;
    });
    assert.equal(await page.evaluate(() => document.activeElement.id), "log");
  }
  all.push(await told(speaker));
  await page.getByRole("button", { name: "New messages" }).waitFor();
  assert.deepEqual(await shown(page), all);
});

test("axe finds nothing wrong with a long history", DEADLINE, async (t) => {
  const node = await startNode();
  const all = await fill(t, node);
  for (const colorScheme of ["light", "dark"]) {
    for (const [kind, viewport] of [["desktop", DESKTOP], ["phone", PHONE]]) {
      const page = await visit(t, node, { colorScheme, viewport });
      await seen(page, all.at(-1));
      await page.locator("#earlier").focus();
      await page.getByRole("button", { name: "Earlier messages" }).waitFor();
      assert.deepEqual(await violations(page), [], `${colorScheme} ${kind}`);
      await picture(page, `earlier-${kind}-${colorScheme}`);
    }
  }
});

/** Stands between a page and the node, and answers for it what was said before its list begins. */
class Archive {
  asked = [];
  #publications;

  constructor(publications) {
    this.#publications = publications;
  }

  enter(socket) {
    const node = socket.connectToServer();
    socket.onMessage((text) => {
      const { type, id, before } = JSON.parse(text);
      if (type !== "history") return node.send(text);
      this.asked.push(before);
      socket.send(JSON.stringify({ type: "ok", id, publications: this.#publications.splice(0) }));
    });
  }
}

function visit(t, node, options) {
  return openWindow(t, node.url, options);
}

/** Says something new, and returns it once a node has taken it. */
async function told(page) {
  const text = unique("A flock on the mud");
  await say(page, text);
  await settled(page, text);
  return text;
}

function shown(page) {
  return page.locator(".line .text").allTextContents();
}

function own(page) {
  return page.locator(".line.own .text").allTextContents();
}

function remarks(page) {
  return page.locator(".remark").allTextContents();
}

/** Kills a node and resolves, once these windows know, with what starts another in its place. */
async function restart({ child, listen }, pages, { redis } = {}) {
  await end(child);
  await Promise.all(pages.map((page) => status(page, "Reconnecting…")));
  return () => startNode({ listen, redis });
}

async function onNode(page, { id }) {
  await connected(page);
  await page.locator(`#status b[title="${id}"]`).waitFor();
}

/** Says many lines in a room and returns them. */
async function fill(t, node) {
  const texts = Array.from({ length: MANY }, (_, n) => unique(`wing ${n + 1}`));
  const page = await visit(t, node);
  for (let n = 0; n < MANY; n += LINES_PER_LINK) await publish(page, texts.slice(n, n + LINES_PER_LINK), n);
  await page.context().close();
  return texts;
}

/** Publishes lines one after the other on a link of its own. */
function publish(page, texts, first) {
  return page.evaluate(([texts, first]) => new Promise((resolve, reject) => {
    const socket = new WebSocket(document.getElementById("address").textContent, "dunlin.json.v1");
    let next = 0;
    socket.onclose = ({ code }) => reject(new Error(`closed with ${code}`));
    socket.onmessage = ({ data }) => {
      const { type, error } = JSON.parse(data);
      if (type === "error") return reject(new Error(error));
      if (type !== "welcome" && type !== "ok") return;
      if (next === texts.length) return resolve(socket.close());
      const payload = { name: next % 3 ? "Flock" : "Lone", text: texts[next], at: Date.now() - 1e6 + first + next };
      next += 1;
      socket.send(JSON.stringify({ type: "publish", topic: "chat", payload, id: next }));
    };
  }), [texts, first]);
}

/**
 * Checks that what is done in the log makes it show `count` lines, with the ones before where they were. The
 * first of these may lose its header, once the line above it is its author's too.
 */
async function reveals(page, count, act) {
  const places = (await act()).slice(1);
  await page.waitForFunction((count) => document.querySelectorAll(".lines > .line").length === count, count);
  const moved = (await placesOf(page)).slice(-places.length).map((place, n) => Math.abs(place - places[n]));
  assert.ok(Math.max(...moved) < 1, `lines moved by up to ${Math.max(...moved)} px`);
}

// Where the lines are once the log is scrolled and before the page is told of it, which is a task later.
function scrollToTop(page) {
  return page.evaluate(() => {
    const log = document.getElementById("log");
    log.scrollTop = -log.scrollHeight;
    return [...log.querySelectorAll(".line")].map((line) => line.getBoundingClientRect().y);
  });
}

function placesOf(page) {
  return page.locator(".line").evaluateAll((lines) => lines.map((line) => line.getBoundingClientRect().y));
}
