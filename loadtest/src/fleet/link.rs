//! One peer's socket and the bytes on their way through it.

use std::time::Duration;

use anyhow::Result;
use rustix::{
    event::epoll,
    fd::OwnedFd,
    io::{self, Errno},
    net::{self, AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, sockopt},
};

use super::{Cut, Listener, Next, Peer};
use crate::{
    clock::Nanos,
    frame::{self, Frames, Kind},
    target::Target,
};

/// A peer's connection, if it has one.
#[derive(Debug)]
pub(super) enum Link {
    /// Waits to be dialled.
    Queued,
    /// Has a socket.
    Up(Wire),
    /// Had one.
    Gone,
}

impl Link {
    pub(super) fn wire(&mut self) -> Option<&mut Wire> {
        match self {
            Self::Up(wire) => Some(wire),
            Self::Queued | Self::Gone => None,
        }
    }
}

/// How far a conversation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    Dialing,
    Open,
    /// Our Close is sent, the server's is awaited.
    Leaving,
}

/// What a read brought.
pub(super) enum Received {
    /// The buffer's first bytes are unhandled.
    Bytes(usize),
    Nothing,
    End,
}

/// Whether the connection goes on.
pub(super) enum Fate {
    Up,
    /// The server's close code.
    Over(u16),
}

/// A socket with its unread and unsent bytes.
#[derive(Debug)]
pub(super) struct Wire {
    socket: OwnedFd,
    pub(super) phase: Phase,
    unread: Vec<u8>,
    pub(super) outbox: Vec<u8>,
    awaits_room: bool,
}

/// What one read asks for at least. Large reads are how the client keeps up with a server that
/// coalesces.
const READ_BYTES: usize = 256 * 1024;

impl Wire {
    /// Connects and sends the request as soon as the socket takes it.
    pub(super) fn dial(target: &Target, peer: Peer, request: &[u8], epoll: &OwnedFd) -> io::Result<Self> {
        let family = if target.address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let socket =
            net::socket_with(family, SocketType::STREAM, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC, None)?;
        sockopt::set_tcp_nodelay(&socket, true)?;
        if let Some(source) = target.source_of(peer) {
            net::bind(&socket, &source)?;
        }
        match net::connect(&socket, &target.address) {
            Ok(()) | Err(Errno::INPROGRESS) => {}
            Err(error) => return Err(error),
        }
        epoll::add(epoll, &socket, epoll::EventData::new_u64(peer.into()), epoll::EventFlags::IN)?;
        let mut wire = Self {
            socket,
            phase: Phase::Dialing,
            unread: Vec::new(),
            outbox: request.to_vec(),
            awaits_room: false,
        };
        wire.flush(epoll, peer)?;
        Ok(wire)
    }

    /// The upgrade is done.
    pub(super) fn open(&mut self, next: Next) {
        self.phase = Phase::Open;
        if next == Next::Leave {
            self.leave();
        }
    }

    /// Queues a Close frame, once.
    pub(super) fn leave(&mut self) {
        if self.phase == Phase::Open {
            frame::push_close(&mut self.outbox);
            self.phase = Phase::Leaving;
        }
    }

    pub(super) fn is_dialing(&self) -> bool {
        self.phase == Phase::Dialing
    }

    /// Prepares the socket for ending without a goodbye; dropping it does so.
    pub(super) fn cut(&self, cut: Cut) -> io::Result<()> {
        match cut {
            Cut::Reset => sockopt::set_socket_linger(&self.socket, Some(Duration::ZERO)),
            Cut::HalfFrame => {
                let mut whole = Vec::new();
                frame::push_text(&mut whole, br#"{"type":"publish","topic":"unfinished""#);
                let half = &whole[..whole.len() / 2];
                match net::send(&self.socket, half, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
                    // A socket that takes nothing more, or is gone already, ends all the same.
                    Ok(_) | Err(Errno::AGAIN | Errno::PIPE | Errno::CONNRESET) => Ok(()),
                    Err(error) => Err(error),
                }
            }
        }
    }

    /// Sends what the socket takes and asks to be woken for the rest. A connection that is already reset
    /// shows at its next read.
    pub(super) fn flush(&mut self, epoll: &OwnedFd, peer: Peer) -> io::Result<()> {
        while !self.outbox.is_empty() {
            match net::send(&self.socket, &self.outbox, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
                Ok(sent) => drop(self.outbox.drain(..sent)),
                Err(Errno::AGAIN) => return self.await_room(epoll, peer, true),
                Err(Errno::PIPE | Errno::CONNRESET) => self.outbox.clear(),
                Err(error) => return Err(error),
            }
        }
        self.await_room(epoll, peer, false)
    }

    fn await_room(&mut self, epoll: &OwnedFd, peer: Peer, wanted: bool) -> io::Result<()> {
        if self.awaits_room == wanted {
            return Ok(());
        }
        self.awaits_room = wanted;
        let flags =
            if wanted { epoll::EventFlags::IN | epoll::EventFlags::OUT } else { epoll::EventFlags::IN };
        epoll::modify(epoll, &self.socket, epoll::EventData::new_u64(peer.into()), flags)
    }

    /// Reads once into the shared buffer, behind what was left unread last time.
    #[inline]
    pub(super) fn receive(&mut self, intake: &mut Vec<u8>) -> io::Result<Received> {
        let held = self.unread.len();
        if intake.len() < held + READ_BYTES {
            intake.resize(held + READ_BYTES, 0);
        }
        let length = match net::recv(&self.socket, &mut intake[held..], RecvFlags::DONTWAIT) {
            Ok((0, _)) => return Ok(Received::End),
            Ok((length, _)) => length,
            Err(Errno::AGAIN | Errno::INTR) => return Ok(Received::Nothing),
            Err(error) => return Err(error),
        };
        if held > 0 {
            intake[..held].copy_from_slice(&self.unread);
            self.unread.clear();
        }
        Ok(Received::Bytes(held + length))
    }

    /// Keeps bytes until more have come.
    pub(super) fn keep(&mut self, bytes: &[u8]) {
        self.unread.extend_from_slice(bytes);
    }

    /// Hands all whole frames on and keeps the start of the next.
    #[inline]
    pub(super) fn read_frames(
        &mut self,
        bytes: &[u8],
        peer: Peer,
        now: Nanos,
        listener: &mut impl Listener,
    ) -> Result<Fate> {
        let mut frames = Frames::new(bytes);
        while let Some(frame) = frames.next_frame()? {
            match frame.kind {
                Kind::Message => {
                    if listener.message(peer, now, frame.body, &mut self.outbox) == Next::Leave {
                        self.leave();
                    }
                }
                Kind::Pong => {}
                Kind::Ping => frame::push_pong(&mut self.outbox, frame.body),
                Kind::Close => return Ok(self.end(frame::close_code(frame.body))),
            }
        }
        self.keep(frames.rest());
        Ok(Fate::Up)
    }

    /// The server's Close came: answers it unless it is an answer itself.
    fn end(&mut self, code: u16) -> Fate {
        self.leave();
        // The connection is over either way; a server that doesn't take the answer has gone already.
        let _ = net::send(&self.socket, &self.outbox, SendFlags::DONTWAIT | SendFlags::NOSIGNAL);
        Fate::Over(code)
    }
}
