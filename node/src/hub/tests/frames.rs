//! The words of the dialects (behaviours W1, W2, W3, W6, W7).

use super::world::{World, arrival_in, publication, publish, subscribe};
use crate::hub::{Invalid, Message};
use crate::publication::Dialect;

/// Three endpoints in one namespace, so that every dialect meets every other.
const MIXED: &str = r#"
    [session]
    topic = ""
    [[endpoint]]
    path = "/topics"
    subscribe = ["*"]
    publish = ["*"]
    broadcast = true
    [[endpoint]]
    path = "/raw"
    dialect = "raw"
    raw_topic = "a"
    [[endpoint]]
    path = "/silent"
    subscribe = ["*"]
    on_unknown = "silent"
"#;
const TOPICS: u16 = 0;
const RAW: u16 = 1;
const SILENT: u16 = 2;

fn binary(bytes: &'static [u8]) -> Message {
    Message::Binary(bytes.into())
}

// W1
#[test]
fn what_no_frame_is_gets_an_error_or_silence_as_the_endpoint_says() {
    let deep = format!("{}{}", "[".repeat(70), "]".repeat(70));
    for (text, code, with_id) in [
        ("hello", "malformed", false),
        ("", "malformed", false),
        ("[]", "malformed", false),
        (deep.as_str(), "malformed", false),
        ("{}", "unknown_type", false),
        (r#"{"type":"dance"}"#, "unknown_type", false),
        (r#"{"type":"dance","id":7}"#, "unknown_type", true),
        (r#"{"type":"subscribe"}"#, "malformed", false),
        (r#"{"type":"subscribe","id":7}"#, "malformed", true),
    ] {
        let mut world = World::new(MIXED);
        let talkative = world.join_as(0, TOPICS, Dialect::Plain);
        let answers = world.answers(talkative, text);
        let expected = format!(r#"{{"type":"error","code":"{code}","error":""#);
        assert!(answers.len() == 1 && answers[0].starts_with(&expected), "{text} was answered {answers:?}");
        assert_eq!(answers[0].contains(r#""id":7"#), with_id);

        let silent = world.join_as(0, SILENT, Dialect::Plain);
        assert_eq!(world.answers(silent, text).len(), usize::from(with_id), "{text}");
        let reason = if code == "malformed" { Invalid::Malformed } else { Invalid::UnknownType };
        assert_eq!(world.tally(0).invalid[reason as usize], 2, "{text} is counted");
    }
}

// W1
#[test]
fn a_binary_message_has_no_meaning_among_topics() {
    let mut world = World::new(MIXED);
    let who = world.join_as(0, TOPICS, Dialect::Plain);
    world.send(who, binary(b"{}"));
    let [heard] = world.all_heard([who]);
    assert!(heard.len() == 1 && heard[0].contains(r#""code":"malformed""#), "{heard:?}");
}

// W2
#[test]
fn a_text_ping_is_answered_with_exactly_ping_where_it_is_switched_on() {
    let mut world = World::new(MIXED);
    for dialect in [Dialect::Plain, Dialect::JsonV1] {
        let who = world.join_as(0, TOPICS, dialect);
        assert_eq!(world.answers(who, "ping"), ["ping"]);
        assert!(world.answers(who, "ping ")[0].contains("malformed"));
    }
    let (raw, other) = (world.join_as(0, RAW, Dialect::Raw), world.join_as(0, RAW, Dialect::Raw));
    assert!(world.answers(raw, "ping").is_empty());
    assert_eq!(world.heard(other), ["ping"], "a raw endpoint's ping is a message");

    let switched_on = MIXED.replace("raw_topic", "text_ping = true\nraw_topic");
    let mut world = World::new(&switched_on);
    let (raw, other) = (world.join_as(0, RAW, Dialect::Raw), world.join_as(0, RAW, Dialect::Raw));
    assert_eq!(world.answers(raw, "ping"), ["ping"]);
    assert!(world.heard(other).is_empty());
}

// W3
#[test]
fn an_id_is_given_back_as_it_came() {
    let mut world = World::new(MIXED);
    let who = world.join_as(0, TOPICS, Dialect::Plain);
    let longest = format!("\"{}\"", "x".repeat(64));
    for id in ["1", "-9007199254740993", "\"a\\\"b\"", "\"\"", longest.as_str()] {
        for frame in [r#""type":"publish","topic":"a""#, r#""type":"ping""#] {
            let answer = world.answers(who, &format!(r#"{{"id":{id},{frame}}}"#));
            assert_eq!(answer, [format!(r#"{{"type":"ok","id":{id}}}"#)]);
        }
    }
    for id in ["1.5", "true", "[]", &format!("\"{}\"", "x".repeat(65))] {
        let answer = world.answers(who, &format!(r#"{{"type":"ping","id":{id}}}"#));
        assert!(answer[0].contains(r#""code":"malformed""#), "{id} was answered {answer:?}");
    }
    assert!(world.answers(who, r#"{"type":"ping"}"#).is_empty());
    assert!(world.answers(who, r#"{"type":"hello"}"#).is_empty());
}

// W3
#[test]
fn hello_is_answered_with_who_and_where_the_peer_is() {
    let mut world = World::new(MIXED);
    let who = world.join_as(0, TOPICS, Dialect::Plain);
    for topic in ["b", "a"] {
        world.answers(who, &subscribe(topic));
    }
    let id = world.id(who);
    assert_eq!(
        world.answers(who, r#"{"type":"hello","id":"h"}"#),
        [format!(
            r#"{{"type":"ok","id":"h","peer":"{id}","user":null,"node":"node","namespace":"/ws","topics":["a","b"]}}"#
        )]
    );
    let key = world.key(who);
    assert_eq!(world.hub(who).find(id), Some(key));
}

// W6, W7
#[test]
fn raw_peers_relay_verbatim() {
    let mut world = World::two(MIXED);
    let (one, two) = (world.join_as(0, RAW, Dialect::Raw), world.join_as(1, RAW, Dialect::Raw));
    for text in ["", "{\"type\":\"subscribe\"}", "a\u{0}b", "🐦"] {
        world.say(one, text);
        assert_eq!(world.all_heard([one, two]), [vec![], vec![text.to_owned()]]);
    }
    world.send(one, binary(&[0, 255]));
    assert_eq!(world.all_heard([two]), [["<binary [0, 255]>"]]);
}

// W7, L5: each kind of payload as each dialect is sent it.
#[test]
fn every_dialect_gets_each_kind_of_payload_in_its_own_form() {
    let mut world = World::two(MIXED);
    let plain = world.join_as(0, TOPICS, Dialect::Plain);
    let json = world.join_as(1, TOPICS, Dialect::JsonV1);
    let raw = world.join_as(1, RAW, Dialect::Raw);
    let json_sender = world.join_as(0, TOPICS, Dialect::Plain);
    let raw_sender = world.join_as(0, RAW, Dialect::Raw);
    for who in [plain, json] {
        world.answers(who, &subscribe("a"));
    }
    let odd = r#"{ "b" : 1.0e+1, "a":"\u00e9\/", "b":2 }"#;
    world.say(json_sender, &publish("a", odd));
    let framed = publication("a", odd);
    assert_eq!(world.all_heard([plain, json, raw]), [[framed.clone()], [framed], [odd.to_owned()]]);

    world.heard(raw_sender);
    world.say(raw_sender, "say \"hi\"\n");
    let text = publication("a", r#""say \"hi\"\n""#);
    let heard = world.all_heard([plain, json, raw]);
    assert_eq!(heard, [[text.clone()], [text], ["say \"hi\"\n".to_owned()]]);

    let bare = "<binary [0, 1, 255]>".to_owned();
    let base64 = r#"{"topic":"a","base64":"AAH/"}"#.to_owned();
    world.send(raw_sender, binary(&[0, 1, 255]));
    assert_eq!(world.all_heard([plain, json, raw]), [[bare.clone()], [base64.clone()], [bare.clone()]]);
    world.say(json_sender, r#"{"type":"publish","topic":"a","base64":"AAH/"}"#);
    assert_eq!(world.all_heard([plain, json, raw]), [[bare.clone()], [base64], [bare]]);
}

// W1, W7
#[test]
fn every_dialect_gets_a_broadcast_in_its_own_form() {
    let mut world = World::new(MIXED);
    let sender = world.join_as(0, TOPICS, Dialect::Plain);
    let peers = [(TOPICS, Dialect::Plain), (TOPICS, Dialect::JsonV1), (RAW, Dialect::Raw)]
        .map(|(endpoint, dialect)| world.join_as(0, endpoint, dialect));
    world.say(sender, r#"{"type":"publish","payload":{"n":1}}"#);
    let message = r#"{"type":"message","payload":{"n":1}}"#;
    assert_eq!(world.all_heard(peers), [[r#"{"n":1}"#], [message], [r#"{"n":1}"#]]);
    world.say(sender, r#"{"type":"publish","base64":"AQ=="}"#);
    let message = r#"{"type":"message","base64":"AQ=="}"#;
    assert_eq!(world.all_heard(peers), [["<binary [1]>"], [message], ["<binary [1]>"]]);
}

// W7
#[test]
fn payloads_nest_64_levels_and_no_more() {
    let mut world = World::new(MIXED);
    let (alice, bob) = (world.join(0), world.join(0));
    world.answers(bob, &subscribe("a"));
    let nested = |depth| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    assert!(world.answers(alice, &publish("a", &nested(64))).is_empty());
    assert_eq!(world.heard(bob), [publication("a", &nested(64))]);
    let refused = world.answers(alice, &publish("a", &nested(65)));
    assert!(refused.len() == 1 && refused[0].contains(r#""code":"malformed""#), "{refused:?}");
    assert!(world.heard(bob).is_empty());
}

// T4
#[test]
fn the_frame_types_that_need_more_than_relay_are_refused_by_name() {
    let mut world = World::new(MIXED);
    let who = world.arrive(0, arrival_in("/ws", TOPICS, Dialect::JsonV1));
    world.settle();
    world.heard(who);
    for (frame, code) in [
        (r#"{"type":"history","topic":"a","limit":1,"id":1}"#, "invalid_topic"),
        (r#"{"type":"presence","topic":"a","id":1}"#, "invalid_topic"),
        (r#"{"type":"resume","grant":"g","topics":[],"id":1}"#, "unauthenticated"),
        (r#"{"type":"auth","token":"t","id":1}"#, "forbidden"),
    ] {
        let answers = world.answers(who, frame);
        assert!(answers[0].starts_with(&format!(r#"{{"type":"error","code":"{code}""#)), "{answers:?}");
        assert!(answers[0].contains(r#""id":1"#));
    }
}
