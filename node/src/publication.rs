//! One publication on its way to the peers of this node, and its frames.
//!
//! **Invariant:** a frame is built at most once per (dialect, payload) and node, whatever the number of
//! peers and shards: whoever needs it first builds it, all others share the bytes.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use dunlin_protocol::{Envelope, Kind, Recipients, Topic, json};

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
}

/// How many dialects there are; arrays indexed by dialect have this length.
pub const DIALECTS: usize = 3;

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
        self.frames[dialect as usize].get_or_init(|| self.encode(dialect))
    }

    /// Plain and v1 peers are sent the same bytes unless the payload is binary or has no topic.
    fn shared_form(&self, dialect: Dialect) -> Dialect {
        let same = self.envelope.payload.kind != Kind::Binary && self.topic().is_some();
        if same && dialect == Dialect::Plain { Dialect::JsonV1 } else { dialect }
    }

    fn encode(&self, dialect: Dialect) -> Bytes {
        let payload = &self.envelope.payload;
        let verbatim = |opcode| wire::frame(opcode, &payload.bytes);
        match (dialect, payload.kind, self.topic()) {
            (Dialect::Plain | Dialect::Raw, Kind::Binary, _) => verbatim(Opcode::Binary),
            (Dialect::Raw, _, _) => verbatim(Opcode::Text),
            (Dialect::Plain, _, None) => {
                wire::text(payload.bytes.len(), |out| json::payload_alone(out, payload))
            }
            (Dialect::JsonV1, _, None) => {
                wire::text(payload.bytes.len() * 4 / 3, |out| json::message(out, payload))
            }
            (_, _, Some(topic)) => wire::text(payload.bytes.len() + topic.as_str().len(), |out| {
                json::publication(out, topic.as_str(), payload, None);
            }),
        }
    }
}
