//! What peers publish, and what they are told became of it.

use dunlin_protocol::{Envelope, ErrorCode, Kind, Payload, Recipients, RequestId, ServerFrame, Topic};

use super::conversation::Rated;
use super::effect::{Effect, UNAWAITED};
use super::moment::Moment;
use super::refusal::Refusal;
use super::tally::FrameType;
use super::{Hub, Message, PublishError, Reach, Ticket};

/// What a peer wants published.
pub(super) struct Submission {
    pub(super) to: Recipients,
    pub(super) payload: Payload,
    /// Whether the publisher hears it, too.
    pub(super) echo: bool,
    /// The id to answer under.
    pub(super) request: Option<RequestId>,
}

impl Hub {
    pub(super) fn publish(
        &mut self,
        now: Moment,
        index: usize,
        submission: Submission,
    ) -> Result<(), Refusal> {
        self.pass(now, index, Rated::Publish)?;
        match &submission.to {
            Recipients::Namespace => self.may_broadcast(index)?,
            Recipients::Topic(topic) => self.may_publish(index, topic)?,
            Recipients::Topics(topics) => {
                topics.iter().try_for_each(|topic| self.may_publish(index, topic))?;
            }
        }
        self.submit(now, index, submission);
        Ok(())
    }

    fn may_broadcast(&self, index: usize) -> Result<(), Refusal> {
        let refusal = "this endpoint does not let you publish to the whole namespace";
        let allowed = self.endpoint(index).broadcast;
        if allowed { Ok(()) } else { Err(Refusal::new(ErrorCode::Forbidden, refusal)) }
    }

    /// The policy's word, but reserved topics and the one that tells counts are never open (T6): a page
    /// believes what comes on them, also where the count is turned off or renamed.
    fn may_publish(&self, index: usize, topic: &Topic) -> Result<(), Refusal> {
        self.refuse_internal(index, topic)?;
        let (endpoint, scope) = (self.endpoint(index), self.peers[index].scope());
        let counts = self.settings.session.topic.as_ref() == Some(topic) || topic.as_str() == "session";
        let closed = topic.is_reserved() || counts;
        if !closed && endpoint.publish.iter().any(|pattern| pattern.matches(topic.as_str(), scope)) {
            return Ok(());
        }
        Err(Refusal::new(ErrorCode::Forbidden, "this endpoint does not let you publish to the topic"))
    }

    /// Internals are listen-only, and not worth a word to who asks for none (T5).
    pub(super) fn refuse_internal(&self, index: usize, topic: &Topic) -> Result<(), Refusal> {
        if self.endpoint(index).internals.contains(topic) {
            return Err(Refusal::new(ErrorCode::Forbidden, "the topic is listen-only").silenced());
        }
        Ok(())
    }

    pub(super) fn publish_raw(&mut self, now: Moment, index: usize, topic: Topic, message: Message) {
        self.tally.frame(FrameType::Raw);
        let payload = match message {
            Message::Text(bytes) => Payload { kind: Kind::Text, bytes },
            Message::Binary(bytes) => Payload { kind: Kind::Binary, bytes },
        };
        match self.pass(now, index, Rated::Publish) {
            Ok(()) => {
                let echo = self.endpoint(index).echo;
                let submission = Submission { to: Recipients::Topic(topic), payload, echo, request: None };
                self.submit(now, index, submission);
            }
            Err(refusal) => self.refuse(index, &refusal.error(None)),
        }
    }

    fn submit(&mut self, now: Moment, index: usize, submission: Submission) {
        let Submission { to, payload, echo, request } = submission;
        let peer = &self.peers[index];
        let unawaited = if request.is_none() { UNAWAITED } else { 0 };
        let ticket = self.tickets.insert(Ticket { peer: peer.key(index), request }) as u32 | unawaited;
        let envelope = Envelope {
            origin: Some(peer.id),
            echo,
            at_us: now.micros(),
            namespace: self.namespaces[peer.namespace as usize].name.clone(),
            to,
            payload,
        };
        self.effects.push(Effect::Publish { ticket, envelope });
    }

    /// The broker's answer to a publish.
    pub fn settled(&mut self, ticket: u32, outcome: Result<Reach, PublishError>) {
        let Some(ticket) = self.tickets.try_remove((ticket & !UNAWAITED) as usize) else { return };
        self.tally.publications += u64::from(outcome.is_ok());
        let Some(index) = self.peer(ticket.peer) else { return };
        match outcome {
            Ok(reach) => {
                if let Some(id) = &ticket.request {
                    let local = reach == Reach::Node;
                    self.answer(
                        index,
                        &ServerFrame::Ok { id, topic: None, cursor: None, payload: None, local },
                    );
                }
            }
            Err(error) => {
                let code = match error {
                    PublishError::Unavailable => ErrorCode::Unavailable,
                    PublishError::Refused => ErrorCode::Internal,
                };
                let text = error.to_string();
                let id = ticket.request.as_ref();
                self.answer(index, &ServerFrame::Error { code, error: &text, id, topic: None });
            }
        }
    }
}
