//! The WebSocket protocol of one peer: bytes in, messages and replies out.
//!
//! tungstenite owns the protocol, without a socket: it reads from the bytes at hand and writes its control
//! frames (pongs, Close) into a buffer that the caller puts into the peer's outbox. Publications never pass
//! through it.

use std::io::{self, Read, Write};

use dunlin_protocol::CloseCode;
use tokio_tungstenite::tungstenite::error::{CapacityError, Error};
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode as TungsteniteCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig, WebSocketContext};
use tokio_tungstenite::tungstenite::{Message as Frame, Utf8Bytes};

use super::scanner::{Scanner, TooManyFragments};
use crate::config::Limits;
use crate::hub::{Invalid, Limit, Message};
use crate::wire::{self, Opcode};

/// What tungstenite reads at a time, and so what an idle peer keeps allocated, in bytes.
const READ_BUFFER: usize = 512;

/// The longest message where no limit is configured, in bytes: tungstenite makes room for a frame as soon as
/// its header declares a length, so there must be some limit.
const MESSAGE_MAX: usize = 64 * 1024 * 1024;

/// Our end of one WebSocket connection, after the upgrade.
pub struct WebSocket {
    context: WebSocketContext,
    scanner: Scanner,
    fragments_max: usize,
    /// Whether the peer broke a rule; what it sends is not looked at any more.
    failed: bool,
}

/// What came of received bytes.
#[derive(Debug)]
pub enum Received {
    /// A whole message.
    Message(Message),
    /// A ping (answered already) or a pong.
    Heard,
    /// The peer's Close, with its code; if it was not the answer to ours, the answer is among the replies.
    Closed(CloseCode),
    /// The peer broke a rule; our Close is among the replies. Nothing more is understood.
    Failed(Failure),
}

/// Which rule a peer broke.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// RFC 6455 itself: 1002, for text that is no UTF-8 1007.
    Invalid(Invalid),
    /// A limit of this node: 1009.
    Limit(Limit),
}

impl Failure {
    /// The code it is closed with.
    pub fn code(self) -> CloseCode {
        match self {
            Self::Invalid(Invalid::Utf8) => CloseCode::INVALID_DATA,
            Self::Invalid(_) => CloseCode::PROTOCOL,
            Self::Limit(_) => CloseCode::TOO_BIG,
        }
    }

    fn reason(self) -> &'static str {
        match self {
            Self::Invalid(Invalid::Utf8) => "text is not UTF-8",
            Self::Invalid(_) => "against RFC 6455",
            Self::Limit(Limit::Fragments) => "too many fragments",
            Self::Limit(_) => "message too big",
        }
    }
}

impl WebSocket {
    /// The server's end.
    pub fn new(limits: &Limits) -> Self {
        let size = Some(limits.message.min(MESSAGE_MAX));
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BUFFER)
            .write_buffer_size(0)
            .max_message_size(size)
            .max_frame_size(size);
        let context = WebSocketContext::new(Role::Server, Some(config));
        Self { context, scanner: Scanner::default(), fragments_max: limits.fragments, failed: false }
    }

    /// Takes received bytes in; hands each result to `each`, in order, and appends control frames to
    /// `replies`. After [`Received::Closed`] or [`Received::Failed`] nothing more comes.
    pub fn receive(&mut self, bytes: &[u8], replies: &mut Vec<u8>, mut each: impl FnMut(Received)) {
        if self.failed {
            return;
        }
        let scanned = self.scanner.scan(bytes, self.fragments_max);
        let within = scanned.as_ref().map_or_else(|TooManyFragments { at }| &bytes[..*at], |()| bytes);
        if self.read_all(within, replies, &mut each) && scanned.is_err() {
            self.fail(Failure::Limit(Limit::Fragments), replies, &mut each);
        }
    }

    /// Whether a message has begun that is not complete.
    pub fn is_within_message(&self) -> bool {
        self.scanner.is_within_message()
    }

    /// Appends our Close to `replies`, unless one was sent.
    pub fn close(&mut self, code: CloseCode, reason: &str, replies: &mut Vec<u8>) {
        let frame = CloseFrame { code: TungsteniteCode::from(code.0), reason: Utf8Bytes::from(reason) };
        let mut pipe = Pipe { input: &mut &[][..], output: replies };
        // Both ways to fail mean that a Close went out already.
        let _ = self.context.close(&mut pipe, Some(frame));
    }

    /// Reads until more bytes are needed; false if the connection is over.
    fn read_all(&mut self, bytes: &[u8], replies: &mut Vec<u8>, each: &mut impl FnMut(Received)) -> bool {
        let mut input = bytes;
        loop {
            let read = self.context.read(&mut Pipe { input: &mut input, output: replies });
            match read {
                Ok(Frame::Text(text)) => each(Received::Message(Message::Text(text.into()))),
                Ok(Frame::Binary(bytes)) => each(Received::Message(Message::Binary(bytes))),
                Ok(Frame::Ping(_) | Frame::Pong(_) | Frame::Frame(_)) => each(Received::Heard),
                Ok(Frame::Close(frame)) => {
                    let code = frame.map_or(CloseCode::NO_STATUS, |frame| CloseCode(frame.code.into()));
                    each(Received::Closed(self.answer_close(code, replies)));
                    return false;
                }
                Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => return true,
                Err(Error::ConnectionClosed | Error::AlreadyClosed) => return false,
                Err(error) => {
                    self.fail(failure_of(&error), replies, each);
                    return false;
                }
            }
        }
    }

    /// Appends the answer to a Close, and says its code: what tungstenite finds wrong is 1002 in both. It
    /// takes 1014 for wrong, which was registered after RFC 6455 (H3).
    fn answer_close(&mut self, code: CloseCode, replies: &mut Vec<u8>) -> CloseCode {
        const BAD_GATEWAY: u16 = 1014;
        let start = replies.len();
        // The answer is written by the next read, which then has nothing more to say.
        let _ = self.context.read(&mut Pipe { input: &mut &[][..], output: replies });
        if self.scanner.close_code() != Some(BAD_GATEWAY) || replies.len() == start {
            return code;
        }
        replies.truncate(start);
        wire::append(replies, Opcode::Close, &BAD_GATEWAY.to_be_bytes());
        CloseCode(BAD_GATEWAY)
    }

    fn fail(&mut self, failure: Failure, replies: &mut Vec<u8>, each: &mut impl FnMut(Received)) {
        self.failed = true;
        self.close(failure.code(), failure.reason(), replies);
        each(Received::Failed(failure));
    }
}

fn failure_of(error: &Error) -> Failure {
    match error {
        Error::Capacity(CapacityError::MessageTooLong { .. }) => Failure::Limit(Limit::Message),
        Error::Utf8(_) => Failure::Invalid(Invalid::Utf8),
        _ => Failure::Invalid(Invalid::Protocol),
    }
}

/// The bytes at hand, as the stream that tungstenite wants.
struct Pipe<'a, 'b> {
    input: &'a mut &'b [u8],
    output: &'a mut Vec<u8>,
}

impl Read for Pipe<'_, '_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.input.is_empty() { Err(io::ErrorKind::WouldBlock.into()) } else { self.input.read(into) }
    }
}

impl Write for Pipe<'_, '_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.output.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
#[path = "websocket_tests.rs"]
mod tests;
