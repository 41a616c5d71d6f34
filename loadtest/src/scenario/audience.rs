//! The subscribers' side of a run: hears every peer and judges every delivery.

use std::ops::Range;

use super::Answers;
use crate::{
    adapter::{Adapter, Heard},
    clock::Nanos,
    fleet::{Listener, Next, Peer},
    roll::Roll,
    sequence::{Faults, Ledger},
    stamp::{PROBE, Stamp},
    statistics::Latencies,
};

/// Hears all peers, subscribers and publishers.
#[derive(Debug)]
pub(super) struct Audience {
    roll: Roll,
    adapter: Adapter,
    /// Whether publishers may publish only once the server has received them.
    receives_publishers: bool,
    pub(super) judge: Judge,
}

/// What all that was heard comes to.
#[derive(Debug)]
pub(super) struct Judge {
    answers: Answers,
    confirmed: Vec<bool>,
    pub(super) confirmed_count: u32,
    pub(super) ledger: Ledger,
    /// Of this interval.
    pub(super) latencies: Latencies,
    /// Of the intervals before.
    pub(super) total: Latencies,
    /// Publications meant to leave within count for the latencies.
    measured: Range<Nanos>,
    /// How far this process' clock is ahead of the publishers'.
    pub(super) skew: i64,
    pub(super) delivered: u64,
    /// Deliveries on a topic the peer hadn't subscribed to.
    pub(super) stray: u64,
    pub(super) closed: u64,
    pub(super) errors: u64,
    /// Publications that the server has accepted.
    pub(super) answered: u64,
    /// Those of them that reached one node only: a cluster that is none.
    pub(super) local: u64,
    /// The first error frame or close code, for whoever must find out why.
    pub(super) complaint: Option<String>,
}

impl Audience {
    /// An audience of subscribers and so many publishers' connections.
    pub(super) fn new(
        roll: Roll,
        lines: u32,
        answers: Answers,
        adapter: Adapter,
        receives_publishers: bool,
    ) -> Self {
        let judge = Judge::new(&roll, lines, answers);
        Self { roll, adapter, receives_publishers, judge }
    }

    #[cold]
    fn hear(&mut self, peer: Peer, now: Nanos, body: &[u8], outbox: &mut Vec<u8>) {
        let Self { roll, adapter, judge, .. } = self;
        adapter.hear(roll, peer, body, outbox, &mut |heard| match heard {
            Heard::Delivery(stamp) => judge.deliver(roll, peer, now, stamp),
            other => judge.hear_other(roll, peer, other),
        });
    }

    /// Whether every publisher may publish.
    pub(super) fn publishers_are_received(&self) -> bool {
        self.judge.confirmed[self.roll.peers as usize..].iter().all(|confirmed| *confirmed)
    }

    /// The topics on which somebody's subscription isn't known to have taken effect.
    pub(super) fn unconfirmed(&self) -> Vec<u32> {
        let peers = (0..self.roll.peers).filter(|&peer| !self.judge.confirmed[peer as usize]);
        let mut topics: Vec<u32> = peers.map(|peer| self.roll.topic_of(peer)).collect();
        topics.sort_unstable();
        topics.dedup();
        topics
    }
}

impl Listener for Audience {
    fn opened(&mut self, peer: Peer, outbox: &mut Vec<u8>) -> Next {
        self.adapter.open(&self.roll, peer, outbox);
        if self.roll.publishes(peer) && !self.receives_publishers {
            self.judge.confirm(peer);
        }
        Next::Stay
    }

    #[inline]
    fn message(&mut self, peer: Peer, now: Nanos, body: &[u8], outbox: &mut Vec<u8>) -> Next {
        match self.adapter.delivery(body) {
            Some(stamp) => self.judge.deliver(&self.roll, peer, now, stamp),
            None => self.hear(peer, now, body, outbox),
        }
        Next::Stay
    }

    fn closed(&mut self, peer: Peer, code: u16) {
        self.judge.closed += 1;
        self.judge.complaint.get_or_insert_with(|| format!("peer {peer} was closed with {code}"));
    }
}

