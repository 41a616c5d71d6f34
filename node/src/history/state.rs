//! What a topic's entries add up to: what a newcomer to a value, list or map is sent (behaviours T7, T9).

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use dunlin_protocol::{Act, Kind, Payload, Position, json};
use serde_json::value::RawValue;

use super::{Entry, Place};
use crate::config::{Mode, Retention};
use crate::publication::Publication;

/// The state of one topic.
#[derive(Debug, Clone)]
pub struct State {
    retention: Arc<Retention>,
    content: Content,
    /// The whole as it was sent last; none once it has changed.
    composed: Option<Arc<Publication>>,
    at_us: u64,
}

#[derive(Debug, Clone)]
enum Content {
    /// Each entry is for itself.
    Log,
    Value(Option<Arc<Publication>>),
    List {
        /// Offset and JSON of each item.
        items: VecDeque<(u64, Bytes)>,
        /// Of all items.
        bytes: usize,
        /// Whether there ever was one: an emptied list is sent, a list that never was is not.
        is_set: bool,
    },
    Map {
        members: Members,
        is_set: bool,
    },
}

/// Members of an object by name, each as JSON.
pub type Members = BTreeMap<Box<str>, Bytes>;

impl State {
    /// Nothing, yet.
    pub fn new(retention: Arc<Retention>) -> Self {
        let content = match retention.mode {
            Mode::Log => Content::Log,
            Mode::Value => Content::Value(None),
            Mode::List => Content::List { items: VecDeque::new(), bytes: 0, is_set: false },
            Mode::Map => Content::Map { members: Members::new(), is_set: false },
        };
        Self { retention, content, composed: None, at_us: 0 }
    }

    /// What is stored of a map.
    pub fn of_members(retention: Arc<Retention>, members: Members) -> Self {
        let is_set = !members.is_empty();
        Self { content: Content::Map { members, is_set }, ..Self::new(retention) }
    }

    /// Whether the topic has one.
    pub fn is_kept(&self) -> bool {
        !matches!(self.content, Content::Log)
    }

    /// The members of a map.
    pub fn members(&self) -> Option<&Members> {
        if let Content::Map { members, .. } = &self.content { Some(members) } else { None }
    }

    /// Takes in the next entry.
    pub fn apply(&mut self, entry: &Entry) {
        self.composed = None;
        let (limit, max_bytes) = (self.retention.limit as usize, self.retention.max_bytes);
        let payload = entry.publication.as_ref().map(|publication| &publication.envelope.payload);
        if let Some(publication) = &entry.publication {
            self.at_us = publication.envelope.at_us;
        }
        match &mut self.content {
            Content::Log => {}
            Content::Value(value) => match (&entry.publication, entry.act) {
                (Some(publication), _) => *value = Some(publication.clone()),
                (None, Act::Clear) => *value = None,
                (None, _) => {}
            },
            Content::List { items, bytes, is_set } => {
                let gone = match entry.act {
                    Act::Add => 0,
                    Act::Clear => u64::MAX,
                    Act::Forget { before } => before,
                };
                while items.front().is_some_and(|(offset, _)| *offset < gone) {
                    *bytes -= items.pop_front().map_or(0, |(_, item)| item.len() + 1);
                }
                *is_set |= payload.is_some() || entry.act != Act::Add;
                if let Some(item) = payload.and_then(as_json) {
                    let cost = item.len() + 1;
                    items.push_back((entry.position.offset, item));
                    *bytes += cost;
                }
                while items.len() > limit || *bytes >= max_bytes && items.len() > 1 {
                    *bytes -= items.pop_front().map_or(0, |(_, item)| item.len() + 1);
                }
            }
            Content::Map { members, is_set } => {
                if entry.act == Act::Clear {
                    members.clear();
                }
                *is_set = true;
                for (name, value) in payload.and_then(|payload| changes(&payload.bytes)).unwrap_or_default() {
                    match value {
                        Some(value) => members.insert(name, value),
                        None => members.remove(&name),
                    };
                }
            }
        }
    }

    /// The whole, at a position; none if nothing was ever stored.
    pub fn publication(&mut self, place: &Place, position: Position) -> Option<Arc<Publication>> {
        let is_same = |composed: &Arc<Publication>| composed.position == Some(position);
        if let Some(composed) = self.composed.as_ref().filter(|composed| is_same(composed)) {
            return Some(composed.clone());
        }
        let json = match &self.content {
            Content::Value(Some(value)) => return Some(value.clone()),
            Content::List { items, bytes, is_set: true } => array(items.iter().map(|(_, item)| item), *bytes),
            Content::Map { members, is_set: true } => object(members),
            _ => return None,
        };
        let composed = place.state(json, position, self.at_us);
        self.composed = Some(composed.clone());
        Some(composed)
    }
}

/// A payload as an item of an array; binary has no form there.
pub fn as_json(payload: &Payload) -> Option<Bytes> {
    match payload.kind {
        Kind::Json => Some(payload.bytes.clone()),
        Kind::Text => {
            let mut quoted = Vec::with_capacity(payload.bytes.len() + 2);
            json::string(&mut quoted, &payload.bytes);
            Some(quoted.into())
        }
        Kind::Binary => None,
    }
}

/// The members that a payload changes, none where one is removed; nothing if it is no object (RFC 7396, at the top
/// only). Of a name that comes twice the last counts.
pub fn changes(object: &Bytes) -> Option<Vec<(Box<str>, Option<Bytes>)>> {
    let members: BTreeMap<Box<str>, &RawValue> = serde_json::from_slice(object).ok()?;
    let change = |(name, value): (Box<str>, &RawValue)| {
        let value = value.get();
        (name, (value != "null").then(|| object.slice_ref(value.as_bytes())))
    };
    Some(members.into_iter().map(change).collect())
}

fn array<'a>(items: impl Iterator<Item = &'a Bytes>, bytes: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes + 2);
    out.push(b'[');
    for (index, item) in items.enumerate() {
        if index > 0 {
            out.push(b',');
        }
        out.extend_from_slice(item);
    }
    out.push(b']');
    out
}

fn object(members: &Members) -> Vec<u8> {
    let mut out = Vec::with_capacity(members.iter().map(|(name, value)| name.len() + value.len() + 4).sum());
    out.push(b'{');
    for (index, (name, value)) in members.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        json::string(&mut out, name.as_bytes());
        out.push(b':');
        out.extend_from_slice(value);
    }
    out.push(b'}');
    out
}
