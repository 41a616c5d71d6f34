//! How much a peer may ask for (behaviours H5).

use super::world::{Who, World, publish, subscribe};
use crate::hub::Limit;

const FEW: &str = r#"
    [limits]
    frames_per_second = 20
    publishes_per_second = 5
    subscribes_per_second = 4
    subscriptions = 3
    [session]
    topic = ""
    [[endpoint]]
    path = "/**"
    heartbeat = "0s"
    subscribe = ["*"]
    publish = ["*"]
"#;

fn codes(answers: &[String]) -> Vec<String> {
    let code = |answer: &String| {
        let value: serde_json::Value = serde_json::from_str(answer).expect("answers are JSON");
        value["code"].as_str().unwrap_or("ok").to_owned()
    };
    answers.iter().map(code).collect()
}

fn say_often(world: &mut World, who: Who, times: usize, frame: &str) -> Vec<String> {
    world.say_at_once(who, times, frame);
    world.settle();
    world.heard(who)
}

#[test]
fn a_rate_refuses_what_exceeds_a_second_s_worth() {
    let with_id = |frame: String| frame.replacen('{', r#"{"id":1,"#, 1);
    for (frame, rate, limit) in [
        (r#"{"type":"ping"}"#.to_owned(), 20, Limit::FramesPerSecond),
        (publish("a", "1"), 5, Limit::PublishesPerSecond),
        (subscribe("a"), 4, Limit::SubscribesPerSecond),
    ] {
        let mut world = World::new(FEW);
        let who = world.join(0);
        world.tally(0);
        let answers = codes(&say_often(&mut world, who, rate + 3, &with_id(frame.clone())));
        let refused = answers.iter().filter(|code| *code == "rate").count();
        assert_eq!((answers.len() - refused, refused), (rate, 3), "{limit:?}");
        assert_eq!(world.tally(0).limited[limit as usize], 3, "{limit:?}");
        world.pass_ms(1_000);
        assert!(codes(&say_often(&mut world, who, rate, &with_id(frame))).iter().all(|code| code == "ok"));
    }
}

#[test]
fn a_rate_of_zero_is_no_limit() {
    let mut world = World::new(&FEW.replace("per_second = 20", "per_second = 0"));
    let who = world.join(0);
    assert_eq!(say_often(&mut world, who, 5_000, "ping").len(), 5_000);
}

#[test]
fn without_an_id_a_flood_is_told_once_a_second() {
    let mut world = World::new(FEW);
    let who = world.join(0);
    for _ in 0..50 {
        say_often(&mut world, who, 10, &publish("a", "1"));
        world.pass_ms(100);
    }
    world.pass_ms(2_000);
    assert!(world.heard(who).is_empty());

    let who = world.join(0);
    let mut told = 0;
    for _ in 0..50 {
        told += say_often(&mut world, who, 10, &publish("a", "1")).len();
        world.pass_ms(100);
    }
    assert_eq!(told, 5);
}

#[test]
fn ten_seconds_of_flood_close_with_1008() {
    let mut world = World::new(FEW);
    let who = world.join(0);
    let start = world.now;
    let heard = loop {
        let heard = say_often(&mut world, who, 10, "ping");
        if heard.iter().any(|frame| frame.starts_with("<close")) {
            break heard;
        }
        assert!(world.now.since(start).as_secs() < 12, "never closed");
        world.pass_ms(100);
    };
    assert_eq!(heard.last().map(String::as_str), Some("<close 1008 too many frames a second>"));
    assert!((9_900..11_000).contains(&world.now.since(start).as_millis()));
    assert_eq!(world.hub(who).peer_count(), 0);
    world.end();
}

#[test]
fn a_quiet_second_in_between_ends_a_flood() {
    let mut world = World::new(FEW);
    let who = world.join(0);
    for _ in 0..6 {
        for _ in 0..40 {
            say_often(&mut world, who, 10, "ping");
            world.pass_ms(100);
        }
        world.pass_ms(1_100);
    }
    assert_eq!(world.hub(who).peer_count(), 1);
}

#[test]
fn control_frames_count_against_the_frame_rate() {
    let mut world = World::new(FEW);
    let who = world.join(0);
    (0..20).for_each(|_| world.pong(who));
    assert_eq!(codes(&say_often(&mut world, who, 1, "ping")), ["rate"]);
}

#[test]
fn a_peer_may_subscribe_to_so_many_topics() {
    let mut world = World::new(FEW);
    let who = world.join(0);
    for topic in ["a", "b", "c"] {
        assert!(world.answers(who, &subscribe(topic)).is_empty());
    }
    assert_eq!(codes(&world.answers(who, &subscribe("d"))), ["limit"]);
    world.pass_ms(1_000);
    assert!(world.answers(who, &subscribe("a")).is_empty(), "one it has is none more");
    world.answers(who, r#"{"type":"unsubscribe","topic":"a"}"#);
    assert!(world.answers(who, &subscribe("d")).is_empty());
    assert_eq!(world.tally(0).limited[Limit::Subscriptions as usize], 1);
}

// H5, L1: what a peer may not say is not even read for a while.
#[test]
fn a_peer_over_its_rate_is_paused_and_read_again() {
    let mut world = World::new(FEW);
    let who = world.join(0);
    say_often(&mut world, who, 20, "ping");
    let key = world.key(who);
    assert!(world.hub(who).may_be_read(key));
    say_often(&mut world, who, 1, "ping");
    assert!(!world.hub(who).may_be_read(key));
    // Waits unread meanwhile, and is answered then.
    assert_eq!(say_often(&mut world, who, 1, "ping"), Vec::<String>::new());
    world.pass_ms(120);
    assert_eq!(world.heard(who), ["ping"]);
    assert!(world.hub(who).may_be_read(key));
}
