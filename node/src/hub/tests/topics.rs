//! Who gets which publication, and how often (behaviours T1 to T4).

use super::world::{World, publication, publish, subscribe, unsubscribe};

/// Relay between two hubs, without the frames that tell how many users there are.
const QUIET: &str =
    "[session]\ntopic = \"\"\n[[endpoint]]\npath = \"/**\"\nsubscribe = [\"*\"]\npublish = [\"*\"]\n";

fn silence() -> Vec<String> {
    Vec::new()
}

// T1
#[test]
fn subscribing_twice_is_subscribing_once() {
    let mut world = World::two(QUIET);
    let (alice, bob) = (world.join(0), world.join(1));
    for _ in 0..2 {
        assert_eq!(world.answers(alice, &subscribe("a")), silence());
    }
    world.say(bob, &publish("a", "1"));
    assert_eq!(world.all_heard([alice, bob]), [vec![publication("a", "1")], silence()]);
    assert_eq!(world.hub(alice).subscription_count(), 1);

    for _ in 0..2 {
        assert_eq!(world.answers(alice, &unsubscribe("a")), silence());
    }
    world.say(bob, &publish("a", "2"));
    assert_eq!(world.all_heard([alice, bob]), [silence(), silence()]);
    assert_eq!(world.hub(alice).topic_count(), 0);
}

