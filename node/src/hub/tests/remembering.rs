//! Topics that remember, as their peers see them: what a rule says is a test, over the broker in memory.

use super::world::{Who, World, arrival, publication, publish, subscribe};
use crate::hub::SlowAction;
use crate::publication::Dialect;

pub const MODES: &str = r#"
    [limits]
    message = "64KiB"
    outbox = "64KiB"
    frames_per_second = 0
    publishes_per_second = 0
    subscribes_per_second = 0
    [session]
    topic = ""
    [[endpoint]]
    path = "/**"
    heartbeat = "0s"
    subscribe = ["*"]
    publish = ["*"]
    [[endpoint]]
    path = "/automatic"
    heartbeat = "0s"
    defaults = ["list", "log"]
    publish = ["*"]
    [[endpoint]]
    path = "/raw"
    heartbeat = "0s"
    dialect = "raw"
    raw_topic = "value"
    defaults = ["value"]
    [[topic]]
    match = "value"
    mode = "value"
    [[topic]]
    match = "log"
    mode = "log"
    replay = 2
    slow = "gap"
    [[topic]]
    match = "list"
    mode = "list"
    limit = 3
    [[topic]]
    match = "map"
    mode = "map"
    [[topic]]
    match = "few"
    mode = "log"
    rate = 2
    payload = "10B"
    [[topic]]
    match = "set"
    mode = "list"
    set = { user = "$peer.id" }
    on_invalid = "silent"
"#;

/// A frame as JSON, its cursors as a word: they are opaque.
fn plainly(frame: &str) -> String {
    let mut plain = frame.to_owned();
    for key in [r#""cursor":""#, r#""from":""#, r#""to":""#] {
        let mut parts = plain.split(key);
        let mut out = parts.next().expect("one part at least").to_owned();
        for part in parts {
            out = out + key + "C" + &part[part.find('"').expect("a string ends")..];
        }
        plain = out;
    }
    plain
}

fn heard(world: &mut World, who: Who) -> Vec<String> {
    world.settle();
    world.heard(who).iter().map(|frame| plainly(frame)).collect()
}

fn says(world: &mut World, who: Who, text: &str) -> Vec<String> {
    world.say(who, text);
    heard(world, who)
}

fn v1(world: &mut World) -> Who {
    world.join_as(0, 0, Dialect::JsonV1)
}

