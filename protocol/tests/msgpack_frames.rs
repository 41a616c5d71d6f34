//! What `dunlin.msgpack.v1` makes of good and bad frames and values.

use bytes::Bytes;
use dunlin_protocol::msgpack::{self, ValueError};
use dunlin_protocol::{
    ClientFrame, DEPTH_MAX, ErrorCode, FrameError, Kind, Payload, Recipients, Request, RequestId,
    ResumeTopic, Topic,
};
use rmpv::Value;

/// A map with these keys, as an implementation that is not ours writes it.
fn map(entries: &[(&str, Value)]) -> Vec<u8> {
    pack(&Value::Map(entries.iter().map(|(key, value)| ((*key).into(), value.clone())).collect()))
}

fn pack(value: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    rmpv::encode::write_value(&mut out, value).unwrap();
    out
}

fn decode(bytes: impl Into<Vec<u8>>) -> Result<Request, FrameError> {
    msgpack::decode(&Bytes::from(bytes.into()))
}

fn refused(bytes: impl Into<Vec<u8>>) -> String {
    let FrameError { code, message, .. } = decode(bytes).expect_err("a bad frame");
    format!("{code}: {message}")
}

/// A publish whose payload is these bytes.
fn publish(payload: &[u8]) -> Vec<u8> {
    let mut frame = map(&[("type", "publish".into()), ("topic", "t".into())]);
    frame[0] += 1;
    frame.extend_from_slice(b"\xa7payload");
    frame.extend_from_slice(payload);
    frame
}

fn published(payload: &[u8]) -> Payload {
    match decode(publish(payload)).unwrap().frame {
        ClientFrame::Publish { payload, .. } => payload,
        other => panic!("{other:?}"),
    }
}

/// A payload as a peer of the dialect gets it.
fn value(payload: &Payload) -> Vec<u8> {
    let mut out = b"before".to_vec();
    msgpack::value(&mut out, payload);
    out.split_off(6)
}

fn from_json(json: &str) -> Vec<u8> {
    value(&Payload::json(json.to_owned()))
}

