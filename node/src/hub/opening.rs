//! How peers come.

use dunlin_protocol::ServerFrame;
use smallvec::SmallVec;

use super::effect::{Effect, PeerKey, Tag};
use super::moment::Moment;
use super::outbox::Outbox;
use super::peer::{Arrival, Buckets, Peer, Stage};
use super::recovering::Asker;
use super::topics::{Reach, Waiter};
use super::{Hub, PEERS_MAX, id_at};
use crate::history::{Asked, Since};

/// What an opening asks of a topic that remembers.
const NOTHING_ASKED: Asked = Asked { since: Since::Nothing, replay: None };

impl Hub {
    /// A peer arrives. It joins its endpoint's topics; [`Effect::Read`] says when its messages may be read
    /// (L1, W5). None when the shard is full.
    pub fn open(&mut self, now: Moment, arrival: Arrival) -> Option<PeerKey> {
        let index = self.peers.vacant_key();
        if index >= PEERS_MAX {
            return None;
        }
        self.serial = self.serial.wrapping_add(1);
        let namespace = self.namespaces.enter(&arrival.namespace);
        let peer = self.arrive(now, index, namespace, &arrival);
        let key = peer.key(index);
        self.peers.insert(Peer { variables: arrival.variables, ..peer });
        let outbox = Outbox::new(arrival.dialect, self.serial);
        if index == self.outboxes.len() {
            self.outboxes.push(outbox);
        } else {
            self.outboxes[index] = outbox;
        }
        self.namespaces[namespace].members.push(index as u32);
        self.recounted.push(namespace);
        self.set_alarm(index);
        self.greet(now, index);
        self.await_opening(index, key);
        Some(key)
    }

    fn arrive(&mut self, now: Moment, index: usize, namespace: usize, arrival: &Arrival) -> Peer {
        let heartbeat = self.settings.endpoints[usize::from(arrival.endpoint)].heartbeat;
        Peer {
            id: id_at(self.settings.incarnation, self.shard, index, self.serial),
            serial: self.serial,
            told_users: 0,
            namespace: namespace as u32,
            member: self.namespaces[namespace].members.len() as u32,
            endpoint: arrival.endpoint,
            unanswered: 0,
            stage: Stage::Opening(0),
            subscriptions: SmallVec::new(),
            recoveries: Vec::new(),
            resumed: false,
            shares: Vec::new(),
            buckets: Buckets::default(),
            flood: None,
            paused_until: None,
            alarm: Moment::from_micros(u64::MAX),
            ping_at: now + self.jittered(heartbeat),
            active_at: now,
            unfinished_since: None,
            variables: None,
        }
    }

    fn greet(&mut self, now: Moment, index: usize) {
        if !self.outboxes[index].dialect.is_v1() {
            return;
        }
        let settings = self.settings.clone();
        let ping_ms = u64::try_from(self.endpoint(index).heartbeat.as_millis()).unwrap_or(u64::MAX);
        let (peer, grant) = (self.peers[index].id, self.grant(now, index));
        let grant = grant.as_deref();
        self.answer(index, &ServerFrame::Welcome { peer, node: &settings.node, ping_ms, grant, user: None });
    }

    /// Joins the endpoint's topics and waits for what is not known yet: their reach, and the first count.
    fn await_opening(&mut self, index: usize, key: PeerKey) {
        let settings = self.settings.clone();
        let endpoint = &settings.endpoints[usize::from(self.peers[index].endpoint)];
        let mut awaited = 0;
        for topic in endpoint.internals.iter().chain(&endpoint.defaults) {
            let Some(topic) = self.hold(index, topic) else { continue };
            if self.topics[topic].memory.is_some() {
                self.ask_recovery(index, topic, NOTHING_ASKED, Asker::Opening);
                awaited += 1;
            } else if self.await_topic(topic, Waiter::Opening(key)) {
                awaited += 1;
            }
        }
        let namespace = &mut self.namespaces[self.peers[index].namespace as usize];
        if namespace.users().is_none() {
            namespace.openers.push(key);
            awaited += 1;
        }
        self.peers[index].stage = Stage::Opening(awaited);
        if awaited == 0 {
            self.complete_opening(index);
        }
    }

    /// One thing a peer's opening waited for has come.
    pub(super) fn advance_opening(&mut self, key: PeerKey) {
        let Some(index) = self.peer(key) else { return };
        let Stage::Opening(awaited) = &mut self.peers[index].stage else { return };
        *awaited -= 1;
        if *awaited == 0 {
            self.complete_opening(index);
        }
    }

    /// The stored states came already; now `session`, then what was published since, then live (W5).
    fn complete_opening(&mut self, index: usize) {
        self.peers[index].stage = Stage::Open;
        let topics: SmallVec<[u32; 4]> =
            self.peers[index].subscriptions.iter().map(|each| each.topic).collect();
        for topic in topics {
            self.enter_audience(index, topic as usize);
        }
        self.release_held(index);
        let key = self.peers[index].key(index);
        self.effects.push(Effect::Read(key));
    }

    /// The broker says that a topic's publications reach this shard from now on.
    pub fn joined(&mut self, tag: Tag) {
        let Some(topic) = self.topics.find(tag) else { return };
        let Reach::Joining(waiters) = std::mem::replace(&mut self.topics[topic].reach, Reach::Live) else {
            return;
        };
        for waiter in waiters {
            match waiter {
                Waiter::Opening(key) => self.advance_opening(key),
                Waiter::Subscribe(key, id) => {
                    if let Some(index) = self.peer(key) {
                        self.complete_subscribe(index, topic, id);
                    }
                }
            }
        }
    }

    /// The broker says how many peers a namespace has elsewhere.
    pub fn counted(&mut self, tag: Tag, elsewhere: u64) {
        let Some(index) = self.namespaces.find(tag) else { return };
        self.namespaces[index].count(elsewhere);
        for key in std::mem::take(&mut self.namespaces[index].openers) {
            self.advance_opening(key);
        }
        self.plan_announcement(index);
    }
}
