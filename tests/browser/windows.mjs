// People's windows on the demo page: how a test opens, uses and reads them. SCREENSHOTS names the
// folder for the pictures.

import assert from "node:assert/strict";
import { mkdtemp, readFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { chromium } from "playwright-core";

const AXE = await readFile(new URL("node_modules/axe-core/axe.min.js", import.meta.url), "utf8");
const ARGS = [
  "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
  "--disable-background-networking", "--disable-component-update", "--disable-sync",
];
export const DESKTOP = { width: 1180, height: 760 };
export const PHONE = { width: 390, height: 844 };

let browser;
let pictures;

/** Starts the one browser of a test file, which `closeBrowser` ends. */
export async function openBrowser() {
  pictures = process.env.SCREENSHOTS ?? (await mkdtemp(join(tmpdir(), "dunlin-page-")));
  browser = await chromium.launch({ executablePath: "/usr/bin/chromium", args: ARGS });
}

export function closeBrowser() {
  return browser?.close();
}

export function picture(page, name) {
  return page.screenshot({ path: join(pictures, `${name}.png`) });
}

/**
 * A person's own window, connected, in which any console error or policy violation fails the test.
 * With a `door` that stands between it and the node; with `isPaused` its time stands still; what matches
 * `expected` is no error.
 */
export async function openWindow(t, url, options = {}) {
  const { name, hash = "#lobby", colorScheme = "light", viewport = DESKTOP, door, isPaused, expected } = options;
  const context = await browser.newContext({ colorScheme, viewport, reducedMotion: "reduce" });
  t.after(() => context.close());
  const page = await context.newPage();
  const faults = [];
  page.on("pageerror", (error) => faults.push(error.message));
  page.on("console", (message) => message.type() === "error" && faults.push(message.text()));
  t.after(() => assert.deepEqual(faults.filter((fault) => !expected?.test(fault)), [], "the page reported errors"));
  await page.addInitScript(() => {
    addEventListener("securitypolicyviolation", ({ violatedDirective, blockedURI }) => {
      console.error(`violates ${violatedDirective}: ${blockedURI}`);
    });
  });
  if (isPaused) await pause(page);
  if (door) await page.routeWebSocket(/\/rooms\//, (socket) => door.enter(socket));
  await page.goto(new URL(hash, url).href);
  await connected(page);
  if (name) await page.getByLabel("You are").fill(name);
  return page;
}

async function pause(page) {
  await page.clock.install();
  await page.clock.pauseAt(Date.now() + 60_000);
}

export async function say(page, text) {
  await page.getByLabel("Message").fill(text);
  await page.getByRole("button", { name: "Send" }).click();
}

export function line(page, text) {
  return page.getByRole("log").getByRole("listitem").filter({ hasText: text });
}

export function seen(page, text) {
  return line(page, text).waitFor();
}

export async function settled(page, text) {
  const taken = page.locator(".line:not([data-state=pending], [data-state=failed])");
  await taken.filter({ hasText: text }).last().waitFor();
}

export function people(page, text) {
  return page.locator("#people").filter({ hasText: text }).waitFor();
}

export function status(page, text) {
  return page.locator("#status").filter({ hasText: text }).waitFor();
}

export function connected(page) {
  return status(page, "Connected to node");
}

/** The banner that is there while only the page's own node is reached. */
export function banner(page) {
  return page.getByRole("status").getByText("can't reach the others");
}

/** What axe-core finds, by rule and place; it is evaluated from outside, where no policy applies. */
export async function violations(page) {
  await page.evaluate(AXE);
  return page.evaluate(async () => {
    const { violations } = await globalThis.axe.run();
    return violations.flatMap(({ id, nodes }) => nodes.map((node) => `${id}: ${node.html}: ${node.failureSummary}`));
  });
}

// Node and browser outlive a test, and a node may keep what was said: no text is used twice.
let serial = 0;
export function unique(text) {
  return `${text} (${unused()})`;
}

function unused() {
  return (Date.now() % 1e8) * 100 + ((serial += 1) % 100);
}
