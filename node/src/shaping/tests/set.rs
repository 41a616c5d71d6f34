//! Fields that are set: what they are, and that they can't be forged (T10).

use super::*;

fn with_set(inner: &str) -> String {
    let comma = if inner.is_empty() { "" } else { "," };
    format!(r#"{{{inner}{comma}"user":"{PEER}","at":1700000000123}}"#)
}

#[test]
fn a_set_field_replaces_what_came_in_its_name() {
    // What was sent, and what is left of it.
    let table = [
        (r"{}", ""),
        (r"{ }", ""),
        (r#"{"text":"hi"}"#, r#""text":"hi""#),
        (r#"{"user":"root"}"#, ""),
        (r#"{"us\u0065r":"root"}"#, ""),
        (r#"{"\u0075\u0073\u0065\u0072":{"user":1},"text":2}"#, r#""text":2"#),
        (r#"{"a":1,"user":[1,{"x":"}"}],"b":2}"#, r#""a":1,"b":2"#),
        (r#"{"user":null,"at":0}"#, ""),
        (r#"{"at":"x","a":1}"#, r#""a":1"#),
        (r#"{ "a" : 1.0e0 ,  "at":1,"b":[ ] }"#, r#" "a" : 1.0e0 ,"b":[ ] "#),
        // Other keys, though they look alike.
        (r#"{"User":1,"user ":2,"USER":3}"#, r#""User":1,"user ":2,"USER":3"#),
        (r#"{"\\u0075ser":1}"#, r#""\\u0075ser":1"#),
        ("{\"us\u{435}r\":1}", "\"us\u{435}r\":1"),
        // Fields of what is inside are nobody's but the publisher's.
        (r#"{"a":{"user":1,"user":2}}"#, r#""a":{"user":1,"user":2}"#),
    ];
    for (sent, left) in table {
        assert_eq!(shaped(&setting(), sent), Ok(with_set(left)), "{sent}");
    }
}

#[test]
fn forging_by_two_members_of_one_key_is_refused() {
    let table = [
        r#"{"user":1,"user":2}"#,
        r#"{"user":1,"us\u0065r":2}"#,
        r#"{"\u0075ser":1,"us\u0065r":2}"#,
        r#"{"text":1,"user":1,"text":2}"#,
        r#"{"":1,"":2}"#,
    ];
    for sent in table {
        assert_eq!(flaw(&setting(), sent), Some(Flaw::DuplicateKey), "{sent}");
    }
    let unfit = shaped(&setting(), r#"{"a":1,"us\u0065r":1,"user":2}"#).unwrap_err();
    assert_eq!(unfit.message, "payload has the key \"user\" a second time at byte 21");
}

#[test]
fn a_key_that_is_no_text_is_refused() {
    for sent in [r#"{"\ud800":1}"#, r#"{"user\udfff":1}"#] {
        assert_eq!(flaw(&setting(), sent), Some(Flaw::NotJson), "{sent}");
    }
}

#[test]
fn only_objects_have_fields_to_set() {
    for sent in ["null", "true", "1", "\"{}\"", "[]", r#"[{"user":1}]"#] {
        assert_eq!(flaw(&setting(), sent), Some(Flaw::NotObject), "{sent}");
    }
    let unfit = shaped(&setting(), "[]").unwrap_err();
    assert_eq!(unfit.message, "payload is no object; this topic sets fields of it");
}

#[test]
fn each_source_has_its_value_and_the_order_is_the_configured_one() {
    let set = vec![
        Field::new("z", Source::UserId),
        Field::new("a \"b\"", Source::UserInfo),
        Field::new("", Source::Constant(json!("$x\n"))),
        Field::new("n", Source::Constant(json!(1.5))),
        Field::new("flag", Source::Constant(json!(true))),
    ];
    let shape = Shape::new(set, None, false).unwrap();
    let expected = r#"{"z":"ann \"a\"","a \"b\"":{"age": 7},"":"$x\n","n":1.5,"flag":true}"#;
    assert_eq!(shaped(&shape, r#"{"a \"b\"":0,"":1}"#).unwrap(), expected);
    let nobody = Facts { user: None, info: None, ..facts() };
    let shaped = shape.apply(&Payload::json("{}"), &nobody).unwrap();
    assert!(shaped.bytes.starts_with(br#"{"z":null,"a \"b\"":null,"#), "{shaped:?}");
}
