//! WebSocket frames as a client sees them (RFC 6455 section 5.2): masked ones out, bare ones in.
//!
//! **Invariant:** reading borrows. A frame is a slice of the receive buffer; only the unfinished tail of
//! a read is ever copied, by [`Frames::rest`]'s owner.

use anyhow::{Result, bail};

/// No frame that a load asks for is nearly as long; a server that announces more is not waited for.
pub const FRAME_BYTES_MAX: u64 = 16 << 20;

/// One whole frame from the server.
#[derive(Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// What the frame is for.
    pub kind: Kind,
    /// The payload, as sent.
    pub body: &'a [u8],
}

/// What a frame is for. Text and binary are one: the measured bytes are the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A whole message.
    Message,
    /// The server ends the connection.
    Close,
    /// To be answered with a pong of the same body.
    Ping,
    /// An answer to a ping.
    Pong,
}

/// Yields the whole frames at the front of some bytes; what is left is [`Frames::rest`].
#[derive(Debug)]
pub struct Frames<'a> {
    rest: &'a [u8],
}

impl<'a> Frames<'a> {
    /// Starts at a frame boundary.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// The next whole frame, none if more bytes are needed. An error means the connection is unusable.
    #[inline]
    pub fn next_frame(&mut self) -> Result<Option<Frame<'a>>> {
        let Some((head, length)) = read_head(self.rest) else { return Ok(None) };
        if length > FRAME_BYTES_MAX {
            bail!("the server announced a frame of {length} bytes, at most {FRAME_BYTES_MAX} are read");
        }
        let end = head + length as usize;
        if self.rest.len() < end {
            return Ok(None);
        }
        let (frame, rest) = self.rest.split_at(end);
        self.rest = rest;
        Ok(Some(Frame { kind: kind_of(frame[0], frame[1])?, body: &frame[head..] }))
    }

    /// The bytes behind the last whole frame: the start of the next one.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }
}

/// How a message says what its bytes are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// UTF-8.
    Text,
    /// Anything.
    Binary,
}

/// Appends a masked message.
pub fn push_message(out: &mut Vec<u8>, format: Format, body: &[u8]) {
    let first = match format {
        Format::Text => 0x81,
        Format::Binary => 0x82,
    };
    push(out, first, body);
}

/// Appends a masked text frame.
pub fn push_text(out: &mut Vec<u8>, body: &[u8]) {
    push_message(out, Format::Text, body);
}

/// Appends a masked binary frame.
pub fn push_binary(out: &mut Vec<u8>, body: &[u8]) {
    push_message(out, Format::Binary, body);
}

/// Appends a masked pong with the ping's body.
pub fn push_pong(out: &mut Vec<u8>, body: &[u8]) {
    push(out, 0x8a, body);
}

/// Appends a masked close frame with code 1000.
pub fn push_close(out: &mut Vec<u8>) {
    push(out, 0x88, &1000_u16.to_be_bytes());
}

/// The code of a close frame's body; 1005 if it has none (RFC 6455 section 7.1.5).
pub fn close_code(body: &[u8]) -> u16 {
    body.first_chunk().map_or(1005, |code| u16::from_be_bytes(*code))
}

/// The mask of every frame. It hides nothing from a cache that isn't there, but not being zero it costs
/// the server what a browser's would.
const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// Length of the header and of the payload behind it.
#[inline]
fn read_head(bytes: &[u8]) -> Option<(usize, u64)> {
    match bytes.get(1)? & 0x7f {
        126 => Some((4, u16::from_be_bytes(*bytes.get(2..)?.first_chunk()?).into())),
        127 => Some((10, u64::from_be_bytes(*bytes.get(2..)?.first_chunk()?))),
        short => Some((2, short.into())),
    }
}

