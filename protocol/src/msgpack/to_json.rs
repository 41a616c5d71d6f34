//! From a `MessagePack` value to a payload.

use bytes::Bytes;

use super::scan::{Fault, Open, Place, Scanner, Token};
use crate::json::string;
use crate::{DEPTH_MAX, Kind, Payload};

/// Why a value is no payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ValueError {
    /// Not exactly one `MessagePack` value.
    #[error("not a messagepack value at byte {at}")]
    Syntax {
        /// Where the value begins that is none.
        at: usize,
    },
    /// Arrays and maps inside each other, too many.
    #[error("messagepack nests deeper than {DEPTH_MAX} levels")]
    Depth,
    /// A good value that JSON has no words for, so that not everybody could be sent it.
    #[error("{what} at byte {at} of the payload has no form in json")]
    Foreign {
        /// What it is.
        what: &'static str,
        /// Where it begins.
        at: usize,
    },
}

/// Reads one value as what a publication carries (W7): a bin is binary and a str is text, both slices of `value`;
/// all else is JSON, written anew.
///
/// JSON takes at most six bytes for one of `MessagePack`, and a few.
pub fn parse_value(value: &Bytes) -> Result<Payload, ValueError> {
    let mut scanner = Scanner::new(value);
    let token = scanner.token().map_err(|fault| error(fault, &scanner))?;
    let (Token::Text(content) | Token::Binary(content)) = token else {
        return json(value).map(Payload::json);
    };
    if !scanner.is_at_end() {
        return Err(error(Fault::Syntax, &scanner));
    }
    let bytes = value.slice(value.len() - content.len()..);
    if let Token::Text(_) = token {
        return utf8(content, 0).map(|_| Payload { kind: Kind::Text, bytes });
    }
    Ok(Payload::binary(bytes))
}

/// One value as JSON, without white space.
pub(super) fn json(value: &[u8]) -> Result<Vec<u8>, ValueError> {
    let mut out = Vec::with_capacity(value.len() + value.len() / 2);
    let mut scanner = Scanner::new(value);
    let mut open = Open::default();
    loop {
        let at = scanner.at();
        let token = scanner.token().map_err(|fault| error(fault, &scanner))?;
        let place = open.place();
        separate(&mut out, place);
        match (place, token) {
            (Place::Key, Token::Text(key)) => {
                string(&mut out, utf8(key, at)?.as_bytes());
                out.push(b':');
            }
            (Place::Key, _) => return Err(ValueError::Foreign { what: "a key that is no string", at }),
            (_, token) => append(&mut out, token, at)?,
        }
        open.begin(token).map_err(|fault| error(fault, &scanner))?;
        while let Some(was_map) = open.end() {
            out.push(if was_map { b'}' } else { b']' });
        }
        if open.is_empty() {
            break;
        }
    }
    if scanner.is_at_end() { Ok(out) } else { Err(error(Fault::Syntax, &scanner)) }
}

/// What a walk's fault is to who sent the value.
fn error(fault: Fault, scanner: &Scanner<'_>) -> ValueError {
    match fault {
        Fault::Syntax => ValueError::Syntax { at: scanner.at() },
        Fault::Depth => ValueError::Depth,
    }
}

/// A comma before all that is not the first in its array or object; a string never ends in an opening bracket.
fn separate(out: &mut Vec<u8>, place: Place) {
    let may_follow = matches!(place, Place::Element | Place::Key);
    if may_follow && !matches!(out.last(), Some(b'[' | b'{')) {
        out.push(b',');
    }
}

fn append(out: &mut Vec<u8>, token: Token<'_>, at: usize) -> Result<(), ValueError> {
    let foreign = |what| Err(ValueError::Foreign { what, at });
    match token {
        Token::Nil => out.extend_from_slice(b"null"),
        Token::Flag(true) => out.extend_from_slice(b"true"),
        Token::Flag(false) => out.extend_from_slice(b"false"),
        Token::Unsigned(value) => number(out, value),
        Token::Signed(value) => number(out, value),
        Token::Float(value) if value.is_nan() => return foreign("a NaN"),
        Token::Float(value) if value.is_infinite() => return foreign("an infinite number"),
        Token::Float(value) => number(out, value),
        Token::Text(text) => string(out, utf8(text, at)?.as_bytes()),
        Token::Binary(_) => return foreign("a bin inside an array or map"),
        Token::Ext => return foreign("an ext"),
        Token::Array(_) => out.push(b'['),
        Token::Map(_) => out.push(b'{'),
    }
    Ok(())
}

/// Floats with the fewest digits that name them, and always a fraction or an exponent.
fn number(out: &mut Vec<u8>, value: impl serde::Serialize) {
    serde_json::to_writer(out, &value).expect("writing a number to memory can't fail");
}

fn utf8(text: &[u8], at: usize) -> Result<&str, ValueError> {
    std::str::from_utf8(text).map_err(|_| ValueError::Foreign { what: "a str that is not utf-8", at })
}
