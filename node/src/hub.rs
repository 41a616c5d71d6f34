//! One shard's routing: who listens to what, and what they are owed.
//!
//! Inputs and the time go in, [`Effect`]s and filled outboxes come out. Nothing here knows a socket, a
//! runtime or a clock (a test reads these files and makes sure), so a whole cluster runs in one thread from
//! one seed.
//!
//! Inputs: [`Hub::open`], [`Hub::receive`], [`Hub::heard`], [`Hub::unfinished`], [`Hub::close`],
//! [`Hub::remove`] come from the transport; [`Hub::joined`], [`Hub::deliver`], [`Hub::counted`],
//! [`Hub::settled`], [`Hub::missed`], [`Hub::reached`] and, for topics that remember, [`Hub::committed`],
//! [`Hub::recovered`], [`Hub::page`], [`Hub::reset`], [`Hub::set_keys`] from the broker; [`Hub::send_control`] and
//! [`Hub::flush_one`] from the sockets; [`Hub::timeout`] and [`Hub::shed`] from time. Outputs: [`Hub::take_effects`], [`Hub::flush`],
//! [`Hub::next_timeout`], [`Hub::take_tally`].
//!
//! **Invariant:** a peer that closes has left every set before its Close is sent; counts are lengths of
//! sets, never counters.

mod alarms;
mod arena;
mod bucket;
mod closing;
mod coalescing;
mod committing;
mod conversation;
mod delivery;
mod effect;
mod flushing;
mod memory;
mod moment;
mod namespaces;
mod opening;
mod outbox;
mod paging;
mod peer;
mod publishing;
mod recovering;
mod refusal;
mod resuming;
mod ruling;
mod subscriptions;
mod tally;
mod topics;
mod wheel;

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use dunlin_protocol::{Incarnation, PeerId, RequestId};
use slab::Slab;

pub use self::bucket::Bucket;
pub use self::effect::{Effect, Interest, PeerKey, Tag, UNAWAITED};
pub use self::flushing::Wrote;
pub use self::moment::Moment;
pub use self::outbox::Write;
pub use self::peer::{Arrival, Variables};
pub use self::tally::{FrameType, Invalid, Kept, Limit, Recovered, Slow as SlowAction, Tally};

use self::alarms::Alarm;
use self::arena::Arena;
use self::committing::Publisher;
use self::flushing::Delivered;
use self::namespaces::Namespaces;
use self::outbox::Outbox;
use self::paging::Reader;
use self::peer::{Peer, Stage};
use self::recovering::Newcomer;
use self::resuming::Signing;
use self::topics::Topics;
use self::wheel::Wheel;
use crate::config::{Endpoint, Limits, Resume, Session, TopicRule};

/// A message as a peer sent it, fragments put together.
#[derive(Debug, Clone)]
pub enum Message {
    /// Valid UTF-8.
    Text(Bytes),
    /// Any bytes.
    Binary(Bytes),
}

/// How far publications get.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// Every node of the cluster.
    Cluster,
    /// For certain only this node, because the broker is away (T12).
    Node,
}

/// Why the broker did not take a publication.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PublishError {
    /// Nobody got it; the publisher may try again.
    #[error("the broker can't take publications now")]
    Unavailable,
    /// Nobody got it, and nobody will until an operator changes something.
    #[error("the broker may not publish on this topic; its operator has to allow it")]
    Refused,
}

/// What all shards of a node share: the configuration as far as it concerns peers.
#[derive(Debug)]
pub struct Settings {
    /// Endpoints by index.
    pub endpoints: Vec<Endpoint>,
    /// What a peer may cost.
    pub limits: Limits,
    /// The topic that tells how many peers a namespace has.
    pub session: Session,
    /// Rules for topics; the first that fits wins.
    pub topics: Vec<TopicRule>,
    /// What sessions are taken up with.
    pub resume: Resume,
    /// The node's name, told to peers.
    pub node: String,
    /// The node's life, part of every id it gives.
    pub incarnation: Incarnation,
    /// What one shard may owe to its peers together, in bytes.
    pub outbox_total: usize,
}

