//! NATS' client protocol over WebSocket: a stream of bytes in binary messages. One message may hold many
//! operations, and an operation may be spread over messages.

use super::{Heard, Template};
use crate::{
    fleet::Peer,
    frame::{self, FRAME_BYTES_MAX, Format},
    roll::Roll,
    scenario::Topics,
    stamp::{Finder, blank_payload},
};

/// Each peer's stream, as far as it is unfinished.
#[derive(Debug, Default)]
pub struct Nats {
    /// By peer; mostly empty, and grown when a peer's stream is first cut.
    unfinished: Vec<Vec<u8>>,
}

/// An operation of the server.
#[derive(Debug, PartialEq, Eq)]
enum Operation<'a> {
    Message(&'a [u8]),
    Ping,
    Pong,
    Objection(&'a [u8]),
    Other,
}

impl Nats {
    #[inline]
    pub(super) fn hear(
        &mut self,
        peer: Peer,
        body: &[u8],
        finder: &mut Finder,
        outbox: &mut Vec<u8>,
        heard: &mut dyn FnMut(Heard<'_>),
    ) {
        let place = peer as usize;
        if self.unfinished.get(place).is_none_or(Vec::is_empty) {
            let rest = hear_stream(body, finder, outbox, heard);
            if !rest.is_empty() {
                self.keep(place, rest);
            }
            return;
        }
        let mut stream = std::mem::take(&mut self.unfinished[place]);
        stream.extend_from_slice(body);
        let handled = stream.len() - hear_stream(&stream, finder, outbox, heard).len();
        stream.drain(..handled);
        if stream.len() as u64 > FRAME_BYTES_MAX {
            heard(Heard::Objection(b"the server began an operation that never ends"));
            stream.clear();
        }
        self.unfinished[place] = stream;
    }

    pub(super) fn forget(&mut self, peer: Peer) {
        if let Some(unfinished) = self.unfinished.get_mut(peer as usize) {
            unfinished.clear();
        }
    }

    fn keep(&mut self, place: usize, rest: &[u8]) {
        if self.unfinished.len() <= place {
            self.unfinished.resize_with(place + 1, Vec::new);
        }
        self.unfinished[place].extend_from_slice(rest);
    }
}

/// Handles every whole operation; the answer is what is left.
fn hear_stream<'a>(
    mut stream: &'a [u8],
    finder: &mut Finder,
    outbox: &mut Vec<u8>,
    heard: &mut dyn FnMut(Heard<'_>),
) -> &'a [u8] {
    while let Some((operation, length)) = take_operation(stream) {
        stream = &stream[length..];
        match operation {
            Operation::Message(payload) => {
                if let Some(stamp) = finder.find(payload) {
                    heard(Heard::Delivery(stamp));
                }
            }
            Operation::Ping => frame::push_binary(outbox, b"PONG\r\n"),
            Operation::Pong => heard(Heard::Ready),
            Operation::Objection(line) => heard(Heard::Objection(line)),
            Operation::Other => {}
        }
    }
    stream
}

/// The first operation and its length, none if it isn't whole. A message whose length can't be read is an
/// objection: without it nothing behind it makes sense.
#[inline]
fn take_operation(stream: &[u8]) -> Option<(Operation<'_>, usize)> {
    let end = stream.iter().position(|&byte| byte == b'\n')?;
    let line = stream[..end].strip_suffix(b"\r").unwrap_or(&stream[..end]);
    let start = end + 1;
    if !line.starts_with(b"MSG ") {
        return Some((other_operation(line), start));
    }
    let Some(length) = payload_length(line) else { return Some((Operation::Objection(line), start)) };
    let whole = start.checked_add(length)?.checked_add(2)?;
    let payload = stream.get(..whole)?.get(start..start + length)?;
    Some((Operation::Message(payload), whole))
}

fn other_operation(line: &[u8]) -> Operation<'_> {
    match line {
        b"PING" => Operation::Ping,
        b"PONG" => Operation::Pong,
        _ if line.starts_with(b"-ERR") => Operation::Objection(line),
        _ => Operation::Other,
    }
}

/// The last word of `MSG subject sid [reply-to] length`.
#[inline]
fn payload_length(line: &[u8]) -> Option<usize> {
    let digits = line.rsplit(|&byte| byte == b' ').next()?;
    if digits.is_empty() || digits.len() > 9 {
        return None;
    }
    digits
        .iter()
        .try_fold(0, |length, &digit| digit.is_ascii_digit().then(|| length * 10 + usize::from(digit - b'0')))
}

/// Everybody says hello; the pong that comes back confirms all that was said before the ping.
pub(super) fn open(roll: &Roll, peer: Peer, outbox: &mut Vec<u8>) {
    let subscribe = if roll.publishes(peer) {
        String::new()
    } else {
        format!("SUB {} 1\r\n", roll.topics.name(roll.topic_of(peer)))
    };
    let connect = r#"CONNECT {"verbose":false,"pedantic":false,"echo":false}"#;
    frame::push_binary(outbox, format!("{connect}\r\n{subscribe}PING\r\n").as_bytes());
}

pub(super) fn template(topics: &Topics, size: usize) -> Template {
    let length = format!(" {}\r\n", blank_payload(size).len());
    Template::begin(Format::Binary, b"PUB ", topics).then(length.as_bytes()).quoted(size).then(b"\r\n")
}
