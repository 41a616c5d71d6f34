//! What a newcomer to a topic that remembers is told: the state first, then the answer, then what comes (T9, W5).
//!
//! The broker answers in the topic's order, so nothing is merged here: what it said before the answer is not for the
//! newcomer, what it says after it is.

use dunlin_protocol::{
    ErrorCode, FrameError, GapReason, Namespace, Position, RequestId, ServerFrame, StoredPublication, Topic,
    Unrecovered,
};
use smallvec::SmallVec;

use super::effect::{Effect, PeerKey, Tag};
use super::memory::{Behind, Latest};
use super::peer::Stage;
use super::refusal::Refusal;
use super::tally::{Limit, Recovered};
use super::{Hub, Ticket};
use crate::history::{Asked, CommitError, Gap, Recovery, Since};

/// What a subscription is for.
#[derive(Debug)]
pub(super) enum Asker {
    /// A peer's opening needs it.
    Opening,
    /// A peer asked for it, perhaps under an id.
    Peer(Option<RequestId>),
}

/// A newcomer that waits for the broker's answer.
#[derive(Debug)]
pub(super) struct Newcomer {
    peer: PeerKey,
    tag: Tag,
    asker: Asker,
    /// Whether it said what it has.
    has_cursor: bool,
}

/// How many recoveries one peer may wait for: a frame that asks for one costs less than its answer.
const RECOVERIES_MAX: usize = 256;

impl Since {
    /// What a client's text says about a topic.
    pub(super) fn of(text: Option<&str>, namespace: &Namespace, topic: &Topic) -> Self {
        match text.map(|text| Position::parse(text, namespace, topic)) {
            None => Self::Nothing,
            Some(Ok(position)) => Self::Position(position),
            Some(Err(_)) => Self::Garbage,
        }
    }
}

impl Hub {
    /// Asks what a newcomer has to know; it hears nothing of the topic before.
    pub(super) fn ask_recovery(&mut self, index: usize, topic: usize, asked: Asked, asker: Asker) {
        let (peer, tag) = (self.peers[index].key(index), self.topics.tag(topic));
        let newcomer = Newcomer { peer, tag, asker, has_cursor: asked.since != Since::Nothing };
        let ticket = self.tickets.insert(Ticket::Recovery(newcomer)) as u32;
        self.peers[index].recoveries.push(ticket);
        self.effects.push(Effect::Recover(ticket, tag, asked));
    }

    pub(super) fn may_recover(&mut self, index: usize) -> Result<(), Refusal> {
        if self.peers[index].recoveries.len() < RECOVERIES_MAX {
            return Ok(());
        }
        self.tally.limited(Limit::Recoveries);
        Err(Refusal::new(ErrorCode::Limit, "too many subscribes wait for their answers"))
    }

    /// Takes back what a peer asked for on a topic that it is about to leave; who asked under an id is answered (W3).
    pub(super) fn abandon_recoveries(&mut self, index: usize, topic: usize) -> SmallVec<[RequestId; 1]> {
        let (tag, tickets) = (self.topics.tag(topic), &mut self.tickets);
        let mut requests = SmallVec::new();
        self.peers[index].recoveries.retain(|ticket| match tickets.get_mut(*ticket as usize) {
            Some(Ticket::Recovery(newcomer)) if newcomer.tag == tag => {
                if let Asker::Peer(request) = &mut newcomer.asker {
                    requests.extend(request.take());
                }
                false
            }
            _ => true,
        });
        requests
    }

    /// The broker's answer to a recovery.
    pub fn recovered(&mut self, ticket: u32, outcome: Result<Recovery, CommitError>) {
        let Some(Ticket::Recovery(newcomer)) = self.tickets.try_remove(ticket as usize) else { return };
        let Some(index) = self.staying(newcomer.peer) else { return };
        let recoveries = &mut self.peers[index].recoveries;
        // Who left the topic meanwhile wants no answer any more.
        let Some(place) = recoveries.iter().position(|each| *each == ticket) else { return };
        recoveries.remove(place);
        let Some(topic) = self.topics.find(newcomer.tag) else { return };
        self.hand_out_staged(topic);
        match outcome {
            Ok(recovery) => self.take_up(index, topic, &recovery, &newcomer.asker),
            Err(CommitError::Unavailable | CommitError::Unknown) => {
                let recovered = newcomer.has_cursor.then_some(Err(Unrecovered::Unavailable));
                let recovery = Recovery { recovered, ..Recovery::default() };
                self.take_up(index, topic, &recovery, &newcomer.asker);
            }
            Err(error) => self.turn_away(index, topic, error, newcomer.asker),
        }
    }

