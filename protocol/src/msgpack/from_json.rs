//! From JSON to a `MessagePack` value.
//!
//! One walk over the text. The head of an array or map comes before what it holds, and says how much that is; so
//! a byte is kept for it, which is enough for 15 elements. If some have more, all is moved once, at the end.

use std::ops::Range;

use crate::PayloadError;
use crate::json::{Listener, heard_value};

/// Appends one JSON value (RFC 8259). On an error nothing is appended.
///
/// Each value takes its shortest form. An integer is one; what has a fraction or exponent, and `-0`, is a float64.
/// What is no finite float64 and no integer of 64 bits is a str of its digits (W7). A half of a surrogate pair is
/// U+FFFD. Keys may repeat.
pub(super) fn append(out: &mut Vec<u8>, json: &[u8]) -> Result<(), PayloadError> {
    let start = out.len();
    let mut writer = Writer { json, out, containers: Vec::new(), innermost: NONE, wanting: 0 };
    match heard_value(json, &mut writer) {
        Ok(_) => {
            writer.widen();
            Ok(())
        }
        Err(error) => {
            out.truncate(start);
            Err(error)
        }
    }
}

struct Writer<'a> {
    json: &'a [u8],
    out: &'a mut Vec<u8>,
    /// All arrays and maps, in the order in which they begin.
    containers: Vec<Container>,
    /// The index of the one that is being filled, or [`NONE`].
    innermost: usize,
    /// How many bytes heads need beyond the one kept for each.
    wanting: usize,
}

/// An array or map.
struct Container {
    /// Where the byte kept for its head is.
    at: usize,
    /// How many elements, or pairs, it has.
    held: usize,
    /// The index of the one it is in, or [`NONE`].
    around: usize,
    is_map: bool,
}

const NONE: usize = usize::MAX;
/// What a head of one byte can hold.
const HELD_MAX: usize = 15;

impl Writer<'_> {
    /// Counts a value in where it is one more element; in a map keys count.
    fn count_value(&mut self) {
        if let Some(innermost) = self.containers.get_mut(self.innermost).filter(|each| !each.is_map) {
            innermost.held += 1;
        }
    }

    /// Gives the heads of more than a byte their room, from the last to the first.
    fn widen(self) {
        if self.wanting == 0 {
            return;
        }
        let mut from = self.out.len();
        let mut to = from + self.wanting;
        self.out.resize(to, 0);
        for container in self.containers.iter().rev().filter(|each| each.held > HELD_MAX) {
            let content = container.at + 1..from;
            to -= content.len();
            from = container.at;
            self.out.copy_within(content, to);
            let (head, length) = container.head();
            to -= length;
            self.out[to..to + length].copy_from_slice(&head[..length]);
        }
    }
}

impl Container {
    /// Its head and how many bytes of it count.
    fn head(&self) -> ([u8; 5], usize) {
        let (fixed, long) = if self.is_map { (0x80, 0xde) } else { (0x90, 0xdc) };
        let held = u32::try_from(self.held).expect("4 Gi elements are more than any message has bytes");
        let [a, b, c, d] = held.to_be_bytes();
        match held {
            0..=15 => ([fixed | d, 0, 0, 0, 0], 1),
            16..=0xffff => ([long, c, d, 0, 0], 3),
            _ => ([long + 1, a, b, c, d], 5),
        }
    }
}

impl Listener for Writer<'_> {
    fn opened(&mut self, is_map: bool) {
        self.count_value();
        let container = Container { at: self.out.len(), held: 0, around: self.innermost, is_map };
        self.innermost = self.containers.len();
        self.containers.push(container);
        self.out.push(0);
    }

    fn closed(&mut self) {
        let container = &self.containers[self.innermost];
        let (head, length) = container.head();
        self.out[container.at] = head[0];
        self.wanting += length - 1;
        self.innermost = container.around;
    }

    fn key(&mut self, quoted: Range<usize>) {
        self.containers[self.innermost].held += 1;
        string(self.out, &self.json[quoted]);
    }

    fn scalar(&mut self, raw: Range<usize>) {
        self.count_value();
        let raw = &self.json[raw];
        match raw[0] {
            b'"' => string(self.out, raw),
            b'n' => self.out.push(0xc0),
            b'f' => self.out.push(0xc2),
            b't' => self.out.push(0xc3),
            _ => number(self.out, raw),
        }
    }
}