impl Judge {
    fn new(roll: &Roll, lines: u32, answers: Answers) -> Self {
        Self {
            answers,
            confirmed: vec![false; (roll.peers + lines) as usize],
            confirmed_count: 0,
            ledger: Ledger::new(roll.peers as usize * roll.publishers as usize),
            latencies: Latencies::new(),
            total: Latencies::new(),
            measured: 0..0,
            skew: 0,
            delivered: 0,
            stray: 0,
            closed: 0,
            errors: 0,
            answered: 0,
            local: 0,
            complaint: None,
        }
    }

    /// Forgets all latencies; from now on those of publications meant for this time count.
    pub(super) fn measure(&mut self, measured: Range<Nanos>) {
        self.measured = measured;
        self.latencies.clear();
        self.total.clear();
    }

    /// Ends an interval.
    pub(super) fn turn_over(&mut self) {
        self.total.merge(&self.latencies);
        self.latencies.clear();
    }

    /// Whatever is wrong in this run so far.
    pub(super) fn faults(&self) -> u64 {
        let Faults { lost, duplicated, reordered } = self.ledger.faults();
        lost + duplicated + reordered + self.stray + self.closed + self.errors
    }

    fn confirm(&mut self, peer: Peer) {
        if let Some(confirmed @ false) = self.confirmed.get_mut(peer as usize) {
            *confirmed = true;
            self.confirmed_count += 1;
        }
    }

    #[inline]
    fn deliver(&mut self, roll: &Roll, peer: Peer, now: Nanos, stamp: Stamp) {
        if stamp.publisher == PROBE {
            self.confirm(peer);
        } else if roll.publishes(peer)
            || stamp.topic != roll.topic_of(peer)
            || stamp.publisher >= roll.publishers
        {
            self.stray += u64::from(!roll.overhears(peer));
        } else {
            self.delivered += 1;
            let stream = peer as usize * roll.publishers as usize + stamp.publisher as usize;
            if roll.topics.mode.is_state() {
                // What came together left as one version, which is the newest of them.
                let _superseded = self.ledger.skip_to(stream, stamp.sequence);
            }
            self.ledger.note(stream, stamp.sequence);
            let intended = stamp.intended.wrapping_add_signed(self.skew);
            if self.measured.contains(&intended) {
                self.latencies.record(now.saturating_sub(intended));
            }
        }
    }

