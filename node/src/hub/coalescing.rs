//! Publications of topics that remember, to audiences of which some can't keep up (behaviours H6).
//!
//! Who follows a state needs its newest version only: versions of one turn leave as one, and a peer whose socket is
//! blocked gets the newest when it takes bytes again. Who follows a log is told what it misses, and pulls it.

use std::sync::Arc;

use dunlin_protocol::{GapReason, Position, ServerFrame};

use super::Hub;
use super::arena::Piece;
use super::delivery::gap_frame;
use super::effect::Tag;
use super::memory::{Behind, Latest, Memory};
use super::peer::{NOT_YET, Stage};
use crate::config::Slow;
use crate::history::Gap;
use crate::publication::{DIALECTS, Publication};

impl Hub {
    /// A publication of a topic that remembers. Where only the newest counts it waits for the turn's end.
    pub(super) fn take_version(&mut self, topic: usize, publication: &Arc<Publication>) {
        let state = &mut self.topics[topic];
        let Some(memory) = state.memory.as_mut().filter(|_| state.slow == Slow::Coalesce) else {
            return self.hand_out(topic, publication);
        };
        if memory.staged.replace(publication.clone()).is_none() {
            self.staged.push(self.topics.tag(topic));
        }
    }

    /// What waits for the turn's end goes into the outboxes.
    pub(super) fn hand_out_all_staged(&mut self) {
        for tag in std::mem::take(&mut self.staged) {
            if let Some(topic) = self.topics.find(tag) {
                self.hand_out_staged(topic);
            }
        }
    }

    /// The same for one topic, before something that has to come behind it.
    pub(super) fn hand_out_staged(&mut self, topic: usize) {
        let staged = self.topics[topic].memory.as_mut().and_then(|memory| memory.staged.take());
        if let Some(publication) = staged {
            self.hand_out(topic, &publication);
        }
    }

    fn hand_out(&mut self, topic: usize, publication: &Arc<Publication>) {
        let Some(mut memory) = self.topics[topic].memory.take() else { return };
        let excluded = self.excluded(&publication.envelope);
        let slow = self.topics[topic].slow;
        let audience = std::mem::take(&mut self.topics[topic].audience);
        let mut pieces = [const { None }; DIALECTS];
        let mut delivered = 0;
        for &index in &audience {
            let is_kept = !memory.is_abreast() && memory.keep(index, publication);
            if is_kept || Some(index) == excluded {
                continue;
            }
            let dialect = self.outboxes[index as usize].dialect;
            let arena = &mut self.arena;
            let piece =
                pieces[dialect as usize].get_or_insert_with(|| arena.take_in(publication.frame(dialect)));
            if self.has_room_for_version(index as usize, piece, slow) {
                self.owe(index as usize, piece);
                delivered += 1;
            } else {
                self.leave_out(index as usize, &mut memory, publication.position, slow);
            }
        }
        memory.tip = publication.position;
        memory.note_latest(Latest::Version(publication.clone()));
        self.topics[topic].audience = audience;
        self.topics[topic].memory = Some(memory);
        self.note_delivered(publication.envelope.at_us, delivered);
    }

    /// Whether a peer is given a version now. Behind what a socket does not take it would be old when it arrives.
    #[inline]
    fn has_room_for_version(&self, index: usize, piece: &Piece, slow: Slow) -> bool {
        let outbox = &self.outboxes[index];
        let is_stuck = slow == Slow::Coalesce && outbox.blocked && outbox.owed() > 0;
        !is_stuck && !self.would_overflow(index, piece)
    }

    /// A peer does not get what was published at this position.
    #[cold]
    fn leave_out(&mut self, index: usize, memory: &mut Memory, position: Option<Position>, slow: Slow) {
        self.fall_behind(index, slow);
        let why = match slow {
            Slow::Close => return,
            Slow::Coalesce => Behind::Stale { even_own: false, gap: None, resets: false },
            // Plain peers know no word for it.
            Slow::Gap | Slow::Drop if !self.outboxes[index].dialect.is_v1() => return,
            Slow::Gap | Slow::Drop => {
                Behind::Missing(Gap { from: memory.tip, to: position, reason: GapReason::Slow })
            }
        };
        memory.fall_behind(index as u32, why);
        self.outboxes[index].behind = true;
    }

    /// Whether all that was published on a topic has been put into a peer's outbox: only then it may be told where
    /// the topic is.
    pub(super) fn is_abreast(&self, index: usize, topic: usize) -> bool {
        let mut subscriptions = self.peers[index].subscriptions.iter();
        let is_live = subscriptions.any(|each| each.topic as usize == topic && each.position != NOT_YET);
        is_live && self.topics[topic].memory.as_ref().is_some_and(|memory| !memory.is_behind(index as u32))
    }

    /// A peer gets the state when there is room.
    pub(super) fn make_stale(&mut self, index: usize, topic: usize, latest: Latest) {
        let Some(memory) = &mut self.topics[topic].memory else { return };
        let resets = matches!(latest, Latest::Reset(..));
        memory.fall_behind(index as u32, Behind::Stale { even_own: true, gap: None, resets });
        memory.note_latest(latest);
        self.outboxes[index].behind = true;
    }

    /// Peers whose outboxes have emptied get what they lack.
    pub(super) fn catch_up_emptied(&mut self) {
        while let Some(index) = self.emptied.pop() {
            let index = index as usize;
            if self.outboxes[index].owed() == 0 && std::mem::take(&mut self.outboxes[index].behind) {
                self.catch_up(index);
            }
        }
    }

