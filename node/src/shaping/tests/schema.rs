//! Schemas: which are accepted, and what publishers hear of them (T11).

use super::*;

fn refused(text: &str) -> SchemaError {
    Schema::parse(text).expect_err(text)
}

#[test]
fn a_payload_that_doesnt_fit_is_told_why_in_a_few_words() {
    let schema = json!({
        "properties": {"text": {"type": "string", "maxLength": 3}, "n": {"minimum": 1}},
        "required": ["text"],
    });
    let table = [
        (r#"{"text":"abc"}"#, None),
        (r#"{"text":"abcd"}"#, Some("payload at /text: value is longer than 3 characters")),
        (r#"{"n":0}"#, Some("\"text\" is a required property")),
        (r#"{"text":1,"n":0}"#, Some("payload at /text: value is not of type \"string\"")),
        (r#"{"text":1,"n":0}"#, Some("payload at /n: value is less than the minimum of 1")),
    ];
    for (payload, words) in table {
        let message = shaped(&judging(&schema), payload).err().map(|unfit| unfit.message);
        match (words, &message) {
            (None, None) => {}
            (Some(words), Some(message)) => assert!(message.contains(words), "{message}"),
            _ => panic!("{payload}: {message:?}"),
        }
    }
}

#[test]
fn without_set_fields_any_json_may_be_described() {
    let shape = judging(&json!({"type": "array", "items": {"type": "integer"}}));
    assert_eq!(shaped(&shape, "[1, 2]").as_deref(), Ok("[1, 2]"));
    assert_eq!(flaw(&shape, "[1.5]"), Some(Flaw::Schema));
    assert_eq!(flaw(&judging(&json!(true)), r#"{"a":1,"\u0061":2}"#), Some(Flaw::DuplicateKey));
}

#[test]
fn messages_are_short_whatever_was_sent() {
    let long = "\\u0001".repeat(600);
    let strict = judging(&json!({"additionalProperties": false, "properties": {"a": {"const": "x"}}}));
    let payloads = [
        format!(r#"{{"{long}":1}}"#),
        format!(r#"{{"a":"{long}"}}"#),
        format!(r#"{{"k{long}":1,"k{long}":2}}"#),
    ];
    for payload in payloads {
        let unfit = shaped(&strict, &payload).unwrap_err();
        assert!(unfit.message.len() <= MESSAGE_BYTES_MAX, "{} bytes", unfit.message.len());
    }
    let many: Vec<String> = (0..200).map(|number| format!("\"{number}\":1")).collect();
    let unfit = shaped(&strict, &format!("{{{}}}", many.join(","))).unwrap_err();
    assert!(unfit.message.ends_with('…') && unfit.message.len() <= MESSAGE_BYTES_MAX, "{unfit}");
}

#[test]
fn what_has_no_tree_is_refused() {
    for payload in ["[1e999]", r#"["\ud800"]"#] {
        let unfit = shaped(&judging(&json!(true)), payload).unwrap_err();
        assert_eq!(unfit.kind, Flaw::Schema);
        assert!(unfit.message.starts_with("payload can't be judged by the topic's schema: "), "{unfit}");
    }
}

#[test]
fn formats_are_notes_and_drafts_are_what_the_schema_says() {
    assert_eq!(flaw(&judging(&json!({"format": "email"})), "\"no\""), None);
    let seven = json!({"$schema": "http://json-schema.org/draft-07/schema#", "items": [{"type": "null"}]});
    assert_eq!(flaw(&judging(&seven), "[1]"), Some(Flaw::Schema));
}

#[test]
fn references_lead_nowhere_but_into_the_schema() {
    let inside = json!({"$defs": {"n": {"type": "null"}, "a": {"$anchor": "b"}}, "$ref": "#/$defs/n", "not": {"not": {"$ref": "#b"}}});
    assert!(Schema::parse(&inside.to_string()).is_ok());
    for reference in [
        "https://a.example/b.json",
        "other.json",
        "file:///etc/passwd",
        "#/$defs/gone",
        "#gone",
        "//a.example",
    ] {
        let error = refused(&json!({"$ref": reference}).to_string());
        assert!(matches!(error, SchemaError::Reference(_)), "{reference}: {error:?}");
        assert!(
            error.to_string().contains("only refer to what is inside it, for example \"#/$defs/name\""),
            "{error}"
        );
    }
    let meta = refused(r#"{"$schema":"https://a.example/meta"}"#);
    assert!(matches!(meta, SchemaError::Reference(_)), "{meta:?}");
}

#[test]
fn patterns_that_need_backtracking_or_much_memory_are_refused() {
    for pattern in ["(?=a)b", "(?!a)b", "(?<=a)b", r"(a)\1", "(", "[", "a{1,100000}", r"(\w{1,99}){1,99}"] {
        for schema in [json!({"pattern": pattern}), json!({"patternProperties": {pattern: true}})] {
            let error = refused(&schema.to_string());
            assert!(matches!(error, SchemaError::Pattern(_)), "{schema}: {error:?}");
            assert!(error.to_string().contains("matched in linear time"), "{error}");
        }
    }
    for pattern in ["^[a-z]{1,32}$", r"^\p{L}+$", r"\d+(\.\d+)?", "(a+)+$"] {
        assert!(Schema::parse(&json!({"pattern": pattern}).to_string()).is_ok(), "{pattern}");
    }
}

#[test]
fn what_is_no_schema_says_so() {
    let table = [
        ("", "not JSON: "),
        ("{\"a\":", "not JSON: "),
        ("[]", "no JSON Schema: "),
        ("1", "no JSON Schema: "),
        (r#"{"type":"text"}"#, "no JSON Schema: "),
        (r#"{"properties":{"a":{"minLength":"1"}}}"#, "at /properties/a/minLength"),
    ];
    for (text, words) in table {
        let error = refused(text).to_string();
        assert!(error.contains(words), "{text}: {error}");
    }
}
