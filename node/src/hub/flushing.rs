//! Outboxes onto sockets, first come, first served, and what happens to peers that are too slow.

use dunlin_protocol::CloseCode;

use super::Hub;
use super::arena::Piece;
use super::effect::{Effect, PeerKey};
use super::moment::Moment;
use super::outbox::Write;
use super::peer::{Peer, Stage};
use super::tally::{Limit, Slow as Action};
use crate::config::Slow;

/// What became of a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wrote {
    /// The socket took so many bytes, at least one.
    Bytes(usize),
    /// It takes no more now; [`Hub::flush_one`] is called when it does.
    Blocked,
}

/// Deliveries of one publication that are not all written yet.
#[derive(Debug)]
pub(super) struct Delivered {
    published_us: u64,
    count: u64,
    /// They are when so many outboxes have been flushed.
    flushed: u64,
}

/// Outboxes that one turn flushes, one or two milliseconds of writing. Then others have their say, and what they
/// publish joins the outboxes that still wait: under load every peer is written once a round with all that
/// the round brought.
const FLUSHED_AT_ONCE: usize = 256;
/// When the arena holds so many bytes, or one outbox its part, all is flushed before more is taken in.
const ARENA_MAX: usize = 4 * 1024 * 1024;
/// The part of what an outbox may hold that is owed at most without a flush: else the quickest reader would
/// be taken for a slow one.
const FRESH_PART: usize = 4;

impl Hub {
    /// Whether outboxes should be flushed before more is taken in.
    pub fn is_full(&self) -> bool {
        self.outbox_full || self.arena.len() >= ARENA_MAX
    }

    /// Owes a piece to a peer.
    #[inline]
    pub(super) fn owe(&mut self, index: usize, piece: &Piece) {
        let outbox = &mut self.outboxes[index];
        outbox.push(piece);
        self.outbox_full |= outbox.fresh() > self.settings.limits.outbox / FRESH_PART;
        self.owed += piece.len();
        if outbox.held.is_none() {
            outbox.held = Some(self.arena.hold(piece));
            self.dirty.push_back(index as u32);
            self.dirtied += 1;
        }
    }

    /// Whether one more piece is more than a peer may be owed. One alone never is: what came in as a message
    /// may be a little more than that on its way out.
    #[inline]
    pub(super) fn would_overflow(&self, index: usize, piece: &Piece) -> bool {
        !self.has_room(index, piece.len())
    }

    /// Whether a peer may be owed so many bytes more.
    #[inline]
    pub(super) fn has_room(&self, index: usize, bytes: usize) -> bool {
        let owed = self.outboxes[index].owed();
        owed == 0 || owed + bytes <= self.settings.limits.outbox
    }

    /// Notes deliveries that the outboxes now owe.
    pub(super) fn note_delivered(&mut self, published_us: u64, count: u64) {
        if count > 0 {
            self.tally.deliveries += count;
            self.delivered.push_back(Delivered { published_us, count, flushed: self.dirtied });
        }
    }

