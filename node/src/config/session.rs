//! `[session]` and `[metrics]`: how many peers there are, told to the peers and
//! to whoever watches the node.

use std::time::Duration;

use dunlin_protocol::{Namespace, Topic};

use super::section::Section;
use super::setting::{Setting, TopicOrNone, listed};

/// The `[session]` section: the topic that carries the number of peers (behaviour C1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// `None` where it is turned off.
    pub topic: Option<Topic>,
    /// The least time between two announcements in one namespace.
    pub interval: Duration,
}

impl Default for Session {
    fn default() -> Self {
        let topic = Topic::parse("session").expect("the word is a topic");
        Self { topic: Some(topic), interval: Duration::from_millis(100) }
    }
}

impl Session {
    pub(super) fn read(section: Section<'_>) -> Self {
        let default = Self::default();
        let session = Self {
            topic: section.value::<TopicOrNone>("topic", default.topic),
            interval: section.value::<Duration>("interval", default.interval),
        };
        section.finish(&[]);
        session
    }

    pub(super) fn lines(&self) -> Vec<(&'static str, String)> {
        vec![("topic", TopicOrNone::print(&self.topic)), ("interval", Duration::print(&self.interval))]
    }
}

/// The `[metrics]` section.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Metrics {
    /// Namespaces with a label of their own; all others share `other`, because
    /// their names come from attackers (behaviour E3).
    pub namespaces: Vec<Namespace>,
}

impl Metrics {
    pub(super) fn read(section: Section<'_>) -> Self {
        let metrics = Self { namespaces: section.list::<Namespace>("namespaces").unwrap_or_default() };
        section.finish(&[]);
        metrics
    }

    pub(super) fn lines(&self) -> Vec<(&'static str, String)> {
        vec![("namespaces", listed::<Namespace>(&self.namespaces))]
    }
}