/// Appends a number. Its text is the last resort: nothing of it is lost, and no reader gets an infinity.
fn number(out: &mut Vec<u8>, raw: &[u8]) {
    let text = std::str::from_utf8(raw).expect("a number is ASCII");
    if raw.iter().any(|byte| matches!(byte, b'.' | b'e' | b'E')) || raw == b"-0" {
        return match float(text) {
            Some(number) if number.is_finite() => super::write::float(out, number),
            _ => super::write::text(out, raw),
        };
    }
    match (text.parse::<i64>(), text.parse::<u64>()) {
        (Ok(number), _) => super::write::integer(out, number),
        (_, Ok(number)) => super::write::count(out, number),
        _ => super::write::text(out, raw),
    }
}

/// The float64 next to a number, by its first [`DIGITS_READ`] digits.
///
/// A number of more digits that lies next to the middle between two floats takes the standard library a thousand
/// times as long as any other, and a message has room for thousands. Nobody who writes floats has so many digits.
fn float(text: &str) -> Option<f64> {
    if text.len() <= DIGITS_READ {
        return text.parse().ok();
    }
    let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let sign = if whole.starts_with('-') { "-" } else { "" };
    let digits = whole.bytes().chain(fraction.bytes()).filter(u8::is_ascii_digit);
    let digits = digits.skip_while(|digit| *digit == b'0');
    if digits.clone().nth(DIGITS_READ).is_none() {
        return text.parse().ok();
    }
    let left_out = digits.clone().count() - DIGITS_READ;
    let read: String = digits.take(DIGITS_READ).map(char::from).collect();
    // An exponent beyond 64 bits means nothing or infinity, however many digits there are.
    let exponent: i128 =
        exponent.parse().unwrap_or(if exponent.starts_with('-') { FAR_BELOW } else { -FAR_BELOW });
    let exponent = exponent + left_out as i128 - fraction.len() as i128;
    format!("{sign}{read}e{exponent}").parse().ok()
}

/// How many digits of a float are read: more than tell any two apart, and what 64 bits hold.
const DIGITS_READ: usize = 19;
/// An exponent of zero's.
const FAR_BELOW: i128 = i64::MIN as i128;

/// Appends a JSON string's characters as a str.
fn string(out: &mut Vec<u8>, quoted: &[u8]) {
    let inner = &quoted[1..quoted.len() - 1];
    if memchr::memchr(b'\\', inner).is_none() {
        return super::write::text(out, inner);
    }
    let start = out.len();
    unescape(out, inner);
    let length = out.len() - start;
    super::write::text_head(out, length);
    // The head was written behind the characters, because it is known last.
    out[start..].rotate_left(length);
}

fn unescape(out: &mut Vec<u8>, mut text: &[u8]) {
    while let Some(at) = memchr::memchr(b'\\', text) {
        out.extend_from_slice(&text[..at]);
        let (byte, length) = match text[at + 1] {
            b'u' => {
                let (character, length) = unicode(&text[at..]);
                out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
                text = &text[at + length..];
                continue;
            }
            b'b' => (0x08, 2),
            b'f' => (0x0c, 2),
            b'n' => (b'\n', 2),
            b'r' => (b'\r', 2),
            b't' => (b'\t', 2),
            itself => (itself, 2),
        };
        out.push(byte);
        text = &text[at + length..];
    }
    out.extend_from_slice(text);
}

/// The character that `\uXXXX`, or two of them, stand for, and how many bytes they take.
fn unicode(escaped: &[u8]) -> (char, usize) {
    let first = unit(escaped).unwrap_or_default();
    if let 0xd800..0xdc00 = first
        && let Some(second @ 0xdc00..0xe000) = unit(&escaped[6..])
    {
        let both = 0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00);
        return (char::from_u32(both).unwrap_or(char::REPLACEMENT_CHARACTER), 12);
    }
    (char::from_u32(first).unwrap_or(char::REPLACEMENT_CHARACTER), 6)
}

/// The number that `\uXXXX` at the beginning means, if that is what is there.
fn unit(escaped: &[u8]) -> Option<u32> {
    let digits = escaped.strip_prefix(b"\\u")?.get(..4)?;
    u32::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}
