//! What an object's members are, held against `serde_json`, and which keys repeat (T10).

use dunlin_protocol::json::{Member, MembersError, elements, members, repeated};
use proptest::collection::vec;
use proptest::prelude::*;

fn walked(text: &str) -> Result<Vec<Member<'_>>, MembersError> {
    members(text.as_bytes()).collect()
}

fn repeated_key(text: &str) -> Option<String> {
    repeated(&walked(text).unwrap()).map(|member| member.key.to_string())
}

#[test]
fn a_member_is_a_key_a_value_and_all_between_the_commas() {
    let text = " { \"a\" : 1 ,\t\"\\u0062\\\"\":[ {\"a\":2} ]\n} ";
    let [one, other] = &walked(text).unwrap()[..] else { panic!("two members") };
    assert_eq!((&*one.key, &*other.key), ("a", "b\""));
    assert_eq!((&text[one.quoted.clone()], &text[one.value.clone()]), ("\"a\"", "1"));
    assert_eq!(
        (&text[other.quoted.clone()], &text[other.value.clone()]),
        ("\"\\u0062\\\"\"", "[ {\"a\":2} ]")
    );
    assert_eq!(
        (&text[one.whole.clone()], &text[other.whole.clone()]),
        (" \"a\" : 1 ", "\t\"\\u0062\\\"\":[ {\"a\":2} ]\n")
    );
    assert_eq!(walked(" { } "), Ok(Vec::new()));
}

#[test]
fn only_keys_with_escapes_are_copied() {
    use std::borrow::Cow;
    let text = r#"{"plain":1,"us\u0065r":2}"#;
    let [plain, escaped] = &walked(text).unwrap()[..] else { panic!("two members") };
    assert!(matches!(plain.key, Cow::Borrowed("plain")));
    assert_eq!(escaped.key, "user");
}

#[test]
fn what_is_no_object_says_what_it_is_not() {
    for text in ["", " ", "null", "[{}]", "\"{}\"", "1"] {
        assert_eq!(walked(text), Err(MembersError::NotObject), "{text}");
    }
    let syntax = [
        ("{", 1),
        ("{}x", 2),
        ("{\"a\":1}}", 7),
        ("{\"a\":1,}", 7),
        ("{\"a\"}", 4),
        ("{\"a\":}", 5),
        ("{a:1}", 1),
        ("{\"a\":1 \"b\":2}", 7),
        ("{\"a\":01}", 6),
        ("{\"\\x\":1}", 2),
    ];
    for (text, at) in syntax {
        assert_eq!(walked(text), Err(MembersError::Syntax { at }), "{text}");
    }
}

