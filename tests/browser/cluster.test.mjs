// A whole cluster behind its balancer, as deploy/local starts it: browser windows on different nodes, what
// Prometheus sees, what the balancer logs (behaviours T2, C1, E11, R3, R4, R5). DUNLIN_CLUSTER names the
// file with its addresses; without it only the dashboard is looked at. The last tests end a node, another
// one, and Redis.

import assert from "node:assert/strict";
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { setTimeout as pause } from "node:timers/promises";
import {
  banner, closeBrowser, openBrowser, openWindow, people, picture, say, seen, settled, unique,
} from "./windows.mjs";

const DEADLINE = { timeout: 90_000 };
const PATIENCE_MS = 45_000;
const WINDOWS_MAX = 12;

const cluster = process.env.DUNLIN_CLUSTER && parseAddresses(await readFile(process.env.DUNLIN_CLUSTER, "utf8"));
const dashboardFile = new URL("../../deploy/grafana/dashboard.json", import.meta.url);
const dashboard = JSON.parse(await readFile(dashboardFile, "utf8"));
const panels = dashboard.panels.filter(({ type }) => type !== "row");

test("the dashboard's panels lie beside each other and ask the Prometheus that is chosen", () => {
  const taken = new Map();
  for (const { id, title, gridPos: { x, y, w, h } } of dashboard.panels) {
    assert.ok(x + w <= 24, `${title} is beyond the right edge`);
    for (let cell = 0; cell < w * h; cell += 1) {
      const place = `${x + (cell % w)},${y + Math.floor(cell / w)}`;
      assert.ok(!taken.has(place), `${title} lies over ${taken.get(place)}`);
      taken.set(place, title);
    }
    assert.equal(dashboard.panels.filter((other) => other.id === id).length, 1, `${title} has no id of its own`);
  }
  for (const { title, datasource, targets } of panels) {
    for (const asked of [datasource, ...targets.map((target) => target.datasource)]) {
      assert.deepEqual(asked, { type: "prometheus", uid: "${datasource}" }, title);
    }
  }
});

describe(`a cluster behind ${cluster?.PROXY}`, { skip: !cluster && "DUNLIN_CLUSTER is not set" }, () => {
  before(openBrowser);
  after(closeBrowser);

  test("windows on different nodes talk both ways, and both count two people", DEADLINE, async (t) => {
    // T2, C1
    const [ann, ben] = await openApart(t, "Ann Avocet", "Ben Bittern");
    await chat(ann, ben);
    await picture(ann, `cluster-${cluster.PROXY}-ann`);
    await picture(ben, `cluster-${cluster.PROXY}-ben`);
  });

  test("Prometheus scrapes every node, and every node is ready", DEADLINE, async () => {
    const names = Array.from({ length: Number(cluster.NODES) }, (_, index) => `node${index + 1}`);
    for (const job of ["dunlin", "dunlin-ready"]) {
      const up = await ask("query", { query: `up{job="${job}"} == 1` });
      assert.deepEqual(up.result.map(({ metric }) => metric.instance).sort(), names, job);
    }
  });

  test("Prometheus answers every query of dashboard and rules, whose metrics all exist", DEADLINE, async (t) => {
    // A counter with labels shows once there is something to count.
    await fetch(`${cluster.BALANCER}/rooms/lobby`);
    await (await openWindow(t, cluster.BALANCER)).context().close();
    const { groups } = await ask("rules");
    const rules = groups.flatMap((group) => group.rules);
    const queries = panels.flatMap(({ targets }) => targets.map(({ expr }) => filled(expr)));
    assert.ok(rules.length > 0 && queries.length > 0);
    for (const query of queries) await ask("query", { query });

    const wanted = new Set([...queries, ...rules.map(({ query }) => query)].flatMap(metricsOf));
    let missing;
    await until(async () => {
      const { result } = await ask("query", { query: 'count by (__name__) ({job="dunlin"})' });
      const known = new Set(result.map(({ metric }) => metric.__name__));
      missing = [...wanted].filter((name) => !known.has(name));
      return missing.length === 0;
    }, () => `no node has ${missing.join(", ")}`);
    for (const { name, health, lastError } of rules) assert.equal(health, "ok", `${name}: ${lastError}`);
  });

  test("who is on a node that leaves comes back on another and goes on talking", DEADLINE, async (t) => {
    // R4: nobody waits, and no attempt to connect fails on the way
    const [ann, ben] = await openApart(t, "Ann Avocet", "Ben Bittern");
    const left = await nodeOf(ann);
    process.kill(await processOf(left), "SIGTERM");
    await until(async () => (await nodeOf(ann)) !== left, () => `still on ${left}`);
    await chat(ann, ben);
  });

  test("the balancer's logs tell no query, also while a node is dead, and no request fails", DEADLINE, async (t) => {
    // E11
    const [room, token] = [`/rooms/log-${Date.now()}`, `token-${Date.now()}`];
    const page = await openWindow(t, cluster.BALANCER);
    const node = await nodeOf(page);
    await page.evaluate((url) => new Promise((resolve, reject) => {
      const socket = new WebSocket(url);
      socket.onopen = () => socket.close();
      socket.onclose = ({ wasClean }) => (wasClean ? resolve() : reject(new Error("not connected")));
    }), `${cluster.BALANCER.replace("http", "ws")}${room}?token=${token}`);
    await page.context().close();
    process.kill(await processOf(node), "SIGKILL");
    const requests = 4 * cluster.NODES;
    for (let n = 0; n < requests; n += 1) {
      assert.equal((await fetch(`${cluster.BALANCER}${room}?token=${token}`)).status, 426, "a node answers");
    }

    let log;
    await until(async () => (log = await balancerLogs()).split(room).length > requests, () => "nothing is logged");
    assert.ok(!log.includes(token), "a token is in the log");
    assert.doesNotMatch(log, /\?/);
  });

  const skip = cluster?.PROXY === "nginx" && "nginx does not ask nodes whether they are ready";
  test("while Redis is away no node is ready, and newcomers are let in and told", { ...DEADLINE, skip }, async (t) => {
    // R3, R5: for three scrapes on end, since a node that changes its mind is not honest
    process.kill(await processOf("redis"), "SIGKILL");
    await until(async () => {
      const ready = await ask("query", { query: 'max_over_time(up{job="dunlin-ready"}[15s]) > 0' });
      return ready.result.length === 0;
    }, () => "a node says that it is ready");
    const alive = await ask("query", { query: 'up{job="dunlin"} == 1' });
    assert.ok(alive.result.length > 0, "no node is left");
    await banner(await openWindow(t, cluster.BALANCER)).waitFor();
  });
});

