//! What the decoder makes of good and bad frames.

use bytes::Bytes;
use dunlin_protocol::{
    ClientFrame, DEPTH_MAX, ErrorCode, FrameError, Kind, Payload, Recipients, Request, RequestId, Topic, json,
};

fn decode(text: &str) -> Result<Request, FrameError> {
    json::decode(&Bytes::copy_from_slice(text.as_bytes()))
}

fn publish(text: &str) -> (Recipients, Payload) {
    match decode(text).unwrap().frame {
        ClientFrame::Publish { to, payload, .. } => (to, payload),
        other => panic!("{other:?}"),
    }
}

fn payload(json: &str) -> Payload {
    publish(&format!(r#"{{"type":"publish","topic":"t","payload":{json}}}"#)).1
}

fn refused(text: &str) -> String {
    let FrameError { code, message, .. } = decode(text).expect_err(text);
    format!("{code}: {message}")
}

// W7, L5
#[test]
fn a_json_payload_is_a_slice_of_the_message() {
    let text = Bytes::from_static(br#"{"type":"publish","topic":"t","payload":{"a": [1, 2.50, "\u00e4"]} }"#);
    let ClientFrame::Publish { payload, .. } = json::decode(&text).unwrap().frame else { panic!() };
    assert_eq!(payload.kind, Kind::Json);
    assert_eq!(payload.bytes, br#"{"a": [1, 2.50, "\u00e4"]}"#[..]);
    assert!(text.as_ptr_range().contains(&payload.bytes.as_ptr()), "no copy");
}

// T3
#[test]
fn falsy_payloads_are_payloads_and_a_missing_one_is_null() {
    for falsy in ["0", "-0", "false", "null", r#""""#, "[]", "{}"] {
        assert_eq!(payload(falsy), Payload::json(falsy));
    }
    assert_eq!(publish(r#"{"type":"publish","topic":"t"}"#).1, Payload::null());
}

#[test]
fn every_json_value_is_a_payload() {
    for value in [
        "1e999",
        "-1.5E-7",
        "123456789012345678901234567890",
        r#""\ud800""#,
        r#""\/\b\u0041""#,
        "\"\u{7f}ä\"",
    ] {
        assert_eq!(payload(value), Payload::json(value.to_owned()));
    }
}

#[test]
fn what_is_no_json_is_no_payload() {
    for value in [
        "",
        "01",
        "1.",
        ".5",
        "+1",
        "1e",
        "-",
        "--1",
        "0x1",
        "NaN",
        "tru",
        "nulls",
        "'a'",
        r#""\x""#,
        r#""\u12g4""#,
        r#""\u12"#,
        "\"a\nb\"",
        "\"a\tb\"",
        "\"\0\"",
        "[1,]",
        "[,1]",
        "[1 2]",
        "{a:1}",
        r#"{"a"}"#,
        r#"{"a":1,}"#,
        r#"{"a":1]"#,
        "[1}",
        "[",
        "{",
        r#"{"a""#,
        r#"{"a":"#,
        "[[]",
        "]",
        "1 2",
        "\u{feff}1",
        "/**/1",
    ] {
        let error = refused(&format!(r#"{{"type":"publish","topic":"t","payload":{value}}}"#));
        assert!(error.starts_with("malformed: not a json object at byte"), "{value:?}: {error}");
        assert!(Payload::parse_json(&Bytes::copy_from_slice(value.as_bytes())).is_err(), "{value:?}");
    }
}

#[test]
fn a_text_that_is_no_object_is_malformed_where_it_stops_being_one() {
    assert_eq!(refused(""), "malformed: not a json object at byte 0");
    assert_eq!(refused("ping"), "malformed: not a json object at byte 0");
    assert_eq!(refused("[]"), "malformed: not a json object at byte 0");
    assert_eq!(refused(r#"{"type":"ping"} x"#), "malformed: not a json object at byte 16");
    assert_eq!(refused(r#"{"type":"ping","#), "malformed: not a json object at byte 15");
    assert_eq!(refused(r#"{"type" "ping"}"#), "malformed: not a json object at byte 8");
}

#[test]
fn white_space_may_stand_between_all_tokens() {
    let spaced =
        " \n{ \"type\"\t: \"publish\" ,\r\n \"topic\" : \"t\" , \"payload\" : [ 1 , { \"a\" : { } } ] } \n";
    assert_eq!(
        publish(spaced),
        (Recipients::Topic(Topic::parse("t").unwrap()), Payload::json(r#"[ 1 , { "a" : { } } ]"#))
    );
}

#[test]
fn an_unknown_type_is_told_apart_from_a_bad_frame() {
    assert_eq!(refused("{}"), "unknown_type: type is missing");
    assert_eq!(
        refused(r#"{"type":"move","topic":{"x":1},"limit":"far"}"#),
        r#"unknown_type: type "move" is unknown"#
    );
    assert_eq!(refused(r#"{"type":1}"#), r#"unknown_type: type "1" is unknown"#);
    assert_eq!(refused(r#"{"type":"ping","type":"ping"}"#), "malformed: type comes twice");
    let long = refused(&format!(r#"{{"type":"{}"}}"#, "ä".repeat(1000)));
    assert_eq!(long, format!("unknown_type: type {:?} is unknown", "ä".repeat(16)));
}

#[test]
fn a_key_of_the_wrong_type_is_named() {
    for (frame, message) in [
        (r#""publish","topic":1"#, "topic must be a string"),
        (r#""publish","topic":null"#, "topic must be a string"),
        (r#""publish","topics":null"#, "topics must be a list of topics"),
        (r#""publish","topics":"a""#, "topics must be a list of topics"),
        (r#""publish","topics":["a",1]"#, "topics must be a list of topics"),
        (r#""publish","topics":[["a"]]"#, "topics must be a list of topics"),
        (r#""publish","topic":"t","topics":[]"#, "topic and topics exclude each other"),
        (r#""publish","topic":"t","self":1"#, "self must be true or false"),
        (r#""publish","topic":"t","key":{}"#, "key must be a string"),
        (r#""publish","topic":"t","base64":1"#, "base64 must be a string"),
        (r#""publish","topic":"t","base64":null"#, "base64 must be a string"),
        (r#""publish","topic":"t","payload":null,"base64":"""#, "payload and base64 exclude each other"),
        (r#""subscribe""#, "topic is missing"),
        (r#""unsubscribe""#, "topic is missing"),
        (r#""subscribe","topic":"t","replay":-1"#, "replay must be a whole number"),
        (r#""subscribe","topic":"t","replay":1.5"#, "replay must be a whole number"),
        (r#""subscribe","topic":"t","replay":4294967296"#, "replay must be a whole number"),
        (r#""subscribe","topic":"t","since":1"#, "since must be a string"),
        (r#""subscribe","topic":"t","since":"\ud800""#, "since must be a string"),
        (r#""subscribe","topic":"t","presence":"yes""#, "presence must be true or false"),
        (r#""history","topic":"t""#, "limit is missing"),
        (r#""presence","topic":"t","after":[]"#, "after must be a string"),
        (r#""resume","grant":"g""#, "topics is missing"),
        (r#""resume","topics":[]"#, "grant is missing"),
        (r#""resume","grant":"g","topics":[1]"#, "topics must be a list of topics"),
        (r#""auth","token":null"#, "token is missing"),
        (r#""ping","id":{}"#, "id must be an integer or a string of at most 64 bytes"),
    ] {
        assert_eq!(refused(&format!(r#"{{"type":{frame}}}"#)), format!("malformed: {message}"), "{frame}");
    }
}

#[test]
fn a_key_that_comes_twice_is_malformed_also_in_disguise() {
    assert_eq!(refused(r#"{"type":"publish","payload":1,"payload":1}"#), "malformed: payload comes twice");
    assert_eq!(
        refused(r#"{"type":"publish","payload":1,"p\u0061yload":1}"#),
        "malformed: payload comes twice"
    );
    assert_eq!(refused(r#"{"type":"publish","topics":[],"rooms":[]}"#), "malformed: topics comes twice");
    assert_eq!(refused(r#"{"type":"ping","id":1,"id":1}"#), "malformed: id comes twice");
    assert!(decode(r#"{"type":"ping","id":1,"\\u0069d":2}"#).is_ok(), "unescaped once it is another key");
    assert!(decode(r#"{"type":"ping","mine":1,"mine":2,"limit":1,"limit":2}"#).is_ok(), "not keys of a ping");
}

#[test]
fn unknown_keys_are_ignored() {
    assert!(decode(r#"{"type":"ping","mine":{"deep":[1,{"x":null}]},"":0,"since":7,"\ud800":1}"#).is_ok());
}

#[test]
fn null_for_a_key_that_may_be_missing_is_as_good_as_missing() {
    let nulls = r#"{"type":"subscribe","topic":"t","since":null,"replay":null,"presence":null,"token":null,"id":null}"#;
    assert_eq!(decode(nulls), decode(r#"{"type":"subscribe","topic":"t"}"#));
}

// E3, T3
#[test]
fn a_bad_topic_is_an_invalid_topic() {
    let names = [
        (String::new(), "topic is empty"),
        ("a\\u0000".into(), "topic holds a control character at byte 1"),
        ("a".repeat(256), "topic is 256 bytes, at most 255 are allowed"),
    ];
    for (name, message) in names {
        for frame in [
            format!(r#"{{"type":"publish","topic":"{name}"}}"#),
            format!(r#"{{"type":"publish","topics":["ok","{name}"]}}"#),
            format!(r#"{{"type":"subscribe","topic":"{name}"}}"#),
            format!(r#"{{"type":"resume","grant":"g","topics":[{{"topic":"{name}"}}]}}"#),
        ] {
            assert_eq!(refused(&frame), format!("invalid_topic: {message}"));
        }
    }
}

#[test]
fn a_topic_is_the_same_however_it_is_escaped() {
    let plain = decode(r#"{"type":"subscribe","topic":"a/ä🐦"}"#).unwrap();
    assert_eq!(
        decode(r#"{"\u0074ype":"subscrib\u0065","topic":"\u0061\/\u00e4\ud83d\udc26"}"#).unwrap(),
        plain
    );
}

// T4
#[test]
fn a_publish_names_at_most_100_topics_each_once() {
    let list = |topics: usize| {
        let names: Vec<_> = (0..topics).map(|index| format!(r#""t{index}""#)).collect();
        format!(r#"{{"type":"publish","topics":[{}]}}"#, names.join(","))
    };
    let Recipients::Topics(topics) = publish(&list(100)).0 else { panic!() };
    assert_eq!(topics.len(), 100);
    assert_eq!(refused(&list(101)), "malformed: 101 topics are named, at most 100 are allowed");
}

// W7
#[test]
fn base64_is_a_binary_payload() {
    let binary = |text: &str| format!(r#"{{"type":"publish","topic":"t","base64":"{text}"}}"#);
    assert_eq!(publish(&binary("+\\/8=")).1, Payload::binary(vec![0xfb, 0xff]));
    assert_eq!(publish(&binary("")).1, Payload::binary(vec![]));
    for bad in ["!", "+_8=", "+/8", "+/9=", "+/8= "] {
        let error = refused(&binary(bad));
        assert_eq!(error, "invalid_payload: base64 is not of the standard alphabet with padding", "{bad}");
    }
}

// W3
#[test]
fn an_id_is_an_integer_or_a_short_string() {
    let id = |text: &str| decode(&format!(r#"{{"type":"ping","id":{text}}}"#)).map(|request| request.id);
    assert_eq!(id("-9223372036854775808"), Ok(Some(RequestId::Number(i64::MIN))));
    assert_eq!(id(r#""\u0061""#), Ok(Some(RequestId::Text("a".into()))));
    assert_eq!(id("null"), Ok(None));
    assert!(id(&format!("{:?}", "a".repeat(64))).is_ok());
    for bad in
        ["9223372036854775808", "1.0", "1e3", "true", "[]", &format!("{:?}", "a".repeat(65)), r#""\udc00""#]
    {
        assert_eq!(id(bad).unwrap_err().code, ErrorCode::Malformed, "{bad}");
    }
}

// W3
#[test]
fn a_refusal_carries_the_id_and_topic_that_were_good() {
    let error = decode(r#"{"type":"subscribe","topic":"t","replay":"all","id":7}"#).unwrap_err();
    assert_eq!((error.id, error.topic), (Some(RequestId::Number(7)), Some(Topic::parse("t").unwrap())));
    let error = decode(r#"{"id":"x","type":"subscribe","topic":""}"#).unwrap_err();
    assert_eq!((error.id, error.topic), (Some(RequestId::Text("x".into())), None));
    let error = decode(r#"{"id":7,"type":"ping","oops"}"#).unwrap_err();
    assert_eq!((error.code, error.id), (ErrorCode::Malformed, Some(RequestId::Number(7))));
    let error = decode(r#"{"id":7,"type":"app"}"#).unwrap_err();
    assert_eq!((error.code, error.id), (ErrorCode::UnknownType, Some(RequestId::Number(7))));
}

// W7
#[test]
fn a_payload_nests_64_levels_and_not_65() {
    for (open, close) in [("[", "]"), (r#"{"a":"#, "}")] {
        let nested = |levels: usize| match open {
            "[" => format!("{}{}", open.repeat(levels), close.repeat(levels)),
            _ => format!("{}0{}", open.repeat(levels), close.repeat(levels)),
        };
        assert_eq!(payload(&nested(DEPTH_MAX)), Payload::json(nested(DEPTH_MAX)));
        let deep = format!(r#"{{"id":1,"type":"publish","topic":"t","payload":{}}}"#, nested(DEPTH_MAX + 1));
        assert!(refused(&deep).starts_with("malformed: json nests deeper than 64 levels at byte"));
        assert_eq!(decode(&deep).unwrap_err().id, Some(RequestId::Number(1)));
        assert!(
            json::check_depth(nested(64).as_bytes(), 64) && !json::check_depth(nested(65).as_bytes(), 64)
        );
    }
    assert_eq!(payload(&format!("[{}]", vec!["[[]]"; 1000].join(","))).bytes.len(), 5001, "wide is not deep");
}

// W7
#[test]
fn json_30000_levels_deep_is_refused_wherever_it_stands() {
    let arrays = "[".repeat(30_000);
    let objects = r#"{"a":"#.repeat(30_000);
    for deep in [&arrays, &objects] {
        for key in ["payload", "mine", "topics", "type", "id", "topic", "info"] {
            assert!(refused(&format!(r#"{{"type":"publish","{key}":{deep}"#)).starts_with("malformed"));
        }
        assert!(refused(deep).starts_with("malformed"));
        assert!(!json::check_depth(deep.as_bytes(), 128));
    }
}

#[test]
fn brackets_inside_strings_are_no_depth() {
    assert!(json::check_depth(br#"["[[[[\"[[[",{"{{":"}"}]"#, 2));
    assert!(!json::check_depth(br#"["\\",[[]]]"#, 2));
    assert!(json::check_depth(b"]]][[", 2) && json::check_depth(b"\"[[[[", 0) && json::check_depth(b"1", 0));
}