// W7: the table of the documentation, towards JSON.
#[test]
fn each_value_has_one_form_in_json() {
    for (bytes, json) in [
        (&b"\xc0"[..], "null"),
        (b"\xc2", "false"),
        (b"\xc3", "true"),
        (b"\x00", "0"),
        (b"\x7f", "127"),
        (b"\xcc\xff", "255"),
        (b"\xcd\x00\x01", "1"),
        (b"\xce\xff\xff\xff\xff", "4294967295"),
        (b"\xcf\xff\xff\xff\xff\xff\xff\xff\xff", "18446744073709551615"),
        (b"\xe0", "-32"),
        (b"\xd0\x80", "-128"),
        (b"\xd1\x80\x00", "-32768"),
        (b"\xd2\x80\x00\x00\x00", "-2147483648"),
        (b"\xd3\x80\x00\x00\x00\x00\x00\x00\x00", "-9223372036854775808"),
        (b"\xca\x3f\x80\x00\x00", "1.0"),
        (b"\xca\x3d\xcc\xcc\xcd", "0.10000000149011612"),
        (b"\xcb\x3f\xb9\x99\x99\x99\x99\x99\x9a", "0.1"),
        (b"\xcb\x80\x00\x00\x00\x00\x00\x00\x00", "-0.0"),
        (b"\xcb\x44\x4b\x1a\xe4\xd6\xe2\xef\x50", "1e+21"),
        (b"\x90", "[]"),
        (b"\x80", "{}"),
        (b"\xdc\x00\x02\x01\x92\x02\x90", "[1,[2,[]]]"),
        (b"\xdd\x00\x00\x00\x01\xc0", "[null]"),
        (b"\x82\xa1a\x93\x01\x80\xa0\xa1b\x81\xa1\"\xd9\x01\n", r#"{"a":[1,{},""],"b":{"\"":"\n"}}"#),
        (b"\xdf\x00\x00\x00\x02\xa1a\x01\xa1a\x02", r#"{"a":1,"a":2}"#),
    ] {
        assert_eq!(published(bytes), Payload::json(json), "{bytes:02x?}");
    }
}

// W7, L5
#[test]
fn a_str_is_text_and_a_bin_is_bytes_and_neither_is_copied() {
    for (bytes, payload) in [
        (&b"\xa0"[..], Payload::text("")),
        (b"\xa3\xe2\x9c\x93", Payload::text("✓")),
        (b"\xd9\x01\"", Payload::text("\"")),
        (b"\xda\x00\x01x", Payload::text("x")),
        (b"\xdb\x00\x00\x00\x01x", Payload::text("x")),
        (b"\xc4\x00", Payload::binary(vec![])),
        (b"\xc4\x02\x00\xff", Payload::binary(vec![0, 255])),
        (b"\xc5\x00\x01\xff", Payload::binary(vec![255])),
        (b"\xc6\x00\x00\x00\x01\xff", Payload::binary(vec![255])),
    ] {
        let frame = Bytes::from(publish(bytes));
        let ClientFrame::Publish { payload: got, .. } = msgpack::decode(&frame).unwrap().frame else {
            panic!()
        };
        assert_eq!(got, payload);
        assert!(got.bytes.is_empty() || frame.as_ptr_range().contains(&got.bytes.as_ptr()), "no copy");
    }
}

// W7
#[test]
fn what_json_has_no_words_for_is_an_invalid_payload() {
    let deep = [b"\x91".repeat(63), b"\xc1".to_vec()].concat();
    for (bytes, what) in [
        (&b"\xcb\x7f\xf8\x00\x00\x00\x00\x00\x00"[..], "a NaN at byte 0"),
        (b"\xca\x7f\x80\x00\x00", "an infinite number at byte 0"),
        (b"\x92\x01\xcb\xff\xf0\x00\x00\x00\x00\x00\x00", "an infinite number at byte 2"),
        (b"\xd6\xff\x00\x00\x00\x00", "an ext at byte 0"),
        (b"\x91\xc7\x00\x05", "an ext at byte 1"),
        (b"\x81\x01\x02", "a key that is no string at byte 1"),
        (b"\x81\xc0\x02", "a key that is no string at byte 1"),
        (b"\x81\xc4\x01a\x02", "a key that is no string at byte 1"),
        (b"\x81\x90\x02", "a key that is no string at byte 1"),
        (b"\x81\xa1a\xc4\x01a", "a bin inside an array or map at byte 3"),
        (b"\xa1\xff", "a str that is not utf-8 at byte 0"),
        (b"\x91\xa1\xff", "a str that is not utf-8 at byte 1"),
        (b"\x81\xa1\xff\x01", "a str that is not utf-8 at byte 1"),
    ] {
        let expected = format!("invalid_payload: {what} of the payload has no form in json");
        assert_eq!(refused(publish(bytes)), expected);
    }
    assert!(refused(publish(&deep)).starts_with("malformed: not a messagepack map at byte"));
}

// W7: the table of the documentation, from JSON.
#[test]
fn each_json_value_has_one_form() {
    for (json, bytes) in [
        ("null", &b"\xc0"[..]),
        (" true ", b"\xc3"),
        ("false", b"\xc2"),
        ("0", b"\x00"),
        ("127", b"\x7f"),
        ("128", b"\xcc\x80"),
        ("256", b"\xcd\x01\x00"),
        ("65536", b"\xce\x00\x01\x00\x00"),
        ("9223372036854775808", b"\xcf\x80\x00\x00\x00\x00\x00\x00\x00"),
        ("18446744073709551615", b"\xcf\xff\xff\xff\xff\xff\xff\xff\xff"),
        ("-1", b"\xff"),
        ("-32", b"\xe0"),
        ("-33", b"\xd0\xdf"),
        ("-129", b"\xd1\xff\x7f"),
        ("-9223372036854775808", b"\xd3\x80\x00\x00\x00\x00\x00\x00\x00"),
        ("18446744073709551616", b"\xb418446744073709551616"),
        ("-9223372036854775809", b"\xb4-9223372036854775809"),
        ("1e999", b"\xa51e999"),
        ("-1E+400", b"\xa7-1E+400"),
        ("-0", b"\xcb\x80\x00\x00\x00\x00\x00\x00\x00"),
        ("-0.0", b"\xcb\x80\x00\x00\x00\x00\x00\x00\x00"),
        ("1e-999", b"\xcb\x00\x00\x00\x00\x00\x00\x00\x00"),
        ("1.0", b"\xcb\x3f\xf0\x00\x00\x00\x00\x00\x00"),
        ("1e2", b"\xcb\x40\x59\x00\x00\x00\x00\x00\x00"),
        ("0.1", b"\xcb\x3f\xb9\x99\x99\x99\x99\x99\x9a"),
        ("1.7976931348623157e308", b"\xcb\x7f\xef\xff\xff\xff\xff\xff\xff"),
        (r#""""#, b"\xa0"),
        (r#""a\u00e4\"\\\/\b\f\n\r\t""#, b"\xaba\xc3\xa4\"\\/\x08\x0c\n\r\t"),
        (r#""\ud83d\udc26""#, b"\xa4\xf0\x9f\x90\xa6"),
        (r#""\ud83d""#, b"\xa3\xef\xbf\xbd"),
        (r#""\udc26x""#, b"\xa4\xef\xbf\xbdx"),
        (r#""\ud83d\u0041""#, b"\xa4\xef\xbf\xbdA"),
        (r#""\ud83d\n""#, b"\xa4\xef\xbf\xbd\n"),
        (r#""\ud83d\ud83d\udc26""#, b"\xa7\xef\xbf\xbd\xf0\x9f\x90\xa6"),
        ("[ ] ", b"\x90"),
        ("{ }", b"\x80"),
        (r#"[1, [2, {"a" : [] } ], "b"]"#, b"\x93\x01\x92\x02\x81\xa1a\x90\xa1b"),
        (r#"{"a":1,"a":{"\u0061":2}}"#, b"\x82\xa1a\x01\xa1a\x81\xa1a\x02"),
    ] {
        assert_eq!(from_json(json), bytes, "{json}");
    }
}

// What takes long to round is rounded by its first digits, so it may be the next float, never another.
#[test]
fn numbers_of_many_digits_are_the_nearest_float_or_the_one_beside_it() {
    for text in [
        "1.2345678000000000289E-300",
        "1.234567800000000028881498E-300",
        "3.3000000000000003755E+250",
        "-0.00000000000000000000000000000000012345678901234567890123456789",
        "123456789012345678901234567890.5",
        "1234567890123456789012345678901234567890e-10",
        "0.30000000000000000000000000000000000000000000000000",
        "100000000000000000000000000000000000000000000000.0",
        "-17976931348623157000000000000000000000000e268",
        "12345678901234567890.12345678901234567890e-99999999999999999999999999999999999999999999",
        "0.00000000000000000000000000000000000000000000000e99999999999999999999",
    ] {
        let Some(Value::F64(read)) = rmpv::decode::read_value(&mut &from_json(text)[..]).ok() else {
            panic!("{text}")
        };
        let nearest: f64 = text.parse().unwrap();
        assert!(read.to_bits().abs_diff(nearest.to_bits()) <= 1, "{text} is {nearest}, not {read}");
    }
    for text in [
        "12345678901234567890123e999",
        "1.2345678901234567890123e9999999999999999999999999999999999999999999",
    ] {
        assert_eq!(from_json(text), pack(&text.into()));
    }
}

#[test]
fn long_strings_arrays_and_maps_have_longer_heads() {
    for length in [0, 15, 16, 17, 31, 32, 255, 256, 65_535, 65_536, 70_000] {
        let text = "x".repeat(length);
        assert_eq!(from_json(&format!("{text:?}")), pack(&text.as_str().into()), "str of {length}");
        let escaped = "\\n".repeat(length);
        assert_eq!(from_json(&format!("\"{escaped}\"")), pack(&"\n".repeat(length).into()));
        assert_eq!(value(&Payload::text(text.clone())), pack(&text.into()));
        assert_eq!(value(&Payload::binary(vec![7; length])), pack(&Value::Binary(vec![7; length])));
        let list = Value::Array(vec![Value::Array(vec![]); length]);
        let json = format!("[{}]", vec!["[]"; length].join(","));
        assert_eq!(from_json(&json), pack(&list), "array of {length}");
        let pairs: Vec<_> = (0..length).map(|key| format!("\"{key}\":{key}")).collect();
        let map = (0..length).map(|key| (key.to_string().into(), key.into())).collect();
        assert_eq!(from_json(&format!("{{{}}}", pairs.join(","))), pack(&Value::Map(map)), "map of {length}");
    }
}

#[test]
fn many_wide_arrays_inside_each_other_each_get_their_head() {
    let mut value = Value::Array(vec![]);
    for level in 1..DEPTH_MAX {
        let mut elements = vec![Value::from(level); 14 + level % 4];
        elements.insert(level % 15, value);
        value = Value::Array(elements);
    }
    assert_eq!(from_json(&value.to_string()), pack(&value));
}

// W7: what another node let through is nobody's panic.
#[test]
fn what_only_claims_to_be_json_is_a_str() {
    for bad in ["", "{", "[1,2", "{\"a\":1,}", "nope", "1 2", &"[".repeat(65), "[[[0]]"] {
        assert_eq!(from_json(bad), pack(&bad.into()), "{bad}");
    }
    let no_characters = Payload { kind: Kind::Json, bytes: Bytes::from_static(b"\xff") };
    assert_eq!(value(&no_characters), pack(&"\u{fffd}".into()));
}

#[test]
fn bytes_that_are_no_map_are_malformed_where_they_stop_being_one() {
    let ping = map(&[("type", "ping".into())]);
    assert_eq!(refused([]), "malformed: not a messagepack map at byte 0");
    assert_eq!(refused(*b"\x90"), "malformed: not a messagepack map at byte 1");
    assert_eq!(refused(*b"\xa4ping"), "malformed: not a messagepack map at byte 5");
    assert_eq!(refused(*b"\xc1"), "malformed: not a messagepack map at byte 0");
    assert_eq!(refused(*b"{\"type\":\"ping\"}"), "malformed: not a messagepack map at byte 1");
    let trailing = [&ping[..], b"\xc0"].concat();
    assert_eq!(refused(trailing), format!("malformed: not a messagepack map at byte {}", ping.len()));
    for end in 0..ping.len() {
        assert!(refused(&ping[..end]).starts_with("malformed: not a messagepack map"), "{end}");
    }
}

// W7
#[test]
fn a_declared_length_is_no_more_than_a_claim() {
    for head in [
        &b"\xdb\xff\xff\xff\xff"[..],
        b"\xc6\xff\xff\xff\xff",
        b"\xc9\xff\xff\xff\xff\x01",
        b"\xdd\xff\xff\xff\xff",
        b"\xdf\xff\xff\xff\xff",
        b"\xda\xff\xff",
        b"\xc5\xff\xff",
        b"\xdc\xff\xff",
        b"\xde\xff\xff",
        b"\xd9\xff",
        b"\xc8\xff\xff\x01",
        b"\x9f",
        b"\x8f",
        b"\xbf",
        b"\xcf\x00",
        b"\xca",
        b"\xd8\x01",
    ] {
        assert!(refused(publish(head)).starts_with("malformed: not a messagepack map"), "{head:02x?}");
        assert!(refused(head).starts_with("malformed: not a messagepack map"), "{head:02x?}");
        let (frame, value) = (Bytes::from(publish(head)), Bytes::copy_from_slice(head));
        assert_eq!(msgpack::parse_value(&value), Err(ValueError::Syntax { at: 0 }), "{head:02x?}");
        let allocated = allocation_counter::measure(|| {
            let (_, _) = (msgpack::decode(&frame), msgpack::parse_value(&value));
        });
        assert!(allocated.bytes_max < 1_000, "{head:02x?}: {allocated:?}");
    }
}

#[test]
fn a_value_is_exactly_one() {
    for two in [&b"\x01\x01"[..], b"\xa1a\x01", b"\xc4\x01a\x01", b"\x90\x90"] {
        let parsed = msgpack::parse_value(&Bytes::copy_from_slice(two));
        assert!(matches!(parsed, Err(ValueError::Syntax { .. })), "{two:02x?}");
    }
}

#[test]
fn an_unknown_type_is_told_apart_from_a_bad_frame() {
    assert_eq!(refused(*b"\x80"), "unknown_type: type is missing");
    assert_eq!(refused(map(&[("type", "move".into())])), r#"unknown_type: type "move" is unknown"#);
    assert_eq!(refused(map(&[("type", 1.into())])), r#"unknown_type: type "(no string)" is unknown"#);
}

#[test]
fn a_key_of_the_wrong_type_is_named() {
    let list = |values: &[Value]| Value::Array(values.to_vec());
    for (kind, key, value, message) in [
        ("publish", "topic", 1.into(), "topic must be a string"),
        ("publish", "topic", Value::Nil, "topic must be a string"),
        ("publish", "topic", Value::Binary(b"t".to_vec()), "topic must be a string"),
        ("publish", "topics", Value::Nil, "topics must be a list of topics"),
        ("publish", "topics", "a".into(), "topics must be a list of topics"),
        ("publish", "topics", list(&["a".into(), 1.into()]), "topics must be a list of topics"),
        ("publish", "topics", list(&[list(&["a".into()])]), "topics must be a list of topics"),
        ("publish", "self", 1.into(), "self must be true or false"),
        ("publish", "key", Value::Map(vec![]), "key must be a string"),
        ("publish", "base64", Value::Binary(vec![1]), "base64 must be a string"),
        ("subscribe", "mine", 1.into(), "topic is missing"),
        ("resume", "topics", list(&[1.into()]), "topics must be a list of topics"),
        ("resume", "topics", list(&[]), "grant is missing"),
        ("auth", "token", Value::Nil, "token is missing"),
        ("ping", "id", Value::Map(vec![]), "id must be an integer or a string of at most 64 bytes"),
    ] {
        let frame = map(&[("type", kind.into()), (key, value)]);
        assert_eq!(refused(frame), format!("malformed: {message}"), "{kind} {key}");
    }
    for bad in [(-1).into(), 1.5.into(), 4_294_967_296_u64.into(), Value::from("1")] {
        let frame = map(&[("type", "subscribe".into()), ("topic", "t".into()), ("replay", bad)]);
        assert_eq!(refused(frame), "malformed: replay must be a whole number");
    }
}

#[test]
fn a_key_that_comes_twice_is_malformed_and_an_unknown_one_is_ignored() {
    let twice = map(&[("type", "ping".into()), ("id", 1.into()), ("id", 1.into())]);
    assert_eq!(refused(twice), "malformed: id comes twice");
    let disguised = b"\x83\xa4type\xa7publish\xa6topics\x90\xd9\x05rooms\x90";
    assert_eq!(refused(*disguised), "malformed: topics comes twice");
    let odd = Value::Map(vec![
        ("type".into(), "ping".into()),
        ("mine".into(), Value::Ext(5, vec![1, 2])),
        ("mine".into(), Value::F64(f64::NAN)),
        (Value::Map(vec![(1.into(), 2.into())]), Value::Nil),
        (Value::Binary(b"id".to_vec()), 1.into()),
        (7.into(), Value::Binary(vec![0])),
    ]);
    assert_eq!(decode(pack(&odd)), Ok(Request { id: None, frame: ClientFrame::Ping }));
}

// W3
#[test]
fn an_id_is_an_integer_or_a_short_string() {
    let ping = |id: Value| {
        let frame = Bytes::from(map(&[("type", "ping".into()), ("id", id)]));
        let decoded = msgpack::decode(&frame).map(|request| request.id);
        assert_eq!(msgpack::request_id(&frame), decoded.clone().ok().flatten());
        decoded
    };
    assert_eq!(ping(i64::MIN.into()), Ok(Some(RequestId::Number(i64::MIN))));
    assert_eq!(ping(i64::MAX.into()), Ok(Some(RequestId::Number(i64::MAX))));
    assert_eq!(ping("a".into()), Ok(Some(RequestId::Text("a".into()))));
    assert_eq!(ping(Value::Nil), Ok(None));
    assert!(ping("a".repeat(64).into()).is_ok());
    for bad in [
        u64::MAX.into(),
        1.0.into(),
        true.into(),
        Value::Array(vec![]),
        "a".repeat(65).into(),
        Value::Binary(vec![1]),
        Value::Ext(1, vec![]),
    ] {
        assert_eq!(ping(bad).unwrap_err().code, ErrorCode::Malformed);
    }
    // An integer is the same however wide it was written.
    assert_eq!(
        decode(*b"\x82\xa4type\xa4ping\xa2id\xcf\0\0\0\0\0\0\0\x01").unwrap().id,
        Some(RequestId::Number(1))
    );
}

// W3
#[test]
fn a_refusal_carries_the_id_and_topic_that_were_good() {
    let frame =
        [("id", 7.into()), ("type", "subscribe".into()), ("topic", "t".into()), ("replay", "all".into())];
    let error = decode(map(&frame)).unwrap_err();
    assert_eq!((error.id, error.topic), (Some(RequestId::Number(7)), Some(Topic::parse("t").unwrap())));
    let mut cut = map(&[("id", 7.into()), ("type", "ping".into())]);
    cut.pop();
    let error = decode(cut.clone()).unwrap_err();
    assert_eq!((error.code, error.id), (ErrorCode::Malformed, Some(RequestId::Number(7))));
    assert_eq!(msgpack::request_id(&cut.into()), Some(RequestId::Number(7)));
    let error = decode(publish(b"\xd4\x01\x01")).unwrap_err();
    assert_eq!((error.code, error.topic), (ErrorCode::InvalidPayload, Some(Topic::parse("t").unwrap())));
}

// T4
#[test]
fn a_publish_names_at_most_100_topics_each_once() {
    let named = |count: usize| {
        let names = (0..count).map(|index| format!("t{index}").into()).collect();
        decode(map(&[("type", "publish".into()), ("topics", Value::Array(names))]))
    };
    let Ok(Request { frame: ClientFrame::Publish { to: Recipients::Topics(topics), .. }, .. }) = named(100)
    else {
        panic!()
    };
    assert_eq!(topics.len(), 100);
    for many in [101, 5_000] {
        let error = named(many).unwrap_err().to_string();
        assert_eq!(error, "101 topics are named, at most 100 are allowed");
    }
}

#[test]
fn topics_to_resume_have_a_cursor_or_none() {
    let entry = |pairs: &[(&str, Value)]| {
        Value::Map(pairs.iter().map(|(key, value)| ((*key).into(), value.clone())).collect())
    };
    let resume = |topics: Vec<Value>| {
        let frame = [("type", "resume".into()), ("grant", "g".into()), ("topics", Value::Array(topics))];
        decode(map(&frame)).map(|request| request.frame)
    };
    let good = vec![
        entry(&[("mine", Value::Array(vec![1.into()])), ("since", "AQ".into()), ("topic", "a".into())]),
        entry(&[("topic", "b".into()), ("since", Value::Nil)]),
    ];
    let topic = |name, since: Option<&str>| ResumeTopic {
        topic: Topic::parse(name).unwrap(),
        since: since.map(Into::into),
    };
    let topics = vec![topic("a", Some("AQ")), topic("b", None)];
    assert_eq!(resume(good), Ok(ClientFrame::Resume { grant: "g".into(), topics }));
    for bad in [
        entry(&[("since", "AQ".into())]),
        entry(&[("topic", 1.into())]),
        entry(&[("topic", "a".into()), ("topic", "a".into())]),
        entry(&[("topic", "a".into()), ("since", 1.into())]),
        Value::Array(vec!["a".into(), "AQ".into()]),
    ] {
        assert_eq!(resume(vec![bad]).unwrap_err().to_string(), "topics must be a list of topics");
    }
}

#[test]
fn info_is_json_whatever_it_is() {
    let info = |value: Value| {
        let frame = [("type", "presence".into()), ("topic", "t".into()), ("info", value)];
        match decode(map(&frame))?.frame {
            ClientFrame::Presence { info, .. } => Ok(info),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(info("calm".into()), Ok(Some(Payload::json(r#""calm""#))));
    assert_eq!(info(Value::Nil), Ok(Some(Payload::null())));
    let refused: Result<_, FrameError> = info(Value::Binary(vec![1]));
    assert_eq!(refused.unwrap_err().code, ErrorCode::InvalidPayload);
}

// W7
#[test]
fn a_payload_nests_64_levels_and_not_65_in_either_direction() {
    for (open, close, json_open, json_close) in
        [(&b"\x91"[..], &b"\x90"[..], "[", "]"), (b"\x81\xa1a", b"\x80", r#"{"a":"#, "}")]
    {
        let nested = |levels: usize| [open.repeat(levels - 1), close.to_vec()].concat();
        let inner = if json_open == "[" { "[]" } else { "{}" };
        let json = format!("{}{inner}{}", json_open.repeat(DEPTH_MAX - 1), json_close.repeat(DEPTH_MAX - 1));
        assert_eq!(published(&nested(DEPTH_MAX)), Payload::json(json.clone()));
        assert_eq!(from_json(&json), nested(DEPTH_MAX));
        let deep = refused(publish(&nested(DEPTH_MAX + 1)));
        assert!(deep.starts_with("malformed: messagepack nests deeper than 64 levels at byte"), "{deep}");
        let value = Bytes::from(nested(DEPTH_MAX + 1));
        assert_eq!(msgpack::parse_value(&value), Err(ValueError::Depth));
        assert!(refused(publish(&open.repeat(30_000))).starts_with("malformed: messagepack nests deeper"));
    }
    let wide = Value::Array(vec![Value::Array(vec![Value::Array(vec![])]); 1000]);
    assert_eq!(published(&pack(&wide)).bytes.len(), 5001, "wide is not deep");
}
