//! WebSocket frames as a server sends them (RFC 6455 section 5.2): unmasked, unfragmented.
//!
//! Publications are framed here, once for all peers; only what answers one peer's control frames is
//! written by tungstenite.

use bytes::Bytes;

/// The frame types a node writes itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opcode {
    /// A text message.
    Text = 0x1,
    /// A binary message.
    Binary = 0x2,
    /// A Close, with its code.
    Close = 0x8,
    /// A ping, always with an empty payload.
    Ping = 0x9,
}

/// Longest header of a server's frame in bytes.
pub const HEADER_MAX: usize = 10;

/// One frame around `payload`.
pub fn frame(opcode: Opcode, payload: &[u8]) -> Bytes {
    let mut out = Vec::with_capacity(HEADER_MAX + payload.len());
    append(&mut out, opcode, payload);
    out.into()
}

/// One text frame around what `write` appends; `expected` is a guess of its length in bytes.
pub fn text(expected: usize, write: impl FnOnce(&mut Vec<u8>)) -> Bytes {
    around(Opcode::Text, expected, write)
}

/// The same as a binary frame.
pub fn binary(expected: usize, write: impl FnOnce(&mut Vec<u8>)) -> Bytes {
    around(Opcode::Binary, expected, write)
}

fn around(opcode: Opcode, expected: usize, write: impl FnOnce(&mut Vec<u8>)) -> Bytes {
    let mut body = Vec::with_capacity(HEADER_MAX + expected + 64);
    body.resize(HEADER_MAX, 0);
    write(&mut body);
    let length = body.len() - HEADER_MAX;
    let mut header = Vec::with_capacity(HEADER_MAX);
    append_header(&mut header, opcode, length);
    let start = HEADER_MAX - header.len();
    body[start..HEADER_MAX].copy_from_slice(&header);
    Bytes::from(body).slice(start..)
}

/// Appends one frame around `payload`.
pub fn append(out: &mut Vec<u8>, opcode: Opcode, payload: &[u8]) {
    append_header(out, opcode, payload.len());
    out.extend_from_slice(payload);
}

fn append_header(out: &mut Vec<u8>, opcode: Opcode, length: usize) {
    out.push(0x80 | opcode as u8);
    match length {
        0..=125 => out.push(length as u8),
        126..=0xffff => {
            out.push(126);
            out.extend_from_slice(&(length as u16).to_be_bytes());
        }
        _ => {
            out.push(127);
            out.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
}

/// Length in bytes of the server frame that starts at `bytes[0]`, if its header is all there.
pub fn frame_len(bytes: &[u8]) -> Option<usize> {
    let extended = |from: usize, to: usize| {
        let part = bytes.get(from..to)?;
        Some(part.iter().fold(0_usize, |length, byte| length << 8 | usize::from(*byte)))
    };
    match bytes.get(1)? & 0x7f {
        126 => Some(4 + extended(2, 4)?),
        127 => Some(10 + extended(2, 10)?),
        short => Some(2 + usize::from(short)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_header_length_can_be_read_back() {
        for length in [0, 1, 125, 126, 127, 65_535, 65_536, 100_000] {
            let framed = frame(Opcode::Binary, &vec![7; length]);
            assert_eq!(frame_len(&framed), Some(framed.len()), "payload of {length} bytes");
        }
    }

    #[test]
    fn what_is_written_in_place_is_framed_alike_whatever_length_was_expected() {
        for (length, expected) in [(0, 10), (125, 0), (126, 0), (70_000, 3)] {
            let body = vec![b'x'; length];
            let written = text(expected, |out| out.extend_from_slice(&body));
            assert_eq!(written, frame(Opcode::Text, &body));
            let written = binary(expected, |out| out.extend_from_slice(&body));
            assert_eq!(written, frame(Opcode::Binary, &body));
        }
    }

    #[test]
    fn a_header_that_is_not_all_there_has_no_length() {
        assert_eq!(frame_len(&[0x81]), None);
        assert_eq!(frame_len(&[0x81, 126, 1]), None);
        assert_eq!(frame_len(&[0x81, 127, 0, 0, 0]), None);
    }
}
