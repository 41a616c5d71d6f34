//! Who takes part: subscribers first, then the connections of the publishers.

use std::ops::Range;

use crate::{fleet::Peer, scenario::Topics};

/// The peers of one process, by what they are there for.
#[derive(Debug, Clone)]
pub struct Roll {
    /// What there is to subscribe to.
    pub topics: Topics,
    /// The number of this process' first subscriber among those of all processes.
    pub first: u32,
    /// Subscribers of this process.
    pub peers: u32,
    /// Publishers of all processes.
    pub publishers: u32,
    /// How publishers reach their topics.
    pub binding: Binding,
}

/// What a connection may publish on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Binding {
    /// Every topic: a publisher has one connection.
    Free,
    /// The topic in its path: a publisher has a connection for each.
    Bound,
}

impl Roll {
    /// Whether the peer is a publisher's connection.
    #[inline]
    pub fn publishes(&self, peer: Peer) -> bool {
        peer >= self.peers
    }

    /// Whether the peer is where its topic's publications go though it didn't subscribe: a bound publisher,
    /// who gets what other publishers of its topic send.
    pub fn overhears(&self, peer: Peer) -> bool {
        self.publishes(peer) && self.binding == Binding::Bound
    }

    /// The topic of a subscriber.
    #[inline]
    pub fn topic_of(&self, peer: Peer) -> u32 {
        self.topics.of(self.first + peer)
    }

    /// The topic of a subscriber, or of a bound publisher's connection.
    pub fn place_of(&self, peer: Peer) -> u32 {
        if self.publishes(peer) { (peer - self.peers) % self.topics.count } else { self.topic_of(peer) }
    }

    /// How many of this process' subscribers a topic has.
    pub fn audience(&self, topic: u32) -> u32 {
        let Range { start, end } = self.first..self.first + self.peers;
        self.topics.audience(topic, end) - self.topics.audience(topic, start)
    }

    /// How many connections the publishers need.
    pub fn lines(&self) -> u64 {
        match self.binding {
            Binding::Free => self.publishers.into(),
            Binding::Bound => u64::from(self.publishers) * u64::from(self.topics.count),
        }
    }

    /// The connection over which a publisher publishes on a topic.
    pub fn line(&self, publisher: u32, topic: u32) -> Peer {
        match self.binding {
            Binding::Free => self.peers + publisher,
            Binding::Bound => self.peers + publisher * self.topics.count + topic,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn roll(binding: Binding) -> Roll {
        let topics = Topics::of_relay("t", 3);
        Roll { topics, first: 4, peers: 5, publishers: 2, binding }
    }

    #[test]
    fn subscribers_of_several_processes_are_spread_as_those_of_one() {
        let roll = roll(Binding::Free);
        assert_eq!([0, 1, 2, 3, 4].map(|peer| roll.topic_of(peer)), [1, 2, 0, 1, 2]);
        assert_eq!([0, 1, 2].map(|topic| roll.audience(topic)), [1, 2, 2]);
    }

    #[test]
    fn a_bound_publisher_has_a_connection_for_each_topic() {
        assert_eq!((roll(Binding::Free).lines(), roll(Binding::Free).line(1, 2)), (2, 6));
        let bound = roll(Binding::Bound);
        assert_eq!(bound.lines(), 6);
        let lines: Vec<_> =
            (0..2).flat_map(|publisher| (0..3).map(move |topic| (publisher, topic))).collect();
        for (index, (publisher, topic)) in lines.into_iter().enumerate() {
            let peer = bound.line(publisher, topic);
            assert_eq!((peer, bound.place_of(peer)), (5 + index as u32, topic));
        }
    }
}