function parseAddresses(text) {
  return Object.fromEntries(text.trim().split("\n").map((line) => line.split(/=(.*)/s)));
}

/** Two windows through the balancer, with nobody else in the room, on different nodes. */
async function openApart(t, ...names) {
  const first = await openWindow(t, cluster.BALANCER, { name: names[0] });
  const node = await nodeOf(first);
  for (let n = 1; n < WINDOWS_MAX; n += 1) {
    const other = await openWindow(t, cluster.BALANCER, { name: names[1] });
    if ((await nodeOf(other)) !== node) return [first, other];
    await other.context().close();
  }
  return assert.fail(`${WINDOWS_MAX} windows were all sent to ${node}`);
}

/** The process name of the node that a window is connected to; the page shows the first digits of its id. */
async function nodeOf(page) {
  const shown = await page.waitForFunction(
    () => document.getElementById("status").textContent.match(/^Connected to node ([0-9a-f]{6,16})/)?.[1],
  );
  const id = await shown.jsonValue();
  const name = Object.keys(cluster).find((key) => /^NODE\d+_ID$/.test(key) && cluster[key].startsWith(id));
  assert.ok(name, `${id} is no node of this cluster`);
  return name.replace("_ID", "").toLowerCase();
}

async function processOf(name) {
  const processes = await readFile(join(cluster.DIR, "processes"), "utf8");
  return Number(processes.match(new RegExp(`^${name} (\\d+) `, "m"))[1]);
}

async function chat(ann, ben) {
  await Promise.all([ann, ben].map((page) => people(page, "2 people here")));
  for (const [from, to, text] of [[ann, ben, unique("A flock on the mud")], [ben, ann, unique("And here")]]) {
    await say(from, text);
    await settled(from, text);
    await seen(to, text);
  }
}

/** What Prometheus' HTTP API answers. */
async function ask(what, parameters = {}) {
  const answer = await fetch(`${cluster.PROMETHEUS}/api/v1/${what}?${new URLSearchParams(parameters)}`);
  const { status, error, data } = await answer.json();
  assert.equal(status, "success", `${parameters.query ?? what}: ${error}`);
  return data;
}

/** A panel's query, as Grafana sends it when every node is chosen. */
function filled(expr) {
  const query = expr
    .replaceAll("$__rate_interval", "1m")
    .replaceAll("${job}", "dunlin")
    .replaceAll("$job", "dunlin")
    .replaceAll("$instance", ".*");
  assert.ok(!query.includes("$"), `${expr} has a variable that nobody sets`);
  return query;
}

function metricsOf(query) {
  return query.match(/\b(dunlin|process)_[a-z_]+\b/g) ?? [];
}

async function balancerLogs() {
  const folder = join(cluster.DIR, cluster.PROXY);
  const files = (await readdir(folder)).filter((name) => name.endsWith("log"));
  return (await Promise.all(files.map((name) => readFile(join(folder, name), "utf8")))).join("");
}

/** Waits for a condition; `describe` says what was missing when patience ends. */
async function until(condition, describe) {
  const deadline = Date.now() + PATIENCE_MS;
  while (!(await condition())) {
    assert.ok(Date.now() < deadline, describe());
    await pause(100);
  }
}
