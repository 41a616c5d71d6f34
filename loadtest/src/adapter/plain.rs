//! Dunlin's plain dialect, and any server that speaks as much of it.

use super::{Heard, Template, has};
use crate::{
    fleet::Peer,
    frame::{self, Format},
    roll::Roll,
    scenario::{Mode, Topics},
};

/// A frame that is no measured publication: an answer, an error, or the server's own news.
pub(super) fn hear(roll: &Roll, peer: Peer, body: &[u8], heard: &mut dyn FnMut(Heard<'_>)) {
    if has(body, br#""type":"ok""#) {
        heard(if roll.publishes(peer) {
            Heard::Answer { local: has(body, br#""local":true"#) }
        } else {
            Heard::Ready
        });
    } else if has(body, br#""type":"error""#) {
        heard(Heard::Objection(body));
    }
}

pub(super) fn open(roll: &Roll, peer: Peer, outbox: &mut Vec<u8>) {
    if !roll.publishes(peer) {
        let topic = roll.topics.name(roll.topic_of(peer));
        let body = format!(r#"{{"type":"subscribe","topic":"{topic}","id":1}}"#);
        frame::push_text(outbox, body.as_bytes());
    }
}

pub(super) fn template(topics: &Topics, size: usize, asks: bool) -> Template {
    let (before, behind): (&[u8], &[u8]) = match topics.mode {
        Mode::Map => (br#"{"newest":"#, b"}"),
        Mode::Relay | Mode::Value | Mode::Log | Mode::List => (b"", b""),
    };
    Template::begin(Format::Text, br#"{"type":"publish","topic":""#, topics)
        .then(br#"","payload":"#)
        .then(before)
        .quoted(size)
        .then(behind)
        .then(if asks { br#","id":1}"# } else { b"}" })
}