#[inline]
fn kind_of(first: u8, second: u8) -> Result<Kind> {
    if second & 0x80 != 0 {
        bail!("the server masked a frame");
    }
    match first {
        0x81 | 0x82 => Ok(Kind::Message),
        0x88 => Ok(Kind::Close),
        0x89 => Ok(Kind::Ping),
        0x8a => Ok(Kind::Pong),
        _ => bail!(
            "the server sent a frame starting {first:#04x}: fragments and extensions are not understood"
        ),
    }
}

fn push(out: &mut Vec<u8>, first: u8, body: &[u8]) {
    out.push(first);
    match body.len() {
        length @ ..126 => out.push(0x80 | length as u8),
        length @ 126..=0xffff => {
            out.push(0xfe);
            out.extend_from_slice(&(length as u16).to_be_bytes());
        }
        length => {
            out.push(0xff);
            out.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(&MASK);
    out.extend(body.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server's frame: the client's without its mask.
    fn served(first: u8, body: &[u8]) -> Vec<u8> {
        let mut masked = Vec::new();
        push(&mut masked, first, body);
        let head = masked.len() - body.len() - 4;
        masked[1] &= 0x7f;
        masked.truncate(head);
        masked.extend_from_slice(body);
        masked
    }

    fn read_in_pieces(stream: &[u8], piece: usize) -> Vec<(Kind, Vec<u8>)> {
        let (mut carry, mut seen) = (Vec::new(), Vec::new());
        for bytes in stream.chunks(piece) {
            carry.extend_from_slice(bytes);
            let mut frames = Frames::new(&carry);
            while let Some(frame) = frames.next_frame().unwrap() {
                seen.push((frame.kind, frame.body.to_vec()));
            }
            carry = frames.rest().to_vec();
        }
        assert_eq!(carry, b"", "bytes are left over at pieces of {piece}");
        seen
    }

    #[test]
    fn frames_are_the_same_however_the_stream_is_split() {
        let bodies = [0, 1, 125, 126, 300, 65_535, 65_536].map(|length| vec![b'x'; length]);
        let mut stream = served(0x89, b"ping");
        stream.extend(bodies.iter().flat_map(|body| served(0x81, body)));
        stream.extend(served(0x88, &1001_u16.to_be_bytes()));
        let whole = read_in_pieces(&stream, stream.len());
        assert_eq!(whole.len(), 9);
        assert_eq!(whole[0], (Kind::Ping, b"ping".to_vec()));
        assert_eq!(whole[7], (Kind::Message, bodies[6].clone()));
        assert_eq!(close_code(&whole[8].1), 1001);
        for piece in (1..20).chain([127, 128, 4096, 65_537]) {
            assert_eq!(read_in_pieces(&stream, piece), whole, "pieces of {piece}");
        }
    }

    #[test]
    fn what_is_not_understood_ends_the_connection() {
        for bytes in [&[0x01_u8, 0][..], &[0xc1, 0], &[0x81, 0x80, 0, 0, 0, 0]] {
            assert!(Frames::new(bytes).next_frame().is_err(), "{bytes:?}");
        }
    }

    #[test]
    fn a_frame_longer_than_the_limit_is_refused_as_soon_as_it_is_announced() {
        let announced = |length: u64| {
            let bytes = [&[0x81, 127][..], &length.to_be_bytes()].concat();
            Frames::new(&bytes).next_frame().map(|frame| frame.is_some())
        };
        assert!(matches!(announced(FRAME_BYTES_MAX), Ok(false)), "the rest may come");
        assert!(announced(FRAME_BYTES_MAX + 1).is_err() && announced(u64::MAX).is_err());
    }

    #[test]
    fn a_client_frame_unmasks_to_its_body() {
        let mut out = Vec::new();
        push_text(&mut out, b"Hello");
        assert_eq!(out[..6], [0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d]);
        assert_eq!(out[6..], [0x7f, 0x9f, 0x4d, 0x51, 0x58], "the example of RFC 6455 section 5.7");
    }
}