fn with_id(frame: &str) -> String {
    frame.replacen('{', r#"{"id":1,"#, 1)
}

/// The last cursor that a frame has.
fn cursor(frame: &str) -> String {
    let at = frame.rfind(r#""cursor":""#).unwrap_or_else(|| panic!("no cursor in {frame}")) + 10;
    frame[at..].split('"').next().expect("it ends").to_owned()
}

// T7, T9
#[test]
fn a_plain_newcomer_gets_what_is_stored_before_the_answer() {
    let table = [
        ("value", vec![publication("value", "3")]),
        ("log", vec![publication("log", "2"), publication("log", "3")]),
        ("list", vec![publication("list", "[1,2,3]")]),
    ];
    for (topic, stored) in table {
        let mut world = World::new(MODES);
        let (sender, peer) = (world.join(0), world.join(0));
        let ok = format!(r#"{{"type":"ok","id":1,"topic":"{topic}"}}"#);
        assert_eq!(says(&mut world, peer, &with_id(&subscribe(topic))), [ok.as_str()], "nothing is stored");
        for number in 1..=3 {
            world.say(sender, &publish(topic, &number.to_string()));
            world.settle();
        }
        let late = world.join(0);
        let mut expected = stored;
        expected.push(ok);
        assert_eq!(says(&mut world, late, &with_id(&subscribe(topic))), expected);
        world.end();
    }
}

// T9, W3
#[test]
fn a_v1_newcomer_gets_it_inside_the_answer() {
    let table = [
        ("value", "3", r#""cursor":"C","state":3}"#),
        ("list", "3", r#""cursor":"C","state":[1,2,3]}"#),
        ("map", r#"{"a":null,"b":2}"#, r#""cursor":"C","state":{"b":2}}"#),
    ];
    for (topic, last, rest) in table {
        let mut world = World::new(MODES);
        let (sender, peer) = (world.join(0), v1(&mut world));
        let first = if topic == "map" { [r#"{"a":1}"#, r#"{"c":1}"#] } else { ["1", "2"] };
        for payload in first.into_iter().chain([last]) {
            world.say(sender, &publish(topic, payload));
        }
        if topic == "map" {
            world.say(sender, &publish(topic, r#"{"c":null}"#));
        }
        world.settle();
        let answer = says(&mut world, peer, &with_id(&subscribe(topic)));
        assert_eq!(answer, [format!(r#"{{"type":"ok","id":1,"topic":"{topic}",{rest}"#)]);
        world.end();
    }
}

// R1, redis 2.6
#[test]
fn a_v1_peer_comes_back_to_a_log_where_it_was() {
    let mut world = World::new(MODES);
    let (sender, peer) = (world.join(0), v1(&mut world));
    world.answers(peer, &subscribe("log"));
    world.answers(sender, &publish("log", "1"));
    let since = cursor(&world.heard(peer)[0]);
    world.lose(peer);
    world.answers(sender, &publish("log", "2"));
    let back = v1(&mut world);
    let resubscribe = format!(r#"{{"type":"subscribe","topic":"log","since":"{since}","id":1}}"#);
    let answer = world.answers(back, &resubscribe).remove(0);
    assert!(answer.contains(r#""recovered":true,"publications":[{"cursor":"#), "{answer}");
    assert!(answer.contains(r#""payload":2,"at":"#) && !answer.contains(r#""payload":1"#), "{answer}");
    let garbage = says(&mut world, back, r#"{"type":"subscribe","topic":"log","since":"what","id":2}"#);
    assert!(garbage[0].contains(r#""recovered":false,"reason":"reset""#), "{garbage:?}");
    world.answers(sender, &publish("log", "3"));
    assert_eq!(heard(&mut world, back), [r#"{"topic":"log","payload":3,"cursor":"C"}"#]);
    world.end();
}

// T9: where no answer can say it, a frame does.
#[test]
fn without_an_id_an_unproven_cursor_is_told_by_a_frame_of_its_own() {
    let mut world = World::new(MODES);
    let (sender, peer) = (world.join(0), v1(&mut world));
    world.answers(sender, &publish("value", "7"));
    world.answers(sender, &publish("log", "7"));
    let value = says(&mut world, peer, r#"{"type":"subscribe","topic":"value","since":"what"}"#);
    assert_eq!(value, [r#"{"type":"reset","topic":"value","recovered":false,"cursor":"C","state":7}"#]);
    let log = says(&mut world, peer, r#"{"type":"subscribe","topic":"log","since":"what"}"#);
    let gap = r#"{"type":"gap","topic":"log","to":"C","reason":"reset"}"#;
    assert_eq!(log, [gap, r#"{"topic":"log","payload":7,"cursor":"C"}"#]);
}

// W5
#[test]
fn automatic_topics_bring_their_states_as_ordinary_frames() {
    let mut world = World::new(MODES);
    let sender = world.join(0);
    for (topic, payload) in [("list", "1"), ("log", "2")] {
        world.answers(sender, &publish(topic, payload));
    }
    let plain = world.arrive(0, arrival(1, Dialect::Plain));
    assert_eq!(heard(&mut world, plain), [publication("list", "[1]"), publication("log", "2")]);
    let v1 = world.arrive(0, arrival(1, Dialect::JsonV1));
    let frames =
        [r#"{"topic":"list","payload":[1],"cursor":"C"}"#, r#"{"topic":"log","payload":2,"cursor":"C"}"#];
    assert_eq!(heard(&mut world, v1)[1..], frames);
    world.answers(sender, &publish("value", "\"hi\""));
    let raw = world.arrive(0, arrival(2, Dialect::Raw));
    assert_eq!(heard(&mut world, raw), ["\"hi\""]);
    world.end();
}

// T2, R1
#[test]
fn a_publisher_is_told_where_its_own_publication_is() {
    let mut world = World::new(MODES);
    let (peer, other) = (v1(&mut world), world.join(0));
    for topic in ["log", "value", "list"] {
        world.answers(peer, &subscribe(topic));
        world.answers(other, &subscribe(topic));
    }
    let moved = r#"{"topic":"log","cursor":"C"}"#;
    assert_eq!(says(&mut world, peer, &publish("log", "1")), [moved]);
    let ok = r#"{"type":"ok","id":1,"cursor":"C"}"#;
    assert_eq!(says(&mut world, peer, &with_id(&publish("log", "2"))), [ok]);
    assert_eq!(says(&mut world, peer, &with_id(&publish("value", "3"))), [ok]);
    let list = r#"{"topic":"list","payload":[4],"cursor":"C"}"#;
    assert_eq!(says(&mut world, peer, &with_id(&publish("list", "4"))), [list, ok]);
    let ok = r#"{"type":"ok","id":1}"#;
    assert_eq!(says(&mut world, other, &with_id(&publish("log", "5"))).last().map(String::as_str), Some(ok));
    world.end();
}

// T4, T7, T10, H5
#[test]
fn what_a_topic_can_not_keep_is_refused() {
    let long = "k".repeat(129);
    let table = [
        (r#""topics":["list","other"],"payload":1"#.to_owned(), "invalid_topic"),
        (r#""topic":"list","base64":"AA==""#.to_owned(), "invalid_payload"),
        (r#""topic":"map","payload":[1]"#.to_owned(), "invalid_payload"),
        (r#""topic":"map","payload":"{}""#.to_owned(), "invalid_payload"),
        (r#""topic":"map","payload":{"a":1,"\u0061":2}"#.to_owned(), "invalid_payload"),
        (r#""topic":"few","payload":"0123456789""#.to_owned(), "too_large"),
        (r#""topic":"list","payload":1,"key":"""#.to_owned(), "malformed"),
        (format!(r#""topic":"list","payload":1,"key":"{long}""#), "malformed"),
        (r#""topic":"set","payload":1"#.to_owned(), "invalid_payload"),
    ];
    let mut world = World::new(MODES);
    let peer = world.join(0);
    for (body, code) in table {
        let answer = world.answers(peer, &format!(r#"{{"type":"publish",{body},"id":1}}"#));
        assert!(
            answer.len() == 1 && answer[0].contains(&format!(r#""code":"{code}""#)),
            "{body}: {answer:?}"
        );
    }
    assert!(world.answers(peer, &publish("set", "1")).is_empty(), "T11: silent without an id");
    let fine = r#"{"type":"publish","topics":["list"],"payload":1,"key":"k","id":1}"#;
    assert_eq!(world.answers(peer, fine), [r#"{"type":"ok","id":1}"#]);
    assert_eq!(
        world.answers(
            peer,
            &format!(r#"{{"type":"publish","topic":"other","payload":1,"key":"{long}","id":1}}"#)
        ),
        [r#"{"type":"ok","id":1}"#]
    );
    world.end();
}

// T10, H5
#[test]
fn a_topic_s_rate_counts_each_peer_and_recovers() {
    let mut world = World::new(MODES);
    let (peer, other) = (world.join(0), world.join(0));
    let codes = |world: &mut World, who| {
        let answers: Vec<_> = (0..3).flat_map(|_| says(world, who, &with_id(&publish("few", "1")))).collect();
        answers.iter().filter(|answer| answer.contains(r#""code":"rate""#)).count()
    };
    assert_eq!(codes(&mut world, peer), 1);
    world.pass_ms(200);
    assert_eq!(codes(&mut world, other), 1);
    world.pass_ms(1_100);
    assert_eq!(codes(&mut world, peer), 1);
}

// T10
#[test]
fn a_set_field_is_the_node_s_word() {
    let mut world = World::new(MODES);
    let (peer, forger) = (world.join(0), world.join(0));
    world.answers(peer, &subscribe("set"));
    world.say(forger, &publish("set", r#"{"us\u0065r":"root","a":1}"#));
    let id = world.id(forger).to_string();
    assert_eq!(heard(&mut world, peer), [publication("set", &format!(r#"[{{"a":1,"user":"{id}"}}]"#))]);
}

// T8, H6
#[test]
fn versions_of_one_turn_leave_as_one() {
    let mut world = World::new(MODES);
    let (sender, peer) = (world.join(0), world.join(0));
    world.answers(peer, &subscribe("list"));
    for number in 0..40 {
        world.say(sender, &publish("list", &number.to_string()));
    }
    assert_eq!(heard(&mut world, peer), [publication("list", "[37,38,39]")]);
}

// H6
#[test]
fn a_blocked_peer_gets_the_newest_state_once_when_it_reads_again() {
    for dialect in [Dialect::Plain, Dialect::JsonV1] {
        let mut world = World::new(MODES);
        let (sender, slow) = (world.join(0), world.join_as(0, 0, dialect));
        world.answers(slow, &subscribe("value"));
        world.block(slow, 3);
        for number in 0..20 {
            world.say(sender, &publish("value", &number.to_string()));
            world.settle();
        }
        world.unblock(slow);
        let heard = heard(&mut world, slow);
        assert_eq!(heard.len(), 2, "{heard:?}");
        assert!(heard[0].contains(r#""payload":0"#) && heard[1].contains(r#""payload":19"#), "{heard:?}");
        assert!(world.tally(0).slow[SlowAction::Coalesce as usize] > 0);
        assert!(world.answers(slow, "ping").len() == 1, "nothing comes twice");
        world.end();
    }
}

// H6
#[test]
fn a_value_s_own_publisher_is_not_sent_its_own_however_late() {
    let mut world = World::new(MODES);
    let (sender, slow) = (world.join(0), v1(&mut world));
    world.answers(slow, &subscribe("value"));
    world.block(slow, 3);
    world.answers(sender, &publish("value", "1"));
    world.answers(sender, &publish("value", "2"));
    world.answers(slow, &publish("value", "3"));
    world.unblock(slow);
    let first = r#"{"topic":"value","payload":1,"cursor":"C"}"#;
    assert_eq!(heard(&mut world, slow), [first, r#"{"topic":"value","cursor":"C"}"#]);
}

// H6, R1
#[test]
fn who_can_not_follow_a_log_is_told_from_where_to_where_and_pulls_it() {
    let mut world = World::new(MODES);
    let (sender, slow) = (world.join(0), v1(&mut world));
    world.answers(slow, &subscribe("log"));
    world.block(slow, 0);
    for number in 0..90 {
        let payload = format!("\"{}{}\"", number + 100, "x".repeat(1_000));
        world.say(sender, &publish("log", &payload));
        world.settle();
    }
    world.unblock(slow);
    world.settle();
    let raw = world.heard(slow);
    let gap: serde_json::Value = serde_json::from_str(raw.last().expect("a gap")).expect("JSON");
    assert_eq!((&gap["type"], &gap["reason"]), (&"gap".into(), &"slow".into()));
    assert_eq!(gap["from"], cursor(&raw[raw.len() - 2]).as_str());
    world.answers(sender, &publish("log", "\"live\""));
    assert_eq!(heard(&mut world, slow), [r#"{"topic":"log","payload":"live","cursor":"C"}"#]);
    let from = gap["from"].as_str().expect("a cursor");
    let pull = format!(r#"{{"type":"subscribe","topic":"log","since":"{from}","id":1}}"#);
    world.say(slow, &pull);
    world.settle();
    let answer: serde_json::Value = serde_json::from_str(&world.heard(slow)[0]).expect("JSON");
    let missed = 90 - (raw.len() - 1);
    assert_eq!(answer["recovered"], true);
    assert_eq!(answer["publications"].as_array().map(Vec::len), Some(missed + 1));
    assert_eq!(answer["publications"][missed - 1]["cursor"], gap["to"]);
    assert!(world.tally(0).slow[SlowAction::Gap as usize] > 0);
    world.end();
}

// W3, T1
#[test]
fn ids_are_answered_though_the_peer_left_meanwhile() {
    let mut world = World::new(MODES);
    let peer = v1(&mut world);
    for frame in [
        r#"{"type":"subscribe","topic":"log","id":1}"#,
        r#"{"type":"subscribe","topic":"log","id":2}"#,
        r#"{"type":"unsubscribe","topic":"log","id":3}"#,
        r#"{"type":"subscribe","topic":"log","id":4}"#,
        r#"{"type":"subscribe","topic":"log","id":5}"#,
    ] {
        world.say(peer, frame);
    }
    let answers = heard(&mut world, peer);
    let ids: Vec<_> = answers.iter().map(|answer| answer.chars().nth(18)).collect();
    assert_eq!(ids, ["1", "2", "3", "4", "5"].map(|id| id.chars().next()));
    let sender = world.join(0);
    world.answers(sender, &publish("log", "1"));
    assert_eq!(heard(&mut world, peer).len(), 1, "once in the audience");
    world.end();
}

// T7
#[test]
fn history_is_read_in_pages() {
    let mut world = World::new(MODES);
    let peer = v1(&mut world);
    for number in 1..=5 {
        world.answers(peer, &publish("log", &number.to_string()));
    }
    let payloads = |world: &mut World, bounds: &str| {
        let frame = format!(r#"{{"type":"history","topic":"log","limit":2{bounds},"id":1}}"#);
        let answer: serde_json::Value = serde_json::from_str(&world.answers(peer, &frame)[0]).expect("JSON");
        let page = answer["publications"].as_array().expect("a page").clone();
        let of = |key: &str| page.iter().map(|each| each[key].to_string()).collect::<Vec<_>>();
        (of("payload").join(" "), of("cursor"), answer["recovered"].clone())
    };
    let (newest, cursors, _) = payloads(&mut world, "");
    assert_eq!(newest, "4 5");
    let (before, older, _) = payloads(&mut world, &format!(r#","before":{}"#, cursors[0]));
    assert_eq!(before, "2 3");
    let (after, _, recovered) = payloads(&mut world, &format!(r#","since":{}"#, older[1]));
    assert_eq!((after.as_str(), recovered), ("4 5", true.into()));
    for (body, code) in [
        (r#""topic":"log","limit":0,"id":1"#, "malformed"),
        (r#""topic":"log","limit":1001,"id":1"#, "malformed"),
        (r#""topic":"log","limit":1"#, "malformed"),
        (r#""topic":"map","limit":1,"id":1"#, "invalid_topic"),
        (r#""topic":"other","limit":1,"id":1"#, "invalid_topic"),
        (r#""topic":"$x","limit":1,"id":1"#, "forbidden"),
    ] {
        let answer = world.answers(peer, &format!(r#"{{"type":"history",{body}}}"#));
        assert!(answer[0].contains(&format!(r#""code":"{code}""#)), "{body}: {answer:?}");
    }
    world.end();
}

// H6: a page is cut to what there is room for.
#[test]
fn a_page_has_no_more_than_there_is_room_for() {
    let mut world = World::new(MODES);
    let peer = v1(&mut world);
    for _ in 0..40 {
        world.answers(peer, &publish("log", &format!("\"{}\"", "x".repeat(5_000))));
    }
    world.block(peer, 0);
    world.say(peer, r#"{"type":"hello","id":1}"#);
    world.settle();
    world.say(peer, r#"{"type":"history","topic":"log","limit":40,"id":2}"#);
    world.settle();
    world.unblock(peer);
    world.settle();
    let answer: serde_json::Value = serde_json::from_str(&world.heard(peer)[1]).expect("JSON");
    assert_eq!(answer["publications"].as_array().map(Vec::len), Some(10));
}
