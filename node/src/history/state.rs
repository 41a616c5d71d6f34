//! What a topic's entries add up to: what a newcomer to a value, list or map is sent (behaviours T7, T9).

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use dunlin_protocol::{Act, Kind, Payload, Position, json};
use serde_json::value::RawValue;

use super::{Change, Commit, CommitError, Entry, Place};
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
    List(Array),
    Map(Object),
}

/// The items of a list.
#[derive(Debug, Clone, Default)]
struct Array {
    /// Offset and JSON of each.
    items: VecDeque<(u64, Bytes)>,
    /// Of all items, and a comma for each.
    bytes: usize,
    /// Whether there ever was one: an emptied list is sent, a list that never was is not.
    is_set: bool,
}

/// What a map holds.
#[derive(Debug, Clone, Default)]
struct Object {
    members: Members,
    /// Of all names and values.
    bytes: usize,
    is_set: bool,
}

/// Members of an object by name, each as JSON.
pub type Members = BTreeMap<Box<str>, Bytes>;

impl State {
    /// Nothing, yet.
    pub fn new(retention: Arc<Retention>) -> Self {
        let content = match retention.mode {
            Mode::Log => Content::Log,
            Mode::Value => Content::Value(None),
            Mode::List => Content::List(Array::default()),
            Mode::Map => Content::Map(Object::default()),
        };
        Self { retention, content, composed: None, at_us: 0 }
    }

    /// What is stored of a map that was read at this time; whether it was ever written to.
    pub fn of_members(retention: Arc<Retention>, members: Members, is_set: bool, at_us: u64) -> Self {
        let bytes = members.iter().map(|(name, value)| name.len() + value.len()).sum();
        let content = Content::Map(Object { members, bytes, is_set });
        Self { content, at_us, ..Self::new(retention) }
    }

    /// Whether the topic has one.
    pub fn is_kept(&self) -> bool {
        !matches!(self.content, Content::Log)
    }

    /// The members of a map.
    pub fn members(&self) -> Option<&Members> {
        if let Content::Map(map) = &self.content { Some(&map.members) } else { None }
    }

    /// How many bytes of payload a shard is sent if this is done, at most; or why it may not be done. Whether a
    /// position to forget before is there is not looked at.
    pub fn admits(&self, commit: &Commit) -> Result<usize, CommitError> {
        commit.check()?;
        let payload = &commit.envelope.payload;
        let brings = matches!(commit.change, Change::Publish | Change::Replace);
        match &self.content {
            Content::Log | Content::Value(_) => Ok(if brings { payload.bytes.len() } else { 0 }),
            Content::List(list) => {
                let item = if brings { as_json(payload).map_or(0, |item| item.len() + 1) } else { 0 };
                Ok((list.bytes + item + 2).min(self.retention.max_bytes))
            }
            Content::Map(map) => {
                let changes = if brings { changes(&payload.bytes).unwrap_or_default() } else { Vec::new() };
                let (members, bytes) = map.after(&changes, commit.change);
                let fits = members <= self.retention.limit as usize && bytes <= self.retention.max_bytes;
                if fits { Ok(bytes + MEMBER_MARKS * members + 2) } else { Err(CommitError::TooLarge) }
            }
        }
    }

    /// Takes in the next entry.
    pub fn apply(&mut self, entry: &Entry) {
        self.composed = None;
        self.at_us = entry.at_us.max(self.at_us);
        match &mut self.content {
            Content::Log => {}
            Content::Value(value) => match (&entry.publication, entry.act) {
                (Some(publication), _) => *value = Some(publication.clone()),
                (None, Act::Clear) => *value = None,
                (None, Act::Forget { before }) => {
                    value.take_if(|value| value.position.is_some_and(|position| position.offset < before));
                }
                (None, Act::Add) => {}
            },
            Content::List(list) => list.apply(entry, &self.retention),
            Content::Map(map) => map.apply(entry),
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
            Content::List(list) if list.is_set => list.json(),
            Content::Map(map) if map.is_set => map.json(),
            _ => return None,
        };
        let composed = place.state(json, position, self.at_us);
        self.composed = Some(composed.clone());
        Some(composed)
    }
}

impl Array {
    fn apply(&mut self, entry: &Entry, retention: &Retention) {
        let gone = match entry.act {
            Act::Add => 0,
            Act::Clear => u64::MAX,
            Act::Forget { before } => before,
        };
        while self.items.front().is_some_and(|(offset, _)| *offset < gone) {
            self.drop_first();
        }
        let payload = entry.publication.as_ref().map(|publication| &publication.envelope.payload);
        self.is_set |= payload.is_some() || entry.act != Act::Add;
        if let Some(item) = payload.and_then(as_json) {
            self.bytes += item.len() + 1;
            self.items.push_back((entry.position.offset, item));
        }
        let is_too_much = |list: &Self| {
            list.items.len() > retention.limit as usize
                || list.bytes >= retention.max_bytes && list.items.len() > 1
        };
        while is_too_much(self) {
            self.drop_first();
        }
    }

    fn drop_first(&mut self) {
        self.bytes -= self.items.pop_front().map_or(0, |(_, item)| item.len() + 1);
    }

    fn json(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.bytes + 2);
        out.push(b'[');
        for (index, (_, item)) in self.items.iter().enumerate() {
            if index > 0 {
                out.push(b',');
            }
            out.extend_from_slice(item);
        }
        out.push(b']');
        out
    }
}

impl Object {
    fn apply(&mut self, entry: &Entry) {
        if entry.act == Act::Clear {
            self.members.clear();
            self.bytes = 0;
        }
        self.is_set = true;
        let payload = entry.publication.as_ref().map(|publication| &publication.envelope.payload);
        let object = payload.filter(|payload| payload.kind == Kind::Json);
        for (name, value) in object.and_then(|object| changes(&object.bytes)).unwrap_or_default() {
            let name_bytes = name.len();
            // A copy: a member outlives many payloads, and would keep all of the one that brought it.
            let value = value.map(|value| Bytes::copy_from_slice(&value));
            self.bytes += value.as_ref().map_or(0, |value| name_bytes + value.len());
            let before = match value {
                Some(value) => self.members.insert(name, value),
                None => self.members.remove(&name),
            };
            self.bytes -= before.map_or(0, |value| name_bytes + value.len());
        }
    }

    /// How many members there would be after a change, and of how many bytes.
    fn after(&self, changes: &[(Box<str>, Option<Bytes>)], change: Change) -> (usize, usize) {
        let stays = change == Change::Publish;
        let (mut members, mut bytes) = if stays { (self.members.len(), self.bytes) } else { (0, 0) };
        for (name, value) in changes {
            if let Some(before) = self.members.get(name).filter(|_| stays) {
                members -= 1;
                bytes -= name.len() + before.len();
            }
            if let Some(value) = value {
                members += 1;
                bytes += name.len() + value.len();
            }
        }
        (members, bytes)
    }

    fn json(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.bytes + MEMBER_MARKS * self.members.len() + 2);
        out.push(b'{');
        for (index, (name, value)) in self.members.iter().enumerate() {
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
}

/// Two quotes, a colon and a comma.
const MEMBER_MARKS: usize = 4;

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
