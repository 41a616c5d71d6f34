//! The dialect `dunlin.msgpack.v1` (behaviours W3, W7), alone and beside the others.

use std::sync::Arc;

use dunlin_protocol::{Envelope, GapReason, Namespace, Payload, Recipients, Topic};
use rmpv::Value;

use super::world::{Who, World, arrival, publication as json_publication, publish, subscribe};
use crate::history::Gap;
use crate::hub::{Invalid, Limit, Message};
use crate::publication::{Dialect, Publication};

/// Two endpoints in one namespace, so that every dialect meets every other.
const MIXED: &str = r#"
    [limits]
    frames_per_second = 20
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
"#;
const TOPICS: u16 = 0;
const RAW: u16 = 1;

/// A frame as an implementation that is not ours writes it.
fn pack(pairs: &[(&str, Value)]) -> Message {
    let mut bytes = Vec::new();
    rmpv::encode::write_value(&mut bytes, &map(pairs)).expect("memory takes it");
    Message::Binary(bytes.into())
}

fn map(pairs: &[(&str, Value)]) -> Value {
    Value::Map(pairs.iter().map(|(key, value)| ((*key).into(), value.clone())).collect())
}

fn publish_packed(payload: Value) -> Message {
    pack(&[("type", "publish".into()), ("topic", "a".into()), ("payload", payload)])
}

/// What a frame says that a test's socket has described.
fn unpack(described: &str) -> Value {
    let digits = described.strip_prefix("<binary [").and_then(|rest| rest.strip_suffix("]>"));
    let digits = digits.unwrap_or_else(|| panic!("no binary message: {described}"));
    let bytes: Vec<u8> = digits.split(", ").map(|byte| byte.parse().expect("a byte")).collect();
    let mut rest = &bytes[..];
    let value = rmpv::decode::read_value(&mut rest).expect("MessagePack");
    assert!(rest.is_empty(), "{described}");
    value
}

impl World {
    fn join_msgpack(&mut self, hub: usize) -> Who {
        self.join_as(hub, TOPICS, Dialect::MsgpackV1)
    }

    /// What the peer heard when everybody has listened.
    fn unpacked(&mut self, who: Who) -> Vec<Value> {
        self.settle();
        self.heard(who).iter().map(|frame| unpack(frame)).collect()
    }

    /// The one answer to a frame.
    fn answer_to(&mut self, who: Who, frame: Message) -> Value {
        self.send(who, frame);
        let answers = self.unpacked(who);
        assert_eq!(answers.len(), 1, "{answers:?}");
        answers[0].clone()
    }

    fn subscribe_packed(&mut self, who: Who, topic: &str) {
        let frame = [("type", "subscribe".into()), ("topic", topic.into()), ("id", 1.into())];
        let answer = self.answer_to(who, pack(&frame));
        assert_eq!(answer, map(&[("type", "ok".into()), ("id", 1.into()), ("topic", topic.into())]));
    }
}

/// What a publication on `a` looks like.
fn publication(payload: impl Into<Value>) -> Value {
    map(&[("topic", "a".into()), ("payload", payload.into())])
}

// W3, W5
#[test]
fn a_peer_is_greeted_counted_and_answered_in_messagepack() {
    let mut world = World::new(&MIXED.replace("topic = \"\"", ""));
    let who = world.arrive(0, arrival(TOPICS, Dialect::MsgpackV1));
    let id = world.id(who).to_string();
    let (peer, node) = (("peer", Value::from(id)), ("node", Value::from("node")));
    let welcome = [
        ("type", "welcome".into()),
        peer.clone(),
        node.clone(),
        ("ping_ms", 25_000.into()),
        ("user", Value::Nil),
    ];
    let users = [("topic", "session".into()), ("payload", map(&[("users", 1.into())]))];
    assert_eq!(world.unpacked(who), [map(&welcome), map(&users)]);

    let answer = world.answer_to(who, pack(&[("type", "hello".into()), ("id", "h".into())]));
    let topics = Value::Array(vec!["session".into()]);
    let hello = [
        ("type", "ok".into()),
        ("id", "h".into()),
        peer,
        ("user", Value::Nil),
        node,
        ("namespace", "/ws".into()),
        ("topics", topics),
    ];
    assert_eq!(answer, map(&hello));
    let answer = world.answer_to(
        who,
        pack(&[("type", "history".into()), ("topic", "a".into()), ("limit", 1.into()), ("id", 1.into())]),
    );
    assert_eq!((&answer["type"], &answer["code"]), (&"error".into(), &"invalid_topic".into()));
}

