//! The topics somebody on this shard subscribes to, and their audiences.

use dunlin_protocol::{RequestId, Topic};
use slab::Slab;
use smallvec::SmallVec;

use super::effect::{Interest, PeerKey, Tag};
use super::memory::Memory;
use crate::config::Slow;

/// Who waits for a topic to become live.
#[derive(Debug)]
pub enum Waiter {
    /// A peer whose opening needs the topic.
    Opening(PeerKey),
    /// A peer that asked to subscribe, and the id of its frame.
    Subscribe(PeerKey, Option<RequestId>),
}

impl Waiter {
    fn peer(&self) -> PeerKey {
        match self {
            Self::Opening(peer) | Self::Subscribe(peer, _) => *peer,
        }
    }

    fn request(self) -> Option<RequestId> {
        match self {
            Self::Opening(_) => None,
            Self::Subscribe(_, request) => request,
        }
    }
}

/// Whether publications reach this shard.
#[derive(Debug)]
pub enum Reach {
    /// The broker was asked.
    Joining(Vec<Waiter>),
    /// They do.
    Live,
}

/// One topic.
#[derive(Debug)]
pub struct TopicState {
    /// Its name.
    pub name: Topic,
    /// The slab index of its namespace.
    pub namespace: usize,
    /// Whether publications reach this shard.
    pub reach: Reach,
    /// What to do with peers that can't keep up.
    pub slow: Slow,
    /// Which of the configured rules is about it.
    pub rule: Option<u32>,
    /// What is kept of it, if it remembers.
    pub memory: Option<Box<Memory>>,
    /// The last delivery to several topics in which this one came before the one served.
    pub marked: u64,
    /// Peers that hear it, by slab index.
    pub audience: Vec<u32>,
    subscribers: u32,
    serial: u32,
}

/// What the rules say of a topic.
#[derive(Debug)]
pub struct Manner {
    /// What to do with peers that can't keep up.
    pub slow: Slow,
    /// Which rule it is.
    pub rule: Option<u32>,
    /// What is kept of it, if it remembers.
    pub memory: Option<Box<Memory>>,
}

/// The topics of a shard.
#[derive(Debug, Default)]
pub struct Topics {
    states: Slab<TopicState>,
    serial: u32,
}

impl Topics {
    /// Adds a topic nobody subscribes to yet.
    pub fn insert(&mut self, name: Topic, namespace: usize, reach: Reach, manner: Manner) -> usize {
        self.serial = self.serial.wrapping_add(1);
        let (audience, serial) = (Vec::new(), self.serial);
        let Manner { slow, rule, memory } = manner;
        self.states.insert(TopicState {
            name,
            namespace,
            reach,
            slow,
            rule,
            memory,
            marked: 0,
            audience,
            subscribers: 0,
            serial,
        })
    }

    /// Adds a subscriber, not yet to the audience.
    pub fn subscribe(&mut self, index: usize) -> Interest {
        let topic = &mut self.states[index];
        topic.subscribers += 1;
        if topic.subscribers == 1 { Interest::Began } else { Interest::Unchanged }
    }

    /// Takes a subscriber away, who is in the audience no more. A topic whose interest ended is forgotten
    /// by [`Topics::remove`].
    pub fn unsubscribe(&mut self, index: usize, peer: PeerKey) -> Interest {
        let topic = &mut self.states[index];
        if let Reach::Joining(waiters) = &mut topic.reach {
            waiters.retain(|waiter| waiter.peer() != peer);
        }
        topic.subscribers -= 1;
        if topic.subscribers == 0 { Interest::Ended } else { Interest::Unchanged }
    }

    /// Takes out the ids of a peer's subscribes that wait for the topic: it is about to leave again, and
    /// who asked under an id is answered (W3).
    pub fn stop_waiting(&mut self, index: usize, peer: PeerKey) -> SmallVec<[RequestId; 1]> {
        let Reach::Joining(waiters) = &mut self.states[index].reach else { return SmallVec::new() };
        let waiting = waiters.extract_if(.., |waiter| waiter.peer() == peer);
        waiting.filter_map(Waiter::request).collect()
    }

    /// Forgets a topic.
    pub fn remove(&mut self, index: usize) -> TopicState {
        self.states.remove(index)
    }

    /// The topic's tag.
    pub fn tag(&self, index: usize) -> Tag {
        Tag::new(index, self.states[index].serial)
    }

    /// The topic that a tag names, if it still lives.
    pub fn find(&self, tag: Tag) -> Option<usize> {
        let index = tag.index();
        self.states.get(index).filter(|topic| Tag::new(index, topic.serial) == tag).map(|_| index)
    }

    /// How many topics there are.
    pub fn len(&self) -> usize {
        self.states.len()
    }
}

impl std::ops::Index<usize> for Topics {
    type Output = TopicState;

    fn index(&self, index: usize) -> &TopicState {
        &self.states[index]
    }
}

impl std::ops::IndexMut<usize> for Topics {
    fn index_mut(&mut self, index: usize) -> &mut TopicState {
        &mut self.states[index]
    }
}
