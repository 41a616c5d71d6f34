//! RESP3: commands out, replies and pushes in. The codec is `redis-protocol`'s.

use bytes::{Bytes, BytesMut};
use redis_protocol::resp3::decode::complete::decode_range;
use redis_protocol::resp3::types::RangeFrame;

/// One thing Redis said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Said {
    /// The answer to the oldest command that has none.
    Reply(Reply),
    /// A publication on a channel.
    Message {
        /// Where.
        channel: Bytes,
        /// What.
        payload: Bytes,
    },
    /// A subscription took effect.
    Subscribed(Bytes),
    /// A subscription ended.
    Unsubscribed(Bytes),
    /// A push this node has no use for.
    Other,
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// A number.
    Number(i64),
    /// A text of any kind.
    Text(Bytes),
    /// Several answers; of a map, keys and values in turns.
    List(Vec<Reply>),
    /// Nothing, or false.
    Null,
    /// The command was not executed, and why.
    Error(String),
}

/// What came is no RESP3.
#[derive(Debug, thiserror::Error)]
pub enum RespError {
    /// The codec's words.
    #[error("redis said what is no RESP3: {0}")]
    Malformed(String),
    /// A frame that would never end.
    #[error("redis began a frame of more than {FRAME_MAX} bytes")]
    TooLong,
}

/// No answer to a command of ours comes near this; what is longer is not meant for us.
const FRAME_MAX: usize = 64 * 1024 * 1024;

/// Appends a command.
pub fn command(out: &mut Vec<u8>, arguments: &[&[u8]]) {
    header(out, b'*', arguments.len());
    for argument in arguments {
        blob(out, argument);
    }
}

