//! Faults that were found by reading, each with the test that shows it gone.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use dunlin_protocol::{Envelope, Namespace, Payload, Position, Recipients, Topic};

use super::super::fake::Memory;
use super::super::lanes::Lane;
use super::super::resp;
use super::super::script::Script;
use super::world::{STORED, TOPICS, World, namespace};
use crate::broker::{Command, Event, inbox};
use crate::config::{Mode, Retention};
use crate::history::{Change, Commit, CommitError};
use crate::hub::{Moment, Reach, Tag};

fn world(nodes: usize) -> World {
    let mut world = World::new(nodes, 3);
    world.pass(Duration::from_secs(1));
    world
}

// B-6
#[test]
fn a_peer_that_comes_before_the_last_one_is_written_off_is_told_a_count() {
    for (_, wait_ms) in (0..20).zip(40..) {
        let mut world = world(1);
        world.set_peers(0, 0, 1);
        world.pass(Duration::from_millis(wait_ms));
        world.set_peers(0, 0, 0);
        world.set_peers(0, 0, 1);
        world.pass(Duration::from_secs(1));
        assert_eq!(world.nodes[0].shown(0), Some(1));
    }
}

// C1
#[test]
fn the_last_sum_is_told_also_where_the_interval_has_grown_meanwhile() {
    let mut world = world(2);
    world.set_peers(1, 0, 1);
    world.pass(Duration::from_secs(1));
    world.set_peers(0, 0, 1000);
    world.pass(Duration::from_secs(2));
    world.set_peers(1, 0, 2);
    world.pass(Duration::from_millis(40));
    world.set_peers(0, 0, 3000);
    world.pass(Duration::from_secs(2));
    assert_eq!(world.nodes[1].shown(0), Some(3002));
}

// redis 0.3
#[test]
fn what_a_quiet_node_wrote_does_not_expire() {
    let mut world = world(1);
    world.set_peers(0, 0, 1);
    world.pass(Duration::from_secs(1));
    for _ in 0..26 * 3600 {
        world.step(Duration::from_secs(1));
        world.step(Duration::from_millis(1));
    }
    let lives = |ending: &str| {
        let keys = world.fake.keys().into_iter().filter(|key| key.ends_with(ending.as_bytes()));
        keys.map(|key| world.fake.ttl(key).expect("every key ends")).min()
    };
    for ending in [":c", ":r", ":live", ":meta"] {
        assert!(
            lives(ending) > Some(Duration::from_hours(19).as_millis() as u64),
            "{ending}: {:?}",
            lives(ending)
        );
    }
}

// T12
#[test]
fn full_lanes_stop_nobody_while_redis_is_away_and_nothing_is_forwarded_late() {
    let mut world = world(2);
    world.toggle(1, 0);
    world.pass(Duration::from_secs(1));
    world.redis_frozen_until = world.now + Duration::from_mins(1);
    (0..70_000).for_each(|_| world.publish(0, 0));
    world.pass(Duration::from_secs(20));
    world.publish(0, 0);
    assert_eq!(world.nodes[0].published.last().expect("some").outcome, Some(Ok(Reach::Node)));
    world.pass(Duration::from_mins(1));
    world.publish(0, 0);
    world.pass(Duration::from_secs(1));
    let heard: Vec<usize> = world.nodes[1].heard[0].log.iter().flatten().map(|(_, number)| *number).collect();
    assert_eq!(heard, [70_001], "only what was published after it");
}

// T12
#[test]
fn a_bus_that_lags_behind_the_answers_does_not_stop_a_lane() {
    let to = Recipients::Topic(Topic::parse(TOPICS[0]).expect("a topic"));
    let payload = Payload::json(Bytes::from_static(b"1"));
    let envelope = Envelope { origin: None, echo: false, at_us: 0, namespace: namespace(0), to, payload };
    let (mut lane, envelope) = (Lane::default(), Arc::new(envelope));
    (0..20_000).for_each(|_| lane.accept(Moment::default(), 1, &envelope));
    let mut sent = 0;
    while lane.send_next().is_some() {
        sent += 1;
        lane.answer(Ok(()));
    }
    assert!(sent < 20_000, "what is unseen is bounded, too");
    while lane.next_unseen(Some(Moment::from_millis(2000))).is_some() {}
    lane.trim();
    assert!(lane.send_next().is_some());
}

// R3
#[test]
fn a_newcomer_does_not_wait_for_a_redis_that_takes_nothing() {
    for refusing in [Script::Count, Script::Registry, Script::Tick] {
        let mut world = World::new(0, 3);
        world.bodies[refusing as usize] = "return redis.error_reply('MISCONF no writes')".to_owned();
        world.add_node();
        world.pass(Duration::from_secs(2));
        world.set_peers(0, 0, 2);
        world.pass(Duration::from_secs(1));
        assert!(world.nodes[0].machine.is_up(), "the links are well");
        assert_eq!(world.nodes[0].shown(0), Some(2), "{refusing:?}");
    }
}

