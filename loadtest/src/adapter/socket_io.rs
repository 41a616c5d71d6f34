//! Socket.IO 5 on Engine.IO 4 over WebSocket alone. Packets start with their kinds as digits: of Engine.IO,
//! then of Socket.IO, then the id of an acknowledgement.

use super::{Heard, Template};
use crate::{
    fleet::Peer,
    frame::{self, Format},
    roll::Roll,
    scenario::Topics,
};

/// A packet that is no measured publication: a step of the handshake, an acknowledgement, a ping.
pub(super) fn hear(
    roll: &Roll,
    peer: Peer,
    body: &[u8],
    outbox: &mut Vec<u8>,
    heard: &mut dyn FnMut(Heard<'_>),
) {
    match body {
        [b'0', ..] => frame::push_text(outbox, b"40"),
        [b'2', ..] => frame::push_text(outbox, b"3"),
        [b'4', b'0', ..] if roll.publishes(peer) => heard(Heard::Ready),
        [b'4', b'0', ..] => {
            let topic = roll.topics.name(roll.topic_of(peer));
            frame::push_text(outbox, format!(r#"420["subscribe","{topic}"]"#).as_bytes());
        }
        [b'4', b'3', b'0', ..] => heard(Heard::Ready),
        [b'4', b'3', b'1', ..] => heard(Heard::Answer { local: false }),
        [b'1', ..] | [b'4', b'1' | b'4', ..] => heard(Heard::Objection(body)),
        _ => {}
    }
}

/// The URL's path if it is one of Engine.IO, else its default.
pub(super) fn path(base: &str) -> String {
    if base.contains("EIO=4") { base.to_owned() } else { "/socket.io/?EIO=4&transport=websocket".to_owned() }
}

pub(super) fn template(topics: &Topics, size: usize, asks: bool) -> Template {
    let head: &[u8] = if asks { br#"421["publish",""# } else { br#"42["publish",""# };
    Template::begin(Format::Text, head, topics).then(br#"","#).quoted(size).then(b"]")
}
