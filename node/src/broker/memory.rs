//! The broker of a single node: shards hand each other publications in memory, and topics remember in it.

mod remembering;
mod repeats;
mod store;
mod stored;

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use dunlin_protocol::{Envelope, Namespace, Recipients, Topic};
use smallvec::{SmallVec, smallvec};

use self::remembering::Joined;
use self::store::Store;
use super::inbox::{INBOX_MAX, Inbox, cost};
use super::{Broker, Command, Event, Status, Wake};
use crate::clock::Clock;
use crate::config::Retention;
use crate::grant::Keys;
use crate::history::Place;
use crate::hub::{Moment, PublishError, Reach, Tag};
use crate::publication::Publication;

/// Topics that remember at most, unless said otherwise.
pub const TOPICS_MAX: usize = 1_000_000;

/// Routes between the shards of one node, and keeps what its topics remember.
///
/// One lock guards routes, inboxes and what is remembered together: it is what gives publications their one order, and
/// it is taken once for all commands of a shard's turn, never for each.
///
/// What is remembered ends with the process. Beyond the number of topics that may remember, those that nobody hears
/// are let go of, the one whose time comes first before all others.
pub struct MemoryBroker {
    clock: Clock,
    state: Mutex<State>,
}

struct State {
    namespaces: HashMap<Namespace, Routes>,
    inboxes: Vec<Inbox>,
    store: Store,
    /// What shards have joined that remembers.
    remembering: HashMap<(usize, Tag), Joined>,
    /// What grants are signed with, if the configuration does not say.
    keys: Option<Arc<Keys>>,
}

/// Who wants what in one namespace.
#[derive(Default)]
struct Routes {
    topics: HashMap<Topic, Vec<(usize, Tag)>>,
    /// The shards with peers in the namespace.
    members: Vec<(usize, Tag)>,
    /// How many peers each of them has.
    peers: Vec<u64>,
}

impl Broker for MemoryBroker {
    fn name(&self) -> &'static str {
        "memory"
    }

    fn attach(&self, wake: Wake) -> usize {
        let mut state = self.lock();
        let mut inbox = Inbox::new(wake);
        state.keys.iter().for_each(|keys| inbox.push(Event::Keys(keys.clone())));
        state.inboxes.push(inbox);
        state.inboxes.len() - 1
    }

    fn submit(&self, shard: usize, commands: &mut Vec<Command>) {
        if !commands.is_empty() {
            self.submit_at(self.clock.now(), shard, commands);
        }
    }

    fn status(&self) -> Status {
        Status::alone()
    }

    fn topics(&self) -> usize {
        self.lock().namespaces.values().map(|routes| routes.topics.len()).sum()
    }

    fn collect(&self, shard: usize, events: &mut VecDeque<Event>) {
        self.lock().inboxes[shard].collect(events);
    }
}

impl Default for MemoryBroker {
    /// One that draws the same in each life, so for tests only: a cursor of an earlier life would seem to be good.
    fn default() -> Self {
        Self::new(1, Clock::start(), TOPICS_MAX)
    }
}

impl MemoryBroker {
    /// A broker without shards, for at most so many topics that remember. `seed` decides what is left to chance,
    /// and must be another one in each life of the node.
    pub fn new(seed: u64, clock: Clock, topics_max: usize) -> Self {
        let state = State {
            namespaces: HashMap::new(),
            inboxes: Vec::new(),
            store: Store::new(seed, topics_max),
            remembering: HashMap::new(),
            keys: None,
        };
        Self { clock, state: Mutex::new(state) }
    }

    /// The same with keys for grants, for a node whose configuration has none.
    #[must_use]
    pub fn with_keys(mut self, keys: Keys) -> Self {
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        state.keys = Some(Arc::new(keys));
        self
    }

