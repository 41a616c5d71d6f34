//! What travels between nodes on the broker: one publication and what each node needs to deliver it.
//!
//! The bytes, all numbers big-endian:
//!
//! ```text
//! version u8 = 1 | length of the header u32 | header | payload
//! ```
//!
//! The header is a `MessagePack` array: publication id (bin 16), origin (bin 16 or nil), echo (bool), `at_us`
//! (uint), namespace (str), recipients (nil: the namespace, str: a topic, array of str: several), payload kind
//! (0 JSON, 1 text, 2 binary). Later versions of the same number may append fields; a reader skips what it does
//! not know. The payload is neither parsed nor copied.

mod header;

use bytes::Bytes;

use crate::{Kind, NameError, Namespace, Payload, PeerId, PublicationId, Recipients};
use header::Header;

/// A publication on its way through the broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// The publishing peer, which is spared its own publication (T2); `None` for the server, which excludes
    /// nobody (T3).
    pub origin: Option<PeerId>,
    /// Whether the origin gets it all the same (`self: true`).
    pub echo: bool,
    /// When it was accepted, in microseconds of the Unix epoch.
    pub at_us: u64,
    /// Where it stays.
    pub namespace: Namespace,
    /// Who gets it.
    pub to: Recipients,
    /// What they get.
    pub payload: Payload,
}

/// Why bytes from the broker are no envelope.
#[derive(Debug, thiserror::Error)]
pub enum EnvelopeError {
    /// They end early.
    #[error("envelope ends after {bytes} bytes")]
    Short {
        /// How many there are.
        bytes: usize,
    },
    /// A newer node wrote them; this one has to leave them alone.
    #[error("envelope version {version} is unknown, this node reads version {VERSION}")]
    Version {
        /// The version they claim.
        version: u8,
    },
    /// The header is not what this version has.
    #[error("envelope header: {0}")]
    Header(#[from] rmp_serde::decode::Error),
    /// A name no node would have accepted.
    #[error("envelope header: {0}")]
    Name(#[from] NameError),
    /// A text or JSON payload with bytes that are no characters.
    #[error("envelope payload is not utf-8")]
    Text,
}

/// The only version there is. Another one means that the layout above does not hold.
const VERSION: u8 = 1;

/// Version and header length.
const PREFIX_BYTES: usize = 5;

impl Envelope {
    /// Appends the envelope's bytes. `id` is this copy's name in the cluster, by which a node knows what it
    /// has seen already (T12): a publication to several topics travels as several copies.
    pub fn encode(&self, id: PublicationId, out: &mut Vec<u8>) {
        let start = out.len();
        out.reserve(PREFIX_BYTES + HEADER_BYTES_USUAL + self.payload.bytes.len());
        out.extend_from_slice(&[VERSION, 0, 0, 0, 0]);
        header::write(self, id, out);
        let length =
            u32::try_from(out.len() - start - PREFIX_BYTES).expect("a header of names is far below 4 GiB");
        out[start + 1..start + PREFIX_BYTES].copy_from_slice(&length.to_be_bytes());
        out.extend_from_slice(&self.payload.bytes);
    }

    /// Reads an envelope and the id it travelled under; its payload shares the memory.
    pub fn decode(mut bytes: Bytes) -> Result<(PublicationId, Self), EnvelopeError> {
        let (header, rest) = split(&bytes)?;
        let Header { id, origin, echo, at_us, namespace, to, kind } = Header::read(header)?;
        if kind != Kind::Binary && std::str::from_utf8(rest).is_err() {
            return Err(EnvelopeError::Text);
        }
        let (namespace, to) = (Namespace::parse(namespace)?, to.parse()?);
        let payload = Payload { kind, bytes: bytes.split_off(bytes.len() - rest.len()) };
        Ok((id, Self { origin, echo, at_us, namespace, to, payload }))
    }
}

/// The header and the payload.
fn split(bytes: &[u8]) -> Result<(&[u8], &[u8]), EnvelopeError> {
    let short = || EnvelopeError::Short { bytes: bytes.len() };
    let (version, rest) = bytes.split_first().ok_or_else(short)?;
    if *version != VERSION {
        return Err(EnvelopeError::Version { version: *version });
    }
    let (length, rest) = rest.split_first_chunk().ok_or_else(short)?;
    rest.split_at_checked(u32::from_be_bytes(*length) as usize).ok_or_else(short)
}

/// What a header with short names takes, so that one allocation is enough.
const HEADER_BYTES_USUAL: usize = 96;
