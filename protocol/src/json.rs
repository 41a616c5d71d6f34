//! Frames as JSON text.
//!
//! The plain dialect and `dunlin.json.v1` share what is here. **Invariant:** payloads are looked through once
//! and then travel as the bytes they came as; nothing recurses, so no nesting can exhaust a stack.

mod decode;
mod members;
mod scan;
mod write;

use std::borrow::Cow;

pub use decode::{decode, request_id};
pub use members::{Elements, Member, Members, MembersError, elements, members, repeated};
pub use scan::check_depth;
pub(crate) use scan::{Listener, heard_value, value_in};
pub use write::{frame, message, payload_alone, publication, session, string};

/// The characters of a JSON string; `None` if it is none, or escapes half a surrogate pair.
fn unquote(raw: &[u8]) -> Option<Cow<'_, str>> {
    let inner = raw.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
    if memchr::memchr(b'\\', inner).is_some() {
        return serde_json::from_slice(raw).ok().map(Cow::Owned);
    }
    std::str::from_utf8(inner).ok().map(Cow::Borrowed)
}
