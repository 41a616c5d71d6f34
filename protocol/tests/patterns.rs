//! Patterns and templates: what they match, render and refuse.

use std::borrow::Cow;

use dunlin_protocol::{Pattern, PatternError, Scope, Template, Variable};
use proptest::prelude::*;

/// A peer with values by the names of their variables.
#[derive(Debug)]
struct Peer<'a>(&'a [(&'a str, &'a str)]);

impl Scope for Peer<'_> {
    fn value(&self, variable: &Variable) -> Option<Cow<'_, str>> {
        let name = match variable {
            Variable::Path(name) => format!("path.{name}"),
            Variable::Query(name) => format!("query.{name}"),
            Variable::UserId => "user.id".to_owned(),
            Variable::Claim(name) => format!("claims.{name}"),
        };
        self.0.iter().find(|(known, _)| *known == name).map(|(_, value)| Cow::Borrowed(*value))
    }
}

fn matches(pattern: &str, topic: &str, scope: &dyn Scope) -> bool {
    Pattern::parse(pattern).unwrap().matches(topic, scope)
}

fn render(template: &str, scope: &dyn Scope) -> Option<String> {
    Template::parse(template).unwrap().render(scope)
}

fn refused(result: Result<impl std::fmt::Debug, PatternError>) -> String {
    result.unwrap_err().to_string()
}

// T6
#[test]
fn a_star_is_any_run_of_characters_also_an_empty_one() {
    for (pattern, topic) in [
        ("chat", "chat"),
        ("page:*", "page:"),
        ("page:*", "page:a:b"),
        ("*", "x"),
        ("**", ""),
        ("*:*", ":"),
        ("a*b*c", "abc"),
        ("a*b*c", "aXbYbZc"),
        ("*ab", "aab"),
        ("a*a", "aa"),
        ("*ä*", "xäy"),
        ("a*bc*c", "abcc"),
    ] {
        assert!(matches(pattern, topic, &()), "{pattern} {topic}");
    }
    for (pattern, topic) in [
        ("chat", "chat2"),
        ("chat", "Chat"),
        ("page:*", "page"),
        ("a*a", "a"),
        ("a*b*c", "acb"),
        ("ab*ba", "aba"),
        ("*b", "ba"),
        ("a*b*b", "ab"),
    ] {
        assert!(!matches(pattern, topic, &()), "{pattern} {topic}");
    }
}

// T6
#[test]
fn a_star_in_a_value_is_a_letter() {
    let star = Peer(&[("user.id", "*"), ("path.room", "{user.id}")]);
    assert!(matches("user:{user.id}", "user:*", &star));
    assert!(!matches("user:{user.id}", "user:alice", &star));
    assert!(matches("{path.room}:*", "{user.id}:x", &star));
}

// T6
#[test]
fn a_variable_without_value_matches_nothing() {
    assert!(!matches("user:{user.id}", "user:", &()));
    assert!(!matches("*{user.id}*", "user:", &()));
    assert!(!matches("user:{user.id}", "user:", &Peer(&[("user.id", "")])), "an empty value is none");
}

#[test]
fn each_variable_asks_for_its_own_value() {
    let peer = Peer(&[("path.a", "1"), ("query.a", "2"), ("user.id", "3"), ("claims.a.b", "4")]);
    assert!(matches("{path.a}{query.a}{user.id}{claims.a.b}", "1234", &peer));
    assert!(matches("{path.a}*{claims.a.b}x", "1--4x", &peer));
}

#[test]
fn only_literal_text_is_constant() {
    assert!(Pattern::parse("chat").unwrap().is_constant());
    assert!(!Pattern::parse("chat*").unwrap().is_constant());
    assert!(!Pattern::parse("{user.id}").unwrap().is_constant());
    assert_eq!(Pattern::parse("page:*").unwrap().as_str(), "page:*");
}

#[test]
fn many_stars_cost_no_backtracking() {
    let pattern = Pattern::parse(&"a*".repeat(500)).unwrap();
    assert!(!pattern.matches(&"a".repeat(255), &()));
    let pattern = Pattern::parse(&format!("{}b", "*a".repeat(100))).unwrap();
    assert!(!pattern.matches(&"a".repeat(255), &()));
}

#[test]
fn what_is_no_pattern_says_why() {
    assert_eq!(refused(Pattern::parse("")), "pattern is empty");
    assert_eq!(refused(Pattern::parse(&"a".repeat(1025))), "pattern is 1025 bytes, at most 1024 are allowed");
    assert_eq!(refused(Pattern::parse("a{user.id")), "'{' at byte 1 has no other half");
    assert_eq!(refused(Pattern::parse("ä}")), "'}' at byte 2 has no other half");
    let known = "known are path.X, query.X, user.id and claims.X";
    for name in ["", "user", "user.name", "path.", "query", "claims.", "claims.a..b", "env.HOME", "{user.id"]
    {
        assert_eq!(
            refused(Pattern::parse(&format!("{{{name}}}"))),
            format!("variable '{name}' is unknown; {known}")
        );
    }
    let default = "'{user.id|x}' has a default, which only templates may have";
    assert_eq!(refused(Pattern::parse("{user.id|x}")), default);
}

