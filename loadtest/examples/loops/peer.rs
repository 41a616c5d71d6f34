//! One peer of the relay: its socket, and the bytes on their way through it.

use std::os::fd::OwnedFd;

use rustix::{
    event::epoll::{self, EventData, EventFlags},
    io::Errno,
    net::{self, SendFlags},
};

use super::{HEAD_BYTES, Over};

/// A connection, with what it has said and is owed.
pub(crate) struct Peer {
    pub(super) socket: OwnedFd,
    pub(super) is_upgraded: bool,
    pub(super) unread: Vec<u8>,
    /// What the socket is owed. It keeps its capacity.
    pub(crate) unsent: Vec<u8>,
    pub(super) topics: Vec<Box<[u8]>>,
}

impl Peer {
    pub(super) fn new(socket: OwnedFd) -> Self {
        Self { socket, is_upgraded: false, unread: Vec::new(), unsent: Vec::new(), topics: Vec::new() }
    }

    /// One `send`; what the socket doesn't take waits for room. A dead peer shows at its next read.
    #[inline]
    #[allow(dead_code, reason = "one of the two loops writes this way")]
    pub(crate) fn send(&mut self, frame: &[u8], epoll: &OwnedFd, slot: usize) {
        if !self.unsent.is_empty() {
            self.unsent.extend_from_slice(frame);
            return;
        }
        let sent = match net::send(&self.socket, frame, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
            Ok(sent) => sent,
            Err(Errno::AGAIN) => 0,
            Err(_) => return,
        };
        if sent < frame.len() {
            self.unsent.extend_from_slice(&frame[sent..]);
            self.watch(epoll, slot, EventFlags::IN | EventFlags::OUT);
        }
    }

    /// One `send` of everything that was queued; the rest waits for room.
    #[allow(dead_code, reason = "the other loop writes this way")]
    pub(crate) fn send_queued(&mut self, epoll: &OwnedFd, slot: usize) {
        self.send_unsent();
        if !self.unsent.is_empty() {
            self.watch(epoll, slot, EventFlags::IN | EventFlags::OUT);
        }
    }

    /// There is room again.
    pub(super) fn flush(&mut self, epoll: &OwnedFd, slot: usize) {
        self.send_unsent();
        if self.unsent.is_empty() {
            self.watch(epoll, slot, EventFlags::IN);
        }
    }

    fn send_unsent(&mut self) {
        match net::send(&self.socket, &self.unsent, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
            Ok(sent) => drop(self.unsent.drain(..sent)),
            Err(Errno::AGAIN) => {}
            Err(_) => self.unsent.clear(),
        }
    }

    /// Sends what a peer is still owed when it is done, such as the answer to its Close.
    pub(super) fn send_last(&mut self) {
        if !self.unsent.is_empty() {
            self.send_unsent();
        }
    }

    /// Where the request's head ends; it is kept until it is whole.
    pub(super) fn head_end(&mut self, bytes: &[u8]) -> Result<Option<usize>, Over> {
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            return Ok(Some(end + 4));
        }
        self.unread.extend_from_slice(bytes);
        if bytes.len() < HEAD_BYTES { Ok(None) } else { Err(Over) }
    }

    fn watch(&self, epoll: &OwnedFd, slot: usize, flags: EventFlags) {
        epoll::modify(epoll, &self.socket, EventData::new_u64(slot as u64), flags)
            .expect("the socket is registered as long as its peer lives");
    }
}
