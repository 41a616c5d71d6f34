//! From what a node says to `MessagePack`, each value in its shortest form.

use rmp::encode;

use super::from_json;
use crate::map::{self, Map};
use crate::{Kind, Payload, ServerFrame, StoredPublication, Topic};

/// Appends `{"topic":T,"payload":P}`, with `"cursor":C` behind it if there is one. Text is a str, binary a bin.
pub fn publication(out: &mut Vec<u8>, topic: &str, payload: &Payload, cursor: Option<&str>) {
    let mut map = Fixmap::begin(out);
    map.text("topic", topic.as_bytes());
    map.payload(payload);
    map.text_if("cursor", cursor);
    map.end();
}

/// Appends `{"type":"message","payload":P}`: what has no topic.
pub fn message(out: &mut Vec<u8>, payload: &Payload) {
    map::message::<Fixmap<'_>>(out, payload);
}

/// Appends a frame that is no publication.
pub fn frame(out: &mut Vec<u8>, frame: &ServerFrame<'_>) {
    map::frame::<Fixmap<'_>>(out, frame);
}

/// Appends a payload as one value.
///
/// What claims to be JSON and is none, which no node of ours publishes, is a str: it reaches JSON peers as it is,
/// too.
pub fn value(out: &mut Vec<u8>, payload: &Payload) {
    match payload.kind {
        Kind::Json => {
            if from_json::append(out, &payload.bytes).is_err() {
                text(out, String::from_utf8_lossy(&payload.bytes).as_bytes());
            }
        }
        Kind::Text => text(out, &payload.bytes),
        Kind::Binary => {
            encode::write_bin_len(out, length(payload.bytes.len())).expect(INFALLIBLE);
            out.extend_from_slice(&payload.bytes);
        }
    }
}

/// A map of at most 15 keys being written: its head is one byte, which is counted up.
struct Fixmap<'a> {
    out: &'a mut Vec<u8>,
    head: usize,
}

impl<'a> Fixmap<'a> {
    fn begin(out: &'a mut Vec<u8>) -> Self {
        let head = out.len();
        out.push(0x80);
        Self { out, head }
    }

    fn key(&mut self, key: &str) {
        self.out[self.head] += 1;
        debug_assert!(self.out[self.head] <= 0x8f, "a frame has at most 15 keys");
        text(self.out, key.as_bytes());
    }
}

impl<'a> Map<'a> for Fixmap<'a> {
    fn of_type(out: &'a mut Vec<u8>, name: &str) -> Self {
        let mut map = Self::begin(out);
        map.text("type", name.as_bytes());
        map
    }

    fn of_topic(out: &'a mut Vec<u8>, topic: &str) -> Self {
        let mut map = Self::begin(out);
        map.text("topic", topic.as_bytes());
        map
    }

    fn text(&mut self, key: &str, characters: &[u8]) {
        self.key(key);
        text(self.out, characters);
    }

    fn count(&mut self, key: &str, number: u64) {
        self.key(key);
        count(self.out, number);
    }

    fn integer(&mut self, key: &str, number: i64) {
        self.key(key);
        integer(self.out, number);
    }

    fn null(&mut self, key: &str) {
        self.key(key);
        self.out.push(0xc0);
    }

    fn flag(&mut self, key: &str, holds: bool) {
        self.key(key);
        self.out.push(if holds { 0xc3 } else { 0xc2 });
    }

    fn topics(&mut self, key: &str, topics: &[Topic]) {
        self.key(key);
        encode::write_array_len(self.out, length(topics.len())).expect(INFALLIBLE);
        for topic in topics {
            text(self.out, topic.as_str().as_bytes());
        }
    }

    fn payload_as(&mut self, key: &str, payload: &Payload) {
        self.key(key);
        value(self.out, payload);
    }

    fn stored(&mut self, key: &str, publications: &[StoredPublication<'_>]) {
        self.key(key);
        encode::write_array_len(self.out, length(publications.len())).expect(INFALLIBLE);
        for StoredPublication { cursor, payload, at_ms } in publications {
            let mut map = Fixmap::begin(self.out);
            map.text("cursor", cursor.as_str().as_bytes());
            map.payload(payload);
            map.count("at", *at_ms);
        }
    }

    fn end(self) {}
}

/// Appends UTF-8 as a str.
pub(super) fn text(out: &mut Vec<u8>, characters: &[u8]) {
    text_head(out, characters.len());
    out.extend_from_slice(characters);
}

/// Appends what comes before a str of so many bytes.
pub(super) fn text_head(out: &mut Vec<u8>, bytes: usize) {
    encode::write_str_len(out, length(bytes)).expect(INFALLIBLE);
}

pub(super) fn count(out: &mut Vec<u8>, number: u64) {
    encode::write_uint(out, number).expect(INFALLIBLE);
}

pub(super) fn integer(out: &mut Vec<u8>, number: i64) {
    encode::write_sint(out, number).expect(INFALLIBLE);
}

pub(super) fn float(out: &mut Vec<u8>, number: f64) {
    encode::write_f64(out, number).expect(INFALLIBLE);
}

fn length(length: usize) -> u32 {
    u32::try_from(length).expect("no message and no envelope has 4 GiB")
}

const INFALLIBLE: &str = "writing to memory can't fail";
