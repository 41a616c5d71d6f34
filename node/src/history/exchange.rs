//! What is asked of whoever holds history, and what may come of it.

use std::sync::Arc;

use dunlin_protocol::{Envelope, GapReason, Kind, Namespace, Position, Topic};

use super::{Range, as_json, changes};
use crate::config::{Mode, Retention};

/// A change of what a topic remembers.
#[derive(Debug, Clone)]
pub struct Commit {
    /// What is published, to one topic. What only takes away has a payload, too, which is not looked at.
    pub envelope: Envelope,
    /// How the topic remembers.
    pub retention: Arc<Retention>,
    /// Makes a repetition within five minutes happen once.
    pub key: Option<Box<str>>,
    /// What is done.
    pub change: Change,
}

impl Commit {
    /// Refuses what can't be done whatever the topic holds: a form of change that its mode does not have, and payloads
    /// that it can't keep.
    pub fn check(&self) -> Result<(), CommitError> {
        let (mode, payload) = (self.retention.mode, &self.envelope.payload);
        match (mode, self.change) {
            (Mode::Log | Mode::List, Change::Replace) | (Mode::Map, Change::Forget(_)) => {
                Err(CommitError::Mode)
            }
            (Mode::List, Change::Publish) => {
                let item = as_json(payload).ok_or(CommitError::Payload)?;
                let is_small = item.len() + 2 <= self.retention.max_bytes;
                if is_small { Ok(()) } else { Err(CommitError::TooLarge) }
            }
            (Mode::Map, Change::Publish | Change::Replace) => {
                let is_object = payload.kind == Kind::Json && changes(&payload.bytes).is_some();
                if is_object { Ok(()) } else { Err(CommitError::Payload) }
            }
            _ => Ok(()),
        }
    }
}

/// What a commit does (T13).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// Adds the payload: an item of a list, members of a map, a value, an entry of a log.
    Publish,
    /// Puts the payload in the place of a value or a whole map.
    Replace,
    /// Takes everything away.
    Clear,
    /// Takes away what is older than this position.
    Forget(Position),
}

/// Which stored publications are wanted.
#[derive(Debug, Clone)]
pub struct Reading {
    /// Where the topic is.
    pub namespace: Namespace,
    /// Which topic.
    pub topic: Topic,
    /// How it remembers.
    pub retention: Arc<Retention>,
    /// Which of them.
    pub range: Range,
}

/// Why what a topic remembers was not changed, or can't be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CommitError {
    /// Nothing happened; the publisher may try again.
    #[error("the broker is not available now")]
    Unavailable,
    /// The answer was lost: it may have happened.
    #[error("the broker's answer was lost: whether it was published is unknown")]
    Unknown,
    /// The topic is stored in another mode, which its first publication chose; or its mode has no such change.
    #[error("the topic is stored in another mode")]
    Mode,
    /// The map would grow beyond its bounds, or one item alone is more than its list may hold.
    #[error("the topic would hold more than it may")]
    TooLarge,
    /// The payload is nothing that the topic can keep.
    #[error("the topic can't keep such a payload")]
    Payload,
    /// The position to forget before is not in the topic's history.
    #[error("the cursor is not in the topic's history")]
    Stale,
    /// What is stored can't be understood; an operator has to look.
    #[error("what is stored of the topic can't be read")]
    Broken,
    /// Nothing will happen until an operator changes something.
    #[error("the broker may not be written to; its operator has to allow it")]
    Refused,
}

/// Publications that may be missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gap {
    /// The last position that still holds, if it is known.
    pub from: Option<Position>,
    /// Where the topic goes on.
    pub to: Option<Position>,
    /// Why.
    pub reason: GapReason,
}

impl Gap {
    /// A gap of which no more is known than why.
    pub const fn of(reason: GapReason) -> Self {
        Self { from: None, to: None, reason }
    }
}
