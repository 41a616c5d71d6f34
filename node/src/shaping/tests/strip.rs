//! Members that a schema doesn't name (T10).

use super::*;

#[test]
fn what_properties_dont_name_goes_at_each_level_they_describe() {
    let point = json!({"properties": {"x": {}, "y": {}}});
    let tree = json!({"properties": {"leaf": {}, "below": {"items": {"$ref": "#"}}}});
    let table = [
        (json!({"properties": {"a": {}}}), r#"{"a":1,"b":2}"#, r#"{"a":1}"#),
        (json!({"properties": {"a": {}}}), r#"{ "b":2, "\u0061" : 1 }"#, r#"{ "\u0061" : 1 }"#),
        (json!({"properties": {}}), r#"{"a":1}"#, "{}"),
        // Deeper, by properties, items and prefixItems.
        (json!({"properties": {"p": point}}), r#"{"p":{"x":1,"z":{"x":1}}}"#, r#"{"p":{"x":1}}"#),
        (
            json!({"properties": {"p": {"items": point}}}),
            r#"{"p":[ {"z":1} , 7,[{"z":1}],{"x":{"z":1},"z":2}]}"#,
            r#"{"p":[ {} , 7,[{"z":1}],{"x":{"z":1}}]}"#,
        ),
        (
            json!({"properties": {"p": {"prefixItems": [{}, point]}}}),
            r#"{"p":[{"z":1},{"z":1},{"z":1}]}"#,
            r#"{"p":[{"z":1},{},{"z":1}]}"#,
        ),
        // Through references, also in circles.
        (
            json!({"$defs": {"p": point}, "properties": {"p": {"$ref": "#/$defs/p"}}}),
            r#"{"p":{"z":1,"y":2}}"#,
            r#"{"p":{"y":2}}"#,
        ),
        (
            tree,
            r#"{"x":0,"below":[{"x":0,"below":[{"leaf":{"x":1},"x":0}]}]}"#,
            r#"{"below":[{"below":[{"leaf":{"x":1}}]}]}"#,
        ),
        // What applies to the same value adds names.
        (
            json!({"properties": {"a": {}}, "allOf": [{"properties": {"b": {}}}, {"anyOf": [point]}]}),
            r#"{"a":1,"b":2,"c":3,"y":4}"#,
            r#"{"a":1,"b":2,"y":4}"#,
        ),
        (
            json!({"if": {"properties": {"k": {}}}, "then": {"properties": {"t": {}}}, "else": point}),
            r#"{"k":1,"t":2,"x":3,"z":4}"#,
            r#"{"k":1,"t":2,"x":3}"#,
        ),
        (
            json!({"properties": {"a": {}}, "dependentSchemas": {"a": {"properties": {"b": {}}}}}),
            r#"{"a":1,"b":2,"c":3}"#,
            r#"{"a":1,"b":2}"#,
        ),
        // A schema that forbids others loses them before it sees them.
        (json!({"properties": {"a": {}}, "additionalProperties": false}), r#"{"a":1,"b":2}"#, r#"{"a":1}"#),
    ];
    for (schema, sent, kept) in table {
        assert_eq!(shaped(&stripping(&schema), sent).as_deref(), Ok(kept), "{schema}");
    }
}

#[test]
fn where_a_schema_may_know_more_nothing_goes() {
    let table = [
        json!(true),
        json!({"type": "object"}),
        json!({"properties": {"a": {}}, "patternProperties": {"^b": {}}}),
        json!({"properties": {"a": {}}, "additionalProperties": {"type": "number"}}),
        json!({"properties": {"a": {}}, "unevaluatedProperties": true}),
        json!({"properties": {"a": {}}, "allOf": [{"additionalProperties": true}]}),
        json!({"$defs": {"n": {"$anchor": "name"}}, "properties": {"a": {}}, "$ref": "#name"}),
        json!({"properties": {"a": {}}, "allOf": [{"$id": "https://a.example/b", "properties": {"b": {}}}]}),
    ];
    for schema in table {
        let sent = r#"{"a":1,"b":2,"c":3}"#;
        assert_eq!(shaped(&stripping(&schema), sent).as_deref(), Ok(sent), "{schema}");
    }
}

#[test]
fn a_name_is_known_below_an_open_schema_too() {
    let schema = json!({"properties": {"a": {"properties": {"x": {}}}}, "additionalProperties": true});
    assert_eq!(
        shaped(&stripping(&schema), r#"{"a":{"x":1,"y":2},"b":{"y":2}}"#).unwrap(),
        r#"{"a":{"x":1},"b":{"y":2}}"#
    );
}

#[test]
fn a_schema_that_only_applies_itself_is_no_endless_loop() {
    let schema = json!({"properties": {"a": {}}, "allOf": [{"$ref": "#"}]});
    assert_eq!(shaped(&stripping(&schema), r#"{"a":1,"b":2}"#).unwrap(), r#"{"a":1}"#);
}

#[test]
fn a_key_that_is_no_text_is_refused_where_members_are_looked_at() {
    let schema = json!({"properties": {"a": {"properties": {"b": {}}}}});
    assert_eq!(flaw(&stripping(&schema), r#"{"a":{"\ud800":1}}"#), Some(Flaw::NotJson));
}
