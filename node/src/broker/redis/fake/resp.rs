//! The protocol: requests out of bytes, replies into bytes.

use super::commands::Failure;
use super::number;

/// One part of a command: a name, a key, a value.
pub type Word = Vec<u8>;

/// Which protocol a client speaks; 2 until it says `HELLO 3`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    Resp2,
    Resp3,
}

/// What a command answers, or what is pushed.
#[derive(Debug, Clone, PartialEq)]
pub enum Reply {
    Status(Vec<u8>),
    Error(Vec<u8>),
    Integer(i64),
    Double(f64),
    Bulk(Vec<u8>),
    /// Text for people, which RESP3 labels.
    Verbatim(Vec<u8>),
    Null,
    Array(Vec<Reply>),
    Set(Vec<Reply>),
    Map(Vec<(Reply, Reply)>),
    /// An array of pairs in RESP3, flat in RESP2.
    Pairs(Vec<(Reply, Reply)>),
    Push(Vec<Reply>),
    /// The command has pushed all that it has to say.
    Silence,
}

/// What a client has sent and the server has not obeyed yet.
#[derive(Default)]
pub struct Requests {
    bytes: Vec<u8>,
}

/// Reads one request; whoever finds too few bytes starts again when there are more.
struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

/// Why no request came out.
enum Halt {
    Incomplete,
    Broken(Failure),
}

/// The most words of a command.
const WORDS_MAX: i64 = i32::MAX as i64;
/// The most bytes of a word: Redis's `proto-max-bulk-len`.
const WORD_MAX: i64 = 512 * 1024 * 1024;

impl Requests {
    pub fn extend(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// The next command that is complete; after a failure the connection must be closed.
    pub fn next(&mut self) -> Result<Option<Vec<Word>>, Failure> {
        loop {
            let mut cursor = Cursor { bytes: &self.bytes, at: 0 };
            match cursor.request() {
                Ok(words) => {
                    let used = cursor.at;
                    self.bytes.drain(..used);
                    if !words.is_empty() {
                        return Ok(Some(words));
                    }
                }
                Err(Halt::Incomplete) => return Ok(None),
                Err(Halt::Broken(failure)) => return Err(failure),
            }
        }
    }
}

impl Cursor<'_> {
    /// The words of a command; none where the client sent an empty array, which Redis ignores.
    fn request(&mut self) -> Result<Vec<Word>, Halt> {
        match self.bytes.get(self.at) {
            Some(b'*') => {}
            None => return Err(Halt::Incomplete),
            Some(_) => return Err(broken("the fake knows no inline commands")),
        }
        let count = self.length(WORDS_MAX).map_err(|halt| halt.or("invalid multibulk length"))?;
        (0..count).map(|_| self.word()).collect()
    }

    fn word(&mut self) -> Result<Word, Halt> {
        let first = *self.bytes.get(self.at).ok_or(Halt::Incomplete)?;
        if first != b'$' {
            return Err(broken(&format!("expected '$', got '{}'", char::from(first))));
        }
        let length = self.length(WORD_MAX).map_err(|halt| halt.or("invalid bulk length"))?;
        let length = usize::try_from(length).map_err(|_| broken("invalid bulk length"))?;
        // The two bytes behind a word are skipped, whatever they are; so does Redis.
        let word = self.bytes.get(self.at..self.at + length + 2).ok_or(Halt::Incomplete)?;
        self.at += word.len();
        Ok(word[..length].to_vec())
    }

    /// The number on a line, behind the byte that says what it counts.
    fn length(&mut self, max: i64) -> Result<i64, Halt> {
        let line = &self.bytes[self.at + 1..];
        let end = line.iter().position(|byte| *byte == b'\r').ok_or(Halt::Incomplete)?;
        if end + 1 == line.len() {
            return Err(Halt::Incomplete);
        }
        let length = number::integer(&line[..end]).map_err(Halt::Broken)?;
        if length > max {
            return Err(Halt::Broken(Failure::NOT_INTEGER));
        }
        self.at += 1 + end + 2;
        Ok(length)
    }
}

impl Halt {
    /// Says what was wrong in the words of the protocol.
    fn or(self, complaint: &str) -> Self {
        match self {
            Self::Incomplete => Self::Incomplete,
            Self::Broken(_) => broken(complaint),
        }
    }
}

fn broken(complaint: &str) -> Halt {
    Halt::Broken(Failure::said(format!("ERR Protocol error: {complaint}")))
}

impl Reply {
    pub fn ok() -> Self {
        Self::status("OK")
    }