    /// Takes a shard's commands at a time that the caller knows.
    pub fn submit_at(&self, now: Moment, shard: usize, commands: &mut Vec<Command>) {
        let mut state = self.lock();
        state.store.turn(now);
        for command in commands.drain(..) {
            state.obey(now, shard, command);
        }
        let to_wake = state.newly_filled();
        drop(state);
        for wake in to_wake {
            wake();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn obey(&mut self, now: Moment, shard: usize, command: Command) {
        let event = match command {
            Command::Join(tag, namespace, topic, retention) => {
                self.join(shard, tag, Place { namespace, topic }, retention);
                Event::Joined(tag)
            }
            Command::Leave(tag, namespace, topic) => {
                self.leave(shard, tag, &Place { namespace, topic });
                return;
            }
            Command::Count(tag, namespace, peers) => {
                self.count(shard, tag, &namespace, peers);
                return;
            }
            Command::Publish(ticket, envelope) => Event::Settled(ticket, self.publish(&Arc::new(envelope))),
            Command::Commit(ticket, commit) => Event::Committed(ticket, self.commit(now, *commit).map(Some)),
            Command::Recover(ticket, tag, asked) => {
                Event::Recovered(ticket, Box::new(self.recover(now, shard, tag, asked)))
            }
            Command::Read(ticket, reading) => Event::Read(ticket, Box::new(self.read(now, shard, &reading))),
        };
        self.inboxes[shard].push(event);
    }

    fn join(&mut self, shard: usize, tag: Tag, place: Place, retention: Option<Arc<Retention>>) {
        let routes = self.namespaces.entry(place.namespace.clone()).or_default();
        let joined = routes.topics.entry(place.topic.clone()).or_default();
        joined.push((shard, tag));
        if joined.len() == 1 {
            self.store.hear(&place, true);
        }
        if let Some(retention) = retention {
            self.remembering.insert((shard, tag), Joined { place, retention });
        }
    }

    fn leave(&mut self, shard: usize, tag: Tag, place: &Place) {
        self.remembering.remove(&(shard, tag));
        let Some(routes) = self.namespaces.get_mut(&place.namespace) else { return };
        if let Some(joined) = routes.topics.get_mut(&place.topic) {
            joined.retain(|route| *route != (shard, tag));
            if joined.is_empty() {
                routes.topics.remove(&place.topic);
                self.store.hear(place, false);
            }
        }
        self.forget_if_unused(&place.namespace);
    }

    fn count(&mut self, shard: usize, tag: Tag, namespace: &Namespace, count: u64) {
        let Routes { members, peers, .. } = self.namespaces.entry(namespace.clone()).or_default();
        let known = members.iter().position(|member| *member == (shard, tag));
        match known {
            Some(place) if count == 0 => {
                members.swap_remove(place);
                peers.swap_remove(place);
            }
            Some(place) => peers[place] = count,
            None if count == 0 => {}
            None => {
                members.push((shard, tag));
                peers.push(count);
            }
        }
        let total: u64 = peers.iter().sum();
        for (member, own) in members.iter().zip(peers.iter()) {
            if *member != (shard, tag) || known.is_none() {
                self.inboxes[member.0].push(Event::Counted(member.1, total - own));
            }
        }
        self.forget_if_unused(namespace);
    }

    fn forget_if_unused(&mut self, namespace: &Namespace) {
        let unused = |routes: &Routes| routes.topics.is_empty() && routes.members.is_empty();
        if self.namespaces.get(namespace).is_some_and(unused) {
            self.namespaces.remove(namespace);
        }
    }

    fn publish(&mut self, envelope: &Arc<Envelope>) -> Result<Reach, PublishError> {
        let Self { namespaces, inboxes, .. } = self;
        let Some(routes) = namespaces.get(&envelope.namespace) else { return Ok(Reach::Cluster) };
        let cost = cost(envelope.payload.bytes.len());
        let copies = copies(routes, &envelope.to);
        let room = |(shard, _): &(usize, Tag)| inboxes[*shard].bytes() + cost * copies.len() <= INBOX_MAX;
        if !copies.iter().all(|(_, joined)| joined.iter().all(room)) {
            return Err(PublishError::Unavailable);
        }
        let event =
            if matches!(envelope.to, Recipients::Namespace) { Event::Broadcast } else { Event::Publication };
        for (copy, joined) in copies {
            let publication = Arc::new(Publication::new(envelope.clone(), copy));
            for (shard, tag) in joined {
                inboxes[*shard].push(event(*tag, publication.clone()));
            }
        }
        Ok(Reach::Cluster)
    }

    /// The wakes of the inboxes that hold something and whose shard was not woken since it collected.
    fn newly_filled(&mut self) -> Vec<Wake> {
        self.inboxes.iter_mut().filter_map(Inbox::newly_filled).collect()
    }
}

/// One topic's copy of a publication: its place in the list of topics, and the shards it goes to.
type TopicCopy<'a> = (usize, &'a [(usize, Tag)]);

/// The copies of a publication that somebody wants.
fn copies<'a>(routes: &'a Routes, to: &Recipients) -> SmallVec<[TopicCopy<'a>; 1]> {
    let joined = |topic| routes.topics.get(topic).map(Vec::as_slice);
    match to {
        Recipients::Namespace => smallvec![(0, routes.members.as_slice())],
        Recipients::Topic(topic) => joined(topic).map(|joined| (0, joined)).into_iter().collect(),
        Recipients::Topics(topics) => {
            let copies = topics.iter().enumerate();
            copies.filter_map(|(copy, topic)| joined(topic).map(|joined| (copy, joined))).collect()
        }
    }
}

#[cfg(test)]
mod tests;
