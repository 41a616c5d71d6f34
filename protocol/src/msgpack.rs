//! Frames as `MessagePack`: the dialect `dunlin.msgpack.v1`, the same maps as JSON in binary messages.
//!
//! Payloads travel between nodes as JSON, text or bytes (behaviours L5), so a value a peer publishes becomes JSON
//! once, when it comes in, and JSON becomes `MessagePack` once for each publication and node. **Invariant:** a
//! length that bytes declare is believed only as far as there are bytes; nothing recurses.

mod decode;
mod from_json;
mod scan;
mod to_json;
mod write;

pub use decode::{decode, request_id};
pub use to_json::{ValueError, parse_value};
pub use write::{frame, message, publication, value};
