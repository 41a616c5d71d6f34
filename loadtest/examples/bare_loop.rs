//! The yardstick: the least a single-threaded WebSocket relay can do.
//!
//! One epoll, one `send` per delivery of a frame built once, nothing coalesced, no policy, no JSON
//! parser. What a node costs beyond this loop is what its features cost. `loops/relay.rs` is the loop; it
//! says what it understands.

use std::os::fd::OwnedFd;

use anyhow::Result;

use self::relay::{Peer, Relay, Writing};

#[path = "loops/relay.rs"]
mod relay;

#[allow(dead_code, reason = "the tests include this file and serve without its command line")]
fn main() -> Result<()> {
    BareLoop::new(relay::listen()?)?.run()
}

/// The relay that writes every delivery when it is made.
pub(crate) type BareLoop = Relay<AtOnce>;

/// One `send` for each delivery.
#[derive(Default)]
pub(crate) struct AtOnce;

impl Writing for AtOnce {
    const READ_BYTES: usize = 64 * 1024;

    #[inline]
    fn write(&mut self, peer: &mut Peer, slot: usize, frame: &[u8], epoll: &OwnedFd) {
        peer.send(frame, epoll, slot);
    }

    fn write_out(&mut self, _peers: &mut [Option<Peer>], _epoll: &OwnedFd) {}
}
