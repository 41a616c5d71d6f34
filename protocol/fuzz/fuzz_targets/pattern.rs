//! Any text is a pattern or an error; matching agrees with the definition of `*`, values are literal text.
#![no_main]

use std::borrow::Cow;

use dunlin_protocol::{Pattern, Scope, Template, Variable};
use libfuzzer_sys::fuzz_target;

/// Gives every variable the same value.
struct Same<'a>(&'a str);

impl Scope for Same<'_> {
    fn value(&self, _: &Variable) -> Option<Cow<'_, str>> {
        Some(Cow::Borrowed(self.0))
    }
}

fuzz_target!(|texts: (&str, &str, &str)| {
    let (text, topic, value) = texts;
    if let Ok(pattern) = Pattern::parse(text) {
        let matched = pattern.matches(topic, &Same(value));
        if !text.contains('{') {
            assert_eq!(matched, defined(text.as_bytes(), topic.as_bytes()));
        }
        if pattern.is_constant() {
            assert_eq!(matched, text == topic);
        }
    }
    if let Ok(template) = Template::parse(text) {
        let rendered = template.render(&Same(value)).unwrap_or_default();
        assert!(text.contains('{') || rendered == text);
    }
});

/// Row by row over the pattern: which beginnings of the topic it matches so far.
fn defined(pattern: &[u8], topic: &[u8]) -> bool {
    let mut reached = vec![false; topic.len() + 1];
    reached[0] = true;
    for letter in pattern {
        let mut next = vec![false; reached.len()];
        for at in 0..reached.len() {
            next[at] = match letter {
                b'*' => reached[at] || at > 0 && next[at - 1],
                letter => at > 0 && reached[at - 1] && topic[at - 1] == *letter,
            };
        }
        reached = next;
    }
    reached[topic.len()]
}