// redis 0.7
#[test]
fn without_knowing_the_old_connection_its_publications_are_given_up() {
    let mut world = world(1);
    world.nodes[0].machine.identity = None;
    world.nodes[0].machine.fence_against = None;
    world.swallow(0);
    (0..5).for_each(|_| world.publish(0, 0));
    world.pass(Duration::from_secs(10));
    assert!(world.nodes[0].machine.is_up());
    (0..8).for_each(|_| world.publish(0, 0));
    world.pass(Duration::from_secs(1));
    let outcomes: Vec<_> = world.nodes[0].published.iter().map(|published| published.outcome).collect();
    assert!(outcomes[..5].iter().all(|outcome| *outcome == Some(Ok(Reach::Node))));
    assert!(outcomes[5..].iter().all(|outcome| *outcome == Some(Ok(Reach::Cluster))), "{outcomes:?}");
}

#[test]
fn no_deadline_stays_in_the_past() {
    let mut world = world(1);
    world.toggle(0, 0);
    world.pass(Duration::from_secs(1));
    world.redis_frozen_until = world.now + Duration::from_mins(1);
    world.pass(Duration::from_secs(4));
    world.toggle(0, 0);
    for step in 0..4000 {
        if step % 200 == 0 {
            world.toggle(0, 1);
        }
        world.step(Duration::from_millis(5));
        let (now, machine) = (world.now, &mut world.nodes[0].machine);
        machine.timeout(now);
        assert!(machine.next_timeout() > now);
    }
}

#[test]
fn what_is_owed_to_the_dead_does_not_delay_the_links() {
    let mut world = world(1);
    world.cut(0, Duration::from_millis(20));
    let (now, machine) = (world.now, &mut world.nodes[0].machine);
    machine.owed.insert(now + Duration::from_millis(10), vec![None]);
    world.pass(Duration::from_millis(500));
    assert!(world.nodes[0].machine.is_up());
    assert!(world.nodes[0].machine.owed.is_empty());
}

#[test]
fn a_namespace_that_was_empty_for_long_is_counted_at_once() {
    let mut world = world(2);
    world.set_peers(0, 0, 1);
    world.pass(Duration::from_secs(2));
    world.set_peers(0, 0, 0);
    (0..700 * 5).for_each(|_| world.step(Duration::from_millis(200)));
    world.set_peers(0, 0, 1);
    world.pass(Duration::from_millis(300));
    world.set_peers(1, 0, 1);
    world.pass(Duration::from_millis(500));
    assert_eq!(world.nodes[0].shown(0), Some(2));
}

// redis 5.8
#[test]
fn a_node_with_very_many_namespaces_says_them_again_a_few_at_a_time() {
    let mut world = world(1);
    let now = world.now;
    let machine = &mut world.nodes[0].machine;
    let count = |number: u64| {
        let name = Namespace::parse(&format!("/many/{number}")).expect("good");
        (0, Command::Count(Tag(10 * (1_000_000 + number)), name, 1))
    };
    machine.submit(now, (0..5_000).map(count));
    world.pass(Duration::from_secs(3));
    assert_eq!(world.nodes[0].machine.status(world.now).peers.map(|peers| peers.all), Some(5_000));
    world.restart_redis(Memory::Empty, Duration::from_millis(100), None);
    let mut most = 0;
    for _ in 0..1_000 {
        world.step(Duration::from_millis(2));
        most = most.max(world.nodes[0].machine.unanswered_counts);
    }
    assert!((1..=512).contains(&most), "{most}");
    world.pass(Duration::from_secs(3));
    let counted =
        |number: usize| world.fake.hash(format!("sim:1:{{c|/many/{number}}}:c")).contains_key(&b"#s"[..]);
    assert!((0..5_000).all(counted), "all are there again");
}

fn retention(mode: Mode) -> Arc<Retention> {
    let (max_bytes, ttl) = (256 * 1024, Duration::from_hours(168));
    Arc::new(Retention { mode, limit: 60, max_bytes, ttl, replay: 0 })
}

fn stored(number: usize) -> Topic {
    Topic::parse(&format!("t{number}")).expect("a topic")
}

fn listen(world: &mut World, node: usize, number: usize) {
    let tag = Tag(STORED + number as u64);
    let join = Command::Join(tag, namespace(0), stored(number), Some(retention(Mode::Log)));
    world.submit(node, join);
}

