//! What the hub wants done, in order.

use std::sync::Arc;

use dunlin_protocol::{CloseCode, Envelope, Namespace, Topic};

use crate::config::Retention;
use crate::history::{Asked, Commit, Reading};

/// Names one peer of a shard; a key of a peer that left names nobody, also when its place is taken again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PeerKey {
    /// Place in the shard's slab.
    pub index: u32,
    /// Tells apart the peers that had the same place.
    pub serial: u32,
}

/// Names one life of a topic or namespace on a shard, from its first subscriber to its last; opaque to the
/// broker, which hands it back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Tag(pub u64);

impl Tag {
    pub(super) const fn new(index: usize, serial: u32) -> Self {
        Self((serial as u64) << 32 | index as u64)
    }

    pub(super) const fn index(self) -> usize {
        self.0 as u32 as usize
    }
}

/// A ticket with this bit belongs to a publish whose success nobody waits to hear of: no shard need be woken for
/// it. What goes wrong is told all the same.
pub const UNAWAITED: u32 = 1 << 31;

/// One thing to do. The driver does them in order.
#[derive(Debug)]
pub enum Effect {
    /// The peer may be read (again): its opening is complete, or its pause is over.
    Read(PeerKey),
    /// Interest in a topic began; answer with `Hub::joined` once publications reach this shard.
    Join {
        /// To answer with.
        tag: Tag,
        /// Where the topic is.
        namespace: Namespace,
        /// Which topic.
        topic: Topic,
        /// How it remembers, if it does.
        retention: Option<Arc<Retention>>,
    },
    /// Interest in a topic ended.
    Leave {
        /// As it was joined.
        tag: Tag,
        /// Where the topic is.
        namespace: Namespace,
        /// Which topic.
        topic: Topic,
    },
    /// How many peers this shard has in a namespace now; answered with `Hub::counted` when it is the first
    /// word about it.
    Count {
        /// To answer with.
        tag: Tag,
        /// Which namespace.
        namespace: Namespace,
        /// Peers connected; 0 ends the interest in the namespace.
        peers: u64,
    },
    /// Publish; answer with `Hub::settled`.
    Publish {
        /// To answer with.
        ticket: u32,
        /// What and to whom.
        envelope: Envelope,
    },
    /// Change what a topic remembers; answer with `Hub::committed`.
    Commit(u32, Box<Commit>),
    /// Find out what a newcomer to a joined topic has to know; answer with `Hub::recovered`.
    Recover(u32, Tag, Asked),
    /// Read stored publications; answer with `Hub::page`.
    Page(u32, Box<Reading>),
    /// Send a Close frame after what is in the outbox, then end the connection within the time the hub
    /// allows (it asks for `Terminate` then).
    Close {
        /// Whose connection.
        peer: PeerKey,
        /// Why.
        code: CloseCode,
        /// In words, at most 123 bytes.
        reason: &'static str,
    },
    /// End the connection at once.
    Terminate(PeerKey),
}

/// A change of interest, told at the edge (style 4).
#[must_use]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Interest {
    /// The first subscriber came.
    Began,
    /// Others are there.
    Unchanged,
    /// The last subscriber went.
    Ended,
}
