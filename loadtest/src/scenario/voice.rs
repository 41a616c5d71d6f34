//! What single peers say and hear in `churn` and `storm`: any peer, any topic, in any adapter's protocol.

use anyhow::Result;

use crate::{
    adapter::{Adapter, Heard, Protocol, Template},
    clock::Nanos,
    fleet::{Fleet, Peer},
    roll::Roll,
    stamp::Stamp,
};

/// Publishes as whoever is told to.
#[derive(Debug)]
pub(super) struct Voice {
    template: Template,
    published: u32,
}

/// Hears a scenario's peers through their adapter.
#[derive(Debug)]
pub(super) struct Ear {
    roll: Roll,
    adapter: Adapter,
}

/// What a peer heard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Word {
    /// A publication.
    Delivery(Stamp),
    /// What it asked for at its opening is done.
    Ready,
    /// The server objects.
    Objection(String),
}

impl Voice {
    /// `size` is a whole payload's.
    pub(super) fn new(protocol: Protocol, roll: &Roll, size: usize) -> Result<Self> {
        Ok(Self { template: protocol.template(roll, size, false)?, published: 0 })
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
        let (format, body) = self.template.fill(&stamp);
        fleet.push(peer, format, body)?;
        fleet.flush(peer)
    }

    /// How many it has published.
    pub(super) fn published(&self) -> u64 {
        self.published.into()
    }
}

impl Ear {
    /// For the peers of this roll.
    pub(super) fn new(protocol: Protocol, roll: Roll) -> Self {
        Self { roll, adapter: Adapter::new(protocol, None) }
    }

    /// A peer's upgrade is done: asks for its topic.
    pub(super) fn open(&mut self, peer: Peer, outbox: &mut Vec<u8>) {
        self.adapter.open(&self.roll, peer, outbox);
    }

    /// Adds what a message says to `words`, and what must be said to it to the outbox.
    pub(super) fn hear(&mut self, peer: Peer, body: &[u8], outbox: &mut Vec<u8>, words: &mut Vec<Word>) {
        self.adapter.hear_any(&self.roll, peer, body, outbox, &mut |heard| match heard {
            Heard::Delivery(stamp) => words.push(Word::Delivery(stamp)),
            Heard::Ready => words.push(Word::Ready),
            Heard::Objection(what) => words.push(Word::Objection(String::from_utf8_lossy(what).into_owned())),
            Heard::Answer { .. } => {}
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::Topics;

    /// What a subscriber of topic 1 says first and hears.
    fn heard(protocol: Protocol, messages: &[&[u8]]) -> (Vec<u8>, Vec<Word>) {
        let topics = Topics::of_relay("t", 2);
        let binding = protocol.binding();
        let mut ear = Ear::new(protocol, Roll { topics, first: 0, peers: 2, publishers: 0, binding });
        let (mut outbox, mut words) = (Vec::new(), Vec::new());
        ear.open(1, &mut outbox);
        for message in messages {
            ear.hear(1, message, &mut Vec::new(), &mut words);
        }
        (outbox, words)
    }

    #[test]
    fn every_adapter_that_confirms_is_understood() {
        for (protocol, message) in [
            (Protocol::Plain, br#"{"type":"ok","id":1}"#.as_slice()),
            (Protocol::DunlinMsgpack, b"\x82\xa4type\xa2ok\xa2id\x01"),
            (Protocol::Nats, b"PONG\r\n"),
            (Protocol::SocketIo, b"430[]"),
        ] {
            assert_eq!(heard(protocol, &[message]).1, [Word::Ready], "{protocol:?}");
        }
        let objection = r#"{"type":"error","code":"rate"}"#;
        let (_, words) = heard(Protocol::Plain, &[objection.as_bytes(), br#"{"type":"presence","count":3}"#]);
        assert_eq!(words, [Word::Objection(objection.to_owned())]);
    }

    #[test]
    fn a_peer_that_comes_again_does_not_go_on_where_it_was_cut_off() {
        let topics = Topics::of_relay("t", 1);
        let binding = Protocol::Nats.binding();
        let mut ear = Ear::new(Protocol::Nats, Roll { topics, first: 0, peers: 1, publishers: 0, binding });
        let (mut outbox, mut words) = (Vec::new(), Vec::new());
        ear.hear(0, b"MSG t0000000 1 5\r\nhel", &mut outbox, &mut words);
        ear.open(0, &mut outbox);
        ear.hear(0, b"PONG\r\n", &mut outbox, &mut words);
        assert_eq!(words, [Word::Ready]);
    }
}