#[test]
fn half_a_surrogate_pair_is_no_key() {
    for (text, at) in [(r#"{"a":1,"\ud800":2}"#, 7), (r#"{"\udc00x":1}"#, 1), (r#"{"\ud83d\u0041":1}"#, 1)] {
        assert_eq!(walked(text), Err(MembersError::Key { at }), "{text}");
    }
    assert_eq!(walked(r#"{"\ud83d\udc26":1}"#).unwrap()[0].key, "🐦");
    // In a value it is nobody's business here.
    assert!(walked(r#"{"a":"\ud800"}"#).is_ok());
}

#[test]
fn bytes_that_are_no_utf_8_are_no_key() {
    let bytes = b"{\"\xff\":1}";
    assert_eq!(members(bytes).last(), Some(Err(MembersError::Key { at: 1 })));
}

#[test]
fn a_value_that_is_too_deep_is_refused() {
    let deep = |levels: usize| format!("{{\"a\":{}{}}}", "[".repeat(levels), "]".repeat(levels));
    assert!(walked(&deep(64)).is_ok());
    assert!(matches!(walked(&deep(65)), Err(MembersError::Depth { .. })));
    assert!(matches!(walked(&deep(100_000)), Err(MembersError::Depth { .. })));
}

#[test]
fn a_walk_that_ended_stays_ended() {
    let mut walk = members(b"{\"a\":1,oops");
    assert!(matches!(walk.next(), Some(Ok(_))));
    assert!(matches!(walk.next(), Some(Err(_))));
    assert!(walk.next().is_none() && walk.next().is_none());
}

#[test]
fn a_key_repeats_however_it_is_escaped() {
    // T10
    let table = [
        ("{}", None),
        (r#"{"a":1}"#, None),
        (r#"{"a":1,"A":2,"a ":3,"":4}"#, None),
        (r#"{"a":1,"b":2,"a":3}"#, Some("a")),
        (r#"{"user":1,"us\u0065r":2}"#, Some("user")),
        (r#"{"/":1,"\/":2}"#, Some("/")),
        (r#"{"🐦":1,"\ud83d\udc26":2}"#, Some("🐦")),
        (r#"{"":1,"":2}"#, Some("")),
        (r#"{"a":{"b":1,"b":2}}"#, None),
        (r#"{"z":1,"a":1,"z":2,"a":2}"#, Some("z")),
        // Canonically equal, but other characters: other keys.
        ("{\"\u{e9}\":1,\"e\u{301}\":2}", None),
    ];
    for (text, key) in table {
        assert_eq!(repeated_key(text).as_deref(), key, "{text}");
    }
}

#[test]
fn ten_thousand_members_are_compared_by_sorting() {
    // Keys with a long beginning in common, in an order that suits no sort: comparing each with each would be a
    // billion comparisons.
    let member = |number: usize| format!("\"{}{}\":{number}", "k".repeat(40), number * 7919 % 10_007);
    let mut list: Vec<String> = (0..10_000).map(member).collect();
    let text = |list: &[String]| format!("{{{}}}", list.join(","));
    for _ in 0..20 {
        assert_eq!(repeated_key(&text(&list)), None);
    }
    list.push(member(5_000));
    list.push(member(3));
    let text = text(&list);
    let all = walked(&text).unwrap();
    assert_eq!(repeated(&all), Some(&all[10_000]), "the first in the text, not in the sorted order");
}

#[test]
fn few_plain_keys_cost_no_allocation() {
    let text = br#"{"a":1,"b":[1,2,{"c":"d"}],"e":"f"}"#;
    let mut found = Vec::with_capacity(8);
    let cost = allocation_counter::measure(|| {
        found.extend(members(text).map(Result::unwrap));
        assert!(repeated(&found).is_none());
    });
    assert_eq!((found.len(), cost.count_total), (3, 0));
}

#[test]
fn an_array_is_its_values() {
    let listed = |text: &str| -> Result<Vec<String>, MembersError> {
        elements(text.as_bytes()).map(|range| range.map(|range| text[range].to_owned())).collect()
    };
    assert_eq!(listed(" [ 1 , [2,3] ,{\"a\":\"]\"} ]\n").unwrap(), ["1", "[2,3]", "{\"a\":\"]\"}"]);
    assert_eq!(listed(" [ ] "), Ok(Vec::new()));
    for text in ["", "{}", "1", "null"] {
        assert_eq!(listed(text), Err(MembersError::NotArray), "{text}");
    }
    for (text, at) in [("[", 1), ("[1", 2), ("[1,]", 3), ("[1]]", 3), ("[1 2]", 3), ("[]x", 2), ("[1}", 2)] {
        assert_eq!(listed(text), Err(MembersError::Syntax { at }), "{text}");
    }
    let mut walk = elements(b"[1,oops");
    assert!(
        matches!(walk.next(), Some(Ok(_))) && matches!(walk.next(), Some(Err(_))) && walk.next().is_none()
    );
}

/// Keys that often are the same in other words.
fn key() -> impl Strategy<Value = String> {
    prop_oneof![
        "[ab]{0,2}",
        Just("\\u0061".to_owned()),
        Just("\\u0062a".to_owned()),
        Just("\\\\".to_owned()),
        Just("\\\"".to_owned()),
        Just("ü".to_owned()),
        Just("\\u00fc".to_owned()),
        "[c-z]{1,3}",
    ]
}

fn value() -> impl Strategy<Value = &'static str> {
    prop_oneof![
        Just("1"),
        Just("-0.5e+3"),
        Just("\"}{,\\\"\""),
        Just("{\"a\":{\"a\":[{}]}}"),
        Just("[ 1 , [] ]"),
        Just("null")
    ]
}

fn space() -> impl Strategy<Value = &'static str> {
    prop_oneof![Just(""), Just(" "), Just("\n\t"), Just("\r")]
}

proptest! {
    #[test]
    fn an_object_is_walked_as_it_was_written(list in vec((key(), value(), space()), 0..40)) {
        let inner: Vec<_> =
            list.iter().map(|(key, value, space)| format!("{space}\"{key}\"{space}:{space}{value}{space}")).collect();
        let text = format!("{{{}}}", inner.join(","));
        let found = walked(&text).unwrap();
        prop_assert_eq!(found.len(), list.len());
        for (member, ((key, value, _), whole)) in found.iter().zip(list.iter().zip(&inner)) {
            let quoted = format!("\"{key}\"");
            prop_assert_eq!(&*member.key, &serde_json::from_str::<String>(&quoted).unwrap());
            prop_assert_eq!(&text[member.quoted.clone()], quoted);
            prop_assert_eq!(&text[member.value.clone()], *value);
            prop_assert_eq!(&text[member.whole.clone()], whole);
        }
        let keys: Vec<&str> = found.iter().map(|member| &*member.key).collect();
        let first = (1..keys.len()).find(|at| keys[..*at].contains(&keys[*at]));
        prop_assert_eq!(repeated(&found).map(|member| member.quoted.start), first.map(|at| found[at].quoted.start));
    }

    #[test]
    fn any_text_is_an_object_exactly_if_serde_json_says_so(
        text in prop_oneof!["\\PC{0,30}", r#"[{}",:a1\[\] ]{0,12}"#, r#"\{("[ab]":[0-9{}]{1,2},?){0,4}\}"#],
    ) {
        use serde_json::value::RawValue;
        let expected = serde_json::from_str::<std::collections::HashMap<String, Box<RawValue>>>(&text);
        match (walked(&text), expected) {
            (Ok(found), Ok(map)) => {
                prop_assert!(found.len() >= map.len());
                for (key, value) in &map {
                    let last = found.iter().rfind(|member| member.key == *key).unwrap();
                    prop_assert_eq!(&text[last.value.clone()], value.get());
                }
            }
            (ours, theirs) => prop_assert_eq!(ours.is_ok(), theirs.is_ok(), "{}", text),
        }
    }
}
