//! What peers may name: internals, defaults, patterns (behaviours T5, T6).

use super::world::{World, arrival, publication, publish, query, subscribe, unsubscribe};
use crate::publication::Dialect;

const LISTEN_ONLY: &str = r#"
    [[endpoint]]
    path = "/**"
    internals = ["news"]
    defaults = ["session", "chat"]
    subscribe = ["*"]
    publish = ["*"]
    broadcast = true
    on_unknown = "silent"
"#;

fn with_id(frame: &str) -> String {
    frame.replacen('{', r#"{"id":1,"#, 1)
}

/// The code of the one error a peer was answered.
fn code(answers: &[String]) -> String {
    let [answer] = answers else { panic!("one answer is expected, not {answers:?}") };
    let value: serde_json::Value = serde_json::from_str(answer).expect("answers are JSON");
    assert_eq!(value["type"], "error", "{answer}");
    value["code"].as_str().expect("errors have codes").to_owned()
}

// T5
#[test]
fn internals_are_listen_only_and_silent_but_to_who_asks() {
    let mut world = World::new(LISTEN_ONLY);
    let (alice, bob) = (world.join(0), world.join(0));
    world.pass_ms(200);
    world.heard(alice);
    let several = r#"{"type":"publish","topics":["chat","news"],"payload":1}"#.to_owned();
    for frame in [subscribe("news"), unsubscribe("news"), publish("news", "1"), several] {
        assert!(world.answers(alice, &frame).is_empty(), "{frame}");
        assert_eq!(code(&world.answers(alice, &with_id(&frame))), "forbidden", "{frame}");
    }
    world.heard(bob);
    assert_eq!(world.hub(alice).subscription_count(), 6);
    assert_eq!(world.all_heard([bob]), [Vec::<String>::new()]);
}

// T5
#[test]
fn defaults_are_joined_before_open_and_may_be_left_and_joined_again() {
    let mut world = World::new(&LISTEN_ONLY.replace("subscribe = [\"*\"]", ""));
    let (alice, bob) = (world.join(0), world.join(0));
    world.pass_ms(200);
    world.heard(bob);
    world.say(alice, &publish("chat", "1"));
    assert_eq!(world.all_heard([bob]), [[publication("chat", "1")]]);
    world.answers(bob, &unsubscribe("chat"));
    world.say(alice, &publish("chat", "2"));
    assert_eq!(world.all_heard([bob]), [Vec::<String>::new()]);
    world.answers(bob, &subscribe("chat"));
    world.say(alice, &publish("chat", "3"));
    assert_eq!(world.all_heard([bob]), [[publication("chat", "3")]]);
    assert_eq!(code(&world.answers(bob, &subscribe("elsewhere"))), "forbidden");
}

// T6
#[test]
fn patterns_decide_who_may_subscribe_and_publish() {
    let mut world = World::new(
        r#"
        [[endpoint]]
        path = "/**"
        subscribe = ["chat", "page:*", "$inside", "room:{query.room}"]
        publish = ["chat", "page:*:talk", "room:{query.room}"]
        "#,
    );
    let mut arrival = arrival(0, Dialect::Plain);
    arrival.variables = Some(Box::new(query(&[("room", "*"), ("room", "second")])));
    let who = world.arrive(0, arrival);
    world.settle();
    world.heard(who);
    for (topic, may_subscribe, may_publish) in [
        ("chat", true, true),
        ("chat2", false, false),
        ("Chat", false, false),
        ("page:", true, false),
        ("page:home", true, false),
        ("page:home:talk", true, true),
        ("pages:home", false, false),
        ("room:*", true, true),
        // The star came from the peer, so it is a letter.
        ("room:x", false, false),
        ("room:second", false, false),
        ("session", true, false),
        ("$inside", false, false),
    ] {
        for (frame, allowed) in [(subscribe(topic), may_subscribe), (publish(topic, "1"), may_publish)] {
            let answers = world.answers(who, &with_id(&frame));
            let expected = if allowed { r#"{"type":"ok""# } else { r#"{"type":"error","code":"forbidden""# };
            let last = answers.last().expect("who asks is answered");
            assert!(last.starts_with(expected), "{frame} was answered {last}");
        }
    }
}

// T6
#[test]
fn a_variable_without_a_value_matches_nothing() {
    let toml = "[[endpoint]]\npath = \"/**\"\nsubscribe = [\"room:{query.room}\"]\n";
    for variables in [None, Some(query(&[])), Some(query(&[("room", "")]))] {
        let mut world = World::new(toml);
        let mut arrival = arrival(0, Dialect::Plain);
        arrival.variables = variables.map(Box::new);
        let who = world.arrive(0, arrival);
        world.settle();
        world.heard(who);
        for topic in ["room:", "room:{query.room}", "room:x"] {
            assert_eq!(code(&world.answers(who, &subscribe(topic))), "forbidden", "{topic}");
        }
    }
}

// T6
#[test]
fn session_internals_and_reserved_topics_are_never_open_to_publish() {
    for renamed in ["session", "users"] {
        let toml = format!("[session]\ntopic = \"{renamed}\"\n{LISTEN_ONLY}").replace("\"session\", ", "");
        let mut world = World::new(&toml);
        let who = world.join(0);
        for topic in [renamed, "news", "$", "$anything"] {
            assert_eq!(code(&world.answers(who, &with_id(&publish(topic, "1")))), "forbidden", "{topic}");
        }
    }
}

// T4, T6
#[test]
fn one_forbidden_topic_of_a_list_forbids_the_publish() {
    let mut world = World::new("[[endpoint]]\npath = \"/**\"\ndefaults = [\"a\"]\npublish = [\"a\"]\n");
    let (alice, bob) = (world.join(0), world.join(0));
    let frame = r#"{"type":"publish","topics":["a","b"],"payload":1}"#;
    assert_eq!(code(&world.answers(alice, frame)), "forbidden");
    assert!(world.heard(bob).is_empty());
}
