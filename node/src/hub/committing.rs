//! What peers publish on topics that remember, and what becomes of it (behaviours T7, T10, R1).

use dunlin_protocol::{ErrorCode, Kind, Payload, Position, ServerFrame, Topic, json};

use super::effect::{Effect, PeerKey, UNAWAITED};
use super::moment::Moment;
use super::publishing::Submission;
use super::recovering::code;
use super::refusal::Refusal;
use super::tally::Kept;
use super::{Hub, RequestId, Ticket};
use crate::config::{Mode, Retention};
use crate::history::{Change, Commit, CommitError, as_json};
use std::sync::Arc;

/// A commit that waits for the broker's answer.
#[derive(Debug)]
pub(super) struct Publisher {
    peer: PeerKey,
    request: Option<RequestId>,
    topic: Topic,
    /// Whether it is handed its own publication.
    hears_own: bool,
    /// How the topic remembers, for metrics.
    kept: Kept,
}

impl Hub {
    pub(super) fn commit(
        &mut self,
        now: Moment,
        index: usize,
        submission: Submission,
        retention: Arc<Retention>,
    ) -> Result<(), Refusal> {
        let dunlin_protocol::Recipients::Topic(topic) = submission.to.clone() else {
            return Err(Refusal::new(
                ErrorCode::InvalidTopic,
                "of several topics none may be one that remembers; publish to it alone",
            ));
        };
        if submission.key.as_ref().is_some_and(|key| !(1..=KEY_BYTES_MAX).contains(&key.len())) {
            return Err(Refusal::new(ErrorCode::Malformed, "key must be of 1 to 128 bytes"));
        }
        let payload = &submission.payload;
        judge_kind(retention.mode, payload)?;
        if bytes_stored(retention.mode, payload) > retention.max_bytes.saturating_sub(BRACKETS) {
            return Err(Refusal::new(ErrorCode::TooLarge, "payload is more than the topic may hold"));
        }
        let Submission { key, request, echo, .. } = &submission;
        let (key, hears_own) = (key.clone(), *echo || matches!(retention.mode, Mode::List | Mode::Map));
        let is_awaited = request.is_some() || self.outboxes[index].dialect.is_v1();
        let peer = self.peers[index].key(index);
        let kept = Kept::of(retention.mode);
        let publisher = Publisher { peer, request: request.clone(), topic, hears_own, kept };
        let ticket = self.tickets.insert(Ticket::Commit(publisher)) as u32;
        let ticket = if is_awaited { ticket } else { ticket | UNAWAITED };
        let envelope = self.envelope(now, index, submission);
        let commit = Commit { envelope, retention, key, change: Change::Publish };
        self.effects.push(Effect::Commit(ticket, Box::new(commit)));
        Ok(())
    }

    /// The broker's answer to a commit; its publication came before it.
    pub fn committed(&mut self, ticket: u32, outcome: Result<Option<Position>, CommitError>) {
        let ticket = self.tickets.try_remove((ticket & !UNAWAITED) as usize);
        let Some(Ticket::Commit(publisher)) = ticket else { return };
        self.tally.publications[publisher.kept as usize] += u64::from(outcome.is_ok());
        let Some(index) = self.staying(publisher.peer) else { return };
        match outcome {
            Ok(position) => self.confirm(index, &publisher, position),
            Err(error) => {
                let (id, topic) = (publisher.request.as_ref(), Some(&publisher.topic));
                let text = error.to_string();
                self.answer(index, &ServerFrame::Error { code: code(error), error: &text, id, topic });
            }
        }
    }

    /// Tells a publisher where its publication is, if all before it is in its outbox: else it would believe to have
    /// what it was not given (R1).
    fn confirm(&mut self, index: usize, publisher: &Publisher, position: Option<Position>) {
        let is_v1 = self.outboxes[index].dialect.is_v1();
        if publisher.request.is_none() && !is_v1 {
            return;
        }
        let namespace = self.peers[index].namespace as usize;
        let known = self.namespaces[namespace].topics.get(&publisher.topic).copied();
        let subscribed = known.filter(|topic| self.peers[index].subscribes(*topic));
        if let Some(topic) = subscribed {
            self.hand_out_staged(topic);
        }
        let is_abreast = subscribed.is_none_or(|topic| self.is_abreast(index, topic));
        let position = position.filter(|_| is_v1 && is_abreast);
        let Some(id) = &publisher.request else {
            if let Some(topic) = subscribed.filter(|_| !publisher.hears_own) {
                self.tell_moved(index, topic, position);
            }
            return;
        };
        let space = &self.namespaces[namespace].name;
        let cursor = position.map(|position| position.cursor(space, &publisher.topic));
        self.answer(index, &ServerFrame::Ok { id, topic: None, cursor, payload: None, local: false });
    }
}

/// The longest idempotency key, in bytes.
const KEY_BYTES_MAX: usize = 128;
/// What a list or map has beside what was published.
const BRACKETS: usize = 2;

/// What a topic can't keep whatever its policy says (T7, T10).
fn judge_kind(mode: Mode, payload: &Payload) -> Result<(), Refusal> {
    let refuse = |text| Err(Refusal::new(ErrorCode::InvalidPayload, text));
    match (mode, payload.kind) {
        (Mode::Value | Mode::Log, _) | (Mode::List, Kind::Json | Kind::Text) => Ok(()),
        (Mode::List, Kind::Binary) => refuse("a list can't keep binary payloads"),
        (Mode::Map, Kind::Text | Kind::Binary) => refuse("a map takes JSON objects"),
        (Mode::Map, Kind::Json) => {
            let Ok(members) = json::members(&payload.bytes).collect::<Result<Vec<_>, _>>() else {
                return refuse("a map takes JSON objects");
            };
            match json::repeated(&members) {
                None => Ok(()),
                Some(_) => refuse("a member comes twice in the payload"),
            }
        }
    }
}

/// What a payload takes of a topic's bytes. How much a map grows, only the broker knows.
fn bytes_stored(mode: Mode, payload: &Payload) -> usize {
    match mode {
        Mode::List if payload.kind == Kind::Text => as_json(payload).map_or(0, |json| json.len()),
        Mode::Value | Mode::List => payload.bytes.len(),
        Mode::Log | Mode::Map => 0,
    }
}
