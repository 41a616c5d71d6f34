//! What this node hears: one subscription at Redis for each channel that a shard wants, begun with the first
//! shard and ended a little after the last, so that a page that is loaded again costs nothing.
//!
//! **Invariant:** confirmations come in the order of the commands, so the last command sent for a channel
//! decides its state; `subscribed` is what Redis must say when it is asked (redis.md 0.5).

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use dunlin_protocol::{Namespace, Topic};
use slab::Slab;
use smallvec::SmallVec;

use super::feeding::Listening;
use crate::hub::{Moment, Tag};

/// How long a channel nobody wants is kept.
const LINGER: Duration = Duration::from_secs(2);
/// Channels in one command.
pub const BATCH: usize = 512;
/// Channels that may wait for their confirmation, so that much to subscribe delays nothing else.
const UNCONFIRMED_MAX: usize = 4 * BATCH;

/// A shard that wants a channel, and what the channel is called there.
pub type Ear = (usize, Tag);

/// Where a subscription is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Not at Redis; in the queue if somebody wants it.
    Absent,
    /// Asked for.
    Asked,
    /// Publications arrive.
    Live,
    /// Its end was asked for.
    Ending,
}

/// What a channel carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Carries {
    /// This node's own heartbeat.
    Heartbeat,
    /// A topic's publications.
    Topic(Namespace, Topic),
    /// Counts, and publications to a whole namespace; none for the count of everything.
    Namespace(Option<Namespace>),
}

/// One channel.
#[derive(Debug)]
pub struct Channel {
    /// Its name at Redis.
    pub name: Bytes,
    /// What it carries.
    pub carries: Carries,
    /// Who hears it.
    pub ears: SmallVec<[Ear; 2]>,
    /// Who of them was not told yet that it does.
    pub untold: SmallVec<[Ear; 1]>,
    /// Where its subscription is.
    pub stage: Stage,
    /// A topic that remembers: how far this node is.
    pub listening: Option<Box<Listening>>,
    /// Whether publications may have been missed since it was live.
    pub missed: bool,
    /// Kept although no shard wants it.
    pub pinned: bool,
    /// Commands for it that are not confirmed yet: only the last one's confirmation says how things stand.
    unconfirmed: u32,
    queued: bool,
    unwanted_since: Option<Moment>,
}

/// What a shard that wants a channel is told at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Joined {
    /// It hears it already.
    Already,
    /// It will be told.
    Later,
}

/// All channels of a node.
#[derive(Debug, Default)]
pub struct Channels {
    by_name: HashMap<Bytes, usize>,
    all: Slab<Channel>,
    queue: VecDeque<usize>,
    unwanted: VecDeque<(Moment, usize)>,
    unconfirmed: usize,
    subscribed: usize,
    topics: usize,
}

impl Channels {
    /// The channel of this name.
    pub fn find(&self, name: &[u8]) -> Option<usize> {
        self.by_name.get(name).copied()
    }

    /// The channel at an index.
    pub fn get(&self, index: usize) -> Option<&Channel> {
        self.all.get(index)
    }

    /// The channel at an index that is known to be there.
    pub fn channel(&mut self, index: usize) -> &mut Channel {
        &mut self.all[index]
    }

    /// The channel at an index, if there is one.
    pub fn find_at(&mut self, index: usize) -> Option<&mut Channel> {
        self.all.get_mut(index)
    }

    /// How many topics shards want.
    pub fn topics(&self) -> usize {
        self.topics
    }

    /// How many subscriptions Redis confirmed and was not asked to end with success.
    pub fn subscribed(&self) -> usize {
        self.subscribed
    }

    /// Whether everything that is wanted is live.
    pub fn is_settled(&self) -> bool {
        self.queue.is_empty() && self.unconfirmed == 0
    }

    /// Indices of all channels.
    pub fn indices(&self) -> Vec<usize> {
        self.all.iter().map(|(index, _)| index).collect()
    }

    /// The channel of this name; it is added if it was not there.
    pub fn open(&mut self, name: &[u8], carries: impl FnOnce() -> Carries) -> usize {
        if let Some(index) = self.find(name) {
            return index;
        }
        let name = Bytes::copy_from_slice(name);
        let index = self.all.insert(Channel {
            name: name.clone(),
            carries: carries(),
            ears: SmallVec::new(),
            untold: SmallVec::new(),
            stage: Stage::Absent,
            listening: None,
            missed: false,
            pinned: false,
            unconfirmed: 0,
            queued: false,
            unwanted_since: None,
        });
        self.by_name.insert(name, index);
        index
    }

    /// Keeps a channel whether or not a shard wants it.
    pub fn pin(&mut self, index: usize) {
        self.all[index].pinned = true;
        self.want(index);
    }

    /// A shard wants the channel. `away`: there is no link, so nothing can be waited for.
    pub fn join(&mut self, index: usize, ear: Ear, away: bool) -> Joined {
        let channel = &mut self.all[index];
        self.topics += usize::from(channel.ears.is_empty() && matches!(channel.carries, Carries::Topic(..)));
        channel.ears.push(ear);
        let joined = if away || channel.stage == Stage::Live { Joined::Already } else { Joined::Later };
        if joined == Joined::Later {
            channel.untold.push(ear);
        }
        channel.missed |= away;
        self.want(index);
        joined
    }

