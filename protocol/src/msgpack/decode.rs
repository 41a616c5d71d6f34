//! From `MessagePack` to a request: where a frame's values are, and how to read each.

use std::borrow::Cow;

use bytes::Bytes;

use super::scan::{Fault, Scanner, Token};
use super::to_json::{ValueError, json, parse_value};
use crate::fields::{self, Codec, Fields, LISTED_MAX, Outcome, Refusal, Resumed, invalid_payload, malformed};
use crate::key::Key;
use crate::{DEPTH_MAX, FrameError, Payload, Request, RequestId};

/// Reads a client's frame from the bytes of one binary message.
///
/// The rules are those of [`crate::json::decode`]: unknown keys are ignored, also those that are no strings, and a
/// key that comes twice or has the wrong type makes the frame malformed. A payload that is a bin or str is a slice
/// of `bytes`; any other becomes JSON here.
pub fn decode(bytes: &Bytes) -> Result<Request, FrameError> {
    fields::decode::<MessagePack>(bytes)
}

/// The id a frame asks to be answered under, if that is good; nothing else of it is looked at.
pub fn request_id(bytes: &Bytes) -> Option<RequestId> {
    fields::request_id::<MessagePack>(bytes)
}

struct MessagePack;

impl Codec for MessagePack {
    fn note_all(fields: &mut Fields<'_, Self>) -> Outcome<()> {
        let mut scanner = Scanner::new(fields.frame());
        walk(fields, &mut scanner).map_err(|fault| match fault {
            Fault::Syntax => malformed(format!("not a messagepack map at byte {}", scanner.at())),
            Fault::Depth => malformed(format!(
                "messagepack nests deeper than {DEPTH_MAX} levels at byte {}",
                scanner.at()
            )),
        })
    }

    fn is_null(raw: &[u8]) -> bool {
        token(raw) == Some(Token::Nil)
    }

    fn text(raw: &[u8]) -> Option<Cow<'_, str>> {
        characters(token(raw)?).map(Cow::Borrowed)
    }

    fn integer(raw: &[u8]) -> Option<i64> {
        match token(raw)? {
            Token::Unsigned(number) => i64::try_from(number).ok(),
            Token::Signed(number) => Some(number),
            _ => None,
        }
    }

    fn flag(raw: &[u8]) -> Option<bool> {
        if let Token::Flag(flag) = token(raw)? { Some(flag) } else { None }
    }

    fn texts(raw: &[u8]) -> Option<Vec<String>> {
        list(raw, |scanner| characters(scanner.token().ok()?).map(str::to_owned))
    }

    fn resumed(raw: &[u8]) -> Option<Vec<Resumed>> {
        list(raw, resumed)
    }

    fn payload(value: Bytes) -> Outcome<Payload> {
        parse_value(&value).map_err(refusal)
    }

    fn json(value: Bytes) -> Outcome<Payload> {
        json(&value).map(Payload::json).map_err(refusal)
    }

    fn shown(_: &[u8]) -> Cow<'_, str> {
        Cow::Borrowed("(no string)")
    }
}

fn walk(fields: &mut Fields<'_, MessagePack>, scanner: &mut Scanner<'_>) -> Result<(), Fault> {
    let Token::Map(values) = scanner.token()? else { return Err(Fault::Syntax) };
    for _ in 0..values / 2 {
        let name = token(scanner.raw()?);
        let value = scanner.value()?;
        if let Some(Token::Text(name)) = name
            && let Some(key) = Key::named(name)
        {
            fields.note(key, value);
        }
    }
    if scanner.is_at_end() { Ok(()) } else { Err(Fault::Syntax) }
}

/// A value, or the head of one that holds others.
fn token(raw: &[u8]) -> Option<Token<'_>> {
    Scanner::new(raw).token().ok()
}

fn characters(token: Token<'_>) -> Option<&str> {
    if let Token::Text(text) = token { std::str::from_utf8(text).ok() } else { None }
}

/// A list of which no more than [`LISTED_MAX`] elements are read.
fn list<T>(raw: &[u8], mut element: impl FnMut(&mut Scanner<'_>) -> Option<T>) -> Option<Vec<T>> {
    let mut scanner = Scanner::new(raw);
    let Token::Array(elements) = scanner.token().ok()? else { return None };
    (0..elements.min(LISTED_MAX)).map(|_| element(&mut scanner)).collect()
}

/// One `{"topic","since"?}`; other keys are ignored.
fn resumed(scanner: &mut Scanner<'_>) -> Option<Resumed> {
    let Token::Map(values) = scanner.token().ok()? else { return None };
    let (mut topic, mut since) = (None, None);
    for _ in 0..values / 2 {
        let (name, value) = (scanner.raw().ok()?, scanner.raw().ok()?);
        let noted = match token(name)? {
            Token::Text(b"topic") => &mut topic,
            Token::Text(b"since") => &mut since,
            _ => continue,
        };
        if noted.replace(value).is_some() {
            return None;
        }
    }
    let topic = characters(token(topic?)?)?.to_owned();
    let since = match since.and_then(token) {
        None | Some(Token::Nil) => None,
        Some(since) => Some(characters(since)?.into()),
    };
    Some(Resumed { topic, since })
}

/// A value that JSON can't carry is the publisher's to change; one that is none, or too deep, was refused before.
fn refusal(error: ValueError) -> Refusal {
    match error {
        ValueError::Foreign { .. } => invalid_payload(error.to_string()),
        ValueError::Syntax { .. } | ValueError::Depth => malformed(error.to_string()),
    }
}
