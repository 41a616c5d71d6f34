//! `[[topic]]`: what a topic is like. The first rule that fits wins.

use std::sync::Arc;
use std::time::Duration;

use dunlin_protocol::{Namespace, Pattern, Topic};

use super::section::Section;
use super::setting::{Setting, quoted};

/// One `[[topic]]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicRule {
    topic: Pattern,
    namespace: Pattern,
    /// How the topic remembers; none for relay, which does not.
    pub retention: Option<Arc<Retention>>,
    /// What happens to a peer that doesn't keep up.
    pub slow: Slow,
}

impl TopicRule {
    /// Whether the rule is about this topic of this namespace.
    pub fn matches(&self, namespace: &Namespace, topic: &Topic) -> bool {
        self.namespace.matches(namespace.as_str(), &()) && self.topic.matches(topic.as_str(), &())
    }

    pub(super) fn read(section: Section<'_>) -> Option<Self> {
        let advice = "name the topics it is about, for example match = \"chat:*\"";
        let topic = section.required::<Constant>("match", advice);
        let any = Pattern::parse("*").expect("a star is a pattern");
        let namespace = section.value::<Constant>("namespace", any);
        let mode = section.value::<Memory>("mode", None);
        let retention = mode.map(|mode| Arc::new(Retention { mode, ..Retention::default() }));
        let slow = section.value::<Slow>("slow", Slow::Close);
        section.finish(&NOT_BUILT);
        topic.map(|topic| Self { topic, namespace, retention, slow })
    }

    pub(super) fn lines(&self) -> Vec<(&'static str, String)> {
        vec![
            ("match", Constant::print(&self.topic)),
            ("namespace", Constant::print(&self.namespace)),
            ("mode", Memory::print(&self.retention.as_ref().map(|retention| retention.mode))),
            ("slow", Slow::print(&self.slow)),
        ]
    }
}

/// The contract's keys that need memory or a view into payloads.
const NOT_BUILT: [&str; 12] = [
    "limit",
    "max_bytes",
    "ttl",
    "replay",
    "presence",
    "grace",
    "set",
    "schema",
    "strip_unknown",
    "payload",
    "rate",
    "on_invalid",
];

/// How a topic remembers (behaviour T7).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Mode {
    /// Its last payload.
    Value,
    /// Its last publications, each on its own.
    Log,
    /// Its last publications, together.
    List,
    /// An object, of which publications change members.
    Map,
}

/// What a topic keeps, and for how long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retention {
    /// In which form.
    pub mode: Mode,
    /// Entries or members at most.
    pub limit: u32,
    /// Bytes at most of what a list or map holds.
    pub max_bytes: usize,
    /// How long after the last publication.
    pub ttl: Duration,
    /// Publications of a log that a newcomer gets who does not ask for another number.
    pub replay: u32,
}

impl Default for Retention {
    fn default() -> Self {
        Self {
            mode: Mode::Log,
            limit: 200,
            max_bytes: 256 * 1024,
            ttl: Duration::from_hours(7 * 24),
            replay: 0,
        }
    }
}

struct Memory;

impl Setting for Memory {
    type Value = Option<Mode>;

    fn parse(text: &str) -> Result<Option<Mode>, String> {
        match text {
            "relay" => Ok(None),
            "value" => Ok(Some(Mode::Value)),
            "log" => Ok(Some(Mode::Log)),
            "list" => Ok(Some(Mode::List)),
            "map" => Ok(Some(Mode::Map)),
            _ => Err(format!("{text:?} is not allowed; use `relay`")),
        }
    }

    fn print(value: &Option<Mode>) -> String {
        quoted(match value {
            None => "relay",
            Some(Mode::Value) => "value",
            Some(Mode::Log) => "log",
            Some(Mode::List) => "list",
            Some(Mode::Map) => "map",
        })
    }
}

/// What happens to a publication for a peer whose outbox is full (behaviour H6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Slow {
    /// The peer is closed with 1013 and may come back.
    Close,
    /// The peer misses it.
    Drop,
}

impl Setting for Slow {
    type Value = Self;

    fn parse(text: &str) -> Result<Self, String> {
        match text {
            "close" => Ok(Self::Close),
            "drop" => Ok(Self::Drop),
            "coalesce" | "gap" => Err(not_built(text, "`close` or `drop`")),
            _ => Err(format!("{text:?} is not allowed; use `close` or `drop`")),
        }
    }

    fn print(value: &Self) -> String {
        quoted(match value {
            Self::Close => "close",
            Self::Drop => "drop",
        })
    }
}

fn not_built(word: &str, instead: &str) -> String {
    format!("`{word}` is not built yet in this version; use {instead}")
}

/// A pattern without variables: a rule is about topics, whoever asks.
struct Constant;

impl Setting for Constant {
    type Value = Pattern;

    fn parse(text: &str) -> Result<Pattern, String> {
        if text.contains(['{', '}']) {
            return Err(format!("{text:?} has a variable; use a pattern without one, for example chat:*"));
        }
        <Pattern as Setting>::parse(text)
    }

    fn print(value: &Pattern) -> String {
        <Pattern as Setting>::print(value)
    }
}
