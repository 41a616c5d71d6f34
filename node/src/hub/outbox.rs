//! Bytes owed to a peer, and the bytes that all peers of a shard share during one turn.
//!
//! A publication's frame is copied once per turn into the [`Turn`]; each outbox only notes which range of
//! it is owed. Ranges that touch grow together, so a peer that hears one topic is owed a single range
//! however many publications the turn brought, and is flushed by one write without any copying.
//!
//! **Invariant:** between turns no outbox names a range: what a socket did not take is copied out by
//! [`Outbox::settle`]. Every piece starts at a frame's boundary.

use std::io::IoSlice;
use std::ops::Range;

use bytes::Bytes;
use smallvec::SmallVec;

use crate::publication::Dialect;
use crate::wire;

/// Frames of this size or more are shared between outboxes and never copied.
pub const LARGE_FRAME: usize = 16 * 1024;
/// What one write gathers of small pieces, in bytes.
const GATHER_MAX: usize = 64 * 1024;
/// Slices one vectored write is given.
const SLICES_MAX: usize = 16;

/// The frames of one turn, end to end.
#[derive(Debug, Default)]
pub struct Turn {
    bytes: Vec<u8>,
    /// Bytes of the frames that were shared instead of copied.
    shared: usize,
}

impl Turn {
    /// Takes a frame in: large ones are shared as they are, small ones are copied.
    pub fn take_in(&mut self, frame: &Bytes) -> Piece {
        if frame.len() < LARGE_FRAME {
            return self.copy_in(frame);
        }
        self.shared += frame.len();
        Piece::Whole(frame.clone())
    }

    /// Copies bytes in, which must be whole frames.
    pub fn copy_in(&mut self, frames: &[u8]) -> Piece {
        self.write_in(|out| out.extend_from_slice(frames))
    }

    /// Takes in what `write` appends, which must be whole frames.
    pub fn write_in(&mut self, write: impl FnOnce(&mut Vec<u8>)) -> Piece {
        let start = self.bytes.len() as u32;
        write(&mut self.bytes);
        Piece::Range(start..self.bytes.len() as u32)
    }

    /// Bytes taken in since the last [`Turn::clear`].
    pub fn len(&self) -> usize {
        self.bytes.len() + self.shared
    }

    /// Forgets the turn's frames; keeps the room for the next turn's, unless it is out of proportion.
    pub fn clear(&mut self) {
        self.shared = 0;
        self.bytes.clear();
        self.bytes.shrink_to(ROOM_KEPT);
    }
}

/// What a shard keeps allocated for its turns, in bytes.
const ROOM_KEPT: usize = 1024 * 1024;

/// A run of whole frames owed to a peer.
#[derive(Debug, Clone)]
pub enum Piece {
    /// A range of the current turn.
    Range(Range<u32>),
    /// Bytes of its own, or shared with other outboxes.
    Whole(Bytes),
}

impl Piece {
    /// Length in bytes.
    pub fn len(&self) -> usize {
        match self {
            Self::Range(range) => range.len(),
            Self::Whole(bytes) => bytes.len(),
        }
    }

    fn bytes<'a>(&'a self, turn: &'a Turn) -> &'a [u8] {
        match self {
            Self::Range(range) => &turn.bytes[range.start as usize..range.end as usize],
            Self::Whole(bytes) => bytes,
        }
    }
}

/// Bytes owed to one peer, in order.
#[derive(Debug)]
pub struct Outbox {
    pieces: SmallVec<[Piece; 1]>,
    /// Of the first piece, how much the socket has taken.
    written: usize,
    owed: usize,
    /// What the peer understands; kept here because a delivery looks at nothing else of a peer.
    pub dialect: Dialect,
    /// Whether the shard's list of outboxes to flush names this one.
    pub dirty: bool,
}