    fn take_up(&mut self, index: usize, topic: usize, recovery: &Recovery, asker: &Asker) {
        if let Some(outcome) = recovery.recovered {
            self.tally.recoveries[Recovered::of(outcome) as usize] += 1;
        }
        self.make_abreast(index, topic, recovery);
        let is_v1 = self.outboxes[index].dialect.is_v1();
        match asker {
            Asker::Peer(Some(id)) if is_v1 => self.answer_remembered(index, topic, recovery, id),
            Asker::Peer(Some(id)) => {
                self.give_frames(index, topic, recovery);
                let name = self.topics[topic].name.clone();
                self.acknowledge(index, Some(id), Some(&name));
            }
            Asker::Peer(None) | Asker::Opening => self.give_frames(index, topic, recovery),
        }
        if let Some(memory) = &mut self.topics[topic].memory {
            memory.tip = recovery.position.or(memory.tip);
            if let Stage::Opening(_) = self.peers[index].stage {
                memory.fall_behind(index as u32, Behind::Opening { held: Vec::new(), missed: None });
            }
        }
        self.enter_audience(index, topic);
        if let Asker::Opening = asker {
            self.advance_opening(self.peers[index].key(index));
        }
    }

    /// A peer that was behind is so no more if the answer has all that it missed.
    fn make_abreast(&mut self, index: usize, topic: usize, recovery: &Recovery) {
        let Some(memory) = self.topics[topic].memory.as_mut().filter(|_| recovery.position.is_some()) else {
            return;
        };
        let is_whole = memory.has_state() || recovery.recovered == Some(Ok(()));
        if is_whole && !memory.is_opening(index as u32) {
            memory.catch_up(index as u32);
        }
    }

    /// State or publications as ordinary frames.
    fn give_frames(&mut self, index: usize, topic: usize, recovery: &Recovery) {
        let is_v1 = self.outboxes[index].dialect.is_v1();
        let has_state = self.topics[topic].memory.as_ref().is_some_and(|memory| memory.has_state());
        match (recovery.recovered, recovery.position) {
            (Some(Err(why)), position) if is_v1 && !has_state => {
                let reason = gap_reason(why);
                self.tell_gap(index, topic, Gap { from: None, to: position, reason });
            }
            (Some(Err(_)), Some(position)) if is_v1 => {
                return self.give_state(index, topic, Latest::Reset(position, recovery.state.clone()));
            }
            _ => {}
        }
        if let Some(state) = &recovery.state {
            return self.give_state(index, topic, Latest::Version(state.clone()));
        }
        self.give_publications(index, topic, recovery);
    }

    /// The state, or word that it comes when there is room: the states of many topics may be more than an outbox.
    fn give_state(&mut self, index: usize, topic: usize, latest: Latest) {
        if !self.give_latest(index, topic, &latest, true) {
            self.make_stale(index, topic, latest);
        }
    }

    fn give_publications(&mut self, index: usize, topic: usize, recovery: &Recovery) {
        let dialect = self.outboxes[index].dialect;
        let mut from = None;
        for publication in &recovery.publications {
            let frame = publication.frame(dialect).clone();
            if !self.has_room(index, frame.len()) {
                return self.miss(index, topic, from, recovery.position);
            }
            self.send_frame(index, &frame);
            from = publication.position;
        }
    }

    /// A peer has no room for a log's publications.
    fn miss(&mut self, index: usize, topic: usize, from: Option<Position>, to: Option<Position>) {
        if !self.outboxes[index].dialect.is_v1() {
            return;
        }
        if let Some(memory) = &mut self.topics[topic].memory {
            let gap = Gap { from, to, reason: GapReason::Slow };
            memory.fall_behind(index as u32, Behind::Missing(gap));
            self.outboxes[index].behind = true;
        }
    }

    /// State and publications inside the `ok`.
    fn answer_remembered(&mut self, index: usize, topic: usize, recovery: &Recovery, id: &RequestId) {
        let (name, space) = self.names(topic);
        let has_state = self.topics[topic].memory.as_ref().is_some_and(|memory| memory.has_state());
        let stored = stored(recovery.publications.iter());
        let whole = ServerFrame::Remembered {
            id,
            topic: &name,
            cursor: recovery.position.map(|position| position.cursor(&space, &name)),
            recovered: recovery.recovered,
            state: recovery.state.as_ref().map(|state| &state.envelope.payload),
            publications: (!has_state).then_some(&stored[..]),
        };
        let frame = self.outboxes[index].dialect.frame(&whole);
        if self.has_room(index, frame.len()) {
            return self.send_frame(index, &frame);
        }
        self.answer_without(index, topic, recovery, id);
    }

