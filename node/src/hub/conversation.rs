//! What peers say, and what they are answered.

use std::time::Duration;

use dunlin_protocol::{
    ClientFrame, CloseCode, ErrorCode, FrameError, Recipients, Request, RequestId, ServerFrame, Topic, json,
    msgpack,
};

use super::effect::PeerKey;
use super::moment::Moment;
use super::paging::Question;
use super::peer::{Flood, Stage};
use super::publishing::Submission;
use super::refusal::Refusal;
use super::subscriptions::Wish;
use super::tally::{FrameType, Invalid, Limit};
use super::{Hub, Message, Reach};
use crate::config::{Dialect as Speech, OnUnknown};
use crate::publication::Dialect;
use crate::wire::{self, Opcode};

/// A peer that exceeds a rate for so long without a quiet second is closed with 1008.
const FLOOD_TIME: Duration = Duration::from_secs(10);
/// How long a peer is not read after something was refused for its rate: reading and refusing as fast as it
/// can send would take the time of all others.
const FLOOD_PAUSE: Duration = Duration::from_millis(100);
/// A flood ends with a stretch of this length in which nothing was refused. Until then, frames without an
/// id are refused in silence but for one answer in each such stretch.
const QUIET_TIME: Duration = Duration::from_secs(1);

/// Frames with a rate of their own.
#[derive(Debug, Clone, Copy)]
pub(super) enum Rated {
    Subscribe,
    Publish,
}

impl Hub {
    /// A peer's message. Messages of a peer that is not open are nobody's.
    pub fn receive(&mut self, now: Moment, key: PeerKey, message: Message) {
        let Some(index) = self.peer(key) else { return };
        // What is under way now began after this message.
        self.peers[index].unfinished_since = None;
        if self.peers[index].stage != Stage::Open || !self.may_speak(now, index, Some(&message)) {
            return;
        }
        self.peers[index].active_at = now;
        let endpoint = self.endpoint(index);
        if endpoint.text_ping && matches!(&message, Message::Text(text) if &text[..] == b"ping") {
            self.tally.frame(FrameType::TextPing);
            self.send_bytes(index, |out| wire::append(out, Opcode::Text, b"ping"));
            return;
        }
        match (&endpoint.dialect, message) {
            (Speech::Raw { topic }, message) => {
                let topic = topic.clone();
                self.publish_raw(now, index, topic, message);
            }
            (Speech::Topics, message) => {
                let decoded = self.decode(index, &message);
                self.receive_frame(now, index, decoded);
            }
        }
    }

    /// What a message asks for. A dialect's frames come in one kind of message, and the other has no meaning.
    fn decode(&self, index: usize, message: &Message) -> Result<Request, FrameError> {
        let confused = |text| Err(Refusal::new(ErrorCode::Malformed, text).error(None));
        match (self.outboxes[index].dialect, message) {
            (Dialect::MsgpackV1, Message::Binary(bytes)) => msgpack::decode(bytes),
            (Dialect::MsgpackV1, Message::Text(_)) => {
                confused("a text message has no meaning in this dialect; send MessagePack in a binary one")
            }
            (_, Message::Text(text)) => json::decode(text),
            (_, Message::Binary(_)) => {
                confused("a binary message has no meaning in this dialect; send JSON text")
            }
        }
    }

    /// A sign of life: any frame at all (H1). Control frames count against the frame rate, too.
    pub fn heard(&mut self, now: Moment, key: PeerKey) {
        let Some(index) = self.peer(key) else { return };
        self.peers[index].unanswered = 0;
        self.tally.frame(FrameType::Control);
        self.may_speak(now, index, None);
    }

    /// Whether the peer is within the limit of frames a second; if not, it is told, and closed in the end.
    fn may_speak(&mut self, now: Moment, index: usize, message: Option<&Message>) -> bool {
        let rate = self.settings.limits.frames_per_second;
        self.peers[index].unanswered = 0;
        if self.peers[index].buckets.frames.take(now, rate) {
            return true;
        }
        self.tally.limited(Limit::FramesPerSecond);
        let is_worth_telling = self.note_flood(now, index);
        let id = message.and_then(|message| self.id_asked_under(index, message));
        if is_worth_telling || id.is_some() {
            self.refuse(index, &Refusal::new(ErrorCode::Rate, "too many frames a second").error(id));
        }
        false
    }

