// Who speaks: friendly names for newcomers, and the face a name gets everywhere.

/** A name nobody chose yet, such as "Quiet Wren". */
export function birdName() {
  return `${anyOf(TEMPERS)} ${anyOf(BIRDS)}`;
}

/** Shows a name as an avatar: its initials on one of the tints of style.css. */
export function paintFace(avatar, name) {
  avatar.textContent = initials(name);
  avatar.dataset.tint = tint(name);
}

function initials(name) {
  const words = name.split(/\s+/u).filter(Boolean);
  const ends = words.length > 1 ? [words[0], words.at(-1)] : words;
  return ends.map((word) => String.fromCodePoint(word.codePointAt(0)).toUpperCase()).join("");
}

// FNV-1a, so that a name has the same colour in every window and after every visit.
function tint(name) {
  let hash = 0x811c9dc5;
  for (const unit of name) hash = Math.imul(hash ^ unit.codePointAt(0), 0x01000193);
  return (hash >>> 0) % TINTS;
}

function anyOf(list) {
  return list[Math.floor(Math.random() * list.length)];
}

const TINTS = 8;

const TEMPERS = [
  "Amber", "Brave", "Bright", "Calm", "Clever", "Dapper", "Early", "Gentle", "Happy", "Jolly",
  "Kind", "Lucky", "Merry", "Nimble", "Patient", "Quick", "Quiet", "Silver", "Steady", "Sunny",
];

const BIRDS = [
  "Avocet", "Bittern", "Curlew", "Dunlin", "Egret", "Finch", "Godwit", "Heron", "Ibis", "Jay",
  "Kestrel", "Knot", "Lapwing", "Martin", "Osprey", "Plover", "Puffin", "Robin", "Snipe", "Swift",
  "Teal", "Tern", "Wagtail", "Wren",
];
