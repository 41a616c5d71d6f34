//! What holds for all payloads.

use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::Value;

use super::*;

/// A member's key as it is written, and what it means.
fn key() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("user".to_owned()),
        Just(r"\u0061t".to_owned()),
        Just(r"us\u0065r".to_owned()),
        "[a-d]{1,2}"
    ]
}

fn value() -> impl Strategy<Value = Value> {
    let leaf =
        prop_oneof![any::<i32>().prop_map(Value::from), ".{0,5}".prop_map(Value::from), Just(Value::Null)];
    leaf.prop_recursive(4, 30, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::hash_map("[a-d]", inner, 0..4).prop_map(|map| map.into_iter().collect()),
        ]
    })
}

/// An object's text, with white space and perhaps a key twice.
fn object() -> impl Strategy<Value = String> {
    vec((key(), value(), "[ \n]{0,2}"), 0..6).prop_map(|list| {
        let member =
            |(key, value, space): &(String, Value, String)| format!("{space}\"{key}\"{space}:{value}{space}");
        format!("{{{}}}", list.iter().map(member).collect::<Vec<_>>().join(","))
    })
}

/// What taking out is, said by trees: the schema is `{properties: {a: {items: #}, b: #, user: true}}`.
fn stripped(value: &Value) -> Value {
    let Value::Object(members) = value else { return value.clone() };
    let kept = members.iter().filter_map(|(key, value)| match (key.as_str(), value) {
        ("a", Value::Array(list)) => Some((key.clone(), list.iter().map(stripped).collect())),
        ("a" | "user", _) => Some((key.clone(), value.clone())),
        ("b", _) => Some((key.clone(), stripped(value))),
        _ => None,
    });
    Value::Object(kept.collect())
}

proptest! {
    #[test]
    fn a_set_field_is_the_nodes_whatever_was_sent(text in object()) {
        match shaped(&setting(), &text) {
            Err(unfit) => prop_assert_eq!(unfit.kind, Flaw::DuplicateKey),
            Ok(shaped) => {
                let mut sent: Value = serde_json::from_str(&text).unwrap();
                sent["user"] = PEER.into();
                sent["at"] = facts().now_ms.into();
                prop_assert_eq!(serde_json::from_str::<Value>(&shaped).unwrap(), sent);
                prop_assert_eq!(shaped.matches(PEER).count(), 1);
                prop_assert!(Payload::parse_json(&shaped.into()).is_ok());
            }
        }
    }

    #[test]
    fn what_is_stripped_is_what_a_tree_would_lose(text in object()) {
        let schema = json!({"properties": {"a": {"items": {"$ref": "#"}}, "b": {"$ref": "#"}, "user": true}});
        match shaped(&stripping(&schema), &text) {
            Err(unfit) => prop_assert_eq!(unfit.kind, Flaw::DuplicateKey),
            Ok(shaped) => {
                let expected = stripped(&serde_json::from_str(&text).unwrap());
                prop_assert_eq!(serde_json::from_str::<Value>(&shaped).unwrap(), expected);
            }
        }
    }

    #[test]
    fn a_schema_judges_as_its_library_does(text in object(), strict: bool) {
        let schema = json!({"maxProperties": 3, "properties": {"a": {"type": "array"}}, "additionalProperties": !strict});
        let Ok(value) = serde_json::from_str::<Value>(&text) else { panic!("it is JSON") };
        let expected = jsonschema::draft202012::is_valid(&schema, &value);
        match shaped(&judging(&schema), &text) {
            Err(Unfit { kind: Flaw::DuplicateKey, .. }) => {}
            result => prop_assert_eq!(result.is_ok(), expected),
        }
    }
}