    /// The id that a frame wants to be answered under (W3).
    fn id_asked_under(&self, index: usize, message: &Message) -> Option<RequestId> {
        match (self.outboxes[index].dialect, message) {
            (Dialect::MsgpackV1, Message::Binary(bytes)) => msgpack::request_id(bytes),
            (Dialect::Plain | Dialect::JsonV1, Message::Text(text)) => json::request_id(text),
            _ => None,
        }
    }

    /// Notes that something was refused for its rate; says whether this is worth an answer.
    pub(super) fn note_flood(&mut self, now: Moment, index: usize) -> bool {
        let peer = &mut self.peers[index];
        let flood = peer.flood.filter(|flood| now.since(flood.last) < QUIET_TIME);
        let since = flood.map_or(now, |flood| flood.since);
        let stretch = |at: Moment| at.since(since).as_secs();
        let answer = flood.is_none_or(|flood| stretch(flood.last) != stretch(now));
        peer.flood = Some(Flood { since, last: now });
        peer.paused_until = Some(now + FLOOD_PAUSE);
        if now.since(since) >= FLOOD_TIME {
            let key = peer.key(index);
            self.close(now, key, CloseCode::POLICY, "too many frames a second");
            return false;
        }
        self.set_alarm(index);
        answer
    }

    fn receive_frame(&mut self, now: Moment, index: usize, decoded: Result<Request, FrameError>) {
        let request = match decoded {
            Ok(request) => request,
            Err(error) => {
                self.tally.frame(FrameType::Invalid);
                return self.refuse_unknown(index, &error);
            }
        };
        self.tally.frame(frame_type(&request.frame));
        if let Err(error) = self.obey(now, index, request) {
            self.refuse(index, &error);
        }
    }

    fn obey(&mut self, now: Moment, index: usize, request: Request) -> Result<(), FrameError> {
        let Request { id, frame } = request;
        match frame {
            ClientFrame::Subscribe { topic, since, replay, .. } => {
                let wish = Wish { topic: &topic, since: since.as_deref(), replay };
                let done = self.subscribe(now, index, &wish, id.clone());
                done.or_else(|refusal| refusal.tell(id, Some(topic)))
            }
            ClientFrame::Unsubscribe { topic } => {
                self.unsubscribe(index, &topic, id.as_ref()).or_else(|refusal| refusal.tell(id, Some(topic)))
            }
            ClientFrame::Publish { to, payload, echo, key } => {
                let topic = if let Recipients::Topic(topic) = &to { Some(topic.clone()) } else { None };
                let echo = echo.unwrap_or_else(|| self.endpoint(index).echo);
                let submission = Submission { to, payload, echo, key, request: id.clone() };
                self.publish(now, index, submission).or_else(|refusal| refusal.tell(id, topic))
            }
            ClientFrame::Hello => {
                self.introduce(index, id.as_ref());
                Ok(())
            }
            ClientFrame::Ping => {
                self.acknowledge(index, id.as_ref(), None);
                Ok(())
            }
            ClientFrame::History { topic, since, before, limit } => {
                let (since, before) = (since.as_deref(), before.as_deref());
                let question = Question { topic: &topic, since, before, limit };
                let done = self.read_history(now, index, &question, id.as_ref());
                done.or_else(|refusal| refusal.tell(id, Some(topic)))
            }
            ClientFrame::Presence { topic, .. } => {
                Refusal::new(ErrorCode::InvalidTopic, "the topic has no presence").tell(id, Some(topic))
            }
            ClientFrame::Resume { grant, topics } => {
                let done = self.resume(now, index, (&grant, &topics), id.as_ref());
                done.or_else(|refusal| refusal.tell(id, None))
            }
            ClientFrame::Auth { .. } => {
                Refusal::new(ErrorCode::Forbidden, "this endpoint takes no tokens").tell(id, None)
            }
        }
    }

