//! How peers come and go.

use std::time::Duration;

use dunlin_protocol::{CloseCode, ErrorCode, RequestId, ServerFrame, Topic};
use smallvec::SmallVec;

use super::effect::{Effect, Interest, PeerKey, Tag};
use super::moment::Moment;
use super::outbox::Outbox;
use super::peer::{Arrival, Buckets, NOT_YET, Peer, Stage, Subscription};
use super::topics::{Reach, Waiter};
use super::{Hub, PEERS_MAX, id_at};
use crate::config::Slow;
use crate::publication::Dialect;

/// How long a peer may take to answer our Close before its connection is ended.
const CLOSE_TIME: Duration = Duration::from_secs(2);

impl Hub {
    /// A peer arrives. It joins its endpoint's topics; [`Effect::Opened`] says when its messages may be read
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
        let outbox = Outbox::new(arrival.dialect);
        if index == self.outboxes.len() {
            self.outboxes.push(outbox)
        } else {
            self.outboxes[index] = outbox
        }
        self.namespaces[namespace].members.push(index as u32);
        self.recounted.push(namespace);
        self.set_alarm(index);
        self.greet(index);
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
            buckets: Buckets::default(),
            flood: None,
            alarm: Moment::from_micros(u64::MAX),
            ping_at: now + self.jittered(heartbeat),
            active_at: now,
            unfinished_since: None,
            variables: None,
        }
    }

    fn greet(&mut self, index: usize) {
        if self.outboxes[index].dialect != Dialect::JsonV1 {
            return;
        }
        let settings = self.settings.clone();
        let ping_ms = u64::try_from(self.endpoint(index).heartbeat.as_millis()).unwrap_or(u64::MAX);
        let peer = self.peers[index].id;
        self.answer(index, &ServerFrame::Welcome { peer, node: &settings.node, ping_ms, user: None });
    }

    /// Joins the endpoint's topics and waits for what is not known yet: their reach, and the first count.
    fn await_opening(&mut self, index: usize, key: PeerKey) {
        let settings = self.settings.clone();
        let endpoint = &settings.endpoints[usize::from(self.peers[index].endpoint)];
        let mut awaited = 0;
        for topic in endpoint.internals.iter().chain(&endpoint.defaults) {
            if self.hold(index, topic).is_some_and(|topic| self.await_topic(topic, Waiter::Opening(key))) {
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
    fn advance_opening(&mut self, key: PeerKey) {
        let Some(index) = self.peer(key) else { return };
        let Stage::Opening(awaited) = &mut self.peers[index].stage else { return };
        *awaited -= 1;
        if *awaited == 0 {
            self.complete_opening(index);
        }
    }

    /// The stored states first (none: every topic is relay), then `session`, then live (W5).
    fn complete_opening(&mut self, index: usize) {
        self.peers[index].stage = Stage::Open;
        let topics: SmallVec<[u32; 4]> =
            self.peers[index].subscriptions.iter().map(|each| each.topic).collect();
        for topic in topics {
            self.enter_audience(index, topic as usize);
        }
        let key = self.peers[index].key(index);
        self.effects.push(Effect::Opened(key));
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

    /// Subscribes a peer to a topic, not yet to its audience. None if it subscribes already.
    pub(super) fn hold(&mut self, index: usize, topic: &Topic) -> Option<usize> {
        let namespace = self.peers[index].namespace as usize;
        let known = self.namespaces[namespace].topics.get(topic).copied();
        if known.is_some_and(|known| self.peers[index].subscribes(known)) {
            return None;
        }
        let topic = known.unwrap_or_else(|| self.add_topic(namespace, topic));
        if self.topics.subscribe(topic) == Interest::Began && !self.is_session(topic) {
            let tag = self.topics.tag(topic);
            let namespace = self.namespaces[namespace].name.clone();
            self.effects.push(Effect::Join { tag, namespace, topic: self.topics[topic].name.clone() });
        }
        self.peers[index].subscriptions.push(Subscription { topic: topic as u32, position: NOT_YET });
        Some(topic)
    }

    fn add_topic(&mut self, namespace: usize, name: &Topic) -> usize {
        let session = self.settings.session.topic.as_ref() == Some(name);
        let reach = if session { Reach::Live } else { Reach::Joining(Vec::new()) };
        let namespace_name = &self.namespaces[namespace].name;
        let rule = self.settings.topics.iter().find(|rule| rule.matches(namespace_name, name));
        let slow = rule.map_or(Slow::Close, |rule| rule.slow);
        let topic = self.topics.insert(name.clone(), namespace, reach, slow);
        self.namespaces[namespace].topics.insert(name.clone(), topic);
        topic
    }

    /// Whether the topic is not live yet; then `waiter` will be called.
    pub(super) fn await_topic(&mut self, topic: usize, waiter: Waiter) -> bool {
        match &mut self.topics[topic].reach {
            Reach::Joining(waiters) => {
                waiters.push(waiter);
                true
            }
            Reach::Live => false,
        }
    }

    /// A subscription takes effect: state first, then the answer, then live (T9).
    pub(super) fn complete_subscribe(&mut self, index: usize, topic: usize, id: Option<RequestId>) {
        self.enter_audience(index, topic);
        if let Some(id) = id {
            let name = self.topics[topic].name.clone();
            self.answer(index, &ServerFrame::Ok { id: &id, topic: Some(&name), payload: None, local: false });
        }
    }

    fn enter_audience(&mut self, index: usize, topic: usize) {
        let position = self.topics[topic].audience.len() as u32;
        let Some(subscription) = self.peers[index].subscription(topic) else { return };
        if subscription.position != NOT_YET {
            return;
        }
        subscription.position = position;
        self.topics[topic].audience.push(index as u32);
        if self.is_session(topic) {
            self.tell_users_at_once(index, topic);
        }
    }

    pub(super) fn is_session(&self, topic: usize) -> bool {
        self.settings.session.topic.as_ref() == Some(&self.topics[topic].name)
    }

    /// Takes one subscription away, by its place in the peer's list.
    pub(super) fn release(&mut self, index: usize, place: usize) {
        let peer = &mut self.peers[index];
        let (key, subscription) = (peer.key(index), peer.subscriptions.swap_remove(place));
        let topic = subscription.topic as usize;
        if subscription.position != NOT_YET {
            self.leave_audience(topic, subscription.position);
        }
        if self.topics.unsubscribe(topic, key) == Interest::Ended {
            self.forget_topic(topic);
        }
    }

    fn leave_audience(&mut self, topic: usize, position: u32) {
        let audience = &mut self.topics[topic].audience;
        audience.swap_remove(position as usize);
        if let Some(&moved) = audience.get(position as usize) {
            let subscription = self.peers[moved as usize].subscription(topic);
            subscription.expect("who is in an audience subscribes").position = position;
        }
    }

    fn forget_topic(&mut self, topic: usize) {
        let (tag, session) = (self.topics.tag(topic), self.is_session(topic));
        let state = self.topics.remove(topic);
        self.namespaces[state.namespace].topics.remove(&state.name);
        if !session {
            let namespace = self.namespaces[state.namespace].name.clone();
            self.effects.push(Effect::Leave { tag, namespace, topic: state.name });
        }
    }

    /// Ends a peer's stay: it leaves every set, then its Close is sent (L2). Closing twice does nothing.
    pub fn close(&mut self, now: Moment, key: PeerKey, code: CloseCode, reason: &'static str) {
        let Some(index) = self.peer(key) else { return };
        if !self.depart(now, index) {
            return;
        }
        self.tally.closes.push(code.0);
        self.effects.push(Effect::Close { peer: key, code, reason });
    }

    /// The peer began to close (its Close is answered by the transport) or was lost (`ABNORMAL`).
    pub fn closed(&mut self, now: Moment, key: PeerKey, code: CloseCode) {
        let Some(index) = self.peer(key) else { return };
        if self.depart(now, index) {
            self.tally.closes.push(code.0);
        }
    }

    /// The connection is gone: forgets the peer.
    pub fn remove(&mut self, now: Moment, key: PeerKey) {
        let Some(index) = self.peer(key) else { return };
        self.closed(now, key, CloseCode::ABNORMAL);
        self.owed -= self.outboxes[index].owed();
        let dirty = std::mem::take(&mut self.outboxes[index].dirty);
        if dirty {
            self.dirty.retain(|each| *each as usize != index);
        }
        self.outboxes[index] = Outbox::new(Dialect::Plain);
        self.peers.remove(index);
    }

    /// Takes a peer out of every set; false if it had left them already.
    fn depart(&mut self, now: Moment, index: usize) -> bool {
        if matches!(self.peers[index].stage, Stage::Closing(_)) {
            return false;
        }
        self.peers[index].stage = Stage::Closing(now + CLOSE_TIME);
        while let Some(place) = self.peers[index].subscriptions.len().checked_sub(1) {
            self.release(index, place);
        }
        let (namespace, member) = (self.peers[index].namespace as usize, self.peers[index].member);
        let members = &mut self.namespaces[namespace].members;
        members.swap_remove(member as usize);
        if let Some(&moved) = members.get(member as usize) {
            self.peers[moved as usize].member = member;
        }
        let key = self.peers[index].key(index);
        self.namespaces[namespace].openers.retain(|opener| *opener != key);
        self.recounted.push(namespace);
        self.set_alarm(index);
        true
    }

    /// Tells the broker how many peers are in the namespaces that changed, and forgets the empty ones.
    pub(super) fn report_counts(&mut self) {
        let mut recounted = std::mem::take(&mut self.recounted);
        recounted.sort_unstable();
        recounted.dedup();
        for index in recounted.drain(..) {
            let tag = self.namespaces.tag(index);
            let namespace = &mut self.namespaces[index];
            if let Some(peers) = namespace.report() {
                let namespace = namespace.name.clone();
                self.effects.push(Effect::Count { tag, namespace, peers });
            }
            if self.namespaces[index].is_unused() {
                self.namespaces.remove(index);
            } else {
                self.plan_announcement(index);
            }
        }
        self.recounted = recounted;
    }

    /// The broker's answer to a publish.
    pub fn settled(&mut self, ticket: u32, outcome: Result<(), super::Unavailable>) {
        let Some(ticket) = self.tickets.try_remove(ticket as usize) else { return };
        let Some(index) = self.peer(ticket.peer) else { return };
        match outcome {
            Ok(()) => {
                if let Some(id) = &ticket.request {
                    self.answer(index, &ServerFrame::Ok { id, topic: None, payload: None, local: false });
                }
            }
            Err(error) => {
                let (code, text) = (ErrorCode::Unavailable, error.to_string());
                let id = ticket.request.as_ref();
                self.answer(index, &ServerFrame::Error { code, error: &text, id, topic: None });
            }
        }
    }
}
