//! The publishers' side of a run: stamps publications and sends them round-robin.

use anyhow::Result;

use super::{DIGITS, Topics};
use crate::{
    clock::Nanos,
    fleet::{Fleet, Peer},
    stamp::{PROBE, Stamp, blank_payload},
};

/// All publishers of a run, with one prepared frame that each publication is written into.
#[derive(Debug)]
pub(super) struct Publishers {
    first: Peer,
    count: u32,
    topics: u32,
    body: Vec<u8>,
    number_at: usize,
    payload_at: usize,
    published: u64,
    sequences: Vec<u32>,
}

impl Publishers {
    /// Publishers whose peers start at `first`; `size` is a whole payload's.
    pub(super) fn new(first: Peer, count: u32, topics: &Topics, size: usize) -> Self {
        let mut body = format!(r#"{{"type":"publish","topic":"{}"#, topics.prefix).into_bytes();
        let number_at = body.len();
        body.extend([b'0'; DIGITS]);
        body.extend_from_slice(br#"","payload":"#);
        let payload_at = body.len();
        body.extend_from_slice(&blank_payload(size));
        body.push(b'}');
        let sequences = vec![0; count as usize * topics.count as usize];
        Self { first, count, topics: topics.count, body, number_at, payload_at, published: 0, sequences }
    }

    /// Publishes once: the next publisher, on its next topic. [`Publishers::flush`] sends it.
    pub(super) fn publish(&mut self, fleet: &mut Fleet, intended: Nanos) -> Result<u32> {
        let publisher = (self.published % u64::from(self.count)) as u32;
        let topic = (self.published / u64::from(self.count) % u64::from(self.topics)) as u32;
        let next = &mut self.sequences[(publisher * self.topics + topic) as usize];
        let sequence = *next;
        *next += 1;
        self.published += 1;
        self.push(fleet, self.first + publisher, Stamp { topic, publisher, sequence, intended })?;
        Ok(topic)
    }

    /// Gives every later publication an `id`, so that the server answers it.
    pub(super) fn ask_for_answers(&mut self) {
        self.body.pop();
        self.body.extend_from_slice(br#","id":1}"#);
    }

    /// Publishes a probe on each of the topics.
    pub(super) fn probe(&mut self, fleet: &mut Fleet, topics: &[u32]) -> Result<()> {
        for &topic in topics {
            self.push(fleet, self.first, Stamp { topic, publisher: PROBE, sequence: 0, intended: 0 })?;
        }
        fleet.flush(self.first)
    }

    /// Sends what was published.
    pub(super) fn flush(&self, fleet: &mut Fleet) -> Result<()> {
        (self.first..self.first + self.count).try_for_each(|peer| fleet.flush(peer))
    }

    /// How many publications a publisher has put on a topic.
    pub(super) fn sent(&self, publisher: u32, topic: u32) -> u32 {
        self.sequences[(publisher * self.topics + topic) as usize]
    }

    fn push(&mut self, fleet: &mut Fleet, peer: Peer, stamp: Stamp) -> Result<()> {
        Topics::write_number(&mut self.body[self.number_at..self.number_at + DIGITS], stamp.topic);
        stamp.write(&mut self.body[self.payload_at..]);
        fleet.push_text(peer, &self.body)
    }
}
