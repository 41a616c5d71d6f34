//! The frames that outboxes owe, end to end, each copied in once for all peers of a shard.
//!
//! Frames are appended to chunks. An outbox names ranges of chunks, and holds the first chunk it needs; a
//! chunk is given up when it and all before it are held by nobody. Outboxes are flushed first come, first
//! served, so what is held is what came within one round of flushing.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;

/// Frames of this size or more are shared between outboxes and never copied.
pub(super) const LARGE_FRAME: usize = 16 * 1024;
/// A chunk of this size or more takes no further frames, in bytes.
const CHUNK: usize = 64 * 1024;
/// Empty chunks kept for later use.
const SPARE_MAX: usize = 4;

/// Whole frames, shared by a shard's outboxes.
#[derive(Debug, Default)]
pub(super) struct Arena {
    chunks: VecDeque<Chunk>,
    /// The number of the first chunk.
    first: u32,
    spare: Vec<Vec<u8>>,
    /// Bytes of the large frames taken in since nothing was held.
    shared: usize,
}

#[derive(Debug, Default)]
struct Chunk {
    bytes: Vec<u8>,
    holders: u32,
}

/// A run of whole frames owed to a peer.
#[derive(Debug, Clone)]
pub(super) enum Piece {
    /// A range of a chunk of the arena.
    Range {
        /// The chunk's number.
        chunk: u32,
        /// Where the run begins.
        start: u32,
        /// Where it ends.
        end: u32,
    },
    /// A large frame, shared with other outboxes.
    Whole(Arc<Bytes>),
    /// What an outbox copied out of the arena.
    #[expect(clippy::box_collection, reason = "a piece is 16 bytes: many wait in many outboxes")]
    Own(Box<Vec<u8>>),
}

impl Piece {
    /// Length in bytes.
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Range { start, end, .. } => (end - start) as usize,
            Self::Whole(bytes) => bytes.len(),
            Self::Own(bytes) => bytes.len(),
        }
    }
}

impl Arena {
    /// Takes a frame in: large ones are shared as they are, small ones are copied.
    pub(super) fn take_in(&mut self, frame: &Bytes) -> Piece {
        if frame.len() < LARGE_FRAME {
            return self.copy_in(frame);
        }
        self.shared += frame.len();
        Piece::Whole(Arc::new(frame.clone()))
    }

    /// Copies bytes in, which must be whole frames.
    pub(super) fn copy_in(&mut self, frames: &[u8]) -> Piece {
        self.write_in(|out| out.extend_from_slice(frames))
    }

    /// Takes in what `write` appends, which must be whole frames.
    pub(super) fn write_in(&mut self, write: impl FnOnce(&mut Vec<u8>)) -> Piece {
        if self.chunks.back().is_none_or(|chunk| chunk.bytes.len() >= CHUNK) {
            let bytes = self.spare.pop().unwrap_or_default();
            self.chunks.push_back(Chunk { bytes, holders: 0 });
        }
        let chunk = self.first.wrapping_add(self.chunks.len() as u32 - 1);
        let bytes = &mut self.chunks.back_mut().expect("one was just made sure of").bytes;
        let start = bytes.len() as u32;
        write(bytes);
        Piece::Range { chunk, start, end: bytes.len() as u32 }
    }

    /// The bytes of a piece.
    pub(super) fn bytes<'a>(&'a self, piece: &'a Piece) -> &'a [u8] {
        match piece {
            Piece::Range { chunk, start, end } => {
                &self.chunks[chunk.wrapping_sub(self.first) as usize].bytes[*start as usize..*end as usize]
            }
            Piece::Whole(bytes) => bytes,
            Piece::Own(bytes) => bytes,
        }
    }

    /// Bytes taken in that somebody may still need.
    pub(super) fn len(&self) -> usize {
        self.chunks.iter().map(|chunk| chunk.bytes.len()).sum::<usize>() + self.shared
    }

    /// Keeps the piece's chunk and all later ones until it is let go; says what to let go. A piece of its
    /// own needs no chunk, but what is owed after it may need any from now on.
    pub(super) fn hold(&mut self, piece: &Piece) -> u32 {
        let number = match piece {
            Piece::Range { chunk, .. } => *chunk,
            Piece::Whole(_) | Piece::Own(_) => {
                self.first.wrapping_add(self.chunks.len().saturating_sub(1) as u32)
            }
        };
        let place = number.wrapping_sub(self.first) as usize;
        if place == self.chunks.len() {
            self.chunks.push_back(Chunk::default());
        }
        self.chunks[place].holders += 1;
        number
    }

    /// Takes a hold back.
    pub(super) fn let_go(&mut self, held: u32) {
        self.chunks[held.wrapping_sub(self.first) as usize].holders -= 1;
    }

    /// Gives up what nobody holds.
    pub(super) fn sweep(&mut self) {
        while self.chunks.front().is_some_and(|chunk| chunk.holders == 0) {
            let Some(Chunk { mut bytes, .. }) = self.chunks.pop_front() else { return };
            self.first = self.first.wrapping_add(1);
            if self.spare.len() < SPARE_MAX {
                bytes.clear();
                bytes.shrink_to(2 * CHUNK);
                self.spare.push(bytes);
            }
        }
        if self.chunks.is_empty() {
            self.shared = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fills at least one chunk, and gives its last piece.
    fn fill(arena: &mut Arena, byte: u8) -> Piece {
        let mut piece = arena.copy_in(&[byte; 1000]);
        for _ in 0..CHUNK / 1000 {
            piece = arena.copy_in(&[byte; 1000]);
        }
        piece
    }

    #[test]
    fn what_is_held_outlives_every_sweep() {
        let mut arena = Arena::default();
        fill(&mut arena, 1);
        let piece = fill(&mut arena, 2);
        let held = arena.hold(&piece);
        let later = fill(&mut arena, 3);
        arena.sweep();
        assert_eq!(arena.bytes(&piece), [2; 1000]);
        assert_eq!(arena.bytes(&later), [3; 1000]);
        arena.let_go(held);
        arena.sweep();
        assert_eq!(arena.len(), 0);
    }

    #[test]
    fn an_earlier_hold_keeps_what_comes_later() {
        let mut arena = Arena::default();
        let first = fill(&mut arena, 1);
        let held = arena.hold(&first);
        let last = fill(&mut arena, 2);
        let held_last = arena.hold(&last);
        arena.let_go(held_last);
        arena.sweep();
        assert_eq!(arena.bytes(&last), [2; 1000]);
        arena.let_go(held);
    }

    #[test]
    fn chunks_are_used_again() {
        let mut arena = Arena::default();
        for round in 0..100 {
            let piece = fill(&mut arena, round);
            let held = arena.hold(&piece);
            arena.let_go(held);
            arena.sweep();
        }
        assert!(arena.spare.len() <= SPARE_MAX && arena.chunks.is_empty());
    }
}
