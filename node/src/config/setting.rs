//! The kinds of values: how each reads from its text and prints back to it.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use dunlin_protocol::{Namespace, Pattern, Topic};

/// One kind of value. What [`print`](Setting::print) gives is TOML that
/// [`parse`](Setting::parse) reads back to the same value.
pub(super) trait Setting {
    type Value;

    /// The value, or what is wrong in words that follow `key: `.
    fn parse(text: &str) -> Result<Self::Value, String>;

    fn print(value: &Self::Value) -> String;
}

/// A TOML string; JSON's escapes are TOML's, but for DEL.
pub(super) fn quoted(text: impl fmt::Display) -> String {
    let escaped = serde_json::Value::from(text.to_string()).to_string();
    escaped.replace('\u{7f}', "\\u007f")
}

/// A TOML list.
pub(super) fn listed<S: Setting>(values: &[S::Value]) -> String {
    let items: Vec<String> = values.iter().map(S::print).collect();
    format!("[{}]", items.join(", "))
}

/// Picks one of a closed set of words.
pub(super) fn choose<T: Copy>(text: &str, words: &[(&str, T)]) -> Result<T, String> {
    let found = words.iter().find(|(word, _)| *word == text);
    found.map(|(_, value)| *value).ok_or_else(|| {
        let allowed: Vec<_> = words.iter().map(|(word, _)| format!("`{word}`")).collect();
        format!("{text:?} is not allowed; use {}", allowed.join(" or "))
    })
}

impl Setting for bool {
    type Value = Self;

    fn parse(text: &str) -> Result<Self, String> {
        choose(text, &[("true", true), ("false", false)])
    }

    fn print(value: &Self) -> String {
        value.to_string()
    }
}

impl Setting for u32 {
    type Value = Self;

    fn parse(text: &str) -> Result<Self, String> {
        text.parse().map_err(|_| format!("{text:?} is not a whole number from 0 to {}", Self::MAX))
    }

    fn print(value: &Self) -> String {
        value.to_string()
    }
}

impl Setting for SocketAddr {
    type Value = Self;

    fn parse(text: &str) -> Result<Self, String> {
        let advice = "use an IP address and a port, for example 127.0.0.1:8080";
        text.parse().map_err(|_| format!("{text:?} is not an address; {advice}"))
    }

    fn print(value: &Self) -> String {
        quoted(value)
    }
}

impl Setting for PathBuf {
    type Value = Self;

    fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() { Err("\"\" is not the name of a file".to_owned()) } else { Ok(text.into()) }
    }

    fn print(value: &Self) -> String {
        quoted(value.display())
    }
}

impl Setting for Topic {
    type Value = Self;

    /// Names that the configuration hands to peers: a leading `$` is reserved (E3).
    fn parse(text: &str) -> Result<Self, String> {
        let topic = Self::parse(text).map_err(|problem| format!("{text:?}: {problem}"))?;
        if topic.is_reserved() {
            return Err(format!("{text:?} is reserved; use a topic that doesn't start with $"));
        }
        Ok(topic)
    }

    fn print(value: &Self) -> String {
        quoted(value)
    }
}

/// A topic, or none where the text is empty.
pub(super) struct TopicOrNone;

impl Setting for TopicOrNone {
    type Value = Option<Topic>;

    fn parse(text: &str) -> Result<Self::Value, String> {
        if text.is_empty() { Ok(None) } else { <Topic as Setting>::parse(text).map(Some) }
    }

    fn print(value: &Self::Value) -> String {
        quoted(value.as_ref().map_or("", |topic| topic.as_str()))
    }
}

impl Setting for Namespace {
    type Value = Self;

    fn parse(text: &str) -> Result<Self, String> {
        Self::parse(text).map_err(|problem| format!("{text:?}: {problem}"))
    }

    fn print(value: &Self) -> String {
        quoted(value)
    }
}

impl Setting for Pattern {
    type Value = Self;

    fn parse(text: &str) -> Result<Self, String> {
        let advice = "use for example chat, page:* or user:{user.id}";
        Self::parse(text).map_err(|problem| format!("{text:?} is not a pattern: {problem}; {advice}"))
    }

    fn print(value: &Self) -> String {
        quoted(value.as_str())
    }
}

/// A time span such as `30s`.
impl Setting for Duration {
    type Value = Self;

    fn parse(text: &str) -> Result<Self, String> {
        super::quantity::parse_duration(text)
    }

    fn print(value: &Self) -> String {
        quoted(super::quantity::print_duration(*value))
    }
}