// T1
#[test]
fn an_answer_is_given_to_every_subscribe_and_unsubscribe_with_an_id() {
    let mut world = World::new(QUIET);
    let alice = world.join(0);
    for kind in ["subscribe", "subscribe", "unsubscribe", "unsubscribe"] {
        let frame = format!(r#"{{"type":"{kind}","topic":"a","id":"x"}}"#);
        assert_eq!(world.answers(alice, &frame), [r#"{"type":"ok","id":"x","topic":"a"}"#], "{kind}");
    }
}

// W3
#[test]
fn a_subscribe_that_is_taken_back_before_it_took_effect_is_answered_all_the_same() {
    let mut world = World::new(QUIET);
    let alice = world.join(0);
    world.say(alice, r#"{"type":"subscribe","topic":"a","id":1}"#);
    world.say(alice, r#"{"type":"unsubscribe","topic":"a","id":2}"#);
    world.say(alice, r#"{"type":"subscribe","topic":"a","id":3}"#);
    world.settle();
    let ok = |id| format!(r#"{{"type":"ok","id":{id},"topic":"a"}}"#);
    assert_eq!(world.heard(alice), [ok(1), ok(2), ok(3)]);
}

// T2
#[test]
fn every_subscriber_gets_a_publication_once_and_its_publisher_does_not() {
    let mut world = World::two(QUIET);
    let peers = [world.join(0), world.join(0), world.join(1), world.join(1)];
    for who in peers {
        world.say(who, &subscribe("a"));
    }
    world.all_heard(peers);
    world.say(peers[1], &publish("a", r#"{"n":1}"#));
    let once = vec![publication("a", r#"{"n":1}"#)];
    assert_eq!(world.all_heard(peers), [once.clone(), silence(), once.clone(), once]);
}

// T2
#[test]
fn a_publisher_gets_its_own_where_it_asks_for_it_or_the_endpoint_says_so() {
    let with_self = QUIET.replace("subscribe", "self = true\nsubscribe");
    for (toml, wish, own) in [
        (QUIET, "", false),
        (QUIET, r#","self":false"#, false),
        (QUIET, r#","self":true"#, true),
        (&with_self, "", true),
        (&with_self, r#","self":false"#, false),
    ] {
        let mut world = World::two(toml);
        let (alice, bob) = (world.join(0), world.join(1));
        for who in [alice, bob] {
            world.answers(who, &subscribe("a"));
        }
        world.say(alice, &format!(r#"{{"type":"publish","topic":"a","payload":7{wish}}}"#));
        let copy = vec![publication("a", "7")];
        let expected = if own { copy.clone() } else { silence() };
        assert_eq!(world.all_heard([alice, bob]), [expected, copy], "self {wish:?}");
    }
}

// T2
#[test]
fn a_newcomer_in_the_publisher_s_place_is_not_taken_for_the_publisher() {
    let mut world = World::new(QUIET);
    let (alice, bob) = (world.join(0), world.join(0));
    world.answers(bob, &subscribe("a"));
    world.say(alice, &publish("a", "1"));
    world.lose(alice);
    let carol = world.arrive(0, super::world::arrival(0, crate::publication::Dialect::Plain));
    assert_eq!(world.key(carol).index, world.key(alice).index);
    world.say(carol, &subscribe("a"));
    assert_eq!(world.all_heard([bob]), [vec![publication("a", "1")]]);
}

// T3
#[test]
fn falsy_payloads_are_payloads_and_a_missing_one_is_null() {
    let mut world = World::new(QUIET);
    let (alice, bob) = (world.join(0), world.join(0));
    world.answers(bob, &subscribe("a"));
    for payload in ["0", "false", "null", r#""""#, "[]", "{}"] {
        world.say(alice, &publish("a", payload));
        assert_eq!(world.all_heard([bob]), [vec![publication("a", payload)]]);
    }
    world.say(alice, r#"{"type":"publish","topic":"a"}"#);
    assert_eq!(world.all_heard([bob]), [vec![publication("a", "null")]]);
    let refused = world.answers(alice, r#"{"type":"publish","topic":"","payload":1}"#);
    assert!(refused[0].contains(r#""code":"invalid_topic""#), "{refused:?}");
}

// T4
#[test]
fn one_copy_comes_under_the_first_listed_topic_a_peer_subscribes_to() {
    let mut world = World::two(QUIET);
    let sender = world.join(0);
    let topics: [&[&str]; 6] = [&["a"], &["b"], &["a", "b"], &["b", "c"], &["c"], &["x"]];
    let expected = [Some("a"), Some("b"), Some("b"), Some("b"), Some("c"), None];
    let peers: Vec<_> = topics
        .iter()
        .enumerate()
        .map(|(number, topics)| {
            let who = world.join(number % 2);
            topics.iter().for_each(|topic| world.say(who, &subscribe(topic)));
            who
        })
        .collect();
    world.settle();
    for key in ["topics", "rooms"] {
        world.say(sender, &format!(r#"{{"type":"publish","{key}":["b","a","c","b"],"payload":1}}"#));
        world.settle();
        for (who, topic) in peers.iter().zip(expected) {
            let copies: Vec<_> = topic.iter().map(|topic| publication(topic, "1")).collect();
            assert_eq!(world.heard(*who), copies, "{key}");
        }
    }
}

// T4
#[test]
fn a_subscribe_under_way_to_an_earlier_listed_topic_costs_no_copy() {
    let mut world = World::two(QUIET);
    let (sender, peer) = (world.join(1), world.join(0));
    world.answers(peer, &subscribe("b"));
    world.say(sender, r#"{"type":"publish","topics":["a","b"],"payload":1}"#);
    world.turn(1);
    world.say(peer, &subscribe("a"));
    world.settle();
    assert_eq!(world.heard(peer), [publication("b", "1")]);
}

// T4
#[test]
fn no_topics_are_nobody() {
    let mut world = World::two(&QUIET.replace("subscribe", "broadcast = true\nsubscribe"));
    let (alice, bob) = (world.join(0), world.join(1));
    for who in [alice, bob] {
        world.answers(who, &subscribe("a"));
    }
    world.say(alice, r#"{"type":"publish","topics":[],"payload":1,"self":true,"id":1}"#);
    assert_eq!(world.all_heard([alice, bob]), [vec![r#"{"type":"ok","id":1}"#.to_owned()], silence()]);
}

// T4
#[test]
fn self_includes_the_sender_only_if_it_subscribes_to_a_topic_listed() {
    let mut world = World::new(QUIET);
    let alice = world.join(0);
    let frame = r#"{"type":"publish","topics":["a","b"],"payload":1,"self":true}"#;
    assert_eq!(world.answers(alice, frame), silence());
    world.answers(alice, &subscribe("b"));
    assert_eq!(world.answers(alice, frame), [publication("b", "1")]);
}

// T4, W1
#[test]
fn a_broadcast_reaches_the_namespace_where_the_policy_allows_it() {
    let mut world = World::two(&QUIET.replace("subscribe", "broadcast = true\nsubscribe"));
    let (alice, bob, carol) = (world.join(0), world.join(0), world.join(1));
    let elsewhere = super::world::arrival_in("/other", 0, crate::publication::Dialect::Plain);
    let stranger = world.arrive(1, elsewhere);
    world.say(alice, r#"{"type":"publish","payload":{"n":1}}"#);
    let bare = vec![r#"{"n":1}"#.to_owned()];
    let heard = world.all_heard([alice, bob, carol, stranger]);
    assert_eq!(heard, [silence(), bare.clone(), bare.clone(), silence()]);
    assert_eq!(world.answers(alice, r#"{"type":"publish","payload":{"n":1},"self":true}"#), bare);
}

// T4
#[test]
fn a_broadcast_is_forbidden_where_the_policy_does_not_speak_of_it() {
    let mut world = World::new(QUIET);
    let (alice, bob) = (world.join(0), world.join(0));
    let answer = world.answers(alice, r#"{"type":"publish","payload":1,"id":1}"#);
    assert!(answer[0].starts_with(r#"{"type":"error","code":"forbidden""#), "{answer:?}");
    assert_eq!(world.heard(bob), silence());
}

// E2, T2
#[test]
fn nothing_crosses_namespaces() {
    let mut world = World::two(QUIET);
    let names = ["/ws", "/ws/", "/WS", "/w", "/ws%20"];
    let plain = crate::publication::Dialect::Plain;
    let peers = names.map(|name| world.arrive(0, super::world::arrival_in(name, 0, plain)));
    for who in peers {
        world.answers(who, &subscribe("a"));
    }
    let sender = world.join(1);
    world.say(sender, &publish("a", "1"));
    let heard = world.all_heard(peers);
    assert_eq!(heard, [vec![publication("a", "1")], silence(), silence(), silence(), silence()]);
}

// T2, L2
#[test]
fn after_hundreds_came_and_went_everybody_who_is_there_gets_one_copy() {
    let mut world = World::two(QUIET);
    let stayed = world.join(0);
    world.answers(stayed, &subscribe("a"));
    for round in 0..300 {
        let who = world.join(round % 2);
        world.answers(who, &subscribe("a"));
        world.lose(who);
    }
    let sender = world.join(1);
    world.say(sender, &publish("a", "1"));
    assert_eq!(world.all_heard([stayed]), [vec![publication("a", "1")]]);
    world.end();
}
