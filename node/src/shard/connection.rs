//! One peer's connection: its socket and its end of the WebSocket protocol.

use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use dunlin_protocol::CloseCode;
use tokio::io::{AsyncRead as _, AsyncWrite as _, ReadBuf};

use crate::admission::Permit;
use crate::hub::{Hub, Moment, PeerKey, Write, Wrote};
use crate::transport::socket::Socket;
use crate::transport::websocket::{Failure, Received, WebSocket};

/// What a peer's first read takes at most, and the first after a pause, in bytes. One read is the work that a
/// peer can make before its limits are asked.
const APPETITE_MIN: u32 = 4 * 1024;
/// What any read takes at most, in bytes.
pub(super) const APPETITE_MAX: u32 = 64 * 1024;
/// Steps of one peer before others have their turn.
const STEPS_AT_ONCE: usize = 4;

/// A peer's connection, owned by its shard.
pub(super) struct Connection {
    key: PeerKey,
    socket: Socket,
    websocket: WebSocket,
    phase: Phase,
    /// Bytes that came with the upgrade's request.
    early: Bytes,
    /// Wakes the task that reads; it is what a blocked write waits with, too.
    waker: Option<Waker>,
    /// Whether the socket took no more at the last write.
    blocked: bool,
    /// How much the next read takes, in bytes: more after each that was full, little after a pause.
    appetite: u32,
    _permit: Permit,
}

/// How far the connection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Messages are read, or the answer to our Close is awaited.
    Reading,
    /// The peer broke a rule: our Close goes out, and what still comes is thrown away, because closing a
    /// socket with unread bytes would reset the connection and lose the Close.
    Discarding,
    /// Both Closes are said: the outbox empties, then the socket is closed.
    Finishing,
    /// The socket is of no use any more.
    Lost,
}

impl Connection {
    pub(super) fn new(
        key: PeerKey,
        socket: Socket,
        websocket: WebSocket,
        early: Bytes,
        permit: Permit,
    ) -> Self {
        Self {
            key,
            socket,
            websocket,
            phase: Phase::Reading,
            early,
            waker: None,
            blocked: false,
            appetite: APPETITE_MIN,
            _permit: permit,
        }
    }

    /// Whose connection it is.
    pub(super) fn key(&self) -> PeerKey {
        self.key
    }

    /// Whether nothing is read from it as messages any more.
    pub(super) fn is_ending(&self) -> bool {
        self.phase != Phase::Reading
    }

    /// Reads what there is, unless it is not to be read now, and writes what was blocked; ready when the
    /// connection is over.
    pub(super) fn poll(&mut self, hub: &mut Hub, room: &mut Room<'_>, context: &mut Context<'_>) -> Poll<()> {
        self.keep_waker(context);
        self.unblock(hub, context);
        for _ in 0..STEPS_AT_ONCE {
            if room.reading == Reading::PutOff && self.phase == Phase::Reading {
                break;
            }
            match self.step(hub, room, context) {
                Step::Again => {}
                Step::Wait => return Poll::Pending,
                Step::Over => return Poll::Ready(()),
            }
        }
        context.waker().wake_by_ref();
        Poll::Pending
    }

    /// Puts our Close into `replies`.
    pub(super) fn close(&mut self, code: CloseCode, reason: &str, replies: &mut Vec<u8>) {
        self.websocket.close(code, reason, replies);
        self.wake();
    }

    /// Ends the connection at once.
    pub(super) fn abandon(&mut self) {
        self.phase = Phase::Lost;
        self.wake();
    }

    pub(super) fn wake(&mut self) {
        if let Some(waker) = &self.waker {
            waker.wake_by_ref();
        }
    }

    /// One write to the socket.
    pub(super) fn write(&mut self, write: &Write<'_>) -> Wrote {
        if self.blocked || self.phase == Phase::Lost {
            return Wrote::Blocked;
        }
        let mut context = Context::from_waker(self.waker.as_ref().unwrap_or(Waker::noop()));
        let written = match write {
            Write::Contiguous(bytes) => self.socket.write(&mut context, bytes),
            Write::Vectored(slices) => Pin::new(&mut self.socket).poll_write_vectored(&mut context, slices),
        };
        match written {
            Poll::Ready(Ok(count)) if count > 0 => {
                self.blocked = self.socket.flush(&mut context).is_pending();
                return Wrote::Bytes(count);
            }
            Poll::Ready(_) => self.abandon(),
            Poll::Pending => self.blocked = true,
        }
        Wrote::Blocked
    }

