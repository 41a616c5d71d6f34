//! One peer's connection: its socket, its end of the WebSocket protocol, and the task that reads.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use dunlin_protocol::CloseCode;
use tokio::io::{AsyncRead as _, AsyncWrite as _, ReadBuf};

use super::Shard;
use super::core::Core;
use crate::admission::Permit;
use crate::hub::{Hub, Moment, PeerKey, Write, Wrote};
use crate::transport::socket::Socket;
use crate::transport::websocket::{Failure, Received, WebSocket};

/// Reads of one peer before others have their turn.
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
            _permit: permit,
        }
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
        let socket = Pin::new(&mut self.socket);
        let written = match write {
            Write::Contiguous(bytes) => socket.poll_write(&mut context, bytes),
            Write::Vectored(slices) => socket.poll_write_vectored(&mut context, slices),
        };
        match written {
            Poll::Ready(Ok(count)) if count > 0 => {
                self.blocked = Pin::new(&mut self.socket).poll_flush(&mut context).is_pending();
                return Wrote::Bytes(count);
            }
            Poll::Ready(_) => self.abandon(),
            Poll::Pending => self.blocked = true,
        }
        Wrote::Blocked
    }

    /// Tries again what the socket did not take; its task is polled when it may do so.
    fn unblock(&mut self, hub: &mut Hub, context: &mut Context<'_>) {
        if self.blocked && Pin::new(&mut self.socket).poll_flush(context).is_ready() {
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

    fn step(&mut self, hub: &mut Hub, now: Moment, room: &mut Room<'_>, context: &mut Context<'_>) -> Step {
        match self.phase {
            Phase::Reading if !hub.may_be_read(self.key) => Step::Wait,
            Phase::Reading => self.read(hub, now, room, context),
            Phase::Discarding => self.discard(hub, room, context),
            Phase::Finishing if hub.owed_to(self.key) > 0 => Step::Wait,
            Phase::Finishing => match Pin::new(&mut self.socket).poll_shutdown(context) {
                Poll::Ready(_) => Step::Over,
                Poll::Pending => Step::Wait,
            },
            Phase::Lost => Step::Over,
        }
    }

    fn read(&mut self, hub: &mut Hub, now: Moment, room: &mut Room<'_>, context: &mut Context<'_>) -> Step {
        if !self.early.is_empty() {
            let early = std::mem::take(&mut self.early);
            self.take_in(hub, now, &early, room.replies);
            return Step::Again;
        }
        let mut buffer = ReadBuf::new(room.scratch);
        match Pin::new(&mut self.socket).poll_read(context, &mut buffer) {
            Poll::Pending => Step::Wait,
            Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {
                self.take_in(hub, now, buffer.filled(), room.replies);
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

/// Buffers that the peers of a shard share.
struct Room<'a> {
    scratch: &'a mut [u8],
    replies: &'a mut Vec<u8>,
}

/// The task of one peer: reads while the peer is open, sees to its end.
pub(super) struct Reader {
    pub(super) shard: Rc<Shard>,
    pub(super) key: PeerKey,
}

impl Future for Reader {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let core = &mut *self.shard.core.borrow_mut();
        let now = self.shard.common.clock.now();
        let polled = core.poll_connection(self.key, now, context);
        if polled.is_ready() {
            core.connections[self.key.index as usize] = None;
            core.hub.remove(now, self.key);
        }
        if core.hub.has_work() || !core.ending.is_empty() {
            self.shard.notify.notify_one();
        }
        polled
    }
}

impl Core {
    /// Adds a peer's connection.
    pub(super) fn connect(&mut self, connection: Connection) {
        let index = connection.key.index as usize;
        if index >= self.connections.len() {
            self.connections.resize_with(index + 1, || None);
        }
        self.connections[index] = Some(Box::new(connection));
    }

    /// Serves one peer; ready when its connection is over.
    fn poll_connection(&mut self, key: PeerKey, now: Moment, context: &mut Context<'_>) -> Poll<()> {
        let saturated = self.is_saturated();
        let Some(Some(connection)) = self.connections.get_mut(key.index as usize) else {
            return Poll::Ready(());
        };
        connection.keep_waker(context);
        connection.unblock(&mut self.hub, context);
        let before = connection.phase;
        let mut room = Room { scratch: &mut self.scratch, replies: &mut self.replies };
        let mut step = Step::Again;
        let steps = if before == Phase::Reading && saturated { 0 } else { STEPS_AT_ONCE };
        for _ in 0..steps {
            step = connection.step(&mut self.hub, now, &mut room, context);
            if !matches!(step, Step::Again) {
                break;
            }
        }
        if before == Phase::Reading && connection.phase != Phase::Reading {
            self.ending.push(key);
        }
        match step {
            Step::Over => return Poll::Ready(()),
            Step::Wait => {}
            Step::Again => context.waker().wake_by_ref(),
        }
        Poll::Pending
    }
}
