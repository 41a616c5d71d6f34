//! What carries publications and counts between the shards of a node, and between nodes.
//!
//! The promises below are numbered; each is a function of the contract suite, which every broker passes.
//!
//! - B-1 A shard that joined a topic is answered [`Event::Joined`] with its tag, once per join, unless it leaves
//!   first.
//! - B-2 Every publication accepted after that answer reaches the shard exactly once, until it leaves.
//! - B-3 The publications of one topic reach all shards in one and the same order.
//! - B-4 A publish is answered [`Event::Settled`] with its ticket, once, also to a shard that joined
//!   nothing; if refused, it reached nobody; if its reach is the node, others may have missed it (T12).
//! - B-5 A publish to several topics is a copy for each topic that has been joined, each naming the list;
//!   a publish without a topic reaches every shard that has counted peers in the namespace.
//! - B-6 The first count of a shard for a namespace is answered [`Event::Counted`] with the peers elsewhere;
//!   afterwards every change elsewhere is told, the last one always.
//! - B-7 Namespaces and topics that differ in one byte never meet.
//! - B-8 What waits for a shard is bounded in bytes; what exceeds the bound is refused to a publisher of this
//!   node. What another node's publisher was promised is left out and told, once for each topic, by
//!   [`Event::Missed`].
//! - B-9 A shard for which something waits is woken; the success of a publish whose ticket is
//!   [`UNAWAITED`](crate::hub::UNAWAITED) comes with whatever it is woken for next.
//! - B-10 The topics that are joined can be counted, each once however many shards joined it.
//!
//! For topics that remember (T7 to T9, T13, R1):
//!
//! - B-11 A commit is answered [`Event::Committed`] with its ticket, once; its position is behind those of all
//!   commits of the topic answered before. If refused, nothing changed, unless the error says that this is unknown.
//! - B-12 A shard hears every commit of a joined topic once, each behind the position before it; a list and a map as
//!   the whole state, never an older one after a newer. Its own commit is answered behind its publication.
//! - B-13 A recovery is answered once, in its place: the state, or what is missing since the position that was asked
//!   for, then what comes after; never silently less.
//! - B-14 Concurrent commits all count, in one order for everybody; a map's members are merged, one by one.
//! - B-15 What a topic keeps is bounded by its retention, and never less than that.
//! - B-16 A commit repeated under its key within five minutes happens once, and both are answered with one position.
//! - B-17 A topic that is stored in one mode is not written or read in another.
//! - B-18 Stored publications are read in pages, in order, exclusive of both bounds.
//! - B-19 A clearing, a replacement and a forgetting take their place in the order, and every shard hears what is left.

#[cfg(test)]
mod contract;
mod inbox;
mod memory;
mod redis;

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;

use dunlin_protocol::{Envelope, Namespace, Position, Topic};

use crate::config::Retention;
use crate::grant::Keys;
use crate::history::{Asked, Commit, CommitError, Gap, Page, Reading, Recovery};
use crate::hub::{PublishError, Reach, Tag};
use crate::publication::Publication;

pub use self::memory::{MemoryBroker, TOPICS_MAX};
pub(crate) use self::redis::{LAYOUT, encode_name};
pub use self::redis::{Membership, RedisBroker, RedisMetrics, Unreachable};

/// What a shard wants of the broker. Commands of one shard are obeyed in their order.
#[derive(Debug)]
pub enum Command {
    /// Publications of the topic are wanted; how it remembers, if it does.
    Join(Tag, Namespace, Topic, Option<Arc<Retention>>),
    /// They are wanted no more.
    Leave(Tag, Namespace, Topic),
    /// So many peers of this shard are in the namespace; 0 ends the interest in it.
    Count(Tag, Namespace, u64),
    /// Publish on topics that remember nothing, and answer with the ticket.
    Publish(u32, Envelope),
    /// Change what a topic remembers, and answer with the ticket.
    Commit(u32, Box<Commit>),
    /// What a newcomer to a joined topic that remembers has to know, in its place among the publications.
    Recover(u32, Tag, Asked),
    /// Read stored publications.
    Read(u32, Box<Reading>),
}

/// What the broker has for a shard.
#[derive(Debug, Clone)]
pub enum Event {
    /// Publications of the topic reach the shard from now on.
    Joined(Tag),
    /// A publication on a joined topic.
    Publication(Tag, Arc<Publication>),
    /// A publication for everybody in a namespace.
    Broadcast(Tag, Arc<Publication>),
    /// How many peers the namespace has elsewhere.
    Counted(Tag, u64),
    /// What became of a publish.
    Settled(u32, Result<Reach, PublishError>),
    /// What became of a commit: where the topic is since. None if it was done, but its place among the
    /// publications can't be told. It comes behind the publication it is about.
    Committed(u32, Result<Option<Position>, CommitError>),
    /// What a newcomer has to know. What came before this it must not get, what comes after it must.
    Recovered(u32, Box<Result<Recovery, CommitError>>),
    /// Stored publications.
    Read(u32, Box<Result<Page, CommitError>>),
    /// Publications on a joined topic may be missing before this.
    Missed(Tag, Gap),
    /// What a state topic holds, after a gap: in place of all that was delivered. None if nothing.
    Reset(Tag, Position, Option<Arc<Publication>>),
    /// What grants are signed with from now on.
    Keys(Arc<Keys>),
    /// How far publications get from now on; the whole cluster until said otherwise.
    Reached(Reach),
}

/// How the broker is, for health and metrics.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Status {
    /// What keeps it from its promises, in words; none when all is well.
    pub trouble: Option<String>,
    /// Nodes in the cluster.
    pub nodes: usize,
    /// Peers in the cluster; none if the broker knows no more than its shards.
    pub peers: Option<ClusterPeers>,
}

/// Peers of the whole cluster, as every node says alike.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClusterPeers {
    /// Of each named namespace, in the order of the metrics' names.
    pub named: Vec<u64>,
    /// Of all namespaces together.
    pub all: u64,
}

impl Status {
    /// A node that is its own cluster.
    pub fn alone() -> Self {
        Self { trouble: None, nodes: 1, peers: None }
    }
}

/// Called when something waits for a shard; cheap, from any thread.
pub type Wake = Arc<dyn Fn() + Send + Sync>;

/// Carries between shards and nodes; see the module's promises.
pub trait Broker: Send + Sync + 'static {
    /// The name in the `ready` line.
    fn name(&self) -> &'static str;

    /// Adds a shard and says its number, from 0 up.
    fn attach(&self, wake: Wake) -> usize;

    /// Takes a shard's commands, in order, and leaves the vector empty.
    fn submit(&self, shard: usize, commands: &mut Vec<Command>);

    /// How many topics shards of this node have joined; one that several joined is one.
    fn topics(&self) -> usize;

    /// How it is.
    fn status(&self) -> Status;

    /// Says that the node leaves for good; resolves when the others know, at the latest after a few seconds.
    fn leave(&self) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(std::future::ready(()))
    }

    /// Appends what waits for a shard.
    fn collect(&self, shard: usize, events: &mut VecDeque<Event>);
}