fn commit(world: &mut World, node: usize, number: usize, ticket: u32) {
    let payload = Payload::json(Bytes::from(ticket.to_string()));
    let (at_us, to) = (world.now.micros(), Recipients::Topic(stored(number)));
    let envelope = Envelope { origin: None, echo: true, at_us, namespace: namespace(0), to, payload };
    let commit = Commit { envelope, retention: retention(Mode::Log), key: None, change: Change::Publish };
    world.submit(node, Command::Commit(ticket, Box::new(commit)));
}

fn outcome(world: &World, node: usize, ticket: u32) -> Option<Result<Option<Position>, CommitError>> {
    world.nodes[node].stored.iter().find_map(|event| match event {
        Event::Committed(of, outcome) if *of == ticket => Some(*outcome),
        _ => None,
    })
}

fn key(number: usize, kind: &str) -> String {
    format!("sim:1:{{t|/one|t{number}}}:{kind}")
}

// redis 0.7
#[test]
fn a_batch_in_doubt_that_redis_puts_off_is_still_looked_for_before_it_is_written() {
    let mut world = World::new(0, 3);
    let refusing = "if redis.call('GET', 'trip') then return redis.error_reply('NOREPLICAS not now') end\n";
    let body = &mut world.bodies[Script::Commit as usize];
    let (first, rest) = body.split_once('\n').expect("a first line");
    *body = format!("{first}\n{refusing}{rest}");
    world.add_node();
    world.pass(Duration::from_secs(1));
    commit(&mut world, 0, 0, 1);
    while world.fake.list(key(0, "s")).is_empty() {
        world.step(Duration::from_micros(50));
    }
    let now = world.now;
    world.nodes[0].machine.lost(now, "its answer is lost");
    assert_eq!(outcome(&world, 0, 1), None);
    let operator = world.fake.connect();
    let mut out = Vec::new();
    resp::command(&mut out, &[b"SET", b"trip", b"1"]);
    world.fake.receive(operator, &out);
    world.pass(Duration::from_secs(2));
    out.clear();
    resp::command(&mut out, &[b"DEL", b"trip"]);
    world.fake.receive(operator, &out);
    world.pass(Duration::from_secs(2));
    assert!(matches!(outcome(&world, 0, 1), Some(Ok(Some(_)))), "{:?}", outcome(&world, 0, 1));
    assert_eq!(world.fake.list(key(0, "s")).len(), 1, "it is there once");
}

// redis 3.5
#[test]
fn a_quiet_topic_that_was_never_written_to_keeps_its_numbering_while_somebody_listens() {
    let mut world = world(1);
    listen(&mut world, 0, 0);
    world.pass(Duration::from_secs(1));
    let before = world.fake.string(key(0, "h")).expect("it was born").clone();
    for _ in 0..2 * 3600 {
        world.step(Duration::from_secs(1));
        world.step(Duration::from_millis(1));
    }
    assert_eq!(world.fake.string(key(0, "h")), Some(before));
    assert!(!world.nodes[0].stored.iter().any(|event| matches!(event, Event::Missed(..))), "no false alarm");
}

// R1
#[test]
fn who_publishes_and_leaves_is_answered() {
    let mut world = world(1);
    listen(&mut world, 0, 0);
    world.pass(Duration::from_secs(1));
    world.nodes[0].mangled = 999;
    commit(&mut world, 0, 0, 1);
    world.pass(Duration::from_millis(300));
    let leave = Command::Leave(Tag(STORED), namespace(0), stored(0));
    world.submit(0, leave);
    world.pass(Duration::from_millis(50));
    assert!(outcome(&world, 0, 1).is_some_and(|outcome| outcome.is_ok()));
}

#[test]
fn a_topic_that_is_written_to_all_the_time_is_looked_at_now_and_then() {
    let mut world = world(1);
    for ticket in 0..90 {
        commit(&mut world, 0, 0, ticket);
        world.pass(Duration::from_secs(1));
    }
    let later = world.now + Duration::from_mins(10);
    let looks = std::iter::from_fn(|| world.nodes[0].machine.writers.next_due(later)).count();
    assert!(looks < 20, "{looks} looks are due");
}

// R1, H6
#[test]
fn a_publisher_whose_shard_was_left_out_is_told_no_place() {
    let mut world = world(2);
    listen(&mut world, 0, 0);
    world.pass(Duration::from_secs(1));
    commit(&mut world, 1, 0, 1);
    commit(&mut world, 0, 0, 2);
    world.nodes[0].machine.set_levels(std::iter::once(inbox::INBOX_MAX));
    world.pass(Duration::from_millis(300));
    assert_eq!(outcome(&world, 0, 2), Some(Ok(None)));
    world.nodes[0].machine.set_levels(std::iter::once(0));
    world.pass(Duration::from_secs(1));
    let is_told =
        |event: &Event| matches!(event, Event::Missed(_, gap) if gap.to.is_some_and(|to| to.offset == 2));
    assert!(world.nodes[0].stored.iter().any(is_told));
}
