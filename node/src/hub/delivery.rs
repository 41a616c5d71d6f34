//! Publications and answers into outboxes.

use std::sync::Arc;

use bytes::Bytes;
use dunlin_protocol::{Envelope, Namespace, Position, ServerFrame, Topic, json};

use super::arena::Piece;
use super::effect::{PeerKey, Tag};
use super::memory::Memory;
use super::moment::Moment;
use super::peer::{NOT_YET, Stage};
use super::{Alarm, Hub, Reach};
use crate::config::{Session, Slow};
use crate::history::Gap;
use crate::publication::{DIALECTS, Dialect, Publication};
use crate::wire::{self, Opcode};

impl Hub {
    /// A publication for the audience of a topic. Peers in a topic listed before it are served from that
    /// topic's copy (T4); the publisher is left out unless it asked for its own (T2).
    pub fn deliver(&mut self, tag: Tag, publication: &Arc<Publication>) {
        let Some(topic) = self.topics.find(tag) else { return };
        if self.topics[topic].memory.is_some() {
            return self.take_version(topic, publication);
        }
        let excluded = self.excluded(&publication.envelope);
        let mark = self.mark_earlier_topics(topic, publication);
        let slow = self.topics[topic].slow;
        let audience = std::mem::take(&mut self.topics[topic].audience);
        let mut pieces = [const { None }; DIALECTS];
        let mut delivered = 0;
        for &index in &audience {
            let is_served = mark.is_some_and(|mark| self.is_served(index, mark));
            if Some(index) != excluded && !is_served {
                delivered += u64::from(self.hand_over(index, publication, &mut pieces, slow));
            }
        }
        self.topics[topic].audience = audience;
        self.note_delivered(publication.envelope.at_us, delivered);
    }

    /// A publication without a topic, for everybody in a namespace.
    pub fn deliver_to_all(&mut self, tag: Tag, publication: &Publication) {
        let Some(namespace) = self.namespaces.find(tag) else { return };
        let excluded = self.excluded(&publication.envelope);
        let members = std::mem::take(&mut self.namespaces[namespace].members);
        let mut pieces = [const { None }; DIALECTS];
        let mut delivered = 0;
        for &index in &members {
            if Some(index) != excluded && self.peers[index as usize].stage == Stage::Open {
                delivered += u64::from(self.hand_over(index, publication, &mut pieces, Slow::Close));
            }
        }
        self.namespaces[namespace].members = members;
        self.note_delivered(publication.envelope.at_us, delivered);
    }

    /// The broker says that publications on a topic may be missing here: peers that understand it are told.
    pub fn missed(&mut self, tag: Tag, gap: Gap) {
        let Some(topic) = self.topics.find(tag) else { return };
        self.hand_out_staged(topic);
        let mut memory = self.topics[topic].memory.take();
        let (name, namespace) = self.names(topic);
        let frame = gap_frame(&name, &namespace, gap);
        let audience = std::mem::take(&mut self.topics[topic].audience);
        let mut pieces = [const { None }; DIALECTS];
        for &index in &audience {
            let dialect = self.outboxes[index as usize].dialect;
            let later = |memory: &mut Box<Memory>| memory.keep_gap(index, gap);
            if dialect.is_v1() && !memory.as_mut().is_some_and(later) {
                let arena = &mut self.arena;
                let piece = pieces[dialect as usize].get_or_insert_with(|| arena.take_in(&frame(dialect)));
                self.send_piece(index as usize, piece);
            }
        }
        self.topics[topic].audience = audience;
        if let Some(memory) = &mut memory {
            memory.tip = gap.to.or(memory.tip);
        }
        self.topics[topic].memory = memory;
    }

    /// The broker says how far publications get from now on.
    pub fn reached(&mut self, reach: Reach) {
        self.reach = reach;
    }

    #[inline]
    fn hand_over(
        &mut self,
        index: u32,
        publication: &Publication,
        pieces: &mut [Option<Piece>; DIALECTS],
        slow: Slow,
    ) -> bool {
        let index = index as usize;
        let dialect = self.outboxes[index].dialect;
        let arena = &mut self.arena;
        let piece = pieces[dialect as usize].get_or_insert_with(|| arena.take_in(publication.frame(dialect)));
        if self.would_overflow(index, piece) {
            self.fall_behind(index, slow);
            return false;
        }
        self.owe(index, piece);
        true
    }

    /// Who published it, if that peer is here and is not to hear it.
    pub(super) fn excluded(&self, envelope: &Envelope) -> Option<u32> {
        let origin = envelope.origin.filter(|_| !envelope.echo)?;
        self.find(origin).map(|peer| peer.index)
    }

