//! What holds for all values on their way between JSON and `MessagePack`, and for any bytes instead of them,
//! beside an implementation that is not ours.

use bytes::Bytes;
use dunlin_protocol::msgpack::{self, ValueError};
use dunlin_protocol::{DEPTH_MAX, ErrorCode, Kind, Payload, json};
use proptest::collection::vec;
use proptest::prelude::*;
use rmpv::Value;
use serde_json::Value as Json;

/// What JSON can say, as `rmpv` has it.
fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Nil),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<i8>().prop_map(Value::from),
        any::<f64>()
            .prop_filter("JSON has no such number", |number| number.is_finite())
            .prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 120, 40, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..40).prop_map(Value::from),
            vec((".{0,4}".prop_map(Value::from), inner), 0..40).prop_map(Value::from),
        ]
    })
}

/// The same, and what JSON can't say.
fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        6 => value(),
        1 => vec(any::<u8>(), 0..9).prop_map(Value::Binary),
        1 => (any::<i8>(), vec(any::<u8>(), 0..18)).prop_map(|(kind, data)| Value::Ext(kind, data)),
        1 => any::<f32>().prop_map(Value::F32),
        1 => any::<f64>().prop_map(Value::F64),
    ];
    leaf.prop_recursive(3, 20, 5, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..5).prop_map(Value::from),
            vec((inner.clone(), inner), 0..5).prop_map(Value::from),
        ]
    })
}

/// Bytes that are nearly `MessagePack`.
fn nearly() -> impl Strategy<Value = Vec<u8>> {
    let pieces: &[&[u8]] = &[
        b"\xc0",
        b"\xc2",
        b"\x01",
        b"\xff",
        b"\xcd\x01",
        b"\xcb",
        b"\xca\x3f\x80\0\0",
        b"\xa1a",
        b"\xa2a",
        b"\xa1\xff",
        b"\xd9\x02ab",
        b"\xc4\x01x",
        b"\xc4",
        b"\x90",
        b"\x91",
        b"\x92",
        b"\xdc\0\x01",
        b"\xdd\0\0\0",
        b"\x80",
        b"\x81",
        b"\x82",
        b"\xde\0\x01",
        b"\xd4\x01\x02",
        b"\xc7\x01\x02\x03",
        b"\xc1",
        b"\xcf\xff\xff\xff\xff",
        b"\xd3\x80\0\0\0\0\0\0\0",
        b"\xa4type",
        b"\xa4ping",
        b"\xa7publish",
        b"\xa7payload",
        b"\xa2id",
    ];
    vec(proptest::sample::select(pieces), 0..14).prop_map(|pieces| pieces.concat())
}

fn pack(value: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    rmpv::encode::write_value(&mut out, value).unwrap();
    out
}

/// The value that these bytes are, if they are one and nothing else.
fn unpack(mut bytes: &[u8]) -> Option<Value> {
    let value = rmpv::decode::read_value(&mut bytes).ok()?;
    bytes.is_empty().then_some(value)
}

fn packed(payload: &Payload) -> Vec<u8> {
    let mut out = Vec::new();
    msgpack::value(&mut out, payload);
    out
}

/// The value as JSON would have it; none if JSON has no words for it.
fn as_json(value: &Value) -> Option<Json> {
    Some(match value {
        Value::Nil => Json::Null,
        Value::Boolean(flag) => Json::from(*flag),
        Value::Integer(number) => {
            number.as_u64().map(Json::from).or_else(|| number.as_i64().map(Json::from))?
        }
        Value::F32(number) => Json::Number(serde_json::Number::from_f64(f64::from(*number))?),
        Value::F64(number) => Json::Number(serde_json::Number::from_f64(*number)?),
        Value::String(text) => Json::from(text.as_str()?),
        Value::Array(elements) => elements.iter().map(as_json).collect::<Option<Vec<_>>>()?.into(),
        Value::Map(pairs) => {
            let pair = |(key, value): &(Value, Value)| Some((key.as_str()?.to_owned(), as_json(value)?));
            Json::Object(pairs.iter().map(pair).collect::<Option<_>>()?)
        }
        Value::Binary(_) | Value::Ext(..) => return None,
    })
}

/// Whether two values are the same to a reader: a float is never an integer, and of floats the bits count.
fn same(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::F64(one), Value::F64(other)) => one.to_bits() == other.to_bits(),
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| same(one, other))
        }
        (Value::Map(one), Value::Map(other)) => {
            let pairs = one.iter().zip(other);
            one.len() == other.len()
                && pairs.into_iter().all(|(one, other)| one.0 == other.0 && same(&one.1, &other.1))
        }
        (one, other) => one == other,
    }
}

fn depth(value: &Value) -> usize {
    match value {
        Value::Array(elements) => 1 + elements.iter().map(depth).max().unwrap_or(0),
        Value::Map(pairs) => {
            1 + pairs.iter().map(|(key, value)| depth(key).max(depth(value))).max().unwrap_or(0)
        }
        _ => 0,
    }
}