    /// Writes the outboxes that have waited longest, each as far as its socket goes.
    pub fn flush(&mut self, mut write: impl FnMut(PeerKey, &Write<'_>) -> Wrote) {
        self.hand_out_all_staged();
        let is_crowded = self.owed > self.settings.outbox_total;
        let most = if self.is_full() || is_crowded { usize::MAX } else { FLUSHED_AT_ONCE };
        for _ in 0..most {
            let Some(index) = self.dirty.pop_front() else { break };
            self.flushed += 1;
            // An entry of a peer that left is stale.
            if self.outboxes[index as usize].held.is_some() {
                self.write_out(index as usize, &mut write);
                self.settle(index as usize);
            }
        }
        // Only what no socket takes counts as slowness, so only when all have been tried.
        self.crowded = self.dirty.is_empty() && self.owed > self.settings.outbox_total;
        self.outbox_full &= !self.dirty.is_empty();
        self.arena.sweep();
        self.catch_up_emptied();
        while let Some(delivered) = self.delivered.pop_front_if(|each| each.flushed <= self.flushed) {
            self.tally.delivered.push((delivered.published_us, delivered.count));
        }
    }

    /// A socket that was blocked takes bytes again.
    pub fn flush_one(&mut self, key: PeerKey, mut write: impl FnMut(PeerKey, &Write<'_>) -> Wrote) {
        if let Some(index) = self.peer(key) {
            self.outboxes[index].blocked = false;
            self.write_out(index, &mut write);
            self.catch_up_emptied();
        }
    }

    fn write_out(&mut self, index: usize, write: &mut impl FnMut(PeerKey, &Write<'_>) -> Wrote) {
        let outbox = &mut self.outboxes[index];
        let key = outbox.key(index);
        while !outbox.blocked {
            let Some(next) = outbox.next_write(&self.arena, &mut self.gather) else {
                if outbox.behind {
                    self.emptied.push(index as u32);
                }
                return;
            };
            let wrote = write(key, &next);
            drop(next);
            let Wrote::Bytes(count) = wrote else {
                outbox.blocked = true;
                return;
            };
            outbox.advance(count);
            self.owed -= count;
            self.tally.bytes_sent += count as u64;
        }
    }

    /// The outbox lets the arena go; what its socket did not take becomes its own.
    pub(super) fn settle(&mut self, index: usize) {
        let outbox = &mut self.outboxes[index];
        outbox.settle(&self.arena);
        if let Some(held) = outbox.held.take() {
            self.arena.let_go(held);
        }
    }

    /// Bytes owed to one peer.
    pub fn owed_to(&self, key: PeerKey) -> usize {
        self.peer(key).map_or(0, |index| self.outboxes[index].owed())
    }

    /// A peer does not take what it is owed (H6).
    #[cold]
    pub(super) fn fall_behind(&mut self, index: usize, slow: Slow) {
        self.tally.limited(Limit::Outbox);
        match slow {
            Slow::Drop => self.tally.slow(Action::Drop),
            Slow::Gap => self.tally.slow(Action::Gap),
            Slow::Coalesce => self.tally.slow(Action::Coalesce),
            Slow::Close => self.overflowed.push(index as u32),
        }
    }

    /// Closes the peers whose outboxes overflowed, and the slowest while the shard owes too much after a
    /// flush: what has only just come is nobody's slowness. Comes before the effects are taken.
    pub fn shed(&mut self, now: Moment) {
        for index in std::mem::take(&mut self.overflowed) {
            self.close_slow(now, index as usize);
        }
        if std::mem::take(&mut self.crowded) {
            self.shed_slowest(now);
        }
    }

    /// Peers that close already have nothing to lose, then those go that are owed most.
    fn shed_slowest(&mut self, now: Moment) {
        let is_closing = |peer: &Peer| matches!(peer.stage, Stage::Closing(_));
        let owed = |(index, peer): (usize, &Peer)| (is_closing(peer), self.outboxes[index].owed(), index);
        let mut slowest: Vec<_> = self.peers.iter().map(owed).filter(|(_, owed, _)| *owed > 0).collect();
        slowest.sort_unstable();
        while self.owed > self.settings.outbox_total
            && let Some((is_closing, _, index)) = slowest.pop()
        {
            self.tally.limited(Limit::OutboxTotal);
            if is_closing {
                self.owed -= self.outboxes[index].cut(&self.arena);
                let key = self.peers[index].key(index);
                self.effects.push(Effect::Terminate(key));
            } else {
                self.close_slow(now, index);
            }
        }
    }

    /// The peer is sent no more than the rest of the frame under way, and a Close.
    fn close_slow(&mut self, now: Moment, index: usize) {
        let Some(peer) = self.peers.get(index).filter(|peer| !matches!(peer.stage, Stage::Closing(_))) else {
            return;
        };
        let key = peer.key(index);
        self.owed -= self.outboxes[index].cut(&self.arena);
        self.tally.slow(Action::Close);
        self.close(now, key, CloseCode::OVERLOADED, "too slow: its outbox is full");
    }
}
