//! The peers of a churn, as they hear themselves: each is coming, here, or leaving.
//!
//! **Invariant:** no clock and no chance. What must be decided is left in `news`, in the order it happened.

use anyhow::Result;

use super::super::{
    Arrival, Topics,
    voice::{Ear, Word},
};
use crate::{
    clock::Nanos,
    fleet::{Listener, Next, Peer},
    statistics::Latencies,
};

/// Where a peer is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stay {
    /// Being dialled, or waiting for its subscription to be answered, since then.
    Coming(Nanos),
    /// Subscribed.
    Here,
    /// Has said goodbye, then.
    Leaving(Nanos),
}

/// What happened to a peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum News {
    /// Its subscription has taken effect.
    Settled(Peer),
    /// Its goodbye was answered.
    Left(Peer),
    /// The server ended its connection, with this code.
    ThrownOut(Peer, u16),
    /// It was not let in.
    Refused(Peer, String),
}

/// All of them.
#[derive(Debug)]
pub(super) struct Guests {
    topics: Topics,
    arrival: Arrival,
    ear: Ear,
    /// Empty between two messages.
    words: Vec<Word>,
    stays: Vec<Stay>,
    pub(super) news: Vec<News>,
    pub(super) here: u32,
    /// Of the running interval.
    pub(super) latencies: Latencies,
    pub(super) delivered: u64,
    pub(super) stray: u64,
    pub(super) errors: u64,
    /// The first thing that went wrong.
    pub(super) complaint: Option<String>,
}

impl Guests {
    /// All are coming since then.
    pub(super) fn new(topics: Topics, peers: u32, arrival: Arrival, ear: Ear, now: Nanos) -> Self {
        Self {
            topics,
            arrival,
            ear,
            words: Vec::new(),
            stays: vec![Stay::Coming(now); peers as usize],
            news: Vec::new(),
            here: 0,
            latencies: Latencies::new(),
            delivered: 0,
            stray: 0,
            errors: 0,
            complaint: None,
        }
    }

    /// Where a peer is.
    pub(super) fn stay(&self, peer: Peer) -> Stay {
        self.stays[peer as usize]
    }

    /// The first peer from `from` on, round about, that is here.
    pub(super) fn anybody(&self, from: Peer) -> Option<Peer> {
        let count = self.stays.len() as Peer;
        (from..count).chain(0..from).find(|&peer| self.stay(peer) == Stay::Here)
    }

    /// Those that have been coming or leaving since before then.
    pub(super) fn waiting_since(&self, then: Nanos) -> impl Iterator<Item = (Peer, Stay)> + '_ {
        (0..).zip(self.stays.iter().copied()).filter(move |(_, stay)| match stay {
            Stay::Coming(since) | Stay::Leaving(since) => *since < then,
            Stay::Here => false,
        })
    }

    /// A peer goes: its connection is over, or will be once its goodbye is answered.
    pub(super) fn depart(&mut self, peer: Peer, now: Nanos) {
        self.become_stay(peer, Stay::Leaving(now));
    }

    /// A peer is dialled anew.
    pub(super) fn come(&mut self, peer: Peer, now: Nanos) {
        self.become_stay(peer, Stay::Coming(now));
    }

    /// Keeps the first complaint.
    pub(super) fn complain(&mut self, text: impl FnOnce() -> String) {
        self.complaint.get_or_insert_with(text);
    }

    fn take_word(&mut self, peer: Peer, now: Nanos, word: Word) {
        match word {
            Word::Delivery(stamp) => {
                self.delivered += 1;
                self.stray += u64::from(stamp.topic != self.topics.of(peer));
                self.latencies.record(now.saturating_sub(stamp.intended));
            }
            Word::Ready => self.settle(peer),
            Word::Objection(words) => {
                self.errors += 1;
                self.complain(|| words);
            }
        }
    }

    fn settle(&mut self, peer: Peer) {
        if matches!(self.stay(peer), Stay::Coming(_)) {
            self.become_stay(peer, Stay::Here);
            self.news.push(News::Settled(peer));
        }
    }

    fn become_stay(&mut self, peer: Peer, stay: Stay) {
        self.here -= u32::from(self.stay(peer) == Stay::Here);
        self.here += u32::from(stay == Stay::Here);
        self.stays[peer as usize] = stay;
    }
}

impl Listener for Guests {
    fn opened(&mut self, peer: Peer, outbox: &mut Vec<u8>) -> Next {
        self.ear.open(peer, outbox);
        if self.arrival == Arrival::AtOnce {
            self.settle(peer);
        }
        Next::Stay
    }

    fn message(&mut self, peer: Peer, now: Nanos, body: &[u8], outbox: &mut Vec<u8>) -> Next {
        let mut words = std::mem::take(&mut self.words);
        self.ear.hear(peer, body, outbox, &mut words);
        words.drain(..).for_each(|word| self.take_word(peer, now, word));
        self.words = words;
        Next::Stay
    }

    fn closed(&mut self, peer: Peer, code: u16) {
        self.news.push(match self.stay(peer) {
            Stay::Leaving(_) => News::Left(peer),
            Stay::Coming(_) | Stay::Here => News::ThrownOut(peer, code),
        });
        // Whoever reads the news decides when it comes again; until then it is not here.
        self.depart(peer, 0);
    }

    fn refused(&mut self, peer: Peer, why: String) -> Result<()> {
        self.news.push(News::Refused(peer, why));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        adapter::Protocol,
        roll::{Binding, Roll},
    };

    fn guests(arrival: Arrival) -> Guests {
        let topics = Topics::of_relay("t", 2);
        let roll = Roll { topics: topics.clone(), first: 0, peers: 3, publishers: 0, binding: Binding::Free };
        Guests::new(topics, 3, arrival, Ear::new(Protocol::Plain, roll), 5)
    }

    #[test]
    fn a_peer_is_here_once_its_subscription_is_answered() {
        let mut guests = guests(Arrival::Confirmed);
        guests.opened(1, &mut Vec::new());
        assert_eq!((guests.here, guests.anybody(0)), (0, None));
        guests.message(1, 9, br#"{"type":"ok","id":1}"#, &mut Vec::new());
        guests.message(1, 9, br#"{"type":"ok","id":1}"#, &mut Vec::new());
        assert_eq!((guests.here, guests.anybody(2)), (1, Some(1)));
        assert_eq!(guests.news, [News::Settled(1)]);
    }

    #[test]
    fn without_answers_a_peer_is_here_when_it_has_asked() {
        let mut guests = guests(Arrival::AtOnce);
        guests.opened(0, &mut Vec::new());
        assert_eq!(guests.here, 1);
    }

    #[test]
    fn who_is_closed_without_a_goodbye_was_thrown_out() {
        let mut guests = guests(Arrival::AtOnce);
        for peer in 0..2 {
            guests.opened(peer, &mut Vec::new());
        }
        guests.depart(0, 7);
        guests.closed(0, 1000);
        guests.closed(1, 1008);
        assert_eq!(guests.news[2..], [News::Left(0), News::ThrownOut(1, 1008)]);
        assert_eq!(guests.here, 0);
    }

    #[test]
    fn who_waits_is_known_with_its_time() {
        let mut guests = guests(Arrival::AtOnce);
        guests.opened(0, &mut Vec::new());
        guests.come(1, 100);
        let waiting: Vec<_> = guests.waiting_since(50).collect();
        assert_eq!(waiting, [(2, Stay::Coming(5))]);
    }
}
