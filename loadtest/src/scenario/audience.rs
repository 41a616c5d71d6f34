//! The subscribers' side of a run: subscribes each peer and judges every delivery.

use std::ops::Range;

use super::{Answers, Topics};
use crate::{
    clock::Nanos,
    fleet::{Listener, Next, Peer},
    frame,
    sequence::Ledger,
    stamp::{Finder, PROBE},
    statistics::Latencies,
};

/// Hears all subscribers. Peers below `peers` subscribe, those above are publishers.
#[derive(Debug)]
pub(super) struct Audience {
    topics: Topics,
    peers: u32,
    publishers: u32,
    answers: Answers,
    confirmed: Vec<bool>,
    finder: Finder,
    pub(super) confirmed_count: u32,
    pub(super) ledger: Ledger,
    pub(super) latencies: Latencies,
    /// Publications meant to leave within count for the latencies.
    pub(super) measured: Range<Nanos>,
    pub(super) delivered: u64,
    /// Deliveries on a topic the peer hadn't subscribed to.
    pub(super) stray: u64,
    pub(super) closed: u64,
    pub(super) errors: u64,
    /// Publications that the server has answered with `ok`.
    pub(super) answered: u64,
    /// Those of them that reached one node only: a cluster that is none.
    pub(super) local: u64,
    /// The first error frame or close code, for whoever must find out why.
    pub(super) complaint: Option<String>,
}

impl Audience {
    pub(super) fn new(topics: Topics, peers: u32, publishers: u32, answers: Answers) -> Self {
        Self {
            topics,
            peers,
            publishers,
            answers,
            confirmed: vec![false; peers as usize],
            finder: Finder::default(),
            confirmed_count: 0,
            ledger: Ledger::new(peers as usize * publishers as usize),
            latencies: Latencies::new(),
            measured: 0..0,
            delivered: 0,
            stray: 0,
            closed: 0,
            errors: 0,
            answered: 0,
            local: 0,
            complaint: None,
        }
    }

    /// The topics on which somebody's subscription isn't known to have taken effect.
    pub(super) fn unconfirmed(&self) -> Vec<u32> {
        let peers = (0..self.peers).filter(|&peer| !self.confirmed[peer as usize]);
        let mut topics: Vec<u32> = peers.map(|peer| self.topics.of(peer)).collect();
        topics.sort_unstable();
        topics.dedup();
        topics
    }

    fn confirm(&mut self, peer: Peer) {
        if let Some(confirmed @ false) = self.confirmed.get_mut(peer as usize) {
            *confirmed = true;
            self.confirmed_count += 1;
        }
    }

