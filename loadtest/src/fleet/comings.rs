//! Peers that come later, come back, or go without a word.

use anyhow::{Context, Result};

use super::{Door, Fleet, Peer, link::Link};
use crate::{clock::Nanos, handshake, target::Target};

/// How a peer goes that doesn't say goodbye.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// The connection is reset, as when a process is killed with unread bytes.
    Reset,
    /// The connection ends behind the first bytes of a frame.
    HalfFrame,
}

impl Fleet {
    /// Numbers for peers that don't come yet: [`Fleet::dial_again`] dials each when its time has come. The
    /// answer is the first number.
    pub fn add_absent(&mut self, target: &Target, peers: u32) -> Peer {
        let first = self.links.len() as Peer;
        self.doors.push(Door { first, target: target.clone(), request: handshake::request(target) });
        self.links.extend((0..peers).map(|_| Link::Gone));
        first
    }

    /// Dials a peer that has no connection: not yet, or no longer.
    pub fn dial_again(&mut self, peer: Peer, due: Nanos) {
        debug_assert!(matches!(self.links[peer as usize], Link::Gone), "peer {peer} is there");
        self.links[peer as usize] = Link::Queued;
        self.dial_at(peer, due);
    }

    /// Ends a peer's connection at once, without a closing handshake; the listener does not hear of it.
    /// False if the peer has none, or is not upgraded yet.
    pub fn cut(&mut self, peer: Peer, cut: Cut) -> Result<bool> {
        let Some(wire) = self.links[peer as usize].wire() else { return Ok(false) };
        if wire.is_dialing() {
            return Ok(false);
        }
        wire.cut(cut).with_context(|| format!("peer {peer} can't be cut"))?;
        self.links[peer as usize] = Link::Gone;
        self.tally.closed += 1;
        Ok(true)
    }
}
