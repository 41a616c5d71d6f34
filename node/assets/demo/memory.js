// What this window remembers over a reload. Another window has its own, so that two of them can be
// two people. A browser that allows no storage remembers nothing, and everything else works.

/** What was remembered under a name, or `otherwise`. */
export function recall(name, otherwise) {
  try {
    return JSON.parse(sessionStorage.getItem(PREFIX + name)) ?? otherwise;
  } catch {
    return otherwise;
  }
}

/** Remembers what JSON can hold; past the browser's limit the older value stays. */
export function remember(name, value) {
  try {
    sessionStorage.setItem(PREFIX + name, JSON.stringify(value));
  } catch {
    // Refused or full: the page goes on with what it has in memory.
  }
}

const PREFIX = "dunlin.";
