//! Payloads made to hurt. They end: a test that hangs is the failure.

use super::*;

/// As large as payloads may be by default.
const BYTES: usize = 64 << 10;

fn nested(open: &str, inner: &str, close: &str, levels: usize) -> String {
    format!("{}{inner}{}", open.repeat(levels), close.repeat(levels))
}

fn filled(item: &str) -> String {
    format!("[{}]", vec![item; BYTES / (item.len() + 1)].join(","))
}

#[test]
fn patterns_take_linear_time() {
    let text = "a".repeat(BYTES);
    for pattern in ["^(a+)+$", "^(a|aa)+$", "^(a|a?)+$", "(.*a){12}b", "(a?){30}a{30}c", "[ab]*a[ab]{200}c"] {
        let shape = judging(&json!({"pattern": pattern}));
        assert_eq!(flaw(&shape, &format!("\"{text}!\"")), Some(Flaw::Schema), "{pattern}");
    }
    // The most states at once that the bound on a pattern's size allows, on text that keeps all of them alive.
    let text = "ab".repeat(BYTES / 2);
    let shape = judging(&json!({"pattern": "(a|b|ab|ba|aba)*[ab]{1,500}c$"}));
    assert_eq!(flaw(&shape, &format!("\"{text}\"")), Some(Flaw::Schema));
}

#[test]
fn deep_payloads_meet_recursive_schemas() {
    let twice = |reference: &str| json!([{"items": {"$ref": reference}}, {"items": {"$ref": reference}}]);
    let schemas = [
        json!({"anyOf": [{"type": "null"}, {"items": {"$ref": "#"}, "minItems": 2}, {"items": {"$ref": "#"}, "minItems": 3}]}),
        json!({"type": "array", "oneOf": twice("#")}),
        json!({"type": "array", "allOf": twice("#")}),
        json!({"type": "array", "not": {"anyOf": twice("#")}}),
        json!({"type": "array", "if": {"items": {"$ref": "#"}}, "then": {"items": {"$ref": "#"}}, "else": {"items": {"$ref": "#"}}}),
        json!({"type": "array", "contains": {"$ref": "#"}, "items": {"$ref": "#"}}),
        json!({"type": "array", "$dynamicAnchor": "node", "anyOf": twice("#").as_array().unwrap(), "items": {"$dynamicRef": "#node"}}),
    ];
    for schema in schemas {
        let deep = nested("[", "1", "]", 64);
        let shape = stripping(&schema);
        // Whether it fits is the schema's business; here it is that the answer comes.
        let _ = shaped(&shape, &deep);
    }
}

#[test]
fn deep_objects_meet_recursive_schemas() {
    let below = |name: &str| json!({"properties": {"a": {"$ref": "#"}}, "required": [name]});
    let schemas = [
        json!({"anyOf": [below("b"), below("c")]}),
        json!({"oneOf": [below("b"), below("a"), below("c")]}),
        json!({"anyOf": [below("a"), below("b")], "unevaluatedProperties": false}),
        json!({"allOf": [below("a"), below("a")], "unevaluatedProperties": {"$ref": "#"}}),
        json!({"dependentSchemas": {"a": below("a")}, "properties": {"a": {"$ref": "#"}}, "propertyNames": {"$ref": "#"}}),
    ];
    for schema in schemas {
        let _ = shaped(&stripping(&schema), &nested(r#"{"a":"#, "1", "}", 63));
        let _ = shaped(&judging(&schema), &nested(r#"{"a":"#, "1", "}", 63));
    }
}

#[test]
fn a_schema_that_only_leads_to_itself_is_no_endless_loop() {
    for schema in [
        json!({"$ref": "#"}),
        json!({"allOf": [{"$ref": "#"}]}),
        json!({"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"}),
    ] {
        if let Ok(schema) = Schema::parse(&schema.to_string()) {
            let shape = Shape::new(Vec::new(), Some(schema), true).unwrap();
            let _ = shaped(&shape, r#"{"a":[1,2]}"#);
        }
    }
}

#[test]
fn many_values_meet_dear_keywords() {
    let alternatives: Vec<_> = (0..20).map(|number| json!({"const": number})).collect();
    let schemas = [
        json!({"items": {"type": "string"}}),
        json!({"uniqueItems": true}),
        json!({"items": {"multipleOf": 0.000_1}}),
        json!({"items": {"multipleOf": 1e-300}}),
        json!({"items": {"anyOf": alternatives}}),
        json!({"items": {"oneOf": alternatives}}),
        json!({"contains": {"type": "null"}}),
        json!({"unevaluatedItems": false, "prefixItems": [true]}),
        json!({"items": {"enum": (0..200).collect::<Vec<_>>()}}),
    ];
    for item in ["9", "1e308", "-1.7976931348623157e308", "5e-324", "0.1", "18446744073709551615", "[]", "{}"]
    {
        let payload = filled(item);
        for schema in &schemas {
            let _ = shaped(&judging(schema), &payload);
        }
    }
    let different: Vec<String> = (0..12_000).map(|number| number.to_string()).collect();
    let shape = judging(&json!({"uniqueItems": true}));
    assert_eq!(flaw(&shape, &format!("[{}]", different.join(","))), None);
    let objects: Vec<String> = (0..4_000).map(|number| format!("{{\"a\":{number}}}")).collect();
    assert_eq!(flaw(&shape, &format!("[{}]", objects.join(","))), None);
}

#[test]
fn many_members_meet_everything() {
    let members: Vec<String> = (0..8_000).map(|number| format!("\"k{number}\":0")).collect();
    let payload = format!("{{{}}}", members.join(","));
    let schema = json!({
        "patternProperties": {"^(k|x)+[0-9]*$": true, "9$": {"type": "integer"}},
        "unevaluatedProperties": false,
        "propertyNames": {"pattern": "^k"},
        "additionalProperties": {"type": "string"},
    });
    let schema = Schema::parse(&schema.to_string()).unwrap();
    let shape = Shape::new(set(), Some(schema), true).unwrap();
    assert_eq!(flaw(&shape, &payload), Some(Flaw::Schema));
    assert!(shaped(&setting(), &payload).is_ok());
}
