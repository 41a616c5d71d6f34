//! What peers subscribe to, and how a topic's interest begins and ends.

use dunlin_protocol::{ErrorCode, RequestId, ServerFrame, Topic};

use super::Hub;
use super::conversation::Rated;
use super::effect::{Effect, Interest};
use super::memory::Memory;
use super::moment::Moment;
use super::peer::{NOT_YET, Subscription};
use super::recovering::Asker;
use super::refusal::Refusal;
use super::tally::Limit;
use super::topics::{Manner, Reach, Waiter};
use crate::config::Slow;
use crate::history::{Asked, Since};

/// What a peer wants of a topic.
pub(super) struct Wish<'a> {
    pub(super) topic: &'a Topic,
    /// The cursor it has.
    pub(super) since: Option<&'a str>,
    /// How many publications of a log it wants.
    pub(super) replay: Option<u32>,
}

impl Hub {
    pub(super) fn subscribe(
        &mut self,
        now: Moment,
        index: usize,
        wish: &Wish<'_>,
        id: Option<RequestId>,
    ) -> Result<(), Refusal> {
        self.pass(now, index, Rated::Subscribe)?;
        self.take_on(index, wish, id)
    }

    /// Subscribes a peer, if it may.
    pub(super) fn take_on(
        &mut self,
        index: usize,
        wish: &Wish<'_>,
        id: Option<RequestId>,
    ) -> Result<(), Refusal> {
        self.may_subscribe(index, wish.topic)?;
        self.may_recover(index)?;
        let peer = &self.peers[index];
        let known = self.namespaces[peer.namespace as usize].topics.get(wish.topic).copied();
        if let Some(known) = known.filter(|known| peer.subscribes(*known)) {
            self.finish_subscribe(index, known, wish, id);
            return Ok(());
        }
        if peer.subscriptions.len() as u64 >= self.settings.limits.subscriptions as u64 {
            self.tally.limited(Limit::Subscriptions);
            return Err(Refusal::new(ErrorCode::Limit, "too many subscriptions"));
        }
        if let Some(topic) = self.hold(index, wish.topic) {
            self.finish_subscribe(index, topic, wish, id);
        }
        Ok(())
    }

    /// The policy's word.
    pub(super) fn may_subscribe(&self, index: usize, topic: &Topic) -> Result<(), Refusal> {
        self.refuse_internal(index, topic)?;
        let (endpoint, scope) = (self.endpoint(index), self.peers[index].scope());
        let is_named = || endpoint.subscribe.iter().any(|pattern| pattern.matches(topic.as_str(), scope));
        if endpoint.defaults.contains(topic) || !topic.is_reserved() && is_named() {
            return Ok(());
        }
        Err(Refusal::new(ErrorCode::Forbidden, "this endpoint does not let you subscribe to the topic"))
    }

    fn finish_subscribe(&mut self, index: usize, topic: usize, wish: &Wish<'_>, id: Option<RequestId>) {
        if self.topics[topic].memory.is_some() {
            let (name, namespace) = self.names(topic);
            let asked = Asked { since: Since::of(wish.since, &namespace, &name), replay: wish.replay };
            return self.ask_recovery(index, topic, asked, Asker::Peer(id));
        }
        let key = self.peers[index].key(index);
        if !self.await_topic(topic, Waiter::Subscribe(key, id.clone())) {
            self.complete_subscribe(index, topic, id);
        }
    }

    pub(super) fn unsubscribe(
        &mut self,
        index: usize,
        topic: &Topic,
        id: Option<&RequestId>,
    ) -> Result<(), Refusal> {
        self.refuse_internal(index, topic)?;
        let place = self.peers[index].subscriptions.iter();
        let place = place.clone().position(|each| self.topics[each.topic as usize].name == *topic);
        if let Some(place) = place {
            let known = self.peers[index].subscriptions[place].topic as usize;
            let mut waiting = self.abandon_recoveries(index, known);
            waiting.extend(self.topics.stop_waiting(known, self.peers[index].key(index)));
            for waiting in waiting {
                self.acknowledge(index, Some(&waiting), Some(topic));
            }
            self.release(index, place);
        }
        self.acknowledge(index, id, Some(topic));
        Ok(())
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
            let state = &self.topics[topic];
            let retention = state.memory.as_ref().map(|memory| memory.retention.clone());
            let topic = state.name.clone();
            self.effects.push(Effect::Join { tag, namespace, topic, retention });
        }
        self.peers[index].subscriptions.push(Subscription { topic: topic as u32, position: NOT_YET });
        Some(topic)
    }

    fn add_topic(&mut self, namespace: usize, name: &Topic) -> usize {
        let session = self.settings.session.topic.as_ref() == Some(name);
        let reach = if session { Reach::Live } else { Reach::Joining(Vec::new()) };
        let manner = self.manner_of(namespace, name, session);
        let topic = self.topics.insert(name.clone(), namespace, reach, manner);
        self.namespaces[namespace].topics.insert(name.clone(), topic);
        topic
    }

    /// What the rules say of a topic; the one that tells counts remembers nothing.
    fn manner_of(&self, namespace: usize, name: &Topic, is_session: bool) -> Manner {
        let namespace = &self.namespaces[namespace].name;
        let mut rules = self.settings.topics.iter().enumerate();
        let Some((number, rule)) = rules.find(|(_, rule)| rule.matches(namespace, name)) else {
            return Manner { slow: Slow::Close, rule: None, memory: None };
        };
        let retention = rule.retention.clone().filter(|_| !is_session);
        let slow = if is_session && rule.retention.is_some() { Slow::Close } else { rule.slow };
        let memory = retention.map(|retention| Box::new(Memory::new(retention)));
        Manner { slow, rule: Some(number as u32), memory }
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
            self.answer(
                index,
                &ServerFrame::Ok { id: &id, topic: Some(&name), cursor: None, payload: None, local: false },
            );
        }
    }

    pub(super) fn enter_audience(&mut self, index: usize, topic: usize) {
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
        if let Some(memory) = &mut self.topics[topic].memory {
            memory.catch_up(key.index);
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
}