    /// A frame that is no measured publication: an answer, an error, or the server's own news.
    #[cold]
    fn handle_other(&mut self, peer: Peer, body: &[u8]) {
        if super::has(body, br#""type":"ok""#) && peer >= self.peers {
            self.answered += 1;
            self.local += u64::from(super::has(body, br#""local":true"#));
        } else if super::has(body, br#""type":"ok""#) && self.answers == Answers::Ok {
            self.confirm(peer);
        } else if super::has(body, br#""type":"error""#) {
            self.errors += 1;
            self.complaint.get_or_insert_with(|| String::from_utf8_lossy(body).into_owned());
        }
    }
}

impl Listener for Audience {
    fn opened(&mut self, peer: Peer, outbox: &mut Vec<u8>) -> Next {
        if peer < self.peers {
            frame::push_text(outbox, self.topics.subscribe_frame(self.topics.of(peer)).as_bytes());
        }
        Next::Stay
    }

    #[inline]
    fn message(&mut self, peer: Peer, now: Nanos, body: &[u8]) -> Next {
        let Some(stamp) = self.finder.find(body) else {
            self.handle_other(peer, body);
            return Next::Stay;
        };
        if stamp.publisher == PROBE {
            self.confirm(peer);
        } else if peer >= self.peers
            || stamp.topic != self.topics.of(peer)
            || stamp.publisher >= self.publishers
        {
            self.stray += 1;
        } else {
            self.delivered += 1;
            let stream = peer as usize * self.publishers as usize + stamp.publisher as usize;
            self.ledger.note(stream, stamp.sequence);
            if self.measured.contains(&stamp.intended) {
                self.latencies.record(now.saturating_sub(stamp.intended));
            }
        }
        Next::Stay
    }

    fn closed(&mut self, peer: Peer, code: u16) {
        self.closed += 1;
        self.complaint.get_or_insert_with(|| format!("peer {peer} was closed with {code}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stamp::{Stamp, blank_payload};

    fn audience() -> Audience {
        Audience::new(Topics { prefix: "t".to_owned(), count: 2 }, 4, 1, Answers::Nothing)
    }

    fn delivery(topic: u32, publisher: u32) -> Vec<u8> {
        numbered(topic, publisher, 0)
    }

    fn numbered(topic: u32, publisher: u32, sequence: u32) -> Vec<u8> {
        let mut payload = blank_payload(64);
        Stamp { topic, publisher, sequence, intended: 10 }.write(&mut payload);
        payload
    }

    /// What subscriber 0 finds wrong after these numbers, when three were sent.
    fn faults_of(sequences: &[u32]) -> (u64, u64, u64) {
        let mut audience = audience();
        for &sequence in sequences {
            audience.message(0, 20, &numbered(0, 0, sequence));
        }
        let faults = audience.ledger.settle(|stream| if stream == 0 { 3 } else { 0 });
        (faults.lost, faults.duplicated, faults.reordered)
    }

    #[test]
    fn a_lost_doubled_or_swapped_delivery_is_told_from_its_bytes() {
        assert_eq!(faults_of(&[0, 1, 2]), (0, 0, 0));
        assert_eq!(faults_of(&[0, 2]), (1, 0, 0));
        assert_eq!(faults_of(&[0, 1, 1, 2]), (0, 1, 0));
        assert_eq!(faults_of(&[0, 2, 1]), (0, 0, 1));
    }

    #[test]
    fn only_publications_meant_for_the_measured_time_count_for_latency() {
        let mut audience = audience();
        audience.measured = 11..20;
        audience.message(0, 5_000_010, &delivery(0, 0));
        assert!(audience.latencies.summary().max_ms < 1.0);
        audience.measured = 10..20;
        audience.message(0, 5_000_010, &numbered(0, 0, 1));
        assert!(audience.latencies.summary().max_ms >= 5.0);
    }

    #[test]
    fn a_delivery_on_a_foreign_topic_is_stray() {
        let mut audience = audience();
        audience.message(1, 20, &delivery(1, 0));
        assert_eq!((audience.delivered, audience.stray), (1, 0));
        audience.message(1, 20, &delivery(0, 0));
        audience.message(4, 20, &delivery(0, 0));
        assert_eq!((audience.delivered, audience.stray), (1, 2));
    }

    #[test]
    fn a_probe_confirms_and_is_not_measured() {
        let mut audience = audience();
        assert_eq!(audience.unconfirmed(), [0, 1]);
        audience.message(0, 20, &delivery(0, PROBE));
        audience.message(2, 20, &delivery(0, PROBE));
        assert_eq!((audience.confirmed_count, audience.delivered), (2, 0));
        assert_eq!(audience.unconfirmed(), [1]);
    }

    #[test]
    fn an_answer_to_a_publisher_confirms_nobody_and_tells_whether_one_node_only_was_reached() {
        let mut audience = audience();
        audience.message(4, 20, br#"{"type":"ok","id":1}"#);
        audience.message(4, 20, br#"{"type":"ok","id":1,"local":true}"#);
        assert_eq!((audience.answered, audience.local, audience.confirmed_count), (2, 1, 0));
    }

    #[test]
    fn the_first_error_is_kept() {
        let mut audience = audience();
        audience.message(0, 20, br#"{"type":"error","code":"rate"}"#);
        audience.message(0, 20, br#"{"type":"error","code":"limit"}"#);
        assert_eq!(
            (audience.errors, audience.complaint.as_deref()),
            (2, Some(r#"{"type":"error","code":"rate"}"#))
        );
    }
}
