//! From what a node says to JSON text.
//!
//! Keys come in the order of interfaces.md, optional ones are left out, nothing has white space. Each function
//! appends to a buffer, so that many frames share one.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::scan::plain_bytes;
use crate::{Kind, Payload, RequestId, ServerFrame, Topic};

/// Appends `{"topic":T,"payload":P}`, with `"cursor":C` behind it if there is one.
///
/// Text is a JSON string; binary is `"base64":B` in the payload's place (a plain peer gets binary as a bare frame
/// instead, W7).
pub fn publication(out: &mut Vec<u8>, topic: &str, payload: &Payload, cursor: Option<&str>) {
    out.reserve(topic.len() + payload.bytes.len() + cursor.map_or(0, str::len) + PUBLICATION_BYTES_OWN);
    out.extend_from_slice(b"{\"topic\":");
    string(out, topic.as_bytes());
    out.push(b',');
    content(out, payload);
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
    let mut object = Object::of_type(out, "message");
    object.content(payload);
    object.end();
}

/// The payload of the session topic: `{"users":N}` (C1).
pub fn session(users: u64) -> Payload {
    Payload::json(format!("{{\"users\":{users}}}"))
}

/// Appends a frame that is no publication:
///
/// - `{"type":"welcome","peer","node","ping_ms","user"}`
/// - `{"type":"ok","id","topic"?,"payload"|"base64"?,"local"?}`
/// - `{"type":"ok","id","peer","user","node","namespace","topics","local"?}` for a hello
/// - `{"type":"error","code","error","id"?,"topic"?}`
/// - `{"type":"gap","topic","reason"}`
pub fn frame(out: &mut Vec<u8>, frame: &ServerFrame<'_>) {
    match *frame {
        ServerFrame::Welcome { peer, node, ping_ms, user } => {
            let mut object = Object::of_type(out, "welcome");
            object.text("peer", &peer.text());
            object.text("node", node.as_bytes());
            object.raw("ping_ms", ping_ms.to_string().as_bytes());
            object.text_or_null("user", user);
            object.end();
        }
        ServerFrame::Ok { id, topic, payload, local } => {
            let mut object = Object::of_type(out, "ok");
            object.id(id);
            object.text_if("topic", topic.map(Topic::as_str));
            if let Some(payload) = payload {
                object.content(payload);
            }
            object.true_if("local", local);
            object.end();
        }
        ServerFrame::Hello { id, peer, user, node, namespace, topics, local } => {
            let mut object = Object::of_type(out, "ok");
            object.id(id);
            object.text("peer", &peer.text());
            object.text_or_null("user", user);
            object.text("node", node.as_bytes());
            object.text("namespace", namespace.as_str().as_bytes());
            object.texts("topics", topics);
            object.true_if("local", local);
            object.end();
        }
        ServerFrame::Error { code, error, id, topic } => {
            let mut object = Object::of_type(out, "error");
            object.text("code", code.as_str().as_bytes());
            object.text("error", error.as_bytes());
            if let Some(id) = id {
                object.id(id);
            }
            object.text_if("topic", topic.map(Topic::as_str));
            object.end();
        }
        ServerFrame::Gap { topic, reason } => {
            let mut object = Object::of_type(out, "gap");
            object.text("topic", topic.as_str().as_bytes());
            object.text("reason", reason.as_str().as_bytes());
            object.end();
        }
    }
}

/// An object being written, whose first key is its type. Keys are ours and need no escapes.
struct Object<'a> {
    out: &'a mut Vec<u8>,
}

impl<'a> Object<'a> {
    fn of_type(out: &'a mut Vec<u8>, name: &str) -> Self {
        out.extend_from_slice(b"{\"type\":\"");
        out.extend_from_slice(name.as_bytes());
        out.push(b'"');
        Self { out }
    }

    fn key(&mut self, key: &str) {
        self.out.extend_from_slice(b",\"");
        self.out.extend_from_slice(key.as_bytes());
        self.out.extend_from_slice(b"\":");
    }

    fn raw(&mut self, key: &str, json: &[u8]) {
        self.key(key);
        self.out.extend_from_slice(json);
    }

    fn text(&mut self, key: &str, text: &[u8]) {
        self.key(key);
        string(self.out, text);
    }

    fn text_if(&mut self, key: &str, text: Option<&str>) {
        if let Some(text) = text {
            self.text(key, text.as_bytes());
        }
    }

    fn true_if(&mut self, key: &str, holds: bool) {
        if holds {
            self.raw(key, b"true");
        }
    }

    fn text_or_null(&mut self, key: &str, text: Option<&str>) {
        match text {
            Some(text) => self.text(key, text.as_bytes()),
            None => self.raw(key, b"null"),
        }
    }

    fn texts(&mut self, key: &str, topics: &[Topic]) {
        self.raw(key, b"[");
        for (index, topic) in topics.iter().enumerate() {
            if index > 0 {
                self.out.push(b',');
            }
            string(self.out, topic.as_str().as_bytes());
        }
        self.out.push(b']');
    }

    fn id(&mut self, id: &RequestId) {
        match id {
            RequestId::Text(text) => self.text("id", text.as_bytes()),
            RequestId::Number(number) => self.raw("id", number.to_string().as_bytes()),
        }
    }

    fn content(&mut self, payload: &Payload) {
        self.out.push(b',');
        content(self.out, payload);
    }

    fn end(self) {
        self.out.push(b'}');
    }
}

/// Appends a payload with its key.
fn content(out: &mut Vec<u8>, payload: &Payload) {
    match payload.kind {
        Kind::Json => {
            out.extend_from_slice(b"\"payload\":");
            out.extend_from_slice(&payload.bytes);
        }
        Kind::Text => {
            out.extend_from_slice(b"\"payload\":");
            string(out, &payload.bytes);
        }
        Kind::Binary => {
            out.extend_from_slice(b"\"base64\":\"");
            base64(out, &payload.bytes);
            out.push(b'"');
        }
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
fn string(out: &mut Vec<u8>, mut text: &[u8]) {
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
