//! How many users there are, and who is told when (behaviours C1).

use super::world::{World, arrival, publication, subscribe, unsubscribe};
use crate::publication::Dialect;

const TALK: &str = r#"
    [[endpoint]]
    path = "/**"
    heartbeat = "0s"
    subscribe = ["*"]
"#;

fn users(count: usize) -> String {
    publication("session", &format!("{{\"users\":{count}}}"))
}

#[test]
fn the_opener_is_told_at_once_and_the_others_within_the_interval() {
    let mut world = World::two(TALK);
    let alice = world.join(0);
    world.pass_ms(1_000);
    world.heard(alice);
    let bob = world.arrive(1, arrival(0, Dialect::Plain));
    world.settle();
    assert_eq!(world.heard(bob), [users(2)]);
    world.pass_ms(120);
    assert_eq!(world.all_heard([alice, bob]), [vec![users(2)], vec![]]);
}

#[test]
fn the_others_are_told_at_most_once_an_interval_and_the_last_number_is_true() {
    let mut world = World::two(TALK);
    let alice = world.join(0);
    world.pass_ms(1_000);
    world.heard(alice);
    let mut told = 0;
    for count in 2..102 {
        world.join(count % 2);
        world.pass_ms(10);
        let heard = world.heard(alice);
        told += heard.len();
    }
    assert!((9..=11).contains(&told), "100 openings in a second were told {told} times");
    world.pass_ms(200);
    assert_eq!(world.heard(alice).last(), Some(&users(101)));
}

#[test]
fn in_a_large_namespace_the_interval_is_a_tenth_of_a_millisecond_a_peer() {
    let mut world = World::new(TALK);
    let alice = world.join(0);
    for _ in 1..4_000 {
        world.arrive(0, arrival(0, Dialect::Plain));
    }
    world.pass_ms(2_000);
    assert_eq!(world.heard(alice).last(), Some(&users(4_000)));
    let mut told = 0;
    for _ in 0..40 {
        world.arrive(0, arrival(0, Dialect::Plain));
        world.pass_ms(100);
        told += world.heard(alice).len();
    }
    assert!((9..=11).contains(&told), "4 s with 4,000 peers were told {told} times");
}

#[test]
fn who_came_within_an_interval_that_changed_nothing_is_told_the_truth() {
    let mut world = World::new(TALK);
    let (alice, bob) = (world.join(0), world.join(0));
    world.pass_ms(1_000);
    world.all_heard([alice, bob]);
    let carol = world.arrive(0, arrival(0, Dialect::Plain));
    world.settle();
    assert_eq!(world.heard(carol), [users(3)]);
    world.lose(bob);
    world.pass_ms(300);
    assert_eq!(world.heard(carol), [users(2)]);
    assert!(world.heard(alice).is_empty(), "for alice nothing changed");
}

#[test]
fn after_a_close_the_number_is_lower_on_every_hub() {
    let mut world = World::two(TALK);
    let peers = [world.join(0), world.join(0), world.join(1), world.join(1)];
    world.pass_ms(1_000);
    world.all_heard(peers);
    world.lose(peers[0]);
    world.pass_ms(300);
    assert_eq!(world.all_heard([peers[1], peers[2], peers[3]]), [[users(3)], [users(3)], [users(3)]]);
    world.lose(peers[1]);
    world.pass_ms(300);
    assert_eq!(world.all_heard([peers[2], peers[3]]), [[users(2)], [users(2)]]);
}

#[test]
fn who_subscribes_to_it_later_is_told_at_once() {
    let mut world = World::two(TALK);
    let (alice, _bob) = (world.join(0), world.join(1));
    world.pass_ms(1_000);
    world.heard(alice);
    assert!(world.answers(alice, &unsubscribe("session")).is_empty());
    let carol = world.join(1);
    world.pass_ms(1_000);
    assert!(world.heard(alice).is_empty());
    let frame = subscribe("session").replace('}', r#","id":1}"#);
    let ok = r#"{"type":"ok","id":1,"topic":"session"}"#.to_owned();
    assert_eq!(world.answers(alice, &frame), [users(3), ok]);
    world.lose(carol);
    world.pass_ms(300);
    assert_eq!(world.heard(alice), [users(2)]);
}

#[test]
fn every_namespace_has_its_own_number() {
    let mut world = World::two(TALK);
    let alice = world.join(0);
    for (hub, namespace) in [(0, "/a"), (1, "/a"), (1, "/b")] {
        world.arrive(hub, super::world::arrival_in(namespace, 0, Dialect::Plain));
    }
    world.pass_ms(1_000);
    assert!(world.heard(alice).iter().all(|frame| *frame == users(1)));
    assert_eq!((world.hubs[1].peers_in("/a"), world.hubs[1].peers_in("/none")), (1, 0));
    world.end();
}

#[test]
fn the_topic_may_be_renamed_or_turned_off() {
    let mut world = World::new(&format!("[session]\ntopic = \"online\"\n{TALK}"));
    let who = world.arrive(0, arrival(0, Dialect::JsonV1));
    world.settle();
    assert_eq!(world.heard(who)[1..], [publication("online", r#"{"users":1}"#)]);

    let mut world = World::new(&format!("[session]\ntopic = \"\"\n{TALK}"));
    let (alice, bob) = (world.join(0), world.join(0));
    world.pass_ms(1_000);
    assert_eq!(world.all_heard([alice, bob]), [Vec::<String>::new(), vec![]]);
    assert_eq!(world.hub(alice).subscription_count(), 0);
    world.end();
}