    /// Marks the topics that are listed before this copy's own; none if there is none.
    fn mark_earlier_topics(&mut self, topic: usize, publication: &Publication) -> Option<u64> {
        let earlier = publication.earlier_topics();
        if earlier.is_empty() {
            return None;
        }
        self.marks += 1;
        let known = &self.namespaces[self.topics[topic].namespace].topics;
        for topic in earlier.iter().filter_map(|name| known.get(name)) {
            self.topics[*topic].marked = self.marks;
        }
        Some(self.marks)
    }

    /// Whether a peer hears a marked topic, and so gets that topic's copy.
    fn is_served(&self, index: u32, mark: u64) -> bool {
        let mut subscriptions = self.peers[index as usize].subscriptions.iter();
        subscriptions.any(|each| each.position != NOT_YET && self.topics[each.topic as usize].marked == mark)
    }

    /// Whole frames for one peer, as `write` appends them. A peer that left is sent nothing.
    pub(super) fn send_bytes(&mut self, index: usize, write: impl FnOnce(&mut Vec<u8>)) {
        if matches!(self.peers[index].stage, Stage::Closing(_)) {
            return;
        }
        let piece = self.arena.write_in(write);
        self.send_piece(index, &piece);
    }

    /// A whole frame for one peer, shared if it is large.
    pub(super) fn send_frame(&mut self, index: usize, frame: &Bytes) {
        if !matches!(self.peers[index].stage, Stage::Closing(_)) {
            let piece = self.arena.take_in(frame);
            self.send_piece(index, &piece);
        }
    }

    pub(super) fn send_piece(&mut self, index: usize, piece: &Piece) {
        if self.would_overflow(index, piece) {
            return self.fall_behind(index, Slow::Close);
        }
        self.owe(index, piece);
    }

    /// Whole control frames that the transport has for a peer: pongs and Close, also while it closes.
    pub fn send_control(&mut self, key: PeerKey, frames: &[u8]) {
        if let Some(index) = self.peer(key).filter(|_| !frames.is_empty()) {
            let piece = self.arena.copy_in(frames);
            self.owe(index, &piece);
            if self.outboxes[index].owed() > self.settings.limits.outbox {
                self.fall_behind(index, Slow::Close);
            }
        }
    }

    /// Puts a ping into the outbox (H1).
    pub(super) fn ping(&mut self, index: usize) {
        self.send_bytes(index, |out| wire::append(out, Opcode::Ping, &[]));
    }

    /// Tells a newcomer how many users there are (C1).
    pub(super) fn tell_users_at_once(&mut self, index: usize, topic: usize) {
        let namespace = self.topics[topic].namespace;
        if let Some(users) = self.namespaces[namespace].users_for_newcomer() {
            self.peers[index].told_users = users as u32;
            let frame = users_frame(&self.settings.session, self.outboxes[index].dialect, users);
            self.send_bytes(index, |out| out.extend_from_slice(&frame));
        }
    }

    /// Sets the alarm for the namespace's next announcement, if there is something to announce.
    pub(super) fn plan_announcement(&mut self, namespace: usize) {
        if self.settings.session.topic.is_none() {
            return;
        }
        let interval = self.settings.session.interval;
        if let Some(at) = self.namespaces[namespace].next_announcement(interval) {
            self.schedule(at, Alarm::Namespace(self.namespaces.tag(namespace)));
        }
    }

    /// Tells all who were not told yet how many users there are.
    pub(super) fn announce_users(&mut self, now: Moment, namespace: usize) {
        let Some(users) = self.namespaces[namespace].announce(now) else { return };
        let session = self.settings.session.topic.as_ref();
        let topic = session.and_then(|name| self.namespaces[namespace].topics.get(name).copied());
        let Some(topic) = topic else { return };
        let audience = std::mem::take(&mut self.topics[topic].audience);
        let mut pieces = [const { None }; DIALECTS];
        for &index in &audience {
            let told = std::mem::replace(&mut self.peers[index as usize].told_users, users as u32);
            let dialect = self.outboxes[index as usize].dialect;
            if told != users as u32 {
                let piece = pieces[dialect as usize].get_or_insert_with(|| {
                    let frame = users_frame(&self.settings.session, dialect, users);
                    self.arena.take_in(&frame)
                });
                self.send_piece(index as usize, piece);
            }
        }
        self.topics[topic].audience = audience;
    }
}

/// The frame that tells of a gap, for each dialect.
pub(super) fn gap_frame<'a>(
    topic: &'a Topic,
    namespace: &Namespace,
    Gap { from, to, reason }: Gap,
) -> impl Fn(Dialect) -> Bytes + use<'a> {
    let cursor = |position: Position| position.cursor(namespace, topic);
    let gap = ServerFrame::Gap { topic, from: from.map(cursor), to: to.map(cursor), reason };
    move |dialect| dialect.frame(&gap)
}

fn users_frame(session: &Session, dialect: Dialect, users: u64) -> Bytes {
    dialect.publication(session.topic.as_ref(), &json::session(users), None)
}
