//! One publication on its way to the peers of this node, and its frames.
//!
//! **Invariant:** a frame is built at most once per (dialect, payload) and node, whatever the number of
//! peers and shards: whoever needs it first builds it, all others share the bytes.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use dunlin_protocol::{
    Cursor, Envelope, Kind, Payload, Position, Recipients, ServerFrame, Topic, json, msgpack,
};

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

    /// The whole WebSocket frame of a payload on a topic, or without one. Only v1 peers get a cursor.
    pub fn publication(self, topic: Option<&Topic>, payload: &Payload, cursor: Option<Cursor>) -> Bytes {
        let cursor = cursor.filter(|_| self.is_v1());
        let cursor = cursor.as_ref().map(Cursor::as_str);
        let (bytes, verbatim) = (payload.bytes.len(), |opcode| wire::frame(opcode, &payload.bytes));
        match (self, payload.kind, topic) {
            (Self::Plain | Self::Raw, Kind::Binary, _) => verbatim(Opcode::Binary),
            (Self::Raw, _, _) => verbatim(Opcode::Text),
            (Self::Plain, _, None) => wire::text(bytes, |out| json::payload_alone(out, payload)),
            (Self::JsonV1, _, None) => wire::text(bytes * 4 / 3, |out| json::message(out, payload)),
            (Self::Plain | Self::JsonV1, _, Some(topic)) => wire::text(bytes + topic.as_str().len(), |out| {
                json::publication(out, topic.as_str(), payload, cursor);
            }),
            (Self::MsgpackV1, _, None) => wire::binary(bytes, |out| msgpack::message(out, payload)),
            (Self::MsgpackV1, _, Some(topic)) => wire::binary(bytes + topic.as_str().len(), |out| {
                msgpack::publication(out, topic.as_str(), payload, cursor);
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
    /// Where it is, on a topic that remembers.
    pub position: Option<Position>,
    copy: usize,
    frames: [OnceLock<Bytes>; DIALECTS],
}

impl Publication {
    /// The copy of `envelope` for the topic at index `copy` of its recipients (0 where there is one or none).
    pub fn new(envelope: Arc<Envelope>, copy: usize) -> Self {
        Self { envelope, position: None, copy, frames: [const { OnceLock::new() }; DIALECTS] }
    }

    /// A publication that is stored at a position.
    pub fn stored(envelope: Envelope, position: Position) -> Self {
        Self { position: Some(position), ..Self::new(Arc::new(envelope), 0) }
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

    /// Its position as clients of its topic know it.
    pub fn cursor(&self) -> Option<Cursor> {
        Some(self.position?.cursor(&self.envelope.namespace, self.topic()?))
    }

    /// The whole WebSocket frame, header included, for a peer of this dialect.
    pub fn frame(&self, dialect: Dialect) -> &Bytes {
        let dialect = self.shared_form(dialect);
        let encode = || dialect.publication(self.topic(), &self.envelope.payload, self.cursor());
        self.frames[dialect as usize].get_or_init(encode)
    }

    /// Plain and JSON peers are sent the same bytes unless the payload is binary or has no topic, or has a cursor.
    fn shared_form(&self, dialect: Dialect) -> Dialect {
        let is_bare = self.envelope.payload.kind == Kind::Binary || self.topic().is_none();
        let same = !is_bare && self.position.is_none();
        if same && dialect == Dialect::Plain { Dialect::JsonV1 } else { dialect }
    }
}