// E2
#[test]
fn a_missing_or_empty_value_takes_the_default() {
    let template = "chat:{query.channel|general}";
    assert_eq!(render(template, &()).as_deref(), Some("chat:general"));
    assert_eq!(render(template, &Peer(&[("query.channel", "")])).as_deref(), Some("chat:general"));
    assert_eq!(render(template, &Peer(&[("query.channel", "news")])).as_deref(), Some("chat:news"));
    assert_eq!(render("{query.x|}", &()).as_deref(), Some(""));
    assert_eq!(render("{query.x}", &()), None);
    assert_eq!(render("{query.x}", &Peer(&[("query.x", "")])), None);
    assert_eq!(render("*", &()).as_deref(), Some("*"));
}

// E2
#[test]
fn other_bytes_of_a_value_are_percent_encoded() {
    let peer = Peer(&[("path.room", "Az09._~- /:%ä")]);
    assert_eq!(render("{path.room}", &peer).as_deref(), Some("Az09._~-%20%2F%3A%25%C3%A4"));
}

// E2
#[test]
fn a_template_that_could_mix_up_values_is_refused() {
    let needed = "a character outside A-Za-z0-9 and ._~%- is needed";
    for between in ["", "-", "x%.", "41"] {
        let template = format!("{{path.a}}{between}{{path.b|c}}");
        assert_eq!(
            refused(Template::parse(&template)),
            format!("between '{{path.a}}' and '{{path.b|c}}' {needed}")
        );
    }
    let default = "default 'a:b' holds characters other than A-Za-z0-9 and ._~-";
    assert_eq!(refused(Template::parse("{path.a|a:b}")), default);
    assert!(Template::parse("x-{path.a}-y:{path.b}").is_ok());
}

/// The definition of `*`, one character at a time.
fn naive(pattern: &[u8], topic: &[u8]) -> bool {
    match (pattern, topic) {
        ([], []) => true,
        ([b'*', rest @ ..], _) => (0..=topic.len()).any(|skipped| naive(rest, &topic[skipped..])),
        ([first, pattern @ ..], [byte, topic @ ..]) => first == byte && naive(pattern, topic),
        _ => false,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    // T6
    #[test]
    fn a_pattern_agrees_with_the_definition(pattern in "[ab*]{1,8}", topic in "[ab]{0,12}") {
        prop_assert_eq!(matches(&pattern, &topic, &()), naive(pattern.as_bytes(), topic.as_bytes()));
    }

    // T6
    #[test]
    fn a_value_is_literal_text(value in "[ab*{}]{1,4}", topic in "[ab*{}]{0,8}") {
        let peer = [("user.id", &*value)];
        let expected = topic.strip_suffix(&*value).is_some_and(|rest| rest.starts_with('a'));
        prop_assert_eq!(matches("a*{user.id}", &topic, &Peer(&peer)), expected);
    }

    // E2
    #[test]
    fn different_values_render_differently(
        literal in "[a%-]{0,2}:[a%/-]{0,2}",
        defaults: (bool, bool),
        first in ("[a:%-]{0,3}", "[a:%-]{0,3}"),
        second in ("[a:%-]{0,3}", "[a:%-]{0,3}"),
    ) {
        let (a, b) = (if defaults.0 { "|d" } else { "" }, if defaults.1 { "|-" } else { "" });
        let template = Template::parse(&format!("{{path.a{a}}}{literal}{{path.b{b}}}")).unwrap();
        let rendered = |values: &(String, String)| {
            template.render(&Peer(&[("path.a", &values.0), ("path.b", &values.1)]))
        };
        let meant = |values: &(String, String)| {
            let or = |value: &str, default: bool, text: &str| {
                if value.is_empty() && default { text.to_owned() } else { value.to_owned() }
            };
            (or(&values.0, defaults.0, "d"), or(&values.1, defaults.1, "-"))
        };
        if let (Some(one), Some(other)) = (rendered(&first), rendered(&second)) {
            prop_assert_eq!(one == other, meant(&first) == meant(&second));
        }
    }

    #[test]
    fn any_text_is_a_pattern_or_an_error(text in ".{0,40}") {
        if let Ok(pattern) = Pattern::parse(&text) {
            prop_assert_eq!(pattern.as_str(), &text);
            pattern.matches(&text, &());
        }
        if let Ok(template) = Template::parse(&text) {
            template.render(&());
        }
    }
}
