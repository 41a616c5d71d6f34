//! What comes before what (behaviours L1, T9, T12, W5).

use super::world::{World, arrival, publication, publish, subscribe};
use crate::publication::Dialect;

const TALK: &str = r#"
    [[endpoint]]
    path = "/**"
    defaults = ["chat", "session"]
    subscribe = ["*"]
    publish = ["*"]
    self = true
"#;

// T9
#[test]
fn the_answer_to_a_subscribe_comes_before_anything_live() {
    let mut world = World::two(TALK);
    let (alice, bob) = (world.join(1), world.join(0));
    world.pass_ms(200);
    world.heard(bob);
    // Joined by a neighbour already, and not joined by anybody.
    world.answers(alice, &subscribe("known"));
    for topic in ["known", "new"] {
        world.say(bob, &format!(r#"{{"type":"subscribe","topic":"{topic}","id":1}}"#));
        world.say(bob, &publish(topic, "1"));
        world.say(alice, &publish(topic, "2"));
        world.settle();
        let heard = world.heard(bob);
        assert_eq!(heard[0], format!(r#"{{"type":"ok","id":1,"topic":"{topic}"}}"#), "{heard:?}");
        assert_eq!(heard.len(), 3, "{heard:?}");
    }
}

// T12
#[test]
fn peers_on_two_hubs_hear_one_topic_in_one_order() {
    let mut world = World::two(TALK);
    let peers = [world.join(0), world.join(1), world.join(0), world.join(1)];
    world.pass_ms(200);
    world.all_heard(peers);
    for round in 0..40 {
        for (place, who) in peers.iter().enumerate() {
            world.say(*who, &publish("chat", &format!("{}", round * 10 + place)));
        }
        world.turn(round % 2);
    }
    let heard = world.all_heard(peers);
    assert_eq!(heard[0].len(), 160);
    assert!(heard.iter().all(|each| *each == heard[0]));
}

// W5
#[test]
fn a_newcomer_hears_session_first_and_then_what_is_live() {
    let mut world = World::two(TALK);
    let alice = world.join(0);
    let bob = world.arrive(1, arrival(0, Dialect::Plain));
    world.say(alice, &publish("chat", "1"));
    world.settle();
    world.say(alice, &publish("chat", "2"));
    world.settle();
    let heard = world.heard(bob);
    assert_eq!(heard[0], publication("session", r#"{"users":2}"#), "{heard:?}");
    assert_eq!(heard.last(), Some(&publication("chat", "2")));
}

// W5
#[test]
fn a_v1_peer_is_welcomed_before_anything_else() {
    let mut world = World::new(TALK);
    let who = world.arrive(0, arrival(0, Dialect::JsonV1));
    world.settle();
    let heard = world.heard(who);
    let id = world.id(who);
    let welcome = format!(r#"{{"type":"welcome","peer":"{id}","node":"node","ping_ms":25000,"user":null}}"#);
    assert_eq!(heard, [welcome, publication("session", r#"{"users":1}"#)]);
}

// L1
#[test]
fn nothing_a_peer_says_is_heard_before_its_opening_is_complete() {
    let mut world = World::two(TALK);
    let alice = world.join(0);
    let bob = world.arrive(1, arrival(0, Dialect::Plain));
    let (key, now) = (world.key(bob), world.now);
    assert!(!world.hub(bob).may_be_read(key));
    // A driver that reads too early gets nowhere.
    let early = crate::hub::Message::Text(publish("chat", "0").into());
    world.hub(bob).receive(now, key, early);
    world.say(bob, &publish("chat", "1"));
    world.say(bob, &publish("chat", "2"));
    world.settle();
    assert!(world.hub(bob).may_be_read(key));
    let heard = world.heard(alice);
    let live: Vec<_> = heard.iter().filter(|frame| frame.contains("chat")).collect();
    assert_eq!(live, [&publication("chat", "1"), &publication("chat", "2")]);
}

// L1, L2
#[test]
fn a_peer_that_leaves_while_it_opens_leaves_nothing() {
    let mut world = World::two(TALK);
    for turns in 0..3 {
        let who = world.arrive(0, arrival(0, Dialect::Plain));
        (0..turns).for_each(|_| world.turn(0));
        world.lose(who);
    }
    world.end();
}

// L2
#[test]
fn a_peer_that_closes_has_left_before_its_close_is_sent() {
    let mut world = World::new(TALK);
    let (alice, bob) = (world.join(0), world.join(0));
    world.pass_ms(200);
    world.all_heard([alice, bob]);
    let (key, now) = (world.key(bob), world.now);
    world.say(alice, &publish("chat", "1"));
    world.settle();
    world.hub(bob).close(now, key, dunlin_protocol::CloseCode::GOING_AWAY, "bye");
    assert_eq!(world.hub(bob).peer_count(), 1);
    world.say(alice, &publish("chat", "2"));
    world.settle();
    assert_eq!(world.heard(bob), [publication("chat", "1"), "<close 1001 bye>".to_owned()]);
    let codes = world.tally(0).closes;
    assert_eq!(codes, [1001]);
    world.end();
    assert!(world.tally(0).closes.iter().filter(|code| **code == 1001).count() == 0);
}
