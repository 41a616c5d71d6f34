//! Bytes owed to a peer.
//!
//! A publication's frame is copied once into the shard's arena; an outbox only notes which range of it is
//! owed. Ranges that touch grow together, so a peer that hears one topic is owed a single range however many
//! publications came since its last flush, and is flushed by one write without any copying.
//!
//! **Invariant:** an outbox that waits for no flush names no range: what a socket did not take is copied out
//! by [`Outbox::settle`]. Every piece starts at a frame's boundary.

use std::io::IoSlice;

use smallvec::SmallVec;

use super::arena::{Arena, LARGE_FRAME, Piece};
use super::effect::PeerKey;
use crate::publication::Dialect;
use crate::wire;

/// What one write gathers of small pieces, in bytes.
const GATHER_MAX: usize = 64 * 1024;
/// A tail of this size takes nothing more, in bytes: a growing one is copied now and then.
const TAIL_MAX: usize = 64 * 1024;
/// Pieces that an outbox holds without an allocation: what a peer of a few topics hears between two flushes.
const PIECES_INLINE: usize = 4;
/// Slices one vectored write is given.
const SLICES_MAX: usize = 16;

/// Bytes owed to one peer, in order.
#[derive(Debug)]
pub struct Outbox {
    pieces: SmallVec<[Piece; PIECES_INLINE]>,
    /// Of the first piece, how much the socket has taken.
    written: usize,
    owed: usize,
    /// What came since its last flush.
    fresh: u32,
    /// What the peer understands; kept here because a delivery looks at nothing else of a peer.
    pub dialect: Dialect,
    /// Whether the socket took no more at the last write.
    pub blocked: bool,
    /// Whether its peer lacks something that it is to get once this is empty.
    pub behind: bool,
    /// While it waits for a flush: the chunk of the arena it holds.
    pub held: Option<u32>,
    /// Its peer's serial; kept here for the same reason.
    serial: u32,
}

/// What the next write to the socket should be.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "it lives on the stack, for one write")]
pub enum Write<'a> {
    /// One run of bytes.
    Contiguous(&'a [u8]),
    /// Several, at least one of them large.
    Vectored(SmallVec<[IoSlice<'a>; SLICES_MAX]>),
}

impl Outbox {
    /// An empty outbox of the peer with this serial. It allocates nothing as long as each flush finds few runs
    /// of bytes.
    pub fn new(dialect: Dialect, serial: u32) -> Self {
        let pieces = SmallVec::new();
        Self {
            pieces,
            written: 0,
            owed: 0,
            fresh: 0,
            dialect,
            blocked: false,
            behind: false,
            held: None,
            serial,
        }
    }

    /// The key of the peer at this index, whose outbox it is.
    pub fn key(&self, index: usize) -> PeerKey {
        PeerKey { index: index as u32, serial: self.serial }
    }

    /// Bytes owed.
    pub fn owed(&self) -> usize {
        self.owed
    }

    /// Bytes that came since its last flush.
    pub fn fresh(&self) -> usize {
        self.fresh as usize
    }

    /// Appends a piece.
    pub fn push(&mut self, piece: &Piece) {
        self.owed += piece.len();
        self.fresh = self.fresh.saturating_add(piece.len() as u32);
        if let (Some(Piece::Range { chunk, end, .. }), Piece::Range { chunk: next, start, end: until }) =
            (self.pieces.last_mut(), piece)
            && (*chunk, *end) == (*next, *start)
        {
            *end = *until;
            return;
        }
        self.pieces.push(piece.clone());
    }

    /// The bytes to write next; none when nothing is owed. `gather` is room to put small pieces together.
    pub fn next_write<'a>(&'a self, arena: &'a Arena, gather: &'a mut Vec<u8>) -> Option<Write<'a>> {
        let (first, rest) = self.pieces.split_first()?;
        let first = &arena.bytes(first)[self.written..];
        if rest.is_empty() {
            return Some(Write::Contiguous(first));
        }
        if self.pieces.iter().take(SLICES_MAX).any(|piece| piece.len() >= LARGE_FRAME) {
            let rest = rest.iter().map(|piece| arena.bytes(piece));
            let slices = std::iter::once(first).chain(rest).take(SLICES_MAX);
            return Some(Write::Vectored(slices.map(IoSlice::new).collect()));
        }
        gather.clear();
        gather.extend_from_slice(first);
        for piece in rest {
            if gather.len() + piece.len() > GATHER_MAX {
                break;
            }
            gather.extend_from_slice(arena.bytes(piece));
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

    /// Copies out what is still owed of the arena, so that the arena can be let go. What came before was
    /// copied out before; what is new is appended to it, so that a slow peer costs what it is sent.
    pub fn settle(&mut self, arena: &Arena) {
        self.fresh = 0;
        let is_range = |piece: &Piece| matches!(piece, Piece::Range { .. });
        let Some(first) = self.pieces.iter().position(is_range) else { return };
        let unsettled: SmallVec<[Piece; 4]> = self.pieces.drain(first..).collect();
        for piece in unsettled {
            match (self.pieces.last_mut(), piece) {
                (Some(Piece::Own(tail)), piece @ Piece::Range { .. }) if tail.len() < TAIL_MAX => {
                    tail.extend_from_slice(arena.bytes(&piece));
                }
                (_, piece @ Piece::Range { .. }) => {
                    self.pieces.push(Piece::Own(Box::new(arena.bytes(&piece).to_vec())));
                }
                (_, piece) => self.pieces.push(piece),
            }
        }
    }

    /// Drops all that is owed but the rest of a frame that is already under way; says how many bytes went.
    pub fn cut(&mut self, arena: &Arena) -> usize {
        let before = self.owed;
        let rest = self.pieces.first().map(|first| {
            let bytes = arena.bytes(first);
            bytes[self.written..boundary_from(bytes, self.written)].to_vec()
        });
        self.pieces.clear();
        self.written = 0;
        self.owed = 0;
        if let Some(rest) = rest.filter(|rest| !rest.is_empty()) {
            self.owed = rest.len();
            self.pieces.push(Piece::Own(Box::new(rest)));
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
