//! From what a node says to JSON text.
//!
//! Keys come in the order of interfaces.md, optional ones are left out, nothing has white space. Each function
//! appends to a buffer, so that many frames share one.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::scan::plain_bytes;
use crate::map::{self, Map};
use crate::{Kind, Payload, ServerFrame, StoredPublication, Topic};

/// Appends `{"topic":T,"payload":P}`, with `"cursor":C` behind it if there is one.
///
/// Text is a JSON string; binary is `"base64":B` in the payload's place (a plain peer gets binary as a bare frame
/// instead, W7).
pub fn publication(out: &mut Vec<u8>, topic: &str, payload: &Payload, cursor: Option<&str>) {
    out.reserve(topic.len() + payload.bytes.len() + cursor.map_or(0, str::len) + PUBLICATION_BYTES_OWN);
    out.extend_from_slice(b"{\"topic\":");
    string(out, topic.as_bytes());
    out.push(b',');
    content(out, "payload", payload);
    if let Some(cursor) = cursor {
        out.extend_from_slice(b",\"cursor\":");
        string(out, cursor.as_bytes());
    }
    out.push(b'}');
}

/// Appends what a plain peer gets that has no topic: the data itself (W1), text as its characters (L5).
pub fn payload_alone(out: &mut Vec<u8>, payload: &Payload) {
    out.extend_from_slice(&payload.bytes);
}

/// Appends `{"type":"message","payload":P}`: what a v1 peer gets that has no topic.
pub fn message(out: &mut Vec<u8>, payload: &Payload) {
    map::message::<Object<'_>>(out, payload);
}

/// The payload of the session topic: `{"users":N}` (C1).
pub fn session(users: u64) -> Payload {
    Payload::json(format!("{{\"users\":{users}}}"))
}

/// Appends a frame that is no publication. A binary payload in it is `"base64"`.
pub fn frame(out: &mut Vec<u8>, frame: &ServerFrame<'_>) {
    map::frame::<Object<'_>>(out, frame);
}

/// An object being written, whose first key is its type. Keys need no escapes.
struct Object<'a> {
    out: &'a mut Vec<u8>,
}

impl Object<'_> {
    #[inline]
    fn key(&mut self, key: &str) {
        self.out.extend_from_slice(b",\"");
        self.out.extend_from_slice(key.as_bytes());
        self.out.extend_from_slice(b"\":");
    }

    #[inline]
    fn raw(&mut self, key: &str, json: &[u8]) {
        self.key(key);
        self.out.extend_from_slice(json);
    }
}

impl<'a> Map<'a> for Object<'a> {
    fn of_type(out: &'a mut Vec<u8>, name: &str) -> Self {
        out.extend_from_slice(b"{\"type\":\"");
        out.extend_from_slice(name.as_bytes());
        out.push(b'"');
        Self { out }
    }

    fn of_topic(out: &'a mut Vec<u8>, topic: &str) -> Self {
        out.extend_from_slice(b"{\"topic\":");
        string(out, topic.as_bytes());
        Self { out }
    }

    fn text(&mut self, key: &str, text: &[u8]) {
        self.key(key);
        string(self.out, text);
    }

    fn count(&mut self, key: &str, count: u64) {
        self.raw(key, count.to_string().as_bytes());
    }

    fn integer(&mut self, key: &str, number: i64) {
        self.raw(key, number.to_string().as_bytes());
    }

    fn null(&mut self, key: &str) {
        self.raw(key, b"null");
    }

    fn flag(&mut self, key: &str, holds: bool) {
        self.raw(key, if holds { b"true" } else { b"false" });
    }

    fn topics(&mut self, key: &str, topics: &[Topic]) {
        self.raw(key, b"[");
        for (index, topic) in topics.iter().enumerate() {
            if index > 0 {
                self.out.push(b',');
            }
            string(self.out, topic.as_str().as_bytes());
        }
        self.out.push(b']');
    }

    fn payload_as(&mut self, key: &str, payload: &Payload) {
        self.out.push(b',');
        content(self.out, key, payload);
    }

    fn stored(&mut self, key: &str, publications: &[StoredPublication<'_>]) {
        self.raw(key, b"[");
        for (index, StoredPublication { cursor, payload, at_ms }) in publications.iter().enumerate() {
            self.out.extend_from_slice(if index > 0 { b",{\"cursor\":\"" } else { b"{\"cursor\":\"" });
            self.out.extend_from_slice(cursor.as_str().as_bytes());
            self.out.extend_from_slice(b"\",");
            content(self.out, "payload", payload);
            self.raw("at", at_ms.to_string().as_bytes());
            self.out.push(b'}');
        }
        self.out.push(b']');
    }

    fn end(self) {
        self.out.push(b'}');
    }
}

/// Appends a payload with this key; what is binary has a key of its own.
fn content(out: &mut Vec<u8>, key: &str, payload: &Payload) {
    if payload.kind == Kind::Binary {
        out.extend_from_slice(b"\"base64\":\"");
        base64(out, &payload.bytes);
        return out.push(b'"');
    }
    out.push(b'"');
    out.extend_from_slice(key.as_bytes());
    out.extend_from_slice(b"\":");
    match payload.kind {
        Kind::Text => string(out, &payload.bytes),
        Kind::Json | Kind::Binary => out.extend_from_slice(&payload.bytes),
    }
}

fn base64(out: &mut Vec<u8>, bytes: &[u8]) {
    let start = out.len();
    out.resize(start + bytes.len().div_ceil(3) * 4, 0);
    STANDARD
        .encode_slice(bytes, &mut out[start..])
        .expect("four characters for three bytes begun are enough");
}

/// Appends UTF-8 as a JSON string, with the escapes `JSON.stringify` uses.
pub fn string(out: &mut Vec<u8>, mut text: &[u8]) {
    out.push(b'"');
    loop {
        let (plain, rest) = text.split_at(plain_bytes(text));
        out.extend_from_slice(plain);
        let Some((special, rest)) = rest.split_first() else { break };
        escape(out, *special);
        text = rest;
    }
    out.push(b'"');
}

fn escape(out: &mut Vec<u8>, byte: u8) {
    let letter = match byte {
        b'"' | b'\\' => byte,
        b'\n' => b'n',
        b'\r' => b'r',
        b'\t' => b't',
        0x08 => b'b',
        0x0c => b'f',
        _ => {
            let [high, low] = [byte >> 4, byte & 0xf].map(|digit| b"0123456789abcdef"[usize::from(digit)]);
            return out.extend_from_slice(&[b'\\', b'u', b'0', b'0', high, low]);
        }
    };
    out.extend_from_slice(&[b'\\', letter]);
}

/// The braces, keys and quotes of a publication.
const PUBLICATION_BYTES_OWN: usize = 40;
