//! The publishers' side of a run: stamps publications and sends them round-robin.

use anyhow::Result;

use crate::{
    adapter::Template,
    clock::Nanos,
    fleet::{Fleet, Peer},
    roll::Roll,
    stamp::{PROBE, Stamp},
};

/// All publishers of a run, with one prepared message that each publication is written into.
#[derive(Debug)]
pub(super) struct Publishers {
    roll: Roll,
    template: Template,
    published: u64,
    sequences: Vec<u32>,
    unflushed: Vec<Peer>,
}

impl Publishers {
    /// Publishers of this roll who fill this template.
    pub(super) fn new(roll: Roll, template: Template) -> Self {
        let sequences = vec![0; roll.publishers as usize * roll.topics.count as usize];
        Self { roll, template, published: 0, sequences, unflushed: Vec::new() }
    }

    /// Publishes once: the next publisher, on its next topic. [`Publishers::flush`] sends it.
    pub(super) fn publish(&mut self, fleet: &mut Fleet, intended: Nanos) -> Result<u32> {
        let (publishers, topics) = (u64::from(self.roll.publishers), u64::from(self.roll.topics.count));
        let publisher = (self.published % publishers) as u32;
        let topic = (self.published / publishers % topics) as u32;
        let next = &mut self.sequences[(publisher * self.roll.topics.count + topic) as usize];
        let sequence = *next;
        *next += 1;
        self.published += 1;
        self.push(fleet, self.roll.line(publisher, topic), Stamp { topic, publisher, sequence, intended })?;
        Ok(topic)
    }

    /// Publishes a probe on each of the topics.
    pub(super) fn probe(&mut self, fleet: &mut Fleet, topics: impl Iterator<Item = u32>) -> Result<()> {
        for topic in topics {
            let stamp = Stamp { topic, publisher: PROBE, sequence: 0, intended: 0 };
            self.push(fleet, self.roll.line(0, topic), stamp)?;
        }
        self.flush(fleet)
    }

    /// Sends what was published.
    pub(super) fn flush(&mut self, fleet: &mut Fleet) -> Result<()> {
        self.unflushed.drain(..).try_for_each(|peer| fleet.flush(peer))
    }

    /// Publications so far, probes not counted.
    pub(super) fn published(&self) -> u64 {
        self.published
    }

    /// How many publications each publisher has put on each topic: publisher after publisher.
    pub(super) fn sent(&self) -> &[u32] {
        &self.sequences
    }

    fn push(&mut self, fleet: &mut Fleet, peer: Peer, stamp: Stamp) -> Result<()> {
        if self.unflushed.last() != Some(&peer) {
            self.unflushed.push(peer);
        }
        let (format, body) = self.template.fill(&stamp);
        fleet.push(peer, format, body)
    }
}
