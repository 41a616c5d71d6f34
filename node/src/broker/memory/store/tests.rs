use std::time::Duration;

use bytes::Bytes;
use dunlin_protocol::{Envelope, Namespace, Payload, Position, Recipients, Topic, Unrecovered};

use super::*;
use crate::config::Mode;
use crate::history::{Asked, Change, Commit, Recovery, Since};

const HOUR: Duration = Duration::from_hours(1);
const INSTANT: Duration = Duration::from_micros(1);

/// A store, and the time.
struct World {
    store: Store,
    now: Moment,
}

impl World {
    fn of(topics_max: usize) -> Self {
        Self { store: Store::new(1, topics_max), now: Moment::from_millis(1_700_000_000_000) }
    }

    fn pass(&mut self, time: Duration) {
        self.now = self.now + time;
        self.store.turn(self.now);
    }

    fn key(&mut self, topic: &str, is_heard: bool) -> Result<usize, CommitError> {
        self.store.find(self.now, &place(topic), &retention(), is_heard)
    }

    fn commit(&mut self, topic: &str) -> Position {
        let key = self.key(topic, false).expect("there is room");
        let (now, drawn) = (self.now, self.store.draw());
        let _ = self.store.change(key, |stored| stored.commit(now, commit(topic), drawn));
        self.store.topic(key).tip()
    }

    fn recover(&mut self, topic: &str, since: Since) -> Recovery {
        let key = self.key(topic, false).expect("there is room");
        self.store.topic(key).recover(Asked { since, replay: Some(100) })
    }

    fn topics(&self) -> usize {
        assert_eq!(self.store.topics.len(), self.store.keys.len());
        assert_eq!(self.store.topics.len(), self.store.deadlines.len(), "each topic has one deadline");
        self.store.topics.len()
    }
}

fn place(topic: &str) -> Place {
    Place { namespace: Namespace::parse("/a").expect("good"), topic: Topic::parse(topic).expect("good") }
}

fn retention() -> Arc<Retention> {
    Arc::new(Retention { mode: Mode::Log, ttl: 2 * HOUR, ..Retention::default() })
}

fn commit(topic: &str) -> Commit {
    let Place { namespace, topic } = place(topic);
    let to = Recipients::Topic(topic);
    let payload = Payload::json(Bytes::from_static(b"1"));
    let envelope = Envelope { origin: None, echo: false, at_us: 0, namespace, to, payload };
    Commit { envelope, retention: retention(), key: None, change: Change::Publish }
}

// B-15, redis 1.4
#[test]
fn items_go_a_ttl_after_the_last_commit_and_the_numbering_stays() {
    let mut world = World::of(10);
    let first = world.commit("t");
    world.pass(HOUR);
    let second = world.commit("t");
    world.pass((2 * HOUR).saturating_sub(INSTANT));
    assert_eq!(world.recover("t", Since::Nothing).publications.len(), 2, "never less than a ttl");
    world.pass(INSTANT);
    let expired = world.recover("t", Since::Position(first));
    assert_eq!((expired.position, expired.recovered), (Some(second), Some(Err(Unrecovered::Expired))));
    assert!(expired.publications.is_empty());
    assert_eq!(world.recover("t", Since::Position(second)).recovered, Some(Ok(())), "it has all there was");
    let third = world.commit("t");
    assert_eq!((third.epoch, third.offset), (second.epoch, 3));
}

// redis 1.4
#[test]
fn a_day_after_the_last_commit_the_topic_begins_a_new_life() {
    let mut world = World::of(10);
    let old = world.commit("t");
    world.pass((24 * HOUR).saturating_sub(INSTANT));
    assert_eq!(world.topics(), 1);
    world.pass(INSTANT);
    assert_eq!(world.topics(), 0);
    let reborn = world.recover("t", Since::Position(old));
    assert_eq!(reborn.recovered, Some(Err(Unrecovered::Reset)));
    assert_ne!(reborn.position.map(|position| position.epoch), Some(old.epoch));
}

#[test]
fn a_topic_that_was_only_asked_for_is_forgotten_after_an_hour() {
    let mut world = World::of(10);
    let position = world.recover("t", Since::Nothing).position;
    assert_eq!(world.recover("t", Since::Nothing).position, position);
    world.pass(HOUR);
    assert_eq!(world.topics(), 0);
}

// redis 3.5b
#[test]
fn the_numbering_of_a_topic_that_is_heard_never_ends() {
    let mut world = World::of(10);
    let tip = world.commit("t");
    world.store.hear(&place("t"), true);
    (0..30).for_each(|_| world.pass(24 * HOUR));
    assert_eq!(world.recover("t", Since::Position(tip)).recovered, Some(Ok(())));
    assert!(world.recover("t", Since::Nothing).publications.is_empty(), "but its items do");
    world.store.hear(&place("t"), false);
    world.pass(24 * HOUR);
    assert_eq!(world.topics(), 0);
}

#[test]
fn what_is_due_but_was_not_reached_yet_is_not_shown() {
    let mut world = World::of(1000);
    for topic in 0..200 {
        world.commit(&format!("t{topic}"));
    }
    world.pass(2 * HOUR);
    for topic in 0..200 {
        assert!(world.recover(&format!("t{topic}"), Since::Nothing).publications.is_empty());
    }
    world.pass(22 * HOUR);
    assert_eq!(world.topics(), 200 - WITHERED_AT_ONCE, "a turn does a part");
    (0..10).for_each(|_| world.pass(Duration::ZERO));
    assert_eq!(world.topics(), 0);
}

#[test]
fn beyond_the_bound_the_topic_whose_time_comes_first_is_let_go_of_unless_it_is_heard() {
    let mut world = World::of(3);
    let heard = world.commit("heard");
    world.store.hear(&place("heard"), true);
    world.pass(Duration::from_secs(1));
    let oldest = world.commit("oldest");
    world.pass(Duration::from_secs(1));
    let newer = world.commit("newer");
    world.commit("one more");
    assert_eq!(world.topics(), 3);
    for (topic, known, position) in [("heard", true, heard), ("newer", true, newer)] {
        let recovered = world.recover(topic, Since::Position(position)).recovered;
        assert_eq!(recovered == Some(Ok(())), known, "{topic}");
    }
    let gone = world.recover("oldest", Since::Position(oldest)).recovered;
    assert_eq!(gone, Some(Err(Unrecovered::Reset)), "and it is known that it begins anew");
}

#[test]
fn when_all_that_there_is_room_for_are_heard_no_more_are_born() {
    let mut world = World::of(2);
    for topic in ["a", "b"] {
        world.key(topic, true).expect("there is room");
    }
    assert_eq!(world.key("c", true), Err(CommitError::Unavailable));
    assert!(world.key("a", true).is_ok(), "those that are there go on");
    world.store.hear(&place("b"), false);
    assert!(world.key("c", true).is_ok());
}
