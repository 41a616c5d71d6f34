//! What peers subscribe to, and how a topic's interest begins and ends.

use dunlin_protocol::{ErrorCode, RequestId, ServerFrame, Topic};

use super::Hub;
use super::conversation::Rated;
use super::effect::{Effect, Interest};
use super::moment::Moment;
use super::peer::{NOT_YET, Subscription};
use super::refusal::Refusal;
use super::tally::Limit;
use super::topics::{Reach, Waiter};
use crate::config::Slow;

impl Hub {
    pub(super) fn subscribe(
        &mut self,
        now: Moment,
        index: usize,
        topic: &Topic,
        id: Option<RequestId>,
    ) -> Result<(), Refusal> {
        self.pass(now, index, Rated::Subscribe)?;
        self.refuse_internal(index, topic)?;
        let (endpoint, peer) = (self.endpoint(index), &self.peers[index]);
        let is_default = endpoint.defaults.contains(topic);
        let allowed = is_default
            || !topic.is_reserved()
                && endpoint.subscribe.iter().any(|pattern| pattern.matches(topic.as_str(), peer.scope()));
        if !allowed {
            return Err(Refusal::new(
                ErrorCode::Forbidden,
                "this endpoint does not let you subscribe to the topic",
            ));
        }
        let known = self.namespaces[peer.namespace as usize].topics.get(topic).copied();
        if let Some(known) = known.filter(|known| peer.subscribes(*known)) {
            self.finish_subscribe(index, known, id);
            return Ok(());
        }
        if peer.subscriptions.len() as u64 >= self.settings.limits.subscriptions as u64 {
            self.tally.limited(Limit::Subscriptions);
            return Err(Refusal::new(ErrorCode::Limit, "too many subscriptions"));
        }
        if let Some(topic) = self.hold(index, topic) {
            self.finish_subscribe(index, topic, id);
        }
        Ok(())
    }

    fn finish_subscribe(&mut self, index: usize, topic: usize, id: Option<RequestId>) {
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
            for waiting in self.topics.stop_waiting(known, self.peers[index].key(index)) {
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
            let retention = None;
            let topic = self.topics[topic].name.clone();
            self.effects.push(Effect::Join { tag, namespace, topic, retention });
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
