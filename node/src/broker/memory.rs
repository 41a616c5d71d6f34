//! The broker of a single node: shards hand each other publications in memory.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use dunlin_protocol::{Envelope, Namespace, Recipients, Topic};
use smallvec::{SmallVec, smallvec};

use super::inbox::{INBOX_MAX, Inbox, cost};
use super::{Broker, Command, Event, Status, Wake};
use crate::hub::{PublishError, Reach, Tag};
use crate::publication::Publication;

/// Routes between the shards of one node.
///
/// One lock guards routes and inboxes together: it is what gives publications their one order, and it is
/// taken once for all commands of a shard's turn, never for each.
#[derive(Default)]
pub struct MemoryBroker {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    namespaces: HashMap<Namespace, Routes>,
    inboxes: Vec<Inbox>,
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
        state.inboxes.push(Inbox::new(wake));
        state.inboxes.len() - 1
    }

    fn submit(&self, shard: usize, commands: &mut Vec<Command>) {
        if commands.is_empty() {
            return;
        }
        let mut state = self.lock();
        for command in commands.drain(..) {
            state.obey(shard, command);
        }
        let to_wake = state.newly_filled();
        drop(state);
        for wake in to_wake {
            wake();
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

impl MemoryBroker {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn obey(&mut self, shard: usize, command: Command) {
        match command {
            Command::Join(tag, namespace, topic, _) => {
                self.namespaces
                    .entry(namespace)
                    .or_default()
                    .topics
                    .entry(topic)
                    .or_default()
                    .push((shard, tag));
                self.inboxes[shard].push(Event::Joined(tag));
            }
            Command::Leave(tag, namespace, topic) => self.leave(shard, tag, &namespace, &topic),
            Command::Count(tag, namespace, peers) => self.count(shard, tag, &namespace, peers),
            Command::Publish(ticket, envelope) => {
                let outcome = self.publish(&Arc::new(envelope));
                self.inboxes[shard].push(Event::Settled(ticket, outcome));
            }
            Command::Commit(..) | Command::Recover(..) | Command::Read(..) => {}
        }
    }

    fn leave(&mut self, shard: usize, tag: Tag, namespace: &Namespace, topic: &Topic) {
        let Some(routes) = self.namespaces.get_mut(namespace) else { return };
        if let Some(joined) = routes.topics.get_mut(topic) {
            joined.retain(|route| *route != (shard, tag));
            if joined.is_empty() {
                routes.topics.remove(topic);
            }
        }
        self.forget_if_unused(namespace);
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
        let Self { namespaces, inboxes } = self;
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
