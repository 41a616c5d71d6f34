//! What somebody is told who comes back after a failover with a cursor: redis.md 2.6, row by row.

use std::sync::Arc;

use dunlin_protocol::{Position, Unrecovered};

use super::super::{join_by, server};
use super::Scene;
use crate::broker::contract::Shard;
use crate::broker::contract::remembering::Kept;
use crate::broker::redis::resp::Reply;
use crate::broker::{Broker, Command, Event};
use crate::config::Mode;
use crate::feed::Rules;
use crate::history::{Recovery, Since};
use crate::hub::Tag;

/// What the old master was written after the promotion.
const FORGOTTEN: [&str; 3] = ["x6", "x7", "x8"];

/// A port at which nobody listens.
const NOBODY: u16 = 1;
/// How often the spies are asked for something that has to come.
const ASKED_MAX: usize = 100_000;

/// A log that keeps a few publications.
fn log() -> Scene {
    Scene::new(Rules::ALL, [Kept::new(Mode::Log).limit(8)])
}

impl Scene {
    /// Publishes through a node that is well, and says where each publication is.
    fn put<T: ToString>(&mut self, node: usize, payloads: impl IntoIterator<Item = T>) -> Vec<Position> {
        let quoted = payloads.into_iter().map(|payload| format!("{:?}", payload.to_string()));
        self.shards[node].put_all(&self.topics[0].kept, quoted)
    }

    /// Publishes 1 to 5, then promotes the replica, then [`FORGOTTEN`] on the old master; the first node is led
    /// to the new one.
    fn fork(&mut self) -> Vec<Position> {
        let mut positions = self.put(0, 1..=5);
        self.pair.await_replica();
        self.pair.promote();
        positions.extend(self.put(0, FORGOTTEN));
        self.switch(0);
        positions
    }

    /// A shard of a third node, which has heard nothing yet.
    fn newcomer(&self) -> Shard {
        let broker = join_by(&server::url(self.pair.port()), &self.prefix, Rules::ALL);
        let mut shard = Shard::attach(&(broker as Arc<dyn Broker>));
        shard.follow(0, &self.topics[0].kept);
        shard
    }

    /// Waits until a node's shard is told that something is missing.
    fn await_gap(&mut self, node: usize) {
        self.shards[node].first(|event| matches!(event, Event::Missed(Tag(0), _)).then_some(()));
    }

    /// What a node's shard hears on the topic up to the publication at a position.
    fn events_until(&mut self, node: usize, end: Position) -> Vec<Event> {
        let is_end =
            |event: &Event| matches!(event, Event::Publication(_, last) if last.position == Some(end));
        let is_heard = |event: &Event| {
            matches!(
                event,
                Event::Publication(Tag(0), _) | Event::Missed(Tag(0), _) | Event::Reset(Tag(0), ..)
            )
        };
        let mut events = Vec::new();
        while !events.last().is_some_and(is_end) {
            events.push(self.shards[node].first(|event| is_heard(event).then(|| event.clone())));
        }
        events
    }

    /// Waits until something was stored so often, on either server.
    fn until_stored(&mut self, payload: &str, times: usize) {
        let is_there = (0..ASKED_MAX).any(|_| {
            self.pair.catch_up();
            self.pair.history.times(payload) == times
        });
        assert!(is_there, "{payload} is stored {times} times");
    }

    fn come_back(&mut self, node: usize, position: Position) -> Recovery {
        self.shards[node].recover(0, Since::Position(position), None)
    }

    fn verdict(&mut self, node: usize, position: Position) -> Result<(), Unrecovered> {
        self.come_back(node, position).recovered.expect("a cursor was brought")
    }
}

/// What is said in publications.
fn said(recovery: &Recovery) -> Vec<String> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_matches('"').to_owned();
    recovery.publications.iter().map(|each| text(&each.envelope.payload.bytes)).collect()
}

// redis 2.6
#[test]
fn what_was_forgotten_is_forked_although_its_number_came_back() {
    let mut scene = log();
    let old = scene.fork();
    scene.put(0, ["y6", "y7", "y8", "y9"]);
    scene.switch(1);
    for node in [0, 1] {
        scene.await_gap(node);
        assert_eq!(scene.verdict(node, old[7]), Err(Unrecovered::Forked));
        assert_eq!(said(&scene.come_back(node, old[4])), ["y6", "y7", "y8", "y9"]);
    }
}

// redis 2.6
#[test]
fn what_was_trimmed_is_not_claimed_to_be_there() {
    let mut scene = log();
    let old = scene.fork();
    scene.put(0, 6..=60);
    scene.switch(1);
    for node in [0, 1] {
        scene.await_gap(node);
        assert_eq!(scene.verdict(node, old[7]), Err(Unrecovered::Expired));
        assert_eq!(scene.verdict(node, old[4]), Err(Unrecovered::Expired));
    }
}

// redis 2.6
#[test]
fn who_is_ahead_of_the_promoted_is_told_at_once() {
    let mut scene = log();
    let old = scene.fork();
    scene.switch(1);
    assert_eq!(scene.head(0), Some(old[4]));
    for node in [0, 1] {
        scene.await_gap(node);
        let recovery = scene.come_back(node, old[7]);
        assert_eq!((recovery.recovered, recovery.position), (Some(Err(Unrecovered::Forked)), Some(old[4])));
    }
}

