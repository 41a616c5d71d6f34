// The demo page while nodes can't reach each other (behaviours C2, T2, T12): two nodes of DUNLIN_BIN
// on a Redis of this test's own, which is killed and comes back empty.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import {
  DESKTOP, PHONE, banner, closeBrowser, line, openBrowser, openWindow, people, picture, say, seen, settled, unique,
  violations,
} from "./windows.mjs";

const DEADLINE = { timeout: 60_000 };
const BANNER_MS_MAX = 6000;
const REMARK = "The other nodes were out of reach";
const OURS = "Only on this node";
const ANY_PORT = "127.0.0.1:0";
const PORT_TRIES = 5;

const running = new Set();
let folder;
let port;
let redis;
let left;
let right;

before(async () => {
  assert.ok(process.env.DUNLIN_BIN, "DUNLIN_BIN is missing: set it to the dunlin to test");
  folder = await mkdtemp(join(tmpdir(), "dunlin-alone-"));
  redis = await startRedisAnywhere();
  [left, right] = await Promise.all([startNode(), startNode()]);
  await openBrowser();
});

after(async () => {
  await closeBrowser();
  await Promise.all([...running].map(end));
  if (folder) await rm(folder, { recursive: true });
});

test("windows on two nodes show which is whose, and talk", DEADLINE, async (t) => {
  // T2
  const [ann, cleo] = [await visit(t, left), await visit(t, right)];
  await Promise.all([ann, cleo].map((page) => people(page, "2 people here")));
  await heard({ from: ann, by: [cleo] });
  await heard({ from: cleo, by: [ann] });
  for (const [page, { id }] of [[ann, left], [cleo, right]]) {
    assert.equal(await page.locator("#status b").getAttribute("title"), id);
    assert.equal(await page.locator("#status").textContent(), `Connected to node ${id.slice(0, 6)}`);
    assert.ok(await banner(page).isHidden());
  }
});

test("an outage is told and marked, stops nobody on the same node, and ends by itself", DEADLINE, async (t) => {
  // C2: counts keep their last value; T2: what a failed link cost is announced; T12: served here, never forwarded
  const [ann, ben, cleo] = [
    await visit(t, left, { name: "Ann Avocet" }), await visit(t, left, { name: "Ben Bittern" }), await visit(t, right),
  ];
  const all = [ann, ben, cleo];
  await Promise.all(all.map((page) => people(page, "3 people here")));
  const before = await heard({ from: ann, by: [ben, cleo] });

  await end(redis);
  await Promise.all(all.map((page) => banner(page).waitFor({ timeout: BANNER_MS_MAX })));
  const during = await heard({ from: ann, by: [ben] });
  await line(ann, during).getByText(OURS).waitFor();
  await Promise.all(all.map((page) => people(page, "3 people here")));
  await picture(ann, "alone-desktop-light");

  redis = await startRedis();
  await Promise.all(all.map((page) => banner(page).waitFor({ state: "hidden" })));
  await Promise.all(all.map((page) => page.locator(".remark").filter({ hasText: REMARK }).waitFor()));
  const after = await heard({ from: ann, by: [ben, cleo] });
  await heard({ from: cleo, by: [ann, ben] });
  assert.equal(await line(cleo, during).count(), 0);
  assert.deepEqual(await marked(ann, [before, during, after]), [false, true, false]);
  for (const page of all) assert.equal(await page.locator(".remark").count(), 1);
});

test("who comes during an outage sees the banner, and axe finds nothing wrong with it", DEADLINE, async (t) => {
  await end(redis);
  for (const colorScheme of ["light", "dark"]) {
    for (const [kind, viewport] of [["desktop", DESKTOP], ["phone", PHONE]]) {
      const page = await visit(t, left, { name: "Cleo Curlew", colorScheme, viewport });
      await banner(page).waitFor({ timeout: BANNER_MS_MAX });
      const text = unique("Is everyone on this node able to read this?");
      await say(page, text);
      await line(page, text).getByText(OURS).waitFor();
      assert.deepEqual(await violations(page), [], `${colorScheme} ${kind}`);
      await picture(page, `alone-came-late-${kind}-${colorScheme}`);
    }
  }
  redis = await startRedis();
});

function visit(t, node, options) {
  return openWindow(t, node.url, options);
}

/** Says something new in one window and returns it once the node took it and all others have it, once each. */
async function heard({ from, by }) {
  const text = unique("Is anybody there?");
  await say(from, text);
  await settled(from, text);
  await Promise.all(by.map((page) => seen(page, text)));
  for (const page of by) assert.equal(await line(page, text).count(), 1);
  return text;
}

/** For each text whether its line says that only this node's people got it. */
function marked(page, texts) {
  return Promise.all(texts.map(async (text) => (await line(page, text).getByText(OURS).count()) === 1));
}

async function startNode() {
  const flags = ["--listen", ANY_PORT, "--internal", ANY_PORT, "--redis", `redis://127.0.0.1:${port}`];
  const { said } = await start(process.env.DUNLIN_BIN, flags, /^ready listen=(\S+) .*broker=redis node=(\S+)$/m);
  return { url: `http://${said[1]}`, id: said[2] };
}

// A port that was free a moment ago may be somebody else's by now.
async function startRedisAnywhere() {
  for (let tries = 1; ; tries += 1) {
    port = await freePort();
    try {
      return await startRedis();
    } catch (error) {
      if (tries === PORT_TRIES) throw error;
    }
  }
}

async function startRedis() {
  const flags = ["--bind", "127.0.0.1", "--port", String(port), "--save", "", "--appendonly", "no", "--dir", folder];
  const { child } = await start("redis-server", flags, /Ready to accept connections/);
  return child;
}

async function freePort() {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address();
  server.close();
  await once(server, "close");
  return port;
}

/** Starts a program in the test's own folder; resolves with it and what it said when it was ready. */
function start(program, flags, ready) {
  const child = spawn(program, flags, { cwd: folder, stdio: ["ignore", "pipe", "pipe"] });
  running.add(child);
  return new Promise((resolve, reject) => {
    let words = "";
    const listen = (chunk) => {
      words = (words + chunk).slice(-10_000);
      const said = words.match(ready);
      if (said) resolve({ child, said });
    };
    child.stdout.on("data", listen);
    child.stderr.on("data", listen);
    child.on("error", reject);
    child.on("exit", (code) => {
      running.delete(child);
      reject(new Error(`${program} ended with ${code}: ${words}`));
    });
  });
}

async function end(child) {
  if (!running.has(child)) return;
  const ended = once(child, "exit");
  child.kill("SIGKILL");
  await ended;
}
