// Nodes of DUNLIN_BIN and Redis servers of a test file's own: how it starts, kills and replaces them.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";

const ANY_PORT = "127.0.0.1:0";
const PORT_TRIES = 5;

const running = new Set();
let folder;

/** Makes the folder of a test file's processes, which `endAll` removes with them. */
export async function prepare() {
  assert.ok(process.env.DUNLIN_BIN, "DUNLIN_BIN is missing: set it to the dunlin to test");
  folder = await mkdtemp(join(tmpdir(), "dunlin-browser-"));
}

export async function endAll() {
  await Promise.all([...running].map(end));
  if (folder) await rm(folder, { recursive: true });
}

/** Starts a node, alone or on the Redis of that port; `listen` is the address of one that has ended. */
export async function startNode({ listen = ANY_PORT, redis } = {}) {
  const flags = ["--listen", listen, "--internal", ANY_PORT];
  if (redis) flags.push("--redis", `redis://127.0.0.1:${redis}`);
  const { child, said } = await start(process.env.DUNLIN_BIN, flags, /^ready listen=(\S+) .*node=(\S+)$/m);
  return { child, listen: said[1], url: `http://${said[1]}`, id: said[2] };
}

/** Starts a Redis on a port of its own. A port that was free a moment ago may be somebody else's by now. */
export async function startRedisAnywhere() {
  for (let tries = 1; ; tries += 1) {
    const port = await freePort();
    try {
      return { port, child: await startRedis(port) };
    } catch (error) {
      if (tries === PORT_TRIES) throw error;
    }
  }
}

/** Starts a Redis that remembers nothing of one before it. */
export async function startRedis(port) {
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

/** Kills a process that may have ended already, without a word of warning to it. */
export async function end(child) {
  if (!running.has(child)) return;
  const ended = once(child, "exit");
  child.kill("SIGKILL");
  await ended;
}