// redis 2.6
#[test]
fn who_was_ahead_of_the_promoted_is_told_when_it_has_overtaken() {
    let mut scene = log();
    let old = scene.fork();
    let new = scene.put(0, 6..=11);
    scene.switch(1);
    for node in [0, 1] {
        scene.await_gap(node);
        let recovery = scene.come_back(node, old[7]);
        assert_eq!((recovery.recovered, recovery.position), (Some(Err(Unrecovered::Forked)), Some(new[5])));
    }
}

// redis 2.6
#[test]
fn the_last_position_is_good_after_the_list_has_expired() {
    let mut scene = log();
    let old = scene.put(0, 1..=8);
    scene.pair.await_replica();
    scene.pair.promote();
    let list = scene.topics[0].list.clone();
    assert_eq!(scene.pair.ask(&[b"DEL", &list]), Reply::Number(1));
    let mut shard = scene.newcomer();
    let recovery = shard.recover(0, Since::Position(old[7]), None);
    assert_eq!((recovery.recovered, said(&recovery).len()), (Some(Ok(())), 0));
    let recovery = shard.recover(0, Since::Position(old[6]), None);
    assert_eq!(recovery.recovered, Some(Err(Unrecovered::Expired)));
}

// redis 2.6
#[test]
fn who_waited_for_an_unborn_topic_gets_all_of_it() {
    let mut scene = log();
    let origin = scene.shards[1].recover(0, Since::Nothing, None).position.expect("it is born");
    assert_eq!(origin, Position::origin(origin.epoch));
    scene.pair.await_replica();
    scene.pair.promote();
    scene.switch(0);
    let new = scene.put(0, 1..=3);
    scene.switch(1);
    for node in [0, 1] {
        scene.events_until(node, new[2]);
        let recovery = scene.come_back(node, origin);
        assert_eq!((recovery.recovered, said(&recovery).join(" ")), (Some(Ok(())), "1 2 3".to_owned()));
    }
}

// redis 2.6
#[test]
fn another_life_of_the_topic_is_a_reset() {
    let mut scene = log();
    let old = scene.put(0, 1..=5);
    scene.pair.await_replica();
    scene.pair.promote();
    scene.pair.ask(&[b"FLUSHALL"]);
    for node in [0, 1] {
        scene.switch(node);
        scene.await_gap(node);
        assert_eq!(scene.verdict(node, old[4]), Err(Unrecovered::Reset), "it was never written");
    }
    scene.put(0, 1..=9);
    for node in [0, 1] {
        assert_eq!(scene.verdict(node, old[4]), Err(Unrecovered::Reset));
    }
}

// redis 2.6
#[test]
fn a_failover_that_forgot_nothing_is_no_alarm() {
    let mut scene = log();
    let old = scene.put(0, 1..=8);
    scene.pair.await_replica();
    scene.pair.promote();
    scene.switch(0);
    scene.switch(1);
    let new = scene.put(0, [9]);
    for node in [0, 1] {
        let events = scene.events_until(node, new[0]);
        assert!(events.iter().all(|event| matches!(event, Event::Publication(..))), "{events:?}");
        assert_eq!(events.len(), 9);
        assert_eq!(said(&scene.come_back(node, old[6])), ["8", "9"]);
    }
}

// redis 2.1
#[test]
fn who_was_left_on_the_demoted_master_is_told_before_it_hears_the_new_one() {
    let mut scene = log();
    let old = scene.fork();
    scene.put(0, ["y6", "y7", "y8"]);
    assert_eq!(scene.events_until(1, old[7]).len(), 8);
    scene.pair.demote(0);
    // It comes over the connection that was there all the time: its number follows, the mark before it does not.
    let last = scene.put(0, ["y9"])[0];
    assert_eq!(last.offset, old[7].offset + 1);
    scene.switch(1);
    let events = scene.events_until(1, last);
    assert!(matches!(&events[..], [Event::Missed(_, gap), ..] if gap.from == Some(old[4])), "{events:?}");
    assert_eq!(events.len(), 1 + 4, "the gap, and all that came after it");
}

// T8, redis 0.7
#[test]
fn a_commit_whose_answer_is_lost_before_and_after_a_failover_happens_once() {
    let mut scene = log();
    scene.put(0, 1..=2);
    scene.pair.await_replica();
    scene.pair.promote();
    // The first attempt is made at a place that the promoted server has never heard of.
    scene.put(0, FORGOTTEN);
    scene.switches[0].lose_answers_to(b"lost-answer");
    let commit = Box::new(scene.topics[0].kept.publish("\"lost-answer\""));
    scene.shards[0].submit([Command::Commit(5, commit)]);
    scene.until_stored("\"lost-answer\"", 1);
    scene.switch(0);
    scene.until_stored("\"lost-answer\"", 2);
    scene.switches[0].lose_answers_to(b"");
    scene.switch(0);
    let answer = |event: &Event| if let Event::Committed(5, outcome) = event { Some(*outcome) } else { None };
    let place = scene.shards[0].first(answer).expect("it is found again").expect("it is known where");
    assert_eq!(scene.head(0), Some(place), "nothing came after it");
}

// R2, redis 2.5
#[test]
fn what_was_missed_of_a_long_history_is_mended_although_a_page_is_full_of_what_is_known() {
    let mut scene = Scene::new(Rules::ALL, [Kept::new(Mode::Log).limit(1000)]);
    let before = scene.put(0, 1..=300);
    scene.events_until(1, before[299]);
    scene.switches[1].turn(NOBODY);
    let after = scene.put(0, 1..=300);
    scene.switch(1);
    let events = scene.events_until(1, after[299]);
    assert!(events.iter().all(|event| matches!(event, Event::Publication(..))), "no gap");
    assert_eq!(events.len(), 300);
}