/// What the next write to the socket should be.
#[derive(Debug)]
pub enum Write<'a> {
    /// One run of bytes.
    Contiguous(&'a [u8]),
    /// Several, at least one of them large.
    Vectored(SmallVec<[IoSlice<'a>; SLICES_MAX]>),
}

impl Outbox {
    /// An empty outbox. It allocates nothing until a peer falls behind.
    pub fn new(dialect: Dialect) -> Self {
        Self { pieces: SmallVec::new(), written: 0, owed: 0, dialect, dirty: false }
    }

    /// Bytes owed.
    pub fn owed(&self) -> usize {
        self.owed
    }

    /// Appends a piece.
    pub fn push(&mut self, piece: &Piece) {
        self.owed += piece.len();
        if let (Some(Piece::Range(last)), Piece::Range(next)) = (self.pieces.last_mut(), piece)
            && last.end == next.start
        {
            last.end = next.end;
            return;
        }
        self.pieces.push(piece.clone());
    }

    /// The bytes to write next; none when nothing is owed. `gather` is room to put small pieces together.
    pub fn next_write<'a>(&'a self, turn: &'a Turn, gather: &'a mut Vec<u8>) -> Option<Write<'a>> {
        let (first, rest) = self.pieces.split_first()?;
        let first = &first.bytes(turn)[self.written..];
        if rest.is_empty() {
            return Some(Write::Contiguous(first));
        }
        if self.pieces.iter().take(SLICES_MAX).any(|piece| piece.len() >= LARGE_FRAME) {
            let rest = rest.iter().map(|piece| piece.bytes(turn));
            let slices = std::iter::once(first).chain(rest).take(SLICES_MAX);
            return Some(Write::Vectored(slices.map(IoSlice::new).collect()));
        }
        gather.clear();
        gather.extend_from_slice(first);
        for piece in rest {
            if gather.len() + piece.len() > GATHER_MAX {
                break;
            }
            gather.extend_from_slice(piece.bytes(turn));
        }
        Some(Write::Contiguous(gather))
    }

    /// Notes that the socket took `count` bytes.
    pub fn advance(&mut self, count: usize) {
        self.owed -= count;
        self.written += count;
        let mut done = 0;
        while let Some(piece) = self.pieces.get(done)
            && self.written >= piece.len()
        {
            self.written -= piece.len();
            done += 1;
        }
        if done == self.pieces.len() {
            self.pieces.clear();
        } else {
            self.pieces.drain(..done);
        }
    }

    /// Copies out what is still owed of the turn, so that the turn can be forgotten.
    pub fn settle(&mut self, turn: &Turn) {
        if self.pieces.iter().all(|piece| matches!(piece, Piece::Whole(_))) {
            return;
        }
        let mut settled: SmallVec<[Piece; 1]> = SmallVec::new();
        let mut run = Vec::new();
        for piece in self.pieces.drain(..) {
            match piece {
                Piece::Range(_) => run.extend_from_slice(piece.bytes(turn)),
                Piece::Whole(_) => {
                    if !run.is_empty() {
                        settled.push(Piece::Whole(std::mem::take(&mut run).into()));
                    }
                    settled.push(piece);
                }
            }
        }
        if !run.is_empty() {
            settled.push(Piece::Whole(run.into()));
        }
        self.pieces = settled;
    }

    /// Drops all that is owed but the rest of a frame that is already under way; says how many bytes went.
    pub fn cut(&mut self, turn: &Turn) -> usize {
        let before = self.owed;
        let rest = self.pieces.first().map(|first| {
            let bytes = first.bytes(turn);
            Bytes::copy_from_slice(&bytes[self.written..boundary_from(bytes, self.written)])
        });
        self.pieces.clear();
        self.written = 0;
        self.owed = 0;
        if let Some(rest) = rest.filter(|rest| !rest.is_empty()) {
            self.push(&Piece::Whole(rest));
        }
        before - self.owed
    }
}

/// The first frame boundary at or after `offset`, in bytes that start at one.
fn boundary_from(bytes: &[u8], offset: usize) -> usize {
    let mut boundary = 0;
    while boundary < offset {
        let length = wire::frame_len(&bytes[boundary..]);
        boundary += length.expect("a piece holds whole frames only");
    }
    boundary
}

#[cfg(test)]
#[path = "outbox_tests.rs"]
mod tests;
