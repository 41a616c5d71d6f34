//! From JSON text to a request: where a frame's values are, and how to read each.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use bytes::Bytes;
use serde::de::{DeserializeOwned, IgnoredAny, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::scan::{Fault, Scanner};
use super::unquote;
use crate::fields::{self, Codec, Fields, LISTED_MAX, Outcome, Resumed, malformed};
use crate::key::Key;
use crate::{DEPTH_MAX, FrameError, Payload, Request, RequestId};

/// Reads a client's frame from JSON text, which the caller knows to be UTF-8.
///
/// A JSON payload is a slice of `text`, byte for byte. Unknown keys are ignored; a key of the frame that has the
/// wrong type or comes twice makes it malformed, and `null` for a key that may be missing is as good as missing.
pub fn decode(text: &Bytes) -> Result<Request, FrameError> {
    fields::decode::<Json>(text)
}

/// The id a frame asks to be answered under, if that is good; nothing else of it is looked at.
pub fn request_id(text: &Bytes) -> Option<RequestId> {
    fields::request_id::<Json>(text)
}

struct Json;

impl Codec for Json {
    fn note_all(fields: &mut Fields<'_, Self>) -> Outcome<()> {
        let mut scanner = Scanner::new(fields.frame());
        walk(fields, &mut scanner).map_err(|fault| match fault {
            Fault::Syntax => malformed(format!("not a json object at byte {}", scanner.at())),
            Fault::Depth => {
                malformed(format!("json nests deeper than {DEPTH_MAX} levels at byte {}", scanner.at()))
            }
        })
    }

    fn is_null(raw: &[u8]) -> bool {
        raw == b"null"
    }

    fn text(raw: &[u8]) -> Option<Cow<'_, str>> {
        unquote(raw)
    }

    fn integer(raw: &[u8]) -> Option<i64> {
        std::str::from_utf8(raw).ok()?.parse().ok()
    }

    fn flag(raw: &[u8]) -> Option<bool> {
        match raw {
            b"true" => Some(true),
            b"false" => Some(false),
            _ => None,
        }
    }

    fn texts(raw: &[u8]) -> Option<Vec<String>> {
        list(raw)
    }

    fn resumed(raw: &[u8]) -> Option<Vec<Resumed>> {
        list(raw)
    }

    fn payload(value: Bytes) -> Outcome<Payload> {
        Ok(Payload::json(value))
    }

    fn json(value: Bytes) -> Outcome<Payload> {
        Ok(Payload::json(value))
    }

    fn shown(raw: &[u8]) -> Cow<'_, str> {
        String::from_utf8_lossy(raw)
    }
}

fn walk(fields: &mut Fields<'_, Json>, scanner: &mut Scanner<'_>) -> Result<(), Fault> {
    let text = fields.frame();
    scanner.punctuation(b'{')?;
    if scanner.skip(b'}') {
        return scanner.end();
    }
    loop {
        let key = key_of(&text[scanner.text()?]);
        scanner.punctuation(b':')?;
        let value = scanner.value()?;
        if let Some(key) = key {
            fields.note(key, value);
        }
        if !scanner.skip(b',') {
            break;
        }
    }
    scanner.punctuation(b'}')?;
    scanner.end()
}

/// The key that a JSON string names, however it is escaped.
fn key_of(quoted: &[u8]) -> Option<Key> {
    match quoted {
        [b'"', name @ .., b'"'] if !name.contains(&b'\\') => Key::named(name),
        escaped => Key::named(unquote(escaped)?.as_bytes()),
    }
}

/// A list; `serde_json` refuses the first element of another type and so never goes deeper than its own.
fn list<T: DeserializeOwned>(raw: &[u8]) -> Option<Vec<T>> {
    serde_json::from_slice(raw).ok().map(|AtMost(elements)| elements)
}

/// A list of which no more than [`LISTED_MAX`] elements are kept.
struct AtMost<T>(Vec<T>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for AtMost<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(Elements(PhantomData))
    }
}

struct Elements<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for Elements<T> {
    type Value = AtMost<T>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<AtMost<T>, A::Error> {
        let mut elements = Vec::new();
        while elements.len() < LISTED_MAX {
            let Some(element) = list.next_element()? else { return Ok(AtMost(elements)) };
            elements.push(element);
        }
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(AtMost(elements))
    }
}