proptest! {
    #[test]
    fn a_value_comes_through_json_as_it_was(value in value()) {
        let payload = msgpack::parse_value(&pack(&value).into()).unwrap();
        if payload.kind == Kind::Json {
            prop_assert!(serde_json::from_slice::<&serde_json::value::RawValue>(&payload.bytes).is_ok());
        }
        let back = packed(&payload);
        prop_assert!(same(&unpack(&back).unwrap(), &value), "{value:?} came back as {back:02x?}");
        prop_assert_eq!(back, pack(&value), "the shortest form, as theirs");
    }

    #[test]
    fn json_is_the_same_value_in_messagepack(value in value(), spaced: bool) {
        let json = as_json(&value).unwrap();
        let text = if spaced { serde_json::to_string_pretty(&json) } else { serde_json::to_string(&json) };
        let bytes = packed(&Payload::json(text.unwrap()));
        prop_assert_eq!(as_json(&unpack(&bytes).unwrap()).unwrap(), json);
    }

    #[test]
    fn any_value_is_a_payload_or_one_that_json_has_no_words_for(value in any_value()) {
        let bytes = Bytes::from(pack(&value));
        match (msgpack::parse_value(&bytes), as_json(&value)) {
            (Ok(Payload { kind: Kind::Binary, bytes }), None) => {
                prop_assert_eq!(Value::Binary(bytes.to_vec()), value);
            }
            (Ok(payload), Some(_)) => prop_assert!(payload.kind != Kind::Binary),
            (Err(ValueError::Foreign { .. }), None) => {}
            (ours, theirs) => prop_assert!(false, "{ours:?} instead of {theirs:?}"),
        }
    }

    #[test]
    fn a_publication_is_a_map_of_its_topic_and_payload(value in value(), topic in ".{1,40}", cursor in ".{0,9}") {
        let payload = msgpack::parse_value(&pack(&value).into()).unwrap();
        for cursor in [None, Some(&*cursor)] {
            let mut out = Vec::new();
            msgpack::publication(&mut out, &topic, &payload, cursor);
            let mut pairs = vec![("topic".into(), topic.as_str().into()), ("payload".into(), value.clone())];
            pairs.extend(cursor.map(|cursor| ("cursor".into(), cursor.into())));
            prop_assert!(same(&unpack(&out).unwrap(), &Value::Map(pairs)));
        }
    }

    #[test]
    fn any_bytes_are_a_request_or_an_answer(bytes in prop_oneof![vec(any::<u8>(), 0..80), nearly()]) {
        let bytes = Bytes::from(bytes);
        let id = msgpack::request_id(&bytes);
        match msgpack::decode(&bytes) {
            Ok(request) => {
                prop_assert_eq!(request.id, id);
                prop_assert!(matches!(unpack(&bytes), Some(Value::Map(_))));
            }
            Err(error) => {
                let mut out = Vec::new();
                msgpack::frame(&mut out, &error.answer());
                prop_assert!(matches!(unpack(&out), Some(Value::Map(_))));
                prop_assert_eq!(error.id, id);
            }
        }
    }

    #[test]
    fn any_bytes_instead_of_json_are_a_value(text in prop_oneof![".{0,40}", r#"["\[\]{},:0-9a-fu\\ .eE+-]{0,30}"#]) {
        let valid = serde_json::from_str::<&serde_json::value::RawValue>(&text).is_ok();
        let value = unpack(&packed(&Payload::json(text.clone())));
        prop_assert!(value.is_some());
        prop_assert!(valid || value == Some(text.as_str().into()));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]

    #[test]
    fn our_grammar_is_the_one_of_rmpv(bytes in prop_oneof![nearly(), vec(any::<u8>(), 0..24)]) {
        let (ours, theirs) = (msgpack::parse_value(&Bytes::from(bytes.clone())), unpack(&bytes));
        let Some(theirs) = theirs else {
            // Who meets a foreign value first says that.
            prop_assert!(ours.is_err(), "{ours:?}");
            return Ok(());
        };
        match ours {
            Ok(payload) => prop_assert_eq!(payload.kind == Kind::Binary, as_json(&theirs).is_none()),
            Err(ValueError::Foreign { .. }) => prop_assert_eq!(as_json(&theirs), None),
            Err(ValueError::Depth) => prop_assert!(depth(&theirs) > DEPTH_MAX),
            // The one byte that means nothing is a nil to them.
            Err(ValueError::Syntax { at }) => prop_assert_eq!(bytes[at], 0xc1, "{:?} is a value", theirs),
        }
    }

    #[test]
    fn a_publish_in_either_dialect_is_the_same(value in value(), id: i64) {
        let text = format!(r#"{{"type":"publish","topic":"t","payload":{},"id":{id}}}"#, as_json(&value).unwrap());
        let frame = [("type", "publish".into()), ("topic", "t".into()), ("payload", value), ("id", id.into())];
        let frame = Value::Map(frame.into_iter().map(|(key, value)| (key.into(), value)).collect());
        let (json, packed) = (json::decode(&text.into()).unwrap(), msgpack::decode(&pack(&frame).into()).unwrap());
        prop_assert_eq!(json.id, packed.id);
    }
}

#[test]
fn an_error_has_its_code_as_a_str() {
    let error = msgpack::decode(&Bytes::new()).unwrap_err();
    let mut out = Vec::new();
    msgpack::frame(&mut out, &error.answer());
    let Some(Value::Map(pairs)) = unpack(&out) else { panic!() };
    assert_eq!(pairs[1], ("code".into(), ErrorCode::Malformed.as_str().into()));
}
