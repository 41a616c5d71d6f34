//! Names, frames, codes and the broker envelope of Dunlin.
//!
//! Everything here turns bytes into types or types into bytes. **Invariant:** no IO, no clock, no
//! randomness, and nothing that came from a peer costs more than one linear scan.
//!
//! ```
//! use bytes::Bytes;
//! use dunlin_protocol::{ClientFrame, Recipients, json};
//!
//! let text = Bytes::from_static(br#"{"type":"publish","topic":"chat","payload":{"text":"hi"}}"#);
//! let request = json::decode(&text).expect("a good frame");
//! let ClientFrame::Publish { to: Recipients::Topic(topic), payload, .. } = request.frame else { panic!() };
//!
//! let mut out = Vec::new();
//! json::publication(&mut out, topic.as_str(), &payload, None);
//! assert_eq!(out, br#"{"topic":"chat","payload":{"text":"hi"}}"#);
//! ```

mod code;
mod envelope;
mod fields;
mod frame;
mod id;
mod item;
pub mod json;
mod key;
mod map;
pub mod msgpack;
mod name;
mod pattern;
mod payload;
mod position;

pub use code::{CloseCode, ErrorCode, REASON_BYTES_MAX, truncate_reason};
pub use envelope::{Envelope, EnvelopeError};
pub use frame::{
    ClientFrame, FrameError, GapReason, RECIPIENTS_MAX, REQUEST_ID_BYTES_MAX, Recipients, Request, RequestId,
    ResumeTopic, ServerFrame, StoredPublication, TooManyRecipients, Unrecovered,
};
pub use id::{IdError, Incarnation, PeerId, PublicationId};
pub use item::{Act, Heard, Item, ItemError, mark_of};
pub use name::{NAME_BYTES_MAX, NameError, Namespace, Topic};
pub use pattern::{PATTERN_BYTES_MAX, Pattern, PatternError, Scope, Template, Variable};
pub use payload::{DEPTH_MAX, Kind, Payload, PayloadError};
pub use position::{CURSOR_BYTES_MAX, Cursor, CursorError, Epoch, Mark, Position};