    pub fn status(text: &str) -> Self {
        Self::Status(text.into())
    }

    pub fn bulk(text: impl Into<Vec<u8>>) -> Self {
        Self::Bulk(text.into())
    }

    pub fn count(count: usize) -> Self {
        Self::Integer(i64::try_from(count).expect("no test has so many"))
    }

    pub fn bulk_or_null(word: Option<&Word>) -> Self {
        word.map_or(Self::Null, |word| Self::Bulk(word.clone()))
    }

    pub fn bulks<'a>(words: impl IntoIterator<Item = &'a Word>) -> Vec<Self> {
        words.into_iter().map(|word| Self::Bulk(word.clone())).collect()
    }

    /// Writes what a client of the protocol reads.
    pub fn write(&self, protocol: Protocol, into: &mut Vec<u8>) {
        match self {
            Self::Status(text) => line(into, b'+', &in_one_line(text)),
            Self::Error(text) => line(into, b'-', &in_one_line(text)),
            Self::Integer(number) => line(into, b':', number.to_string().as_bytes()),
            Self::Double(number) => write_double(*number, protocol, into),
            Self::Bulk(text) => bulk(into, b'$', text),
            Self::Verbatim(text) => write_verbatim(text, protocol, into),
            Self::Null => into.extend_from_slice(null(protocol)),
            Self::Array(items) => write_items(items, b'*', protocol, into),
            Self::Set(items) => write_items(items, either(protocol, b'~'), protocol, into),
            Self::Push(items) => write_items(items, either(protocol, b'>'), protocol, into),
            Self::Map(pairs) => write_map(pairs, protocol, into),
            Self::Pairs(pairs) => write_pairs(pairs, protocol, into),
            Self::Silence => {}
        }
    }
}

fn null(protocol: Protocol) -> &'static [u8] {
    match protocol {
        Protocol::Resp2 => b"$-1\r\n",
        Protocol::Resp3 => b"_\r\n",
    }
}

/// The type byte of RESP3; RESP2 knows only arrays.
fn either(protocol: Protocol, resp3: u8) -> u8 {
    match protocol {
        Protocol::Resp2 => b'*',
        Protocol::Resp3 => resp3,
    }
}

fn write_double(number: f64, protocol: Protocol, into: &mut Vec<u8>) {
    let text = number::text(number);
    match protocol {
        Protocol::Resp2 => bulk(into, b'$', text.as_bytes()),
        Protocol::Resp3 => line(into, b',', text.as_bytes()),
    }
}

fn write_verbatim(text: &[u8], protocol: Protocol, into: &mut Vec<u8>) {
    match protocol {
        Protocol::Resp2 => bulk(into, b'$', text),
        Protocol::Resp3 => bulk(into, b'=', &[b"txt:", text].concat()),
    }
}

fn write_items(items: &[Reply], kind: u8, protocol: Protocol, into: &mut Vec<u8>) {
    line(into, kind, items.len().to_string().as_bytes());
    for item in items {
        item.write(protocol, into);
    }
}

fn write_map(pairs: &[(Reply, Reply)], protocol: Protocol, into: &mut Vec<u8>) {
    match protocol {
        Protocol::Resp2 => line(into, b'*', (2 * pairs.len()).to_string().as_bytes()),
        Protocol::Resp3 => line(into, b'%', pairs.len().to_string().as_bytes()),
    }
    for (one, other) in pairs {
        one.write(protocol, into);
        other.write(protocol, into);
    }
}

fn write_pairs(pairs: &[(Reply, Reply)], protocol: Protocol, into: &mut Vec<u8>) {
    match protocol {
        Protocol::Resp2 => write_map(pairs, protocol, into),
        Protocol::Resp3 => {
            line(into, b'*', pairs.len().to_string().as_bytes());
            for (one, other) in pairs {
                write_items(&[one.clone(), other.clone()], b'*', protocol, into);
            }
        }
    }
}

/// A status or an error can't hold a line's end: Redis puts spaces there.
fn in_one_line(text: &[u8]) -> Vec<u8> {
    text.iter().map(|byte| if matches!(byte, b'\r' | b'\n') { b' ' } else { *byte }).collect()
}

fn line(into: &mut Vec<u8>, kind: u8, text: &[u8]) {
    into.push(kind);
    into.extend_from_slice(text);
    into.extend_from_slice(b"\r\n");
}

fn bulk(into: &mut Vec<u8>, kind: u8, text: &[u8]) {
    line(into, kind, text.len().to_string().as_bytes());
    into.extend_from_slice(text);
    into.extend_from_slice(b"\r\n");
}