    /// The answer to a peer that has no room for what it asked for: it is subscribed, and what it lacks is no secret.
    /// A state comes when there is room; a log's publications it has to ask for again.
    fn answer_without(&mut self, index: usize, topic: usize, recovery: &Recovery, id: &RequestId) {
        let (name, space) = self.names(topic);
        let is_log = recovery.state.is_none();
        let cursor = recovery.position.filter(|_| is_log).map(|position| position.cursor(&space, &name));
        let recovered = match recovery.recovered {
            Some(Ok(())) if is_log => Some(Err(Unrecovered::Unavailable)),
            other => other,
        };
        let publications = is_log.then_some(&[][..]);
        let topic_name = &name;
        self.answer(
            index,
            &ServerFrame::Remembered { id, topic: topic_name, cursor, recovered, state: None, publications },
        );
        if let Some(state) = &recovery.state {
            self.make_stale(index, topic, Latest::Version(state.clone()));
        }
    }

    /// The topic can't be had: the peer is not subscribed.
    fn turn_away(&mut self, index: usize, topic: usize, error: CommitError, asker: Asker) {
        let name = self.topics[topic].name.clone();
        let mut requests: SmallVec<[Option<RequestId>; 1]> = SmallVec::new();
        let is_opening = matches!(asker, Asker::Opening);
        requests.push(if let Asker::Peer(request) = asker { request } else { None });
        requests.extend(self.abandon_recoveries(index, topic).into_iter().map(Some));
        let mut subscriptions = self.peers[index].subscriptions.iter();
        if let Some(place) = subscriptions.position(|each| each.topic as usize == topic) {
            self.release(index, place);
        }
        for id in requests {
            let topic = Some(name.clone());
            self.refuse(
                index,
                &FrameError { code: code(error), message: error.to_string().into(), id, topic },
            );
        }
        if is_opening {
            self.advance_opening(self.peers[index].key(index));
        }
    }

    /// The opening is complete: what came on topics that remember since their states.
    pub(super) fn release_held(&mut self, index: usize) {
        for place in 0..self.peers[index].subscriptions.len() {
            let topic = self.peers[index].subscriptions[place].topic as usize;
            let memory = self.topics[topic].memory.as_mut();
            let Some(memory) = memory.filter(|memory| memory.is_opening(index as u32)) else { continue };
            let has_state = memory.has_state();
            let Some(Behind::Opening { held, missed }) = memory.catch_up(index as u32) else { continue };
            if has_state {
                // What comes after a gap comes behind it.
                if let Some(gap) = missed {
                    self.tell_gap(index, topic, gap);
                }
                for state in held {
                    self.give_state(index, topic, Latest::Version(state));
                }
                continue;
            }
            let position = held.last().and_then(|last| last.position);
            let recovery = Recovery { position, publications: held, ..Recovery::default() };
            self.give_publications(index, topic, &recovery);
            if let Some(gap) = missed {
                self.miss_more(index, topic, gap);
            }
        }
    }

    fn miss_more(&mut self, index: usize, topic: usize, gap: Gap) {
        let memory = self.topics[topic].memory.as_mut();
        let is_kept = memory.is_some_and(|memory| memory.keep_gap(index as u32, gap));
        if !is_kept {
            self.tell_gap(index, topic, gap);
        }
    }

    /// A topic's name and its namespace's.
    pub(super) fn names(&self, topic: usize) -> (Topic, Namespace) {
        let state = &self.topics[topic];
        (state.name.clone(), self.namespaces[state.namespace].name.clone())
    }
}

/// Stored publications as frames have them.
pub(super) fn stored<'a>(
    publications: impl Iterator<Item = &'a std::sync::Arc<crate::publication::Publication>>,
) -> Vec<StoredPublication<'a>> {
    let stored = |publication: &'a std::sync::Arc<crate::publication::Publication>| {
        let (payload, at_ms) = (&publication.envelope.payload, publication.envelope.at_us / 1000);
        Some(StoredPublication { cursor: publication.cursor()?, payload, at_ms })
    };
    publications.filter_map(stored).collect()
}

/// Whom an error of the broker is told as.
pub(super) fn code(error: CommitError) -> ErrorCode {
    match error {
        CommitError::Unavailable | CommitError::Unknown => ErrorCode::Unavailable,
        CommitError::Mode => ErrorCode::InvalidTopic,
        CommitError::TooLarge => ErrorCode::TooLarge,
        CommitError::Payload => ErrorCode::InvalidPayload,
        CommitError::Stale => ErrorCode::Gone,
        CommitError::Broken | CommitError::Refused => ErrorCode::Internal,
    }
}

/// Why a newcomer to a log that has no answer to find it in misses something.
fn gap_reason(why: Unrecovered) -> GapReason {
    match why {
        Unrecovered::Forked => GapReason::Forked,
        Unrecovered::Reset => GapReason::Reset,
        Unrecovered::Expired | Unrecovered::Unavailable => GapReason::Lost,
    }
}