    /// Tries again what the socket did not take; its task is polled when it may do so.
    fn unblock(&mut self, hub: &mut Hub, context: &mut Context<'_>) {
        if self.blocked && self.socket.flush(context).is_ready() {
            self.blocked = false;
            let key = self.key;
            hub.flush_one(key, |_, write| self.write(write));
        }
    }

    fn keep_waker(&mut self, context: &Context<'_>) {
        if !self.waker.as_ref().is_some_and(|waker| waker.will_wake(context.waker())) {
            self.waker = Some(context.waker().clone());
        }
    }

    fn step(&mut self, hub: &mut Hub, room: &mut Room<'_>, context: &mut Context<'_>) -> Step {
        match self.phase {
            Phase::Reading if !hub.may_be_read(self.key) => {
                self.appetite = APPETITE_MIN;
                Step::Wait
            }
            Phase::Reading => self.read(hub, room, context),
            Phase::Discarding => self.discard(hub, room, context),
            Phase::Finishing if hub.owed_to(self.key) > 0 => Step::Wait,
            Phase::Finishing => match Pin::new(&mut self.socket).poll_shutdown(context) {
                Poll::Ready(_) => Step::Over,
                Poll::Pending => Step::Wait,
            },
            Phase::Lost => Step::Over,
        }
    }

    fn read(&mut self, hub: &mut Hub, room: &mut Room<'_>, context: &mut Context<'_>) -> Step {
        if !self.early.is_empty() {
            let early = std::mem::take(&mut self.early);
            self.take_in(hub, room.now, &early, room.replies);
            return Step::Again;
        }
        let appetite = (self.appetite as usize).min(room.scratch.len());
        let mut buffer = ReadBuf::new(&mut room.scratch[..appetite]);
        match Pin::new(&mut self.socket).poll_read(context, &mut buffer) {
            Poll::Pending => Step::Wait,
            Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {
                if buffer.remaining() == 0 {
                    self.appetite = (self.appetite * 2).min(APPETITE_MAX);
                }
                self.take_in(hub, room.now, buffer.filled(), room.replies);
                Step::Again
            }
            Poll::Ready(_) => Step::Over,
        }
    }

    /// Hands what the bytes say to the hub.
    fn take_in(&mut self, hub: &mut Hub, now: Moment, bytes: &[u8], replies: &mut Vec<u8>) {
        let (key, phase) = (self.key, &mut self.phase);
        replies.clear();
        hub.note_received(bytes.len());
        self.websocket.receive(bytes, replies, |received| match received {
            Received::Message(message) => hub.receive(now, key, message),
            Received::Heard => hub.heard(now, key),
            Received::Closed(code) => {
                hub.closed(now, key, code);
                *phase = Phase::Finishing;
            }
            Received::Failed(failure) => {
                match failure {
                    Failure::Invalid(reason) => hub.note_invalid(reason),
                    Failure::Limit(limit) => hub.note_limited(limit),
                }
                hub.closed(now, key, failure.code());
                *phase = Phase::Discarding;
            }
        });
        hub.send_control(key, replies);
        hub.unfinished(now, key, self.websocket.is_within_message());
    }

    fn discard(&mut self, hub: &Hub, room: &mut Room<'_>, context: &mut Context<'_>) -> Step {
        if hub.owed_to(self.key) == 0 && Pin::new(&mut self.socket).poll_shutdown(context).is_pending() {
            return Step::Wait;
        }
        let mut buffer = ReadBuf::new(room.scratch);
        match Pin::new(&mut self.socket).poll_read(context, &mut buffer) {
            Poll::Pending => Step::Wait,
            Poll::Ready(Ok(())) if !buffer.filled().is_empty() => Step::Again,
            Poll::Ready(_) => Step::Over,
        }
    }
}

/// What became of one step of a connection.
enum Step {
    /// There may be more to do.
    Again,
    /// The task will be woken.
    Wait,
    /// The connection is over.
    Over,
}

/// Whether peers are read now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reading {
    Allowed,
    /// The shard has more to pass on than it should.
    PutOff,
}

/// What the connections of a shard share while one of them is served.
pub(super) struct Room<'a> {
    pub(super) now: Moment,
    pub(super) reading: Reading,
    /// To read into.
    pub(super) scratch: &'a mut [u8],
    /// For control frames on their way to an outbox.
    pub(super) replies: &'a mut Vec<u8>,
}