/// One shard's peers and what they listen to.
pub struct Hub {
    settings: Arc<Settings>,
    shard: u8,
    peers: Slab<Peer>,
    /// By the peers' index; apart from them, because a delivery looks at nothing else.
    outboxes: Vec<Outbox>,
    serial: u32,
    topics: Topics,
    namespaces: Namespaces,
    /// Namespaces whose number of members may have changed since the last effects were taken.
    recounted: Vec<usize>,
    tickets: Slab<Ticket>,
    /// Deliveries to several topics; marks the topics that come before the one served.
    marks: u64,
    arena: Arena,
    /// Outboxes that wait for a flush, longest first; how many ever did, and how many were flushed.
    dirty: VecDeque<u32>,
    dirtied: u64,
    flushed: u64,
    /// Whether one of them was given as much as it should without a flush.
    outbox_full: bool,
    delivered: VecDeque<Delivered>,
    /// Topics of which a version waits for the turn's end.
    staged: Vec<Tag>,
    /// Peers that are behind and whose outboxes have emptied.
    emptied: Vec<u32>,
    /// What grants are signed with.
    signing: Signing,
    overflowed: Vec<u32>,
    gather: Vec<u8>,
    owed: usize,
    /// Whether the last flush left more owed than the shard may owe.
    crowded: bool,
    /// How far publications get at present.
    reach: Reach,
    wheel: Wheel<Alarm>,
    /// Whether an alarm was set since somebody asked for the next one.
    new_deadline: bool,
    due: Vec<Alarm>,
    effects: Vec<Effect>,
    chance: Chance,
    tally: Tally,
}

/// What waits for the broker's answer.
#[derive(Debug)]
enum Ticket {
    /// A publish on a topic that remembers nothing.
    Publish {
        /// Whose it is.
        peer: PeerKey,
        /// What to answer under.
        request: Option<RequestId>,
    },
    Commit(Publisher),
    Recovery(Newcomer),
    Page(Reader),
}

/// How many peers a shard may have: the peer's place is 26 bits of its id.
const PEERS_MAX: usize = 1 << 26;

impl Hub {
    /// A hub without peers; `seed` decides all that is left to chance.
    pub fn new(settings: Arc<Settings>, shard: u8, now: Moment, seed: u64) -> Self {
        let signing = Signing::of(&settings.resume);
        Self {
            settings,
            shard,
            peers: Slab::new(),
            outboxes: Vec::new(),
            serial: 0,
            topics: Topics::default(),
            namespaces: Namespaces::default(),
            recounted: Vec::new(),
            tickets: Slab::new(),
            marks: 0,
            arena: Arena::default(),
            dirty: VecDeque::new(),
            dirtied: 0,
            flushed: 0,
            outbox_full: false,
            delivered: VecDeque::new(),
            staged: Vec::new(),
            emptied: Vec::new(),
            signing,
            overflowed: Vec::new(),
            gather: Vec::new(),
            owed: 0,
            crowded: false,
            reach: Reach::Cluster,
            wheel: Wheel::new(now),
            new_deadline: false,
            due: Vec::new(),
            effects: Vec::new(),
            chance: Chance(seed),
            tally: Tally::default(),
        }
    }

    /// What there is to do, in order. Namespaces whose membership changed are reported here, once each.
    pub fn take_effects(&mut self, effects: &mut Vec<Effect>) {
        self.report_counts();
        effects.append(&mut self.effects);
    }

    /// What was counted since the last call.
    pub fn take_tally(&mut self, into: &mut Tally) {
        std::mem::swap(&mut self.tally, into);
    }

    /// Whether anything waits for [`Hub::take_effects`] or [`Hub::flush`].
    pub fn has_work(&self) -> bool {
        let idle = self.effects.is_empty() && self.dirty.is_empty() && self.recounted.is_empty();
        !idle
            || self.crowded
            || !self.overflowed.is_empty()
            || !self.staged.is_empty()
            || self.signing.is_fresh()
    }

