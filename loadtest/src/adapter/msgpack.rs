//! `dunlin.msgpack.v1`: the maps of `dunlin.json.v1` in `MessagePack`. The few maps that a load sends are
//! written by hand, and in those it gets two keys are looked for.

use super::{Heard, Template, has};
use crate::{
    fleet::Peer,
    frame::{self, Format},
    roll::Roll,
    scenario::{DIGITS, Mode, Topics},
    stamp::blank_payload,
};

const OK: &[u8] = b"\xa4type\xa2ok";
const ERROR: &[u8] = b"\xa4type\xa5error";
const LOCAL: &[u8] = b"\xa5local\xc3";

/// A frame that is no measured publication: an answer, an error, or the server's own news.
pub(super) fn hear(roll: &Roll, peer: Peer, body: &[u8], heard: &mut dyn FnMut(Heard<'_>)) {
    if has(body, OK) {
        heard(if roll.publishes(peer) { Heard::Answer { local: has(body, LOCAL) } } else { Heard::Ready });
    } else if has(body, ERROR) {
        heard(Heard::Objection(body));
    }
}

pub(super) fn open(roll: &Roll, peer: Peer, outbox: &mut Vec<u8>) {
    if !roll.publishes(peer) {
        let mut body = b"\x83\xa4type\xa9subscribe\xa5topic".to_vec();
        let topic = roll.topics.name(roll.topic_of(peer));
        push_head(&mut body, topic.len());
        body.extend_from_slice(topic.as_bytes());
        body.extend_from_slice(b"\xa2id\x01");
        frame::push_binary(outbox, &body);
    }
}

pub(super) fn template(topics: &Topics, size: usize, asks: bool) -> Template {
    let mut head = vec![if asks { 0x84 } else { 0x83 }];
    head.extend_from_slice(b"\xa4type\xa7publish\xa5topic");
    push_head(&mut head, topics.prefix.len() + DIGITS);
    let mut payload = b"\xa7payload".to_vec();
    if topics.mode == Mode::Map {
        payload.extend_from_slice(b"\x81\xa6newest");
    }
    push_head(&mut payload, blank_payload(size).len() - 2);
    Template::begin(Format::Binary, &head, topics).then(&payload).unquoted(size).then(if asks {
        b"\xa2id\x01"
    } else {
        b""
    })
}

/// The head of a string of so many bytes: fixstr, str 8, str 16 or str 32.
fn push_head(out: &mut Vec<u8>, length: usize) {
    match length {
        ..32 => out.push(0xa0 | length as u8),
        32..256 => out.extend([0xd9, length as u8]),
        256..0x1_0000 => {
            out.push(0xda);
            out.extend((length as u16).to_be_bytes());
        }
        _ => {
            out.push(0xdb);
            out.extend((length as u32).to_be_bytes());
        }
    }
}