    /// A shard does not want the channel any more.
    pub fn leave(&mut self, now: Moment, index: usize, ear: Ear) {
        let channel = &mut self.all[index];
        let before = channel.ears.len();
        channel.ears.retain(|each| *each != ear);
        channel.untold.retain(|each| *each != ear);
        if channel.ears.is_empty() && before > 0 {
            self.topics -= usize::from(matches!(channel.carries, Carries::Topic(..)));
            self.release(now, index);
        }
    }

    /// Lets a channel go that nobody wants, after a while.
    fn release(&mut self, now: Moment, index: usize) {
        let channel = &mut self.all[index];
        if channel.ears.is_empty() && !channel.pinned && channel.unwanted_since.is_none() {
            channel.unwanted_since = Some(now);
            self.unwanted.push_back((now, index));
        }
    }

    fn want(&mut self, index: usize) {
        let channel = &mut self.all[index];
        channel.unwanted_since = None;
        if matches!(channel.stage, Stage::Absent | Stage::Ending) && !channel.queued {
            channel.queued = true;
            self.queue.push_back(index);
        }
    }

    /// When a channel is to be let go.
    pub fn deadline(&self) -> Option<Moment> {
        self.unwanted.front().map(|(since, _)| *since + LINGER)
    }

    /// The channels to unsubscribe from by now.
    pub fn ending(&mut self, now: Moment) -> Vec<usize> {
        let mut ending = Vec::new();
        while ending.len() < BATCH && self.unwanted.front().is_some_and(|(since, _)| *since + LINGER <= now) {
            let Some((since, index)) = self.unwanted.pop_front() else { break };
            let Some(channel) = self.all.get_mut(index) else { continue };
            if channel.unwanted_since != Some(since) {
                continue;
            }
            match channel.stage {
                Stage::Live | Stage::Asked => {
                    channel.stage = Stage::Ending;
                    channel.unconfirmed += 1;
                    ending.push(index);
                }
                Stage::Absent => self.remove(index),
                Stage::Ending => {}
            }
        }
        self.unconfirmed += ending.len();
        ending
    }

    /// The next channels to subscribe to; empty when there are none, or enough are on their way.
    pub fn beginning(&mut self) -> Vec<usize> {
        let mut beginning = Vec::new();
        let room = BATCH.min(UNCONFIRMED_MAX.saturating_sub(self.unconfirmed));
        while beginning.len() < room {
            let Some(index) = self.queue.pop_front() else { break };
            let Some(channel) = self.all.get_mut(index) else { continue };
            channel.queued = false;
            if channel.unwanted_since.is_none() && matches!(channel.stage, Stage::Absent | Stage::Ending) {
                channel.stage = Stage::Asked;
                channel.unconfirmed += 1;
                beginning.push(index);
            }
        }
        self.unconfirmed += beginning.len();
        beginning
    }

    /// Redis confirmed a subscription. True if the channel is live now.
    pub fn confirmed(&mut self, index: usize) -> bool {
        self.unconfirmed -= 1;
        self.subscribed += 1;
        let channel = &mut self.all[index];
        channel.unconfirmed -= 1;
        let is_live = channel.unconfirmed == 0 && channel.stage == Stage::Asked;
        if is_live {
            channel.stage = Stage::Live;
        }
        is_live
    }

    /// Redis confirmed the end of a subscription.
    pub fn ended(&mut self, index: usize) {
        self.unconfirmed -= 1;
        self.subscribed -= 1;
        let channel = &mut self.all[index];
        channel.unconfirmed -= 1;
        if channel.unconfirmed == 0 && channel.stage == Stage::Ending {
            channel.stage = Stage::Absent;
            if channel.unwanted_since.is_some() {
                self.remove(index);
            }
        }
    }

    /// Redis refused to subscribe.
    pub fn refused(&mut self, index: usize) {
        self.unconfirmed -= 1;
        self.all[index].unconfirmed -= 1;
        self.all[index].stage = Stage::Absent;
    }

    /// The link is gone: nothing is subscribed any more. What is wanted is queued again.
    pub fn lost(&mut self) {
        self.queue.clear();
        self.unwanted.clear();
        self.unconfirmed = 0;
        self.subscribed = 0;
        for index in self.indices() {
            let channel = &mut self.all[index];
            channel.queued = false;
            channel.unconfirmed = 0;
            if channel.unwanted_since.is_some() {
                self.remove(index);
                continue;
            }
            let was_told = channel.ears.len() > channel.untold.len();
            channel.missed |= channel.stage == Stage::Live && was_told;
            channel.stage = Stage::Absent;
            self.want(index);
        }
    }

    fn remove(&mut self, index: usize) {
        let channel = self.all.remove(index);
        self.by_name.remove(&channel.name);
    }
}
