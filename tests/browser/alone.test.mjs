// The demo page while nodes can't reach each other (behaviours C2, T2, T12): two nodes of DUNLIN_BIN
// on a Redis of this test's own, which is killed and comes back empty.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { end, endAll, prepare, startNode, startRedis, startRedisAnywhere } from "./processes.mjs";
import {
  DESKTOP, PHONE, banner, closeBrowser, line, openBrowser, openWindow, people, picture, say, seen, settled, unique,
  violations,
} from "./windows.mjs";

const DEADLINE = { timeout: 60_000 };
const BANNER_MS_MAX = 6000;
const REMARK = "The nodes lost some of what was said here.";
const WAITS = "Not sent yet";

let port;
let redis;
let left;
let right;

before(async () => {
  await prepare();
  ({ port, child: redis } = await startRedisAnywhere());
  [left, right] = await Promise.all([startNode({ redis: port }), startNode({ redis: port })]);
  await openBrowser();
});

after(async () => {
  await closeBrowser();
  await endAll();
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

test("an outage is told, ends by itself, and what was written meanwhile goes out then", DEADLINE, async (t) => {
  // C2: counts keep their last value; T12: refused here, sent later; T2: what the lost Redis cost is announced
  const [ann, ben, cleo] = [
    await visit(t, left, { name: "Ann Avocet" }), await visit(t, left, { name: "Ben Bittern" }), await visit(t, right),
  ];
  const all = [ann, ben, cleo];
  await Promise.all(all.map((page) => people(page, "3 people here")));
  const before = await heard({ from: ann, by: [ben, cleo] });

  await end(redis);
  await Promise.all(all.map((page) => banner(page).waitFor({ timeout: BANNER_MS_MAX })));
  const during = [await kept(ann), await kept(cleo)];
  await Promise.all(all.map((page) => people(page, "3 people here")));
  for (const page of all) assert.equal(await line(page, before).count(), 1);
  assert.equal(await line(ben, during[0]).count(), 0);
  await picture(ann, "alone-desktop-light");

  redis = await startRedis(port);
  await Promise.all(all.map((page) => banner(page).waitFor({ state: "hidden" })));
  await Promise.all(all.flatMap((page) => during.map((text) => settled(page, text))));
  const after = [await heard({ from: ann, by: [ben, cleo] }), await heard({ from: cleo, by: [ann, ben] })];
  for (const page of all) {
    for (const text of [...during, ...after]) assert.equal(await line(page, text).count(), 1);
    assert.equal(await line(page, before).count(), 0);
    assert.deepEqual(await page.locator(".remark").allTextContents(), [REMARK]);
    assert.equal(await page.getByText(WAITS).count(), 0);
  }
});

test("who comes during an outage sees the banner, and axe finds nothing wrong with it", DEADLINE, async (t) => {
  await end(redis);
  const kinds = [["desktop", DESKTOP], ["phone", PHONE]];
  const looks = ["light", "dark"].flatMap((colorScheme) => kinds.map((kind) => [colorScheme, ...kind]));
  await Promise.all(looks.map(async ([colorScheme, kind, viewport]) => {
    const page = await visit(t, left, { name: "Cleo Curlew", colorScheme, viewport });
    await banner(page).waitFor({ timeout: BANNER_MS_MAX });
    await kept(page, "Is everyone able to read this?");
    assert.deepEqual(await violations(page), [], `${colorScheme} ${kind}`);
    await picture(page, `alone-came-late-${kind}-${colorScheme}`);
  }));
  redis = await startRedis(port);
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

/** Says something new in one window and returns it once that window knows that no node has taken it. */
async function kept(page, question = "Is anybody there?") {
  const text = unique(question);
  await say(page, text);
  await line(page, text).getByText(WAITS).waitFor();
  return text;
}
