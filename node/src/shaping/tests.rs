//! What comes out of shapes, and what can't be got past them.

use dunlin_protocol::{Incarnation, Payload, PeerId};
use serde_json::json;

use super::{Facts, Field, Flaw, MESSAGE_BYTES_MAX, Schema, SchemaError, Shape, Source, Unfit};

mod hostile;
mod properties;
mod schema;
mod set;
mod strip;

const PEER: &str = "00000000-0000-4000-8400-000000000002";

fn facts() -> Facts<'static> {
    let peer = PeerId::new(Incarnation(1), 2);
    Facts { peer, user: Some("ann \"a\""), info: Some(b"{\"age\": 7}"), now_ms: 1_700_000_000_123 }
}

/// `user` and `at`, as a chat would have them.
fn set() -> Vec<Field> {
    vec![Field::new("user", Source::PeerId), Field::new("at", Source::Now)]
}

fn setting() -> Shape {
    Shape::new(set(), None, false).unwrap()
}

fn judging(schema: &serde_json::Value) -> Shape {
    Shape::new(Vec::new(), Some(Schema::parse(&schema.to_string()).unwrap()), false).unwrap()
}

fn stripping(schema: &serde_json::Value) -> Shape {
    Shape::new(Vec::new(), Some(Schema::parse(&schema.to_string()).unwrap()), true).unwrap()
}

fn shaped(shape: &Shape, payload: &str) -> Result<String, Unfit> {
    let shaped = shape.apply(&Payload::json(payload.to_owned()), &facts())?;
    Ok(String::from_utf8(shaped.bytes.to_vec()).unwrap())
}

fn flaw(shape: &Shape, payload: &str) -> Option<Flaw> {
    shaped(shape, payload).err().map(|unfit| unfit.kind)
}

#[test]
fn no_policy_is_no_shape() {
    assert_eq!(Shape::new(Vec::new(), None, false), None);
    assert_eq!(Shape::new(Vec::new(), None, true), None);
}

#[test]
fn what_need_not_change_is_not_copied() {
    let payload = Payload::json(r#"{ "a":1 }"#);
    for shape in [judging(&json!(true)), stripping(&json!({"properties": {"a": {}}}))] {
        let shaped = shape.apply(&payload, &facts()).unwrap();
        assert_eq!(shaped.bytes.as_ptr(), payload.bytes.as_ptr());
    }
}

#[test]
fn text_and_bytes_are_refused_by_every_shape() {
    for shape in [setting(), judging(&json!(true)), stripping(&json!(true))] {
        for payload in [Payload::text("{}"), Payload::binary("{}")] {
            let unfit = shape.apply(&payload, &facts()).unwrap_err();
            assert_eq!(unfit.kind, Flaw::NotJson);
            assert_eq!(unfit.to_string(), "payload is text or binary; this topic takes JSON");
        }
    }
}

#[test]
fn the_steps_are_duplicates_strip_set_schema() {
    let schema = json!({
        "properties": {"user": {"type": "string"}, "at": {"minimum": 1}, "text": {}},
        "required": ["user", "at", "text"],
        "additionalProperties": false,
    });
    let shape = Shape::new(set(), Some(Schema::parse(&schema.to_string()).unwrap()), true).unwrap();
    // The schema sees what was set, in place of what came, and nothing of what was taken out.
    let expected = format!(r#"{{"text":1,"user":"{PEER}","at":1700000000123}}"#);
    assert_eq!(shaped(&shape, r#"{"text":1,"more":2,"user":7}"#), Ok(expected));
    // What is taken out may not come twice either.
    assert_eq!(flaw(&shape, r#"{"text":1,"more":2,"more":3}"#), Some(Flaw::DuplicateKey));
    assert_eq!(flaw(&shape, r#"{"more":1}"#), Some(Flaw::Schema));
    // Named by `set` but not by the schema: the schema describes what is published.
    let strict = json!({"properties": {"text": {}}, "additionalProperties": false});
    let shape = Shape::new(set(), Some(Schema::parse(&strict.to_string()).unwrap()), true).unwrap();
    assert_eq!(flaw(&shape, r#"{"text":1}"#), Some(Flaw::Schema));
}