    /// The peer that a public id names, if it is here.
    pub fn find(&self, id: PeerId) -> Option<PeerKey> {
        let (shard, index) = place_of(id);
        if shard != self.shard {
            return None;
        }
        self.peers.get(index).filter(|peer| peer.id == id).map(|peer| peer.key(index))
    }

    /// The public id of a peer.
    pub fn id(&self, peer: PeerKey) -> Option<PeerId> {
        self.peer(peer).map(|index| self.peers[index].id)
    }

    /// Whether the peer's bytes may be read: its opening is complete (L1), and it is not paused.
    pub fn may_be_read(&self, peer: PeerKey) -> bool {
        let may = |peer: &Peer| !matches!(peer.stage, Stage::Opening(_)) && peer.paused_until.is_none();
        self.peer(peer).is_some_and(|index| may(&self.peers[index]))
    }

    /// How many effects wait for [`Hub::take_effects`].
    pub fn effect_count(&self) -> usize {
        self.effects.len()
    }

    /// Counts bytes received.
    pub fn note_received(&mut self, count: usize) {
        self.tally.bytes_received += count as u64;
    }

    /// Counts bad input that the transport found.
    pub fn note_invalid(&mut self, reason: Invalid) {
        self.tally.invalid(reason);
    }

    /// Counts a limit that the transport enforced.
    pub fn note_limited(&mut self, limit: Limit) {
        self.tally.limited(limit);
    }

    /// Peers connected, by set membership.
    pub fn peer_count(&self) -> usize {
        self.namespaces.peers()
    }

    /// Peers connected in one namespace.
    pub fn peers_in(&self, namespace: &str) -> usize {
        self.namespaces.get(namespace).map_or(0, |namespace| namespace.members.len())
    }

    /// Topics somebody here subscribes to.
    pub fn topic_count(&self) -> usize {
        self.topics.len()
    }

    /// Subscriptions of all peers.
    pub fn subscription_count(&self) -> usize {
        self.peers.iter().map(|(_, peer)| peer.subscriptions.len()).sum()
    }

    /// Bytes owed to all peers.
    pub fn owed(&self) -> usize {
        self.owed
    }

    /// Keys of all peers that are not closing.
    pub fn peer_keys(&self) -> Vec<PeerKey> {
        let staying = self.peers.iter().filter(|(_, peer)| !matches!(peer.stage, Stage::Closing(_)));
        staying.map(|(index, peer)| peer.key(index)).collect()
    }

    /// The slab index of a peer that is still there.
    fn peer(&self, key: PeerKey) -> Option<usize> {
        let index = key.index as usize;
        self.peers.get(index).filter(|peer| peer.serial == key.serial).map(|_| index)
    }

    /// The same, unless it is leaving: its namespace may be gone already.
    fn staying(&self, key: PeerKey) -> Option<usize> {
        self.peer(key).filter(|index| !matches!(self.peers[*index].stage, Stage::Closing(_)))
    }

    fn endpoint(&self, index: usize) -> &Endpoint {
        &self.settings.endpoints[usize::from(self.peers[index].endpoint)]
    }
}

/// An id that embeds where its peer is: 8 bits of shard, 26 of slab index, 24 of the peer's serial.
fn id_at(incarnation: Incarnation, shard: u8, index: usize, serial: u32) -> PeerId {
    let place = u64::from(shard) << 26 | index as u64;
    PeerId::new(incarnation, place << 24 | u64::from(serial & 0xff_ffff))
}

fn place_of(id: PeerId) -> (u8, usize) {
    let place = id.entropy() >> 24;
    ((place >> 26) as u8, place as usize & (PEERS_MAX - 1))
}

/// A small generator for what is left to chance (`SplitMix64`); nothing secret comes from it.
#[derive(Debug)]
pub struct Chance(u64);

impl Chance {
    /// What follows from a seed.
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A number from 0 up to 1.
    pub fn part(&mut self) -> f64 {
        (self.draw() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// 64 bits.
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }
}

#[cfg(test)]
pub(crate) mod tests;
