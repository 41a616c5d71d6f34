//! The bare loop's sibling that writes together: the same bytes and the same protocol, but one `send` per
//! peer and wake-up, of everything that was queued for it.
//!
//! All ready sockets of one `epoll_wait` are read and handled first; then each peer that is owed something
//! is written once. That is what corking amounts to in servers that do it, with nothing around it. What a
//! node costs beyond *this* loop is what its features cost once it has much to write together.

use std::os::fd::OwnedFd;

use anyhow::Result;

use self::relay::{Peer, Relay, Writing};

#[path = "loops/relay.rs"]
mod relay;

#[allow(dead_code, reason = "the tests include this file and serve without its command line")]
fn main() -> Result<()> {
    CoalescingLoop::new(relay::listen()?)?.run()
}

/// The relay that writes once per wake-up.
pub(crate) type CoalescingLoop = Relay<Together>;

/// The slots of those who are owed bytes that no `send` has been tried for.
#[derive(Default)]
pub(crate) struct Together {
    dirty: Vec<usize>,
}

impl Writing for Together {
    /// What one wake-up takes in is all that it can write together. One publisher on 1,000 topics fills
    /// 64 KiB before any topic has two publications; uWebSockets reads as much as this.
    const READ_BYTES: usize = 512 * 1024;

    /// A peer whose queue isn't empty is in the list already, or waits for room.
    #[inline]
    fn write(&mut self, peer: &mut Peer, slot: usize, frame: &[u8], _epoll: &OwnedFd) {
        if peer.unsent.is_empty() {
            self.dirty.push(slot);
        }
        peer.unsent.extend_from_slice(frame);
    }

    fn write_out(&mut self, peers: &mut [Option<Peer>], epoll: &OwnedFd) {
        for slot in self.dirty.drain(..) {
            if let Some(peer) = &mut peers[slot] {
                peer.send_queued(epoll, slot);
            }
        }
    }
}
