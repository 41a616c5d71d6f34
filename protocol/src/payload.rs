//! What users send: opaque bytes with a kind that no node changes (behaviours L5, W7).

use bytes::Bytes;

use crate::json;

/// How a payload's bytes are meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// One JSON value, written as its publisher wrote it.
    Json,
    /// Characters; a JSON string wherever JSON surrounds it.
    Text,
    /// Bytes; base64 wherever JSON surrounds it.
    Binary,
}

/// A publication's content. Cloning shares the bytes.
///
/// For [`Kind::Json`] the bytes are valid JSON of at most [`DEPTH_MAX`] levels, for [`Kind::Text`] UTF-8. They
/// are written into frames as they are, so whoever fills the fields by hand vouches for that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payload {
    /// How the bytes are meant.
    pub kind: Kind,
    /// The content.
    pub bytes: Bytes,
}

/// Why bytes are no JSON payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PayloadError {
    /// Not exactly one JSON value.
    #[error("payload is not json at byte {at}")]
    Syntax {
        /// The first byte that can't be part of it.
        at: usize,
    },
    /// Arrays and objects inside each other, too many.
    #[error("payload nests deeper than {DEPTH_MAX} levels")]
    Depth,
}

/// How many arrays and objects may lie inside each other in a payload: `[[…]]` 64 deep is fine, 65 is malformed.
pub const DEPTH_MAX: usize = 64;

impl Payload {
    /// What a publish without a payload carries (T3).
    pub fn null() -> Self {
        Self::json(Bytes::from_static(b"null"))
    }

    /// JSON the caller knows to be valid; [`Payload::parse_json`] is for bytes from elsewhere.
    pub fn json(bytes: impl Into<Bytes>) -> Self {
        Self { kind: Kind::Json, bytes: bytes.into() }
    }

    /// Characters.
    pub fn text(text: impl Into<String>) -> Self {
        Self { kind: Kind::Text, bytes: Bytes::from(text.into()) }
    }

    /// Bytes.
    pub fn binary(bytes: impl Into<Bytes>) -> Self {
        Self { kind: Kind::Binary, bytes: bytes.into() }
    }

    /// Checks that the bytes are one JSON value of bounded depth, and keeps them as they are, without the white
    /// space around it.
    pub fn parse_json(bytes: &Bytes) -> Result<Self, PayloadError> {
        json::value_in(bytes).map(|range| Self::json(bytes.slice(range)))
    }
}