/// Appends the head of a command whose arguments follow by [`blob`].
pub fn header(out: &mut Vec<u8>, kind: u8, number: usize) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    let mut rest = number;
    loop {
        at -= 1;
        digits[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    out.push(kind);
    out.extend_from_slice(&digits[at..]);
    out.extend_from_slice(b"\r\n");
}

/// Appends one argument.
pub fn blob(out: &mut Vec<u8>, bytes: &[u8]) {
    header(out, b'$', bytes.len());
    out.extend_from_slice(bytes);
    out.extend_from_slice(b"\r\n");
}

/// Bytes on their way to being something that Redis said.
#[derive(Debug, Default)]
pub struct Decoder {
    rest: BytesMut,
    whole: Bytes,
}

impl Decoder {
    /// Takes bytes in, behind those that wait.
    pub fn receive(&mut self, bytes: &[u8]) {
        if self.whole.is_empty() {
            self.rest.extend_from_slice(bytes);
        } else {
            self.rest.extend_from_slice(&std::mem::take(&mut self.whole));
            self.rest.extend_from_slice(bytes);
        }
        self.whole = self.rest.split().freeze();
    }

    /// The next thing that is there as a whole.
    pub fn next(&mut self) -> Result<Option<Said>, RespError> {
        let decoded = decode_range(&self.whole).map_err(|error| RespError::Malformed(error.to_string()))?;
        let Some((frame, length)) = decoded else {
            return if self.whole.len() > FRAME_MAX { Err(RespError::TooLong) } else { Ok(None) };
        };
        let said = said(&self.whole, &frame);
        let _ = self.whole.split_to(length);
        Ok(Some(said))
    }
}

fn said(bytes: &Bytes, frame: &RangeFrame) -> Said {
    let RangeFrame::Push { data, .. } = frame else { return Said::Reply(reply(bytes, frame)) };
    let text = |at: usize| data.get(at).and_then(range).map(|(from, to)| bytes.slice(from..to));
    let (Some(kind), Some(channel)) = (text(0), text(1)) else { return Said::Other };
    match (&kind[..], text(2)) {
        (b"message", Some(payload)) => Said::Message { channel, payload },
        (b"subscribe", _) => Said::Subscribed(channel),
        (b"unsubscribe", _) => Said::Unsubscribed(channel),
        _ => Said::Other,
    }
}

fn range(frame: &RangeFrame) -> Option<(usize, usize)> {
    match frame {
        RangeFrame::BlobString { data, .. }
        | RangeFrame::SimpleString { data, .. }
        | RangeFrame::VerbatimString { data, .. }
        | RangeFrame::BigNumber { data, .. } => Some(*data),
        _ => None,
    }
}

fn reply(bytes: &Bytes, frame: &RangeFrame) -> Reply {
    if let Some((from, to)) = range(frame) {
        return Reply::Text(bytes.slice(from..to));
    }
    match frame {
        RangeFrame::Number { data, .. } => Reply::Number(*data),
        RangeFrame::SimpleError { data, .. } | RangeFrame::BlobError { data, .. } => {
            Reply::Error(String::from_utf8_lossy(&bytes[data.0..data.1]).into_owned())
        }
        RangeFrame::Array { data, .. } => Reply::List(data.iter().map(|each| reply(bytes, each)).collect()),
        RangeFrame::Set { data, .. } => Reply::List(data.iter().map(|each| reply(bytes, each)).collect()),
        RangeFrame::Map { data, .. } => {
            let pairs = data.iter().flat_map(|(key, value)| [reply(bytes, key), reply(bytes, value)]);
            Reply::List(pairs.collect())
        }
        RangeFrame::Boolean { data: true, .. } => Reply::Number(1),
        _ => Reply::Null,
    }
}

impl Reply {
    /// The answer as text, if it is one.
    pub fn text(&self) -> Option<&str> {
        match self {
            Self::Text(bytes) => std::str::from_utf8(bytes).ok(),
            _ => None,
        }
    }

    /// The answer as a number, also when Redis wrote it as text.
    pub fn number(&self) -> Option<u64> {
        match self {
            Self::Number(number) => u64::try_from(*number).ok(),
            Self::Text(_) => self.text()?.parse().ok(),
            _ => None,
        }
    }

    /// The parts of the answer; none if it has none.
    pub fn parts(&self) -> &[Self] {
        match self {
            Self::List(parts) => parts,
            _ => &[],
        }
    }

    /// The value of a key, of an answer that is a map.
    pub fn value(&self, key: &str) -> Option<&Self> {
        let mut pairs = self.parts().chunks_exact(2);
        pairs.find(|pair| pair[0].text() == Some(key)).map(|pair| &pair[1])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(pieces: &[&[u8]]) -> Vec<Said> {
        let mut decoder = Decoder::default();
        let mut said = Vec::new();
        for piece in pieces {
            decoder.receive(piece);
            while let Some(one) = decoder.next().expect("it is RESP3") {
                said.push(one);
            }
        }
        said
    }

    #[test]
    fn what_comes_in_pieces_is_what_comes_at_once() {
        let bytes = b">3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$3\r\na\r\n\r\n:7\r\n%1\r\n+role\r\n$6\r\nmaster\r\n-ERR no\r\n_\r\n";
        let whole = all(&[bytes]);
        assert_eq!(whole.len(), 5);
        let payload = Bytes::from_static(b"a\r\n");
        assert_eq!(whole[0], Said::Message { channel: Bytes::from_static(b"c"), payload });
        assert_eq!(whole[1], Said::Reply(Reply::Number(7)));
        let Said::Reply(map) = &whole[2] else { panic!("a map") };
        assert_eq!(map.value("role").and_then(Reply::text), Some("master"));
        assert_eq!(whole[3], Said::Reply(Reply::Error("ERR no".to_owned())));
        for cut in 1..bytes.len() {
            assert_eq!(all(&[&bytes[..cut], &bytes[cut..]]), whole, "cut at {cut}");
        }
    }

    #[test]
    fn a_command_is_an_array_of_blobs() {
        let mut out = Vec::new();
        command(&mut out, &[b"PUBLISH", b"", b"0123456789"]);
        assert_eq!(out, b"*3\r\n$7\r\nPUBLISH\r\n$0\r\n\r\n$10\r\n0123456789\r\n");
    }

    #[test]
    fn garbage_is_an_error_and_no_panic() {
        let mut decoder = Decoder::default();
        decoder.receive(b"HTTP/1.1 400 Bad Request\r\n\r\n");
        assert!(matches!(decoder.next(), Err(RespError::Malformed(_))));
    }
}
