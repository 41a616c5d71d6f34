//! What a topic remembers, as a value: entries in their order, the state they add up to, and what a cursor proves.
//!
//! Used by whoever holds history, be it the memory broker or a node's feed of what Redis holds.
//!
//! **Invariant:** a [`Span`] is consecutive: no offset is missing between its first entry and its last. So whoever is
//! found in it with its mark has had all that came before it (redis.md 2.2).

mod exchange;
mod span;
mod state;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use bytes::Bytes;
use dunlin_protocol::{
    Act, Envelope, Item, Namespace, Payload, Position, PublicationId, Recipients, Topic, Unrecovered,
};

pub use self::exchange::{Change, Commit, CommitError, Gap, Reading};
pub use self::span::{Proof, Span};
pub use self::state::{Members, State, as_json, changes};
use crate::publication::Publication;

/// One topic: who its publications belong to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Place {
    /// Its namespace.
    pub namespace: Namespace,
    /// Its name.
    pub topic: Topic,
}

/// One item where it is.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Where.
    pub position: Position,
    /// Which publication it was; none if it can't be read.
    pub id: Option<PublicationId>,
    /// When it was accepted, in microseconds since 1970.
    pub at_us: u64,
    /// What it does to those before it.
    pub act: Act,
    /// What it brings, if anything.
    pub publication: Option<Arc<Publication>>,
}

/// A position that a client claims to have reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Since {
    /// It claims none.
    Nothing,
    /// This one.
    Position(Position),
    /// Text that is no cursor of the topic.
    Garbage,
}

/// What a newcomer asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asked {
    /// What it has.
    pub since: Since,
    /// How many publications of a log it wants, instead of the topic's own number.
    pub replay: Option<u32>,
}

/// What a newcomer is told.
#[derive(Debug, Clone, Default)]
pub struct Recovery {
    /// Where the topic is; none if that can't be found out now.
    pub position: Option<Position>,
    /// Whether all since the position it had is here; none if it had none.
    pub recovered: Option<Result<(), Unrecovered>>,
    /// What a state topic holds, unless it has it already.
    pub state: Option<Arc<Publication>>,
    /// Publications of a log, oldest first.
    pub publications: Vec<Arc<Publication>>,
}

/// Stored publications that are asked for, exclusive of both bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    /// After this.
    pub since: Since,
    /// Before this.
    pub before: Since,
    /// At most so many.
    pub limit: u32,
}

/// Stored publications.
#[derive(Debug, Clone)]
pub struct Page {
    /// Where the topic is.
    pub position: Position,
    /// Whether they follow the position that was asked for; none if none was.
    pub recovered: Option<Result<(), Unrecovered>>,
    /// Oldest first.
    pub publications: Vec<Arc<Publication>>,
}

/// What one page of publications holds at most, in bytes of payload.
pub const PAGE_BYTES_MAX: usize = 512 * 1024;

impl Entry {
    /// An item of a topic, at its position.
    pub fn new(place: &Place, offset: u64, epoch: dunlin_protocol::Epoch, item: Item) -> Self {
        let position = Position { epoch, offset, mark: item.mark };
        let Item { id, at_ms, origin, echo, act, payload, .. } = item;
        let at_us = at_ms.saturating_mul(1000);
        let publication = payload.map(|payload| {
            // A copy: what is kept would keep all that was read together with it.
            let payload = Payload { bytes: Bytes::copy_from_slice(&payload.bytes), ..payload };
            let envelope = place.envelope(payload, at_us);
            Arc::new(Publication::stored(Envelope { origin, echo, ..envelope }, position))
        });
        Self { position, id: Some(id), at_us, act, publication }
    }

    /// An item that can't be read: it has its place, and nobody can be given it.
    pub fn unreadable(position: Position) -> Self {
        Self { position, id: None, at_us: 0, act: Act::Add, publication: None }
    }

    /// What it costs to keep, in bytes.
    pub fn cost(&self) -> usize {
        ENTRY_COST + self.publication.as_ref().map_or(0, |each| each.envelope.payload.bytes.len())
    }
}

/// What an entry costs beside its payload, in bytes.
const ENTRY_COST: usize = 320;

impl Place {
    /// A publication of the server on the topic.
    pub fn envelope(&self, payload: Payload, at_us: u64) -> Envelope {
        Envelope {
            origin: None,
            echo: true,
            at_us,
            namespace: self.namespace.clone(),
            to: Recipients::Topic(self.topic.clone()),
            payload,
        }
    }

    /// A whole state of the topic, for everybody.
    fn state(&self, json: Vec<u8>, position: Position, at_us: u64) -> Arc<Publication> {
        let envelope = self.envelope(Payload::json(Bytes::from(json)), at_us);
        Arc::new(Publication::stored(envelope, position))
    }
}
