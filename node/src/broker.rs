//! What carries publications and counts between the shards of a node, and between nodes.
//!
//! The promises below are numbered; each is a function of the contract suite, which every broker passes.
//!
//! - B-1 A shard that joined a topic is answered [`Event::Joined`] with its tag, once per join.
//! - B-2 Every publication accepted after that answer reaches the shard exactly once, until it leaves.
//! - B-3 The publications of one topic reach all shards in one and the same order.
//! - B-4 A publish is answered [`Event::Settled`] with its ticket, once, also to a shard that joined
//!   nothing; if refused, it reached nobody.
//! - B-5 A publish to several topics is a copy for each topic that has been joined, each naming the list;
//!   a publish without a topic reaches every shard that has counted peers in the namespace.
//! - B-6 The first count of a shard for a namespace is answered [`Event::Counted`] with the peers elsewhere;
//!   afterwards every change elsewhere is told, the last one always.
//! - B-7 Namespaces and topics that differ in one byte never meet.
//! - B-8 What waits for a shard is bounded in bytes; what exceeds the bound is refused to the publisher.
//! - B-9 A shard for which something waits is woken.
//! - B-10 The topics that are joined can be counted, each once however many shards joined it.

#[cfg(test)]
mod contract;
mod memory;

use std::collections::VecDeque;
use std::sync::Arc;

use dunlin_protocol::{Envelope, Namespace, Topic};

use crate::hub::{Tag, Unavailable};
use crate::publication::Publication;

pub use self::memory::MemoryBroker;

/// What a shard wants of the broker. Commands of one shard are obeyed in their order.
#[derive(Debug)]
pub enum Command {
    /// Publications of the topic are wanted.
    Join(Tag, Namespace, Topic),
    /// They are wanted no more.
    Leave(Tag, Namespace, Topic),
    /// So many peers of this shard are in the namespace; 0 ends the interest in it.
    Count(Tag, Namespace, u64),
    /// Publish, and answer with the ticket.
    Publish(u32, Envelope),
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
    Settled(u32, Result<(), Unavailable>),
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

    /// Appends what waits for a shard.
    fn collect(&self, shard: usize, events: &mut VecDeque<Event>);
}
