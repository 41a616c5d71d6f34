//! What a topic's policy does to payloads (behaviours T10, T11): fields that the node sets, members that it takes
//! out, a schema that judges the rest.
//!
//! **Invariant:** pure, and whatever a publisher sends costs no more than a few passes over its bytes. What leaves
//! is, byte for byte, what came, but for the members that were taken out and those that were set.
//!
//! The steps, in order: the payload has to be JSON, an object without two members of one key; then unknown members
//! go, fields are set, and last the schema judges the result. So a schema describes what subscribers get, the
//! fields that the node sets included.
//!
//! What it costs: without a schema one pass and one copy of the payload. Taking out unknown members walks a nested
//! value once for each level at which the schema describes something. The schema wants the payload as a tree, some
//! ten times its bytes for a moment, and looks at each value once for each keyword on it; patterns take linear
//! time ([`PATTERN_BYTES_MAX`]), results of recursive schemas are remembered while one payload is judged.

mod schema;
mod set;
mod strip;
#[cfg(test)]
mod tests;
mod words;

use std::fmt;

use bytes::Bytes;
use dunlin_protocol::json::{self, Member, MembersError};
use dunlin_protocol::{Kind, Payload, PeerId};
use smallvec::SmallVec;

pub use schema::{PATTERN_BYTES_MAX, Schema, SchemaError};
pub use set::{Field, Source};

use strip::Known;
use words::shortened;

/// What a node knows of a publication besides its payload.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    /// Who publishes.
    pub peer: PeerId,
    /// The user the peer is, if it is one.
    pub user: Option<&'a str>,
    /// What is known of the user: valid JSON, at least one level less deep than payloads may be.
    pub info: Option<&'a [u8]>,
    /// Milliseconds since 1970.
    pub now_ms: u64,
}

/// What happens to the payloads of some topics. Compiled at the start, shared by all shards.
#[derive(Debug, PartialEq, Eq)]
pub struct Shape {
    set: Vec<Field>,
    schema: Option<Schema>,
    strip: Option<Known>,
}

/// Why a payload may not be published. The message is for its publisher, at most [`MESSAGE_BYTES_MAX`] bytes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Unfit {
    /// What is wrong.
    pub kind: Flaw,
    /// The same in words.
    pub message: String,
}

/// What is wrong with a payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flaw {
    /// Text or bytes, or JSON with a key that is no text.
    NotJson,
    /// JSON, but nothing to set a field of.
    NotObject,
    /// Two members of one key.
    DuplicateKey,
    /// Not what the schema describes.
    Schema,
}

/// It goes into an error frame, and half of it may be the publisher's own words.
pub const MESSAGE_BYTES_MAX: usize = 400;

impl Shape {
    /// A shape, or none where nothing is wanted of payloads.
    ///
    /// Without a schema nothing is known, so there `strip_unknown` does nothing.
    pub fn new(set: Vec<Field>, schema: Option<Schema>, strip_unknown: bool) -> Option<Self> {
        let strip = schema.as_ref().filter(|_| strip_unknown).map(|schema| Known::of(schema.document()));
        (!set.is_empty() || schema.is_some()).then_some(Self { set, schema, strip })
    }

    /// The fields that are set, in their order.
    pub fn set(&self) -> &[Field] {
        &self.set
    }

    /// Whether members that the schema doesn't name are taken out.
    pub fn strips_unknown(&self) -> bool {
        self.strip.is_some()
    }

    /// The payload as it is to be published, the very same bytes if nothing had to change.
    ///
    /// It may be longer than what came, by what is set.
    pub fn apply(&self, payload: &Payload, facts: &Facts<'_>) -> Result<Payload, Unfit> {
        if payload.kind != Kind::Json {
            return Err(Unfit::new(Flaw::NotJson, "payload is text or binary; this topic takes JSON"));
        }
        let shaped = match members_of(&payload.bytes)? {
            Some(members) => self.reshape(&payload.bytes, &members, facts)?,
            None if self.set.is_empty() => None,
            None => {
                return Err(Unfit::new(
                    Flaw::NotObject,
                    "payload is no object; this topic sets fields of it",
                ));
            }
        };
        let shaped = shaped.map_or_else(|| payload.clone(), Payload::json);
        match &self.schema {
            Some(schema) => schema.judge(&shaped.bytes).map(|()| shaped),
            None => Ok(shaped),
        }
    }

    /// The object without what has to go and with what is set; `None` if that is the same.
    fn reshape(
        &self,
        text: &Bytes,
        members: &[Member<'_>],
        facts: &Facts<'_>,
    ) -> Result<Option<Vec<u8>>, Unfit> {
        if self.set.is_empty() && self.strip.is_none() {
            return Ok(None);
        }
        let mut out = Vec::with_capacity(text.len() + self.set.iter().map(Field::bytes_about).sum::<usize>());
        out.push(b'{');
        let root = self.strip.as_ref().map(Known::root);
        for member in members.iter().filter(|member| self.set.iter().all(|field| field.name() != member.key))
        {
            if let Some(root) = &root {
                root.write_member(text, member, &mut out)?;
            } else {
                comma(&mut out);
                out.extend_from_slice(&text[member.whole.clone()]);
            }
        }
        for field in &self.set {
            comma(&mut out);
            field.write(facts, &mut out);
        }
        out.push(b'}');
        Ok((out != text[..]).then_some(out))
    }
}

impl Unfit {
    fn new(kind: Flaw, message: impl fmt::Display) -> Self {
        Self { kind, message: shortened(message, MESSAGE_BYTES_MAX) }
    }
}

/// Most payloads have no more members, and cost no allocation for them.
type Members<'a> = SmallVec<[Member<'a>; 8]>;

/// The members of an object, each of its own key; `None` for another value.
fn members_of(text: &[u8]) -> Result<Option<Members<'_>>, Unfit> {
    let members: Members<'_> = match json::members(text).collect() {
        Ok(members) => members,
        Err(MembersError::NotObject) => return Ok(None),
        Err(problem) => return Err(Unfit::new(Flaw::NotJson, format_args!("payload: {problem}"))),
    };
    let Some(again) = json::repeated(&members) else { return Ok(Some(members)) };
    let (key, at) = (shortened(&again.key, KEY_BYTES_SHOWN), again.quoted.start);
    Err(Unfit::new(
        Flaw::DuplicateKey,
        format_args!("payload has the key {key:?} a second time at byte {at}"),
    ))
}

/// So that what else there is to say has room in a message.
const KEY_BYTES_SHOWN: usize = 40;

/// Appends a comma, unless an object has just begun: nothing else ends with a brace that opens.
fn comma(out: &mut Vec<u8>) {
    if out.last() != Some(&b'{') {
        out.push(b',');
    }
}