// W2, W3
#[test]
fn a_text_message_is_a_ping_or_has_no_meaning() {
    let mut world = World::new(MIXED);
    let who = world.join_msgpack(0);
    assert_eq!(world.answers(who, "ping"), ["ping"]);
    for text in [r#"{"type":"ping","id":1}"#, "", "ping "] {
        world.say(who, text);
        let answers = world.unpacked(who);
        assert_eq!((answers.len(), &answers[0]["code"]), (1, &"malformed".into()), "{text}");
    }
    world.tally(0);
    for bytes in [&b"ping"[..], b"{}", b"", b"\xc1", b"\x81\xa4type"] {
        let answer = world.answer_to(who, Message::Binary(bytes.into()));
        assert_eq!(answer["code"], "malformed".into(), "{bytes:02x?}");
    }
    assert_eq!(world.tally(0).invalid[Invalid::Malformed as usize], 5);
}

// W7, L5: each kind of payload, from whoever says it, as each dialect is sent it.
#[test]
fn each_kind_of_payload_reaches_each_dialect_in_its_own_form() {
    let mut world = World::two(MIXED);
    let packed = [world.join_msgpack(0), world.join_msgpack(1)];
    let json = world.join_as(1, TOPICS, Dialect::JsonV1);
    let plain = world.join_as(0, TOPICS, Dialect::Plain);
    let raw = world.join_as(1, RAW, Dialect::Raw);
    for who in [json, plain] {
        world.answers(who, &subscribe("a"));
    }
    for who in packed {
        world.subscribe_packed(who, "a");
    }
    let [sender, hearer] = packed;
    let kinds: [(Value, &str, &str, &str); 4] = [
        (
            map(&[("n", 1.into()), ("f", 1.5.into())]),
            r#"{"n":1,"f":1.5}"#,
            r#"{"n":1,"f":1.5}"#,
            r#"{"n":1,"f":1.5}"#,
        ),
        ("say \"hi\"".into(), r#""say \"hi\"""#, r#""say \"hi\"""#, "say \"hi\""),
        (u64::MAX.into(), "18446744073709551615", "18446744073709551615", "18446744073709551615"),
        (Value::Nil, "null", "null", "null"),
    ];
    for (value, to_json, to_plain, to_raw) in kinds {
        world.send(sender, publish_packed(value.clone()));
        let heard = world.all_heard([json, plain, raw]);
        assert_eq!(
            heard,
            [[json_publication("a", to_json)], [json_publication("a", to_plain)], [to_raw.to_owned()]]
        );
        assert_eq!(world.unpacked(hearer), [publication(value)]);
    }
    world.send(sender, publish_packed(Value::Binary(vec![0, 255])));
    let bare = "<binary [0, 255]>".to_owned();
    let base64 = r#"{"topic":"a","base64":"AP8="}"#.to_owned();
    assert_eq!(world.all_heard([json, plain, raw]), [[base64], [bare.clone()], [bare]]);
    assert_eq!(world.unpacked(hearer), [publication(Value::Binary(vec![0, 255]))]);
    assert!(world.unpacked(sender).is_empty(), "a publisher does not hear itself");
}

// W7
#[test]
fn what_others_publish_comes_as_its_own_kind() {
    let mut world = World::two(MIXED);
    let who = world.join_msgpack(0);
    world.subscribe_packed(who, "a");
    let (json, raw) = (world.join_as(1, TOPICS, Dialect::JsonV1), world.join_as(1, RAW, Dialect::Raw));
    world.say(json, &publish("a", r#"{ "big":123456789012345678901, "half":"\ud800", "n":[1.0,-0] }"#));
    let numbers = Value::Array(vec![1.0.into(), (-0.0).into()]);
    let odd = [("big", "123456789012345678901".into()), ("half", "\u{fffd}".into()), ("n", numbers)];
    assert_eq!(world.unpacked(who), [publication(map(&odd))]);
    world.say(json, r#"{"type":"publish","topic":"a","base64":"AP8="}"#);
    assert_eq!(world.unpacked(who), [publication(Value::Binary(vec![0, 255]))]);
    world.say(raw, "line\n");
    assert_eq!(world.unpacked(who), [publication("line\n")]);
    world.send(raw, Message::Binary(b"\x00".as_slice().into()));
    assert_eq!(world.unpacked(who), [publication(Value::Binary(vec![0]))]);
}

// W1, W7
#[test]
fn what_has_no_topic_is_a_message() {
    let mut world = World::new(MIXED);
    let (who, sender) = (world.join_msgpack(0), world.join_msgpack(0));
    let plain = world.join_as(0, TOPICS, Dialect::Plain);
    for (payload, to_plain) in
        [(Value::from(7), "7"), ("hi".into(), "hi"), (Value::Binary(vec![1]), "<binary [1]>")]
    {
        world.send(sender, pack(&[("type", "publish".into()), ("payload", payload.clone())]));
        assert_eq!(world.unpacked(who), [map(&[("type", "message".into()), ("payload", payload)])]);
        assert_eq!(world.heard(plain), [to_plain]);
    }
}

// W7
#[test]
fn a_payload_that_not_everybody_could_be_sent_reaches_nobody() {
    let mut world = World::new(MIXED);
    let (who, other) = (world.join_msgpack(0), world.join_msgpack(0));
    world.subscribe_packed(other, "a");
    let key = Value::Map(vec![(1.into(), 2.into())]);
    let mut deep = Value::Nil;
    for _ in 0..65 {
        deep = Value::Array(vec![deep]);
    }
    for (payload, code) in [
        (Value::F64(f64::NAN), "invalid_payload"),
        (Value::F64(f64::INFINITY), "invalid_payload"),
        (Value::Ext(1, vec![2]), "invalid_payload"),
        (Value::Array(vec![Value::Binary(vec![1])]), "invalid_payload"),
        (key, "invalid_payload"),
        (deep, "malformed"),
    ] {
        let frame = [
            ("type", "publish".into()),
            ("topic", "a".into()),
            ("payload", payload.clone()),
            ("id", 7.into()),
        ];
        let answer = world.answer_to(who, pack(&frame));
        assert_eq!((&answer["code"], &answer["type"]), (&code.into(), &"error".into()), "{payload}");
        assert_eq!(answer["id"], if code == "malformed" { Value::Nil } else { 7.into() }, "{payload}");
    }
    assert!(world.unpacked(other).is_empty());
    assert_eq!(world.tally(0).invalid[Invalid::InvalidPayload as usize], 5);
}

// H5, W3
#[test]
fn what_exceeds_a_rate_is_refused_under_its_id() {
    let mut world = World::new(MIXED);
    let who = world.join_msgpack(0);
    let (now, key) = (world.now, world.key(who));
    for id in 0..23 {
        let ping = pack(&[("type", "ping".into()), ("id", id.into())]);
        world.hub(who).receive(now, key, ping);
    }
    let answers = world.unpacked(who);
    let refused: Vec<_> = answers.iter().filter(|answer| answer["code"] == "rate".into()).collect();
    let ids: Vec<_> = refused.iter().map(|answer| answer["id"].clone()).collect();
    assert_eq!(ids, [20.into(), 21.into(), 22.into()]);
    assert_eq!(world.tally(0).limited[Limit::FramesPerSecond as usize], 3);
}

// T2
#[test]
fn peers_are_told_of_gaps_in_their_own_words() {
    let mut world = World::new(MIXED);
    let (packed, other) = (world.join_msgpack(0), world.join_msgpack(0));
    let json = world.join_as(0, TOPICS, Dialect::JsonV1);
    for who in [packed, other] {
        world.subscribe_packed(who, "a");
    }
    world.answers(json, &subscribe("a"));
    let hub = world.hub(packed);
    let topic = (0..2).find(|index| hub.topics[*index].name.as_str() == "a").expect("it is there");
    let tag = hub.topics.tag(topic);
    hub.missed(tag, Gap::of(GapReason::Lost));
    let gap = map(&[("type", "gap".into()), ("topic", "a".into()), ("reason", "lost".into())]);
    assert_eq!([world.unpacked(packed), world.unpacked(other)], [[gap.clone()], [gap]]);
    assert_eq!(world.heard(json), [r#"{"type":"gap","topic":"a","reason":"lost"}"#]);
}

// Style 13: whatever the number of peers and shards.
#[test]
fn each_dialect_s_frame_is_made_once_for_a_node() {
    let envelope = Envelope {
        origin: None,
        echo: false,
        at_us: 0,
        namespace: Namespace::parse("/ws").expect("a namespace"),
        to: Recipients::Topic(Topic::parse("a").expect("a topic")),
        payload: Payload::json(r#"{"n":1}"#),
    };
    let publication = Publication::new(Arc::new(envelope), 0);
    let frame = |dialect| publication.frame(dialect).as_ptr();
    for dialect in [Dialect::Plain, Dialect::JsonV1, Dialect::Raw, Dialect::MsgpackV1] {
        assert_eq!(frame(dialect), frame(dialect), "{dialect:?}");
    }
    assert_eq!(frame(Dialect::Plain), frame(Dialect::JsonV1));
    assert_ne!(frame(Dialect::MsgpackV1), frame(Dialect::JsonV1));
}