    fn catch_up(&mut self, index: usize) {
        if self.peers.get(index).is_none_or(|peer| matches!(peer.stage, Stage::Closing(_))) {
            return;
        }
        for place in 0..self.peers[index].subscriptions.len() {
            let topic = self.peers[index].subscriptions[place].topic as usize;
            let Some(mut memory) = self.topics[topic].memory.take() else { continue };
            if memory.is_behind(index as u32) && !memory.is_opening(index as u32) {
                self.catch_up_with(index, topic, &mut memory);
            }
            self.topics[topic].memory = Some(memory);
        }
    }

    fn catch_up_with(&mut self, index: usize, topic: usize, memory: &mut Memory) {
        let latest = memory.latest.clone();
        match memory.catch_up(index as u32) {
            Some(Behind::Missing(gap)) => self.tell_gap(index, topic, gap),
            Some(Behind::Stale { even_own, gap, resets }) => {
                let Some(latest) = latest else { return };
                let replaces = resets || gap.is_some();
                let given = if replaces { latest.clone().in_place_of_all() } else { latest.clone() };
                if let Some(gap) = gap {
                    self.tell_gap(index, topic, gap);
                }
                if !self.give_latest(index, topic, &given, even_own || replaces) {
                    let why = Behind::Stale { even_own, gap: None, resets: replaces };
                    memory.fall_behind(index as u32, why);
                    memory.note_latest(latest);
                    self.outboxes[index].behind = true;
                }
            }
            Some(Behind::Opening { .. }) | None => {}
        }
    }

    /// The newest that a state topic has, for one peer; false if there is no room for it.
    pub(super) fn give_latest(
        &mut self,
        index: usize,
        topic: usize,
        latest: &Latest,
        even_own: bool,
    ) -> bool {
        let dialect = self.outboxes[index].dialect;
        let (Latest::Version(version) | Latest::Reset(_, Some(version))) = latest else {
            self.tell_reset(index, topic, latest);
            return true;
        };
        if !even_own && self.excluded(&version.envelope) == Some(index as u32) {
            self.tell_moved(index, topic, version.position);
            return true;
        }
        let frame = version.frame(dialect).clone();
        if !self.has_room(index, frame.len()) {
            return false;
        }
        match latest {
            Latest::Reset(..) if dialect.is_v1() => self.tell_reset(index, topic, latest),
            _ => self.send_frame(index, &frame),
        }
        true
    }

    /// The topic moved on without a publication for this peer, which is the publisher itself (R1).
    pub(super) fn tell_moved(&mut self, index: usize, topic: usize, position: Option<Position>) {
        if let Some(position) = position.filter(|_| self.outboxes[index].dialect.is_v1()) {
            let name = self.topics[topic].name.clone();
            let cursor = position.cursor(&self.namespaces[self.topics[topic].namespace].name, &name);
            self.answer(index, &ServerFrame::Moved { topic: &name, cursor });
        }
    }

    /// What a state topic holds in place of all that was heard before. Plain peers have no word for nothing.
    pub(super) fn tell_reset(&mut self, index: usize, topic: usize, latest: &Latest) {
        if !self.outboxes[index].dialect.is_v1() {
            return;
        }
        let (position, state) = match latest {
            Latest::Version(version) => (version.position, Some(version)),
            Latest::Reset(position, version) => (Some(*position), version.as_ref()),
        };
        let name = self.topics[topic].name.clone();
        let space = &self.namespaces[self.topics[topic].namespace].name;
        let cursor = position.map(|position| position.cursor(space, &name));
        let state = state.map(|state| &state.envelope.payload);
        self.answer(index, &ServerFrame::Reset { topic: &name, cursor, state });
    }

    /// A v1 peer is told that it missed something.
    pub(super) fn tell_gap(&mut self, index: usize, topic: usize, gap: Gap) {
        let dialect = self.outboxes[index].dialect;
        if dialect.is_v1() {
            let state = &self.topics[topic];
            let frame = gap_frame(&state.name, &self.namespaces[state.namespace].name, gap)(dialect);
            self.send_frame(index, &frame);
        }
    }

    /// What a state topic holds, after a gap, for everybody: in place of all that was delivered.
    pub fn reset(&mut self, tag: Tag, position: Position, state: Option<Arc<Publication>>) {
        let Some(topic) = self.topics.find(tag) else { return };
        self.hand_out_staged(topic);
        let Some(memory) = &mut self.topics[topic].memory else { return };
        memory.tip = Some(position);
        let latest = Latest::Reset(position, state);
        memory.note_latest(latest.clone());
        let audience = std::mem::take(&mut self.topics[topic].audience);
        for &index in &audience {
            self.reset_one(index as usize, topic, &latest);
        }
        self.topics[topic].audience = audience;
    }

    fn reset_one(&mut self, index: usize, topic: usize, latest: &Latest) {
        let Some(memory) = &mut self.topics[topic].memory else { return };
        if let (Latest::Reset(_, Some(state)), true) = (latest, memory.is_opening(index as u32)) {
            memory.keep(index as u32, state);
        } else if !memory.is_behind(index as u32) || memory.is_opening(index as u32) {
            let outbox = &self.outboxes[index];
            let is_stuck = outbox.blocked && outbox.owed() > 0;
            if is_stuck || !self.give_latest(index, topic, latest, true) {
                self.make_stale(index, topic, latest.clone());
            }
        }
    }
}
