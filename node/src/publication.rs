//! One publication on its way to the peers of this node, and its frames.
//!
//! **Invariant:** a frame is built at most once per (dialect, payload) and node, whatever the number of
//! peers and shards: whoever needs it first builds it, all others share the bytes.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use dunlin_protocol::{Envelope, Kind, Payload, Recipients, ServerFrame, Topic, json, msgpack};

use crate::wire::{self, Opcode};

/// What a peer understands: which frames it is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// No subprotocol, or `dunlin.plain.v1` (behaviours W1).
    Plain,
    /// `dunlin.json.v1`.
    JsonV1,
    /// Payloads verbatim, no envelope (W6).
    Raw,
    /// `dunlin.msgpack.v1`.
    MsgpackV1,
}

/// How many dialects there are; arrays indexed by dialect have this length.
pub const DIALECTS: usize = 4;

impl Dialect {
    /// Whether its peers are greeted, and told of gaps.
    pub fn is_v1(self) -> bool {
        matches!(self, Self::JsonV1 | Self::MsgpackV1)
    }

    /// The whole WebSocket frame, header included, of what is no publication.
    pub fn frame(self, frame: &ServerFrame<'_>) -> Bytes {
        match self {
            Self::Plain | Self::JsonV1 | Self::Raw => wire::text(64, |out| json::frame(out, frame)),
            Self::MsgpackV1 => wire::binary(64, |out| msgpack::frame(out, frame)),
        }
    }

    /// The whole WebSocket frame of a payload on a topic, or without one.
    pub fn publication(self, topic: Option<&Topic>, payload: &Payload) -> Bytes {
        let (bytes, verbatim) = (payload.bytes.len(), |opcode| wire::frame(opcode, &payload.bytes));
        match (self, payload.kind, topic) {
            (Self::Plain | Self::Raw, Kind::Binary, _) => verbatim(Opcode::Binary),
            (Self::Raw, _, _) => verbatim(Opcode::Text),
            (Self::Plain, _, None) => wire::text(bytes, |out| json::payload_alone(out, payload)),
            (Self::JsonV1, _, None) => wire::text(bytes * 4 / 3, |out| json::message(out, payload)),
            (Self::Plain | Self::JsonV1, _, Some(topic)) => wire::text(bytes + topic.as_str().len(), |out| {
                json::publication(out, topic.as_str(), payload, None);
            }),
            (Self::MsgpackV1, _, None) => wire::binary(bytes, |out| msgpack::message(out, payload)),
            (Self::MsgpackV1, _, Some(topic)) => wire::binary(bytes + topic.as_str().len(), |out| {
                msgpack::publication(out, topic.as_str(), payload, None);
            }),
        }
    }
}

/// A publication as one topic's audience receives it.
///
/// A publish to several topics is one copy per topic (T4), each naming the whole list in its envelope.
#[derive(Debug)]
pub struct Publication {
    /// What was published, as the broker carried it.
    pub envelope: Arc<Envelope>,
    copy: usize,
    frames: [OnceLock<Bytes>; DIALECTS],
}

impl Publication {
    /// The copy of `envelope` for the topic at index `copy` of its recipients (0 where there is one or none).
    pub fn new(envelope: Arc<Envelope>, copy: usize) -> Self {
        Self { envelope, copy, frames: [const { OnceLock::new() }; DIALECTS] }
    }

    /// The topic this copy is for; none when it went to the whole namespace.
    pub fn topic(&self) -> Option<&Topic> {
        match &self.envelope.to {
            Recipients::Namespace => None,
            Recipients::Topic(topic) => Some(topic),
            Recipients::Topics(topics) => topics.get(self.copy),
        }
    }

    /// Topics listed before this copy's own: a peer in one of them is served from that copy (T4).
    pub fn earlier_topics(&self) -> &[Topic] {
        match &self.envelope.to {
            Recipients::Topics(topics) => &topics[..self.copy.min(topics.len())],
            Recipients::Namespace | Recipients::Topic(_) => &[],
        }
    }

    /// The whole WebSocket frame, header included, for a peer of this dialect.
    pub fn frame(&self, dialect: Dialect) -> &Bytes {
        let dialect = self.shared_form(dialect);
        let encode = || dialect.publication(self.topic(), &self.envelope.payload);
        self.frames[dialect as usize].get_or_init(encode)
    }

    /// Plain and JSON peers are sent the same bytes unless the payload is binary or has no topic.
    fn shared_form(&self, dialect: Dialect) -> Dialect {
        let same = self.envelope.payload.kind != Kind::Binary && self.topic().is_some();
        if same && dialect == Dialect::Plain { Dialect::JsonV1 } else { dialect }
    }
}
