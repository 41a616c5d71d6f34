//! `[[topic]]`: what a topic is like. The first rule that fits wins.

mod reaction;
mod retention;
mod shape;

use std::path::PathBuf;
use std::sync::Arc;

use dunlin_protocol::{Namespace, Pattern, Topic};

pub use reaction::{OnInvalid, Slow};
pub use retention::{Mode, Retention};

use super::limits::Limits;
use super::quantity;
use super::section::Section;
use super::setting::{Setting, quoted};
use super::{Read, topic::retention::ModeOrRelay};
use crate::shaping::Shape;

/// One `[[topic]]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicRule {
    topic: Pattern,
    namespace: Pattern,
    /// What the topic remembers; `None` for mode `relay`, which has no memory.
    pub retention: Option<Arc<Retention>>,
    /// What happens to a peer that doesn't keep up.
    pub slow: Slow,
    /// What is done to payloads and asked of them; `None` if they are nobody's business.
    pub shape: Option<Arc<Shape>>,
    /// Bytes of one payload as its publisher sent it, at most `limits.message`.
    pub payload: usize,
    /// Publications of one peer in a second; 0 is no limit of the topic's own.
    pub rate: u32,
    /// What a publisher gets whose payload doesn't fit `shape`.
    pub on_invalid: OnInvalid,
    /// The schema's file as it was written.
    schema: Option<PathBuf>,
    built_in: bool,
}

impl TopicRule {
    /// Whether the rule is about this topic of this namespace.
    pub fn matches(&self, namespace: &Namespace, topic: &Topic) -> bool {
        self.namespace.matches(namespace.as_str(), &()) && self.topic.matches(topic.as_str(), &())
    }

    /// What a node has that no endpoint was configured for: the topics of the demo.
    pub(super) fn built_in(limits: &Limits) -> Vec<Self> {
        let rule = |topic: &str, mode| Self {
            topic: Pattern::parse(topic).expect("it is a pattern"),
            namespace: any(),
            retention: Some(Arc::new(Retention::of(mode, limits))),
            slow: Slow::of(Some(mode)),
            shape: None,
            payload: PAYLOAD.min(limits.message),
            rate: 0,
            on_invalid: OnInvalid::Silent,
            schema: None,
            built_in: true,
        };
        vec![rule("chat", Mode::List), rule("chat:*", Mode::Log)]
    }

    pub(super) fn read(section: Section<'_>, limits: &Limits, read: Read<'_>) -> Option<Self> {
        let advice = "name the topics it is about, for example match = \"chat:*\"";
        let topic = section.required::<Constant>("match", advice);
        let namespace = section.value::<Constant>("namespace", any());
        let mode = section.value::<ModeOrRelay>("mode", None);
        let retention = Retention::read(&section, mode, limits);
        let slow = Slow::read(&section, mode);
        let (shape, schema) = shape::read(&section, read);
        let payload = section.value::<Bytes>("payload", PAYLOAD.min(limits.message));
        check_payload(&section, payload, limits);
        let rate = section.value::<u32>("rate", 0);
        let on_invalid = section.value::<OnInvalid>("on_invalid", OnInvalid::Silent);
        section.finish(&NOT_BUILT);
        let (retention, shape) = (retention.map(Arc::new), shape.map(Arc::new));
        let built_in = false;
        topic.map(|topic| Self {
            topic,
            namespace,
            retention,
            slow,
            shape,
            payload,
            rate,
            on_invalid,
            schema,
            built_in,
        })
    }

    pub(super) fn is_built_in(&self) -> bool {
        self.built_in
    }

    pub(super) fn lines(&self) -> Vec<(&'static str, String)> {
        let mode = self.retention.as_ref().map(|retention| retention.mode);
        let mut lines = vec![
            ("match", Constant::print(&self.topic)),
            ("namespace", Constant::print(&self.namespace)),
            ("mode", ModeOrRelay::print(&mode)),
        ];
        lines.extend(self.retention.iter().flat_map(|retention| retention.lines()));
        lines.extend(shape::lines(self.shape.as_deref(), self.schema.as_ref()));
        lines.extend([
            ("payload", Bytes::print(&self.payload)),
            ("rate", u32::print(&self.rate)),
            ("on_invalid", OnInvalid::print(&self.on_invalid)),
            ("slow", Slow::print(&self.slow)),
        ]);
        lines
    }
}

/// The contract's keys that need to know who is there.
const NOT_BUILT: [&str; 2] = ["presence", "grace"];

/// As much as a message may have by default.
const PAYLOAD: usize = 64 << 10;

fn any() -> Pattern {
    Pattern::parse("*").expect("a star is a pattern")
}

fn check_payload(section: &Section<'_>, payload: usize, limits: &Limits) {
    let shown = Bytes::print(&payload);
    if payload == 0 {
        section.refuse("payload", format_args!("{shown} would refuse everything; use at least \"1B\""));
    }
    if payload > limits.message {
        let most = Bytes::print(&limits.message);
        section.refuse("payload", format_args!("{shown} is above `limits.message`; use at most {most}"));
    }
}

/// Bytes, where 0 has no other meaning.
struct Bytes;

impl Setting for Bytes {
    type Value = usize;

    fn parse(text: &str) -> Result<usize, String> {
        quantity::parse_size(text).map(|bytes| bytes as usize)
    }

    fn print(value: &usize) -> String {
        quoted(quantity::print_size(*value as u64))
    }
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