    fn hear_other(&mut self, roll: &Roll, peer: Peer, heard: Heard<'_>) {
        match heard {
            Heard::Ready if roll.publishes(peer) || self.answers == Answers::Ok => self.confirm(peer),
            Heard::Delivery(_) | Heard::Ready => {}
            Heard::Answer { local } => {
                self.answered += 1;
                self.local += u64::from(local);
            }
            Heard::Objection(words) => {
                self.errors += 1;
                self.complaint.get_or_insert_with(|| String::from_utf8_lossy(words).into_owned());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        adapter::Protocol,
        roll::Binding,
        scenario::{Mode, Topics},
        stamp::blank_payload,
    };

    fn audience() -> Audience {
        let topics = Topics::of_relay("t", 2);
        let roll = Roll { topics, first: 0, peers: 4, publishers: 1, binding: Binding::Free };
        Audience::new(roll, 1, Answers::Nothing, Adapter::new(Protocol::Plain, None), false)
    }

    fn hear(audience: &mut Audience, peer: Peer, now: Nanos, body: &[u8]) {
        let mut outbox = Vec::new();
        audience.message(peer, now, body, &mut outbox);
        assert_eq!(outbox, b"");
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
        faults_on(Mode::Relay, sequences)
    }

    fn faults_on(mode: Mode, sequences: &[u32]) -> (u64, u64, u64) {
        let mut audience = audience();
        audience.roll.topics.mode = mode;
        for &sequence in sequences {
            hear(&mut audience, 0, 20, &numbered(0, 0, sequence));
        }
        let faults = audience.judge.ledger.settle(|stream| if stream == 0 { 3 } else { 0 });
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
    fn of_a_state_only_the_newest_version_must_come_and_none_after_a_newer() {
        for mode in [Mode::Value, Mode::List, Mode::Map] {
            assert_eq!(faults_on(mode, &[0, 2]), (0, 0, 0));
            assert_eq!(faults_on(mode, &[0, 1]), (1, 0, 0));
            assert_eq!(faults_on(mode, &[0, 2, 1]), (0, 1, 0));
        }
        assert_eq!(faults_on(Mode::Log, &[0, 2]), (1, 0, 0));
    }

    #[test]
    fn only_publications_meant_for_the_measured_time_count_for_latency() {
        let mut audience = audience();
        audience.judge.measure(11..20);
        hear(&mut audience, 0, 5_000_010, &delivery(0, 0));
        assert_eq!(audience.judge.latencies.count(), 0);
        audience.judge.measure(10..20);
        hear(&mut audience, 0, 5_000_010, &numbered(0, 0, 1));
        assert!(audience.judge.latencies.summary().max_ms >= 5.0);
    }

    #[test]
    fn a_clock_ahead_of_the_publishers_is_set_right() {
        let mut audience = audience();
        audience.judge.measure(1_000_010..1_000_020);
        audience.judge.skew = 1_000_000;
        hear(&mut audience, 0, 3_000_010, &delivery(0, 0));
        assert_eq!(audience.judge.latencies.count(), 1);
        assert!((audience.judge.latencies.summary().max_ms - 2.0).abs() < 0.01);
    }

    #[test]
    fn latencies_of_all_intervals_add_up() {
        let mut audience = audience();
        audience.judge.measure(0..100);
        hear(&mut audience, 0, 5_000_010, &delivery(0, 0));
        audience.judge.turn_over();
        assert_eq!(audience.judge.latencies.count(), 0);
        hear(&mut audience, 0, 1_000_010, &numbered(0, 0, 1));
        audience.judge.turn_over();
        assert_eq!(audience.judge.total.count(), 2);
    }

    #[test]
    fn a_delivery_on_a_foreign_topic_is_stray() {
        let mut audience = audience();
        hear(&mut audience, 1, 20, &delivery(1, 0));
        assert_eq!((audience.judge.delivered, audience.judge.stray), (1, 0));
        hear(&mut audience, 1, 20, &delivery(0, 0));
        hear(&mut audience, 4, 20, &delivery(0, 0));
        assert_eq!((audience.judge.delivered, audience.judge.stray), (1, 2));
    }

    #[test]
    fn a_probe_confirms_and_is_not_measured() {
        let mut audience = audience();
        assert_eq!(audience.unconfirmed(), [0, 1]);
        hear(&mut audience, 0, 20, &delivery(0, PROBE));
        hear(&mut audience, 2, 20, &delivery(0, PROBE));
        assert_eq!((audience.judge.confirmed_count, audience.judge.delivered), (2, 0));
        assert_eq!(audience.unconfirmed(), [1]);
    }

    #[test]
    fn an_answer_to_a_publisher_confirms_nobody_and_tells_whether_one_node_only_was_reached() {
        let mut audience = audience();
        hear(&mut audience, 4, 20, br#"{"type":"ok","id":1}"#);
        hear(&mut audience, 4, 20, br#"{"type":"ok","id":1,"local":true}"#);
        let judge = &audience.judge;
        assert_eq!((judge.answered, judge.local, judge.confirmed_count), (2, 1, 0));
    }

    #[test]
    fn the_first_error_is_kept() {
        let mut audience = audience();
        hear(&mut audience, 0, 20, br#"{"type":"error","code":"rate"}"#);
        hear(&mut audience, 0, 20, br#"{"type":"error","code":"limit"}"#);
        let judge = &audience.judge;
        assert_eq!(
            (judge.errors, judge.complaint.as_deref()),
            (2, Some(r#"{"type":"error","code":"rate"}"#))
        );
    }
}