    /// Takes a token for a publish or subscribe.
    pub(super) fn pass(&mut self, now: Moment, index: usize, kind: Rated) -> Result<(), Refusal> {
        let (limits, buckets) = (&self.settings.limits, &mut self.peers[index].buckets);
        let (limit, bucket, rate, text) = match kind {
            Rated::Subscribe => {
                let rate = limits.subscribes_per_second;
                (Limit::SubscribesPerSecond, &mut buckets.subscribes, rate, "too many subscribes a second")
            }
            Rated::Publish => {
                let rate = limits.publishes_per_second;
                (Limit::PublishesPerSecond, &mut buckets.publishes, rate, "too many publishes a second")
            }
        };
        if bucket.take(now, rate) {
            return Ok(());
        }
        self.tally.limited(limit);
        let refusal = Refusal::new(ErrorCode::Rate, text);
        Err(if self.note_flood(now, index) { refusal } else { refusal.silenced() })
    }

    fn introduce(&mut self, index: usize, id: Option<&RequestId>) {
        let Some(id) = id else { return };
        let settings = self.settings.clone();
        let peer = &self.peers[index];
        let topics = peer.subscriptions.iter().map(|each| self.topics[each.topic as usize].name.clone());
        let mut topics: Vec<Topic> = topics.collect();
        topics.sort_unstable();
        let (peer, namespace) = (peer.id, self.namespaces[peer.namespace as usize].name.clone());
        let (node, topics) = (settings.node.as_str(), topics.as_slice());
        let local = self.reach == Reach::Node;
        let namespace = &namespace;
        self.answer(index, &ServerFrame::Hello { id, peer, user: None, node, namespace, topics, local });
    }

    pub(super) fn acknowledge(&mut self, index: usize, id: Option<&RequestId>, topic: Option<&Topic>) {
        if let Some(id) = id {
            self.answer(index, &ServerFrame::Ok { id, topic, cursor: None, payload: None, local: false });
        }
    }

    /// Sends one frame to one peer.
    pub(super) fn answer(&mut self, index: usize, frame: &ServerFrame<'_>) {
        let bytes = self.outboxes[index].dialect.frame(frame);
        self.send_bytes(index, |out| out.extend_from_slice(&bytes));
    }

    /// Counts and tells what was wrong with a peer's frame.
    pub(super) fn refuse(&mut self, index: usize, error: &FrameError) {
        if error.code != ErrorCode::Rate && error.code != ErrorCode::Limit {
            self.tally.invalid(Invalid::of(error.code));
        }
        if !error.message.is_empty() {
            self.answer(index, &error.answer());
        }
    }

    /// As [`Hub::refuse`], but in silence where the endpoint wants it and no answer was asked for (W1).
    fn refuse_unknown(&mut self, index: usize, error: &FrameError) {
        let about_type = matches!(error.code, ErrorCode::UnknownType | ErrorCode::Malformed);
        if about_type && error.id.is_none() && self.endpoint(index).on_unknown == OnUnknown::Silent {
            self.tally.invalid(Invalid::of(error.code));
        } else {
            self.refuse(index, error);
        }
    }
}

fn frame_type(frame: &ClientFrame) -> FrameType {
    match frame {
        ClientFrame::Subscribe { .. } => FrameType::Subscribe,
        ClientFrame::Unsubscribe { .. } => FrameType::Unsubscribe,
        ClientFrame::Publish { .. } => FrameType::Publish,
        ClientFrame::History { .. } => FrameType::History,
        ClientFrame::Presence { .. } => FrameType::Presence,
        ClientFrame::Resume { .. } => FrameType::Resume,
        ClientFrame::Auth { .. } => FrameType::Auth,
        ClientFrame::Hello => FrameType::Hello,
        ClientFrame::Ping => FrameType::Ping,
    }
}
