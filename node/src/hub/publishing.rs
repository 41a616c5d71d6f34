//! What peers publish, and what they are told became of it.

use dunlin_protocol::{Envelope, ErrorCode, Kind, Payload, Recipients, RequestId, ServerFrame, Topic};

use super::conversation::Rated;
use super::effect::{Effect, UNAWAITED};
use super::moment::Moment;
use super::refusal::Refusal;
use super::tally::{FrameType, Kept};
use super::{Hub, Message, PublishError, Reach, Ticket};

/// What a peer wants published.
pub(super) struct Submission {
    pub(super) to: Recipients,
    pub(super) payload: Payload,
    /// Whether the publisher hears it, too.
    pub(super) echo: bool,
    /// Makes a repetition happen once.
    pub(super) key: Option<Box<str>>,
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
        self.submit(now, index, submission)
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
        let echo = self.endpoint(index).echo;
        let submission = Submission { to: Recipients::Topic(topic), payload, echo, key: None, request: None };
        let passed = self.pass(now, index, Rated::Publish);
        if let Err(refusal) = passed.and_then(|()| self.submit(now, index, submission)) {
            self.refuse(index, &refusal.error(None));
        }
    }

    /// Hands a publish on, as the rules of its topics say.
    fn submit(&mut self, now: Moment, index: usize, mut submission: Submission) -> Result<(), Refusal> {
        if let Some(retention) = self.apply_rules(now, index, &mut submission)? {
            return self.commit(now, index, submission, retention);
        }
        let request = submission.request.clone();
        let unawaited = if request.is_none() { UNAWAITED } else { 0 };
        let peer = self.peers[index].key(index);
        let ticket = self.tickets.insert(Ticket::Publish { peer, request }) as u32 | unawaited;
        let envelope = self.envelope(now, index, submission);
        self.effects.push(Effect::Publish { ticket, envelope });
        Ok(())
    }

    pub(super) fn envelope(&self, now: Moment, index: usize, submission: Submission) -> Envelope {
        let Submission { to, payload, echo, .. } = submission;
        let peer = &self.peers[index];
        Envelope {
            origin: Some(peer.id),
            echo,
            at_us: now.micros(),
            namespace: self.namespaces[peer.namespace as usize].name.clone(),
            to,
            payload,
        }
    }

    /// The broker's answer to a publish.
    pub fn settled(&mut self, ticket: u32, outcome: Result<Reach, PublishError>) {
        let ticket = self.tickets.try_remove((ticket & !UNAWAITED) as usize);
        let Some(Ticket::Publish { peer, request }) = ticket else { return };
        self.tally.publications[Kept::Relay as usize] += u64::from(outcome.is_ok());
        let Some(index) = self.peer(peer) else { return };
        match outcome {
            Ok(reach) => {
                if let Some(id) = &request {
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
                let id = request.as_ref();
                self.answer(index, &ServerFrame::Error { code, error: &text, id, topic: None });
            }
        }
    }
}
