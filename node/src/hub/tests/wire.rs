//! The peer's end of a connection in tests: a socket that takes what it is told to, and its frames as text.

use dunlin_protocol::CloseCode;

use crate::hub::{Write, Wrote};
use crate::wire::frame_len;

/// What a peer's socket has taken, and how much more it takes.
pub struct Socket {
    /// Bytes it takes before it blocks.
    pub room: usize,
    bytes: Vec<u8>,
}

impl Default for Socket {
    fn default() -> Self {
        Self { room: usize::MAX, bytes: Vec::new() }
    }
}

impl Socket {
    pub fn write(&mut self, write: &Write<'_>) -> Wrote {
        let before = self.bytes.len();
        let slices: Vec<&[u8]> = match write {
            Write::Contiguous(bytes) => vec![bytes],
            Write::Vectored(slices) => slices.iter().map(|slice| &**slice).collect(),
        };
        for slice in slices {
            let taken = slice.len().min(self.room);
            self.bytes.extend_from_slice(&slice[..taken]);
            if self.room != usize::MAX {
                self.room -= taken;
            }
        }
        match self.bytes.len() - before {
            0 => Wrote::Blocked,
            count => Wrote::Bytes(count),
        }
    }

    /// Takes out the frames that arrived whole.
    pub fn frames(&mut self) -> Vec<String> {
        let mut frames = Vec::new();
        while let Some(length) = frame_len(&self.bytes).filter(|length| *length <= self.bytes.len()) {
            let frame: Vec<u8> = self.bytes.drain(..length).collect();
            frames.push(describe(&frame));
        }
        frames
    }

    /// Bytes of a frame that has not arrived whole.
    pub fn partial(&self) -> usize {
        self.bytes.len()
    }
}

/// A frame in words: text as it is, others by their kind.
fn describe(frame: &[u8]) -> String {
    let header = match frame[1] & 0x7f {
        126 => 4,
        127 => 10,
        _ => 2,
    };
    assert_eq!(frame[1] & 0x80, 0, "a server's frames are not masked");
    let (payload, text) = (&frame[header..], String::from_utf8_lossy(&frame[header..]).into_owned());
    match frame[0] {
        0x81 => std::str::from_utf8(payload).expect("text frames hold text").to_owned(),
        0x82 => format!("<binary {payload:?}>"),
        0x89 => format!("<ping {text}>"),
        0x8a => format!("<pong {text}>"),
        0x88 => {
            let code = u16::from_be_bytes([payload[0], payload[1]]);
            format!("<close {code} {}>", String::from_utf8_lossy(&payload[2..]))
        }
        other => panic!("no node sends a frame that begins with {other:#x}"),
    }
}

/// A Close frame.
pub fn close(code: CloseCode, reason: &str) -> Vec<u8> {
    let mut frame = vec![0x88, 2 + reason.len() as u8];
    frame.extend_from_slice(&code.0.to_be_bytes());
    frame.extend_from_slice(reason.as_bytes());
    frame
}
