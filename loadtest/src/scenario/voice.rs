//! What a single peer says and hears in `churn` and `storm`, in the plain dialect: any peer, any topic.

use anyhow::Result;

use super::{DIGITS, Topics};
use crate::{
    clock::Nanos,
    fleet::{Fleet, Peer},
    stamp::{Stamp, blank_payload},
};

/// A publication that each stamp is written into.
#[derive(Debug)]
pub(super) struct Voice {
    body: Vec<u8>,
    number_at: usize,
    payload_at: usize,
    published: u32,
}

/// What a peer asks for first.
pub(super) fn subscribe_frame(topics: &Topics, topic: u32) -> String {
    format!(r#"{{"type":"subscribe","topic":"{}{topic:0DIGITS$}","id":1}}"#, topics.prefix)
}

/// What a frame is that carries no stamp.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Word {
    /// What was asked for is done.
    Ok,
    /// The server objects.
    Objection,
    /// The server's own news.
    Other,
}

/// Reads a frame that carries no stamp.
pub(super) fn word(body: &[u8]) -> Word {
    let has = |words: &[u8]| body.windows(words.len()).any(|window| window == words);
    if has(br#""type":"ok""#) {
        Word::Ok
    } else if has(br#""type":"error""#) {
        Word::Objection
    } else {
        Word::Other
    }
}

impl Voice {
    /// `size` is a whole payload's.
    pub(super) fn new(topics: &Topics, size: usize) -> Self {
        let mut body = format!(r#"{{"type":"publish","topic":"{}"#, topics.prefix).into_bytes();
        let number_at = body.len();
        body.extend([b'0'; DIGITS]);
        body.extend_from_slice(br#"","payload":"#);
        let payload_at = body.len();
        body.extend_from_slice(&blank_payload(size));
        body.push(b'}');
        Self { body, number_at, payload_at, published: 0 }
    }

    /// Publishes as a peer, and sends it.
    pub(super) fn publish(
        &mut self,
        fleet: &mut Fleet,
        peer: Peer,
        topic: u32,
        intended: Nanos,
    ) -> Result<()> {
        let stamp = Stamp { topic, publisher: 0, sequence: self.published, intended };
        self.published = self.published.wrapping_add(1);
        Topics::write_number(&mut self.body[self.number_at..self.number_at + DIGITS], topic);
        stamp.write(&mut self.body[self.payload_at..]);
        fleet.push_text(peer, &self.body)?;
        fleet.flush(peer)
    }

    /// How many it has published.
    pub(super) fn published(&self) -> u64 {
        self.published.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_read_by_their_type() {
        assert_eq!(word(br#"{"type":"ok","id":1}"#), Word::Ok);
        assert_eq!(word(br#"{"type":"error","code":"rate"}"#), Word::Objection);
        assert_eq!(word(br#"{"type":"presence","count":3}"#), Word::Other);
    }

    #[test]
    fn a_subscription_names_its_topic() {
        let topics = Topics { prefix: "t".to_owned(), count: 20 };
        assert_eq!(subscribe_frame(&topics, 12), r#"{"type":"subscribe","topic":"t0000012","id":1}"#);
    }
}
