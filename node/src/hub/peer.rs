//! One peer's side of the hub: our end of its conversation.

use dunlin_protocol::{PeerId, Scope, Variable};
use smallvec::SmallVec;

use super::bucket::Bucket;
use super::effect::PeerKey;
use super::moment::Moment;
use crate::config::PathParams;
use crate::publication::Dialect;

/// Who arrives, as the transport found out.
#[derive(Debug)]
pub struct Arrival {
    /// Index of the endpoint in the configuration.
    pub endpoint: u16,
    /// The namespace, for life.
    pub namespace: dunlin_protocol::Namespace,
    /// What it understands.
    pub dialect: Dialect,
    /// Values of path and query variables, for endpoints whose patterns use them.
    pub variables: Option<Box<Variables>>,
}

/// Values that `{path.X}` and `{query.X}` take for one peer.
#[derive(Debug, Default)]
pub struct Variables {
    /// Path parameters.
    pub path: PathParams,
    /// Query parameters by name; the first of a name counts.
    pub query: Vec<(String, String)>,
}

impl Scope for Variables {
    fn value(&self, variable: &Variable) -> Option<std::borrow::Cow<'_, str>> {
        match variable {
            Variable::Path(name) => self.path.get(name).map(Into::into),
            Variable::Query(name) => {
                self.query.iter().find(|(key, _)| **key == **name).map(|(_, value)| value.as_str().into())
            }
            Variable::UserId | Variable::Claim(_) => None,
        }
    }
}

/// How far the conversation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Waits for so many answers of the broker before its first message is read.
    Opening(u16),
    /// Frames go both ways.
    Open,
    /// It left every set; its outbox is being emptied and its Close awaited until then.
    Closing(Moment),
}

/// One topic a peer subscribes to.
#[derive(Debug, Clone, Copy)]
pub struct Subscription {
    /// The topic's slab index.
    pub topic: u32,
    /// Its place in the topic's audience; [`NOT_YET`] until it is in it.
    pub position: u32,
}

/// The position of a subscription that waits for its topic to become live.
pub const NOT_YET: u32 = u32::MAX;

/// One peer.
#[derive(Debug)]
pub struct Peer {
    /// Its public id.
    pub id: PeerId,
    /// Tells apart the peers that had the same place.
    pub serial: u32,
    /// The number of users it was told last.
    pub told_users: u32,
    /// The slab index of its namespace.
    pub namespace: u32,
    /// Its place among the namespace's members.
    pub member: u32,
    /// Index of its endpoint.
    pub endpoint: u16,
    /// Pings it has not answered.
    pub unanswered: u16,
    /// How far the conversation is.
    pub stage: Stage,
    /// What it subscribes to.
    pub subscriptions: SmallVec<[Subscription; 2]>,
    /// Tickets of recoveries that it waits for.
    pub recoveries: Vec<u32>,
    /// Whether it took up an earlier session.
    pub resumed: bool,
    /// Limits by rate.
    pub buckets: Buckets,
    /// Limits by rate that topics have of their own, by rule.
    pub shares: Vec<(u32, Bucket)>,
    /// When its frames began to exceed a rate without a quiet second since.
    pub flood: Option<Flood>,
    /// Until when it is not read, because it said more than it may.
    pub paused_until: Option<Moment>,
    /// When the earliest key of it in the timer wheel fires.
    pub alarm: Moment,
    /// When to ping it next.
    pub ping_at: Moment,
    /// When its last message came.
    pub active_at: Moment,
    /// When the message began that is not complete yet.
    pub unfinished_since: Option<Moment>,
    /// Values its endpoint's patterns may use.
    pub variables: Option<Box<Variables>>,
}

/// A peer's buckets, one per limited kind.
#[derive(Debug, Clone, Copy, Default)]
pub struct Buckets {
    /// All frames.
    pub frames: Bucket,
    /// Publishes.
    pub publishes: Bucket,
    /// Subscribes.
    pub subscribes: Bucket,
}

/// A stretch of refused frames without a quiet second.
#[derive(Debug, Clone, Copy)]
pub struct Flood {
    /// When it began.
    pub since: Moment,
    /// When the last frame was refused.
    pub last: Moment,
}

impl Peer {
    /// Its key, given its place.
    pub fn key(&self, index: usize) -> PeerKey {
        PeerKey { index: index as u32, serial: self.serial }
    }

    /// Its subscription to a topic, by the topic's slab index.
    pub fn subscription(&mut self, topic: usize) -> Option<&mut Subscription> {
        self.subscriptions.iter_mut().find(|subscription| subscription.topic as usize == topic)
    }

    /// Whether it subscribes to the topic.
    pub fn subscribes(&self, topic: usize) -> bool {
        self.subscriptions.iter().any(|subscription| subscription.topic as usize == topic)
    }

    /// The values its patterns may use.
    pub fn scope(&self) -> &dyn Scope {
        match &self.variables {
            Some(variables) => &**variables,
            None => &(),
        }
    }
}
