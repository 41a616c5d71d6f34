//! Walking over JSON text without building anything.
//!
//! This is on the path of every publish, so it is ours: one pass checks the grammar, bounds the depth and finds
//! where values begin and end, without allocating or recursing. Tests and fuzzing hold it against `serde_json`.

use std::ops::Range;

use crate::{DEPTH_MAX, PayloadError};

/// A place in JSON text (RFC 8259).
pub(super) struct Scanner<'a> {
    text: &'a [u8],
    at: usize,
}

/// Who is told what a walk comes by, in its order. A walk that ends early has told what came before.
pub(crate) trait Listener {
    /// An object or array begins.
    fn opened(&mut self, is_object: bool);
    /// The innermost one ends.
    fn closed(&mut self);
    /// Where a key of the innermost object is, with its quotes.
    fn key(&mut self, quoted: Range<usize>);
    /// Where a value is that holds no others.
    fn scalar(&mut self, raw: Range<usize>);
}

/// A walk that nobody listens to costs no more than its steps.
struct Nobody;

impl Listener for Nobody {
    fn opened(&mut self, _: bool) {}
    fn closed(&mut self) {}
    fn key(&mut self, _: Range<usize>) {}
    fn scalar(&mut self, _: Range<usize>) {}
}

/// Why a walk ended early. Where it ended is [`Scanner::at`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    Syntax,
    Depth,
}

impl<'a> Scanner<'a> {
    pub(super) fn new(text: &'a [u8]) -> Self {
        Self { text, at: 0 }
    }

    /// How far the walk has come.
    pub(super) fn at(&self) -> usize {
        self.at
    }

    /// Walks over white space and the byte, which has to be there.
    pub(super) fn punctuation(&mut self, byte: u8) -> Result<(), Fault> {
        if self.skip(byte) { Ok(()) } else { Err(Fault::Syntax) }
    }

    /// Walks over white space and, if it comes next, the byte.
    pub(super) fn skip(&mut self, byte: u8) -> bool {
        self.space();
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    /// Walks over white space to the end of the text.
    pub(super) fn end(&mut self) -> Result<(), Fault> {
        self.space();
        if self.at == self.text.len() { Ok(()) } else { Err(Fault::Syntax) }
    }

    /// Walks over a string, after white space, and says where it was, quotes included.
    pub(super) fn text(&mut self) -> Result<Range<usize>, Fault> {
        self.space();
        let start = self.at;
        self.string()?;
        Ok(start..self.at)
    }

    /// Walks over any value of at most [`DEPTH_MAX`] levels, after white space, and says where it was.
    pub(super) fn value(&mut self) -> Result<Range<usize>, Fault> {
        self.value_heard_by(&mut Nobody)
    }

    /// The same, and tells what it comes by.
    fn value_heard_by(&mut self, listener: &mut impl Listener) -> Result<Range<usize>, Fault> {
        self.space();
        let start = self.at;
        let mut open = Open::default();
        loop {
            match self.peek() {
                Some(b'{') => {
                    self.at += 1;
                    open.push(true)?;
                    listener.opened(true);
                    if !self.skip(b'}') {
                        self.key(listener)?;
                        continue;
                    }
                    open.pop();
                    listener.closed();
                }
                Some(b'[') => {
                    self.at += 1;
                    open.push(false)?;
                    listener.opened(false);
                    if !self.skip(b']') {
                        continue;
                    }
                    open.pop();
                    listener.closed();
                }
                Some(_) => {
                    let start = self.at;
                    self.scalar()?;
                    listener.scalar(start..self.at);
                }
                None => return Err(Fault::Syntax),
            }
            if !self.close(&mut open, listener)? {
                return Ok(start..self.at);
            }
        }
    }

    /// After a value: walks over what ends with it, up to the value that follows. `false` if none can follow.
    fn close(&mut self, open: &mut Open, listener: &mut impl Listener) -> Result<bool, Fault> {
        while open.depth > 0 {
            self.space();
            let next = self.peek();
            self.at += 1;
            match (next, open.is_object()) {
                (Some(b','), true) => return self.key(listener).map(|()| true),
                (Some(b','), false) => {
                    self.space();
                    return Ok(true);
                }
                (Some(b'}'), true) | (Some(b']'), false) => {
                    open.pop();
                    listener.closed();
                }
                _ => {
                    self.at -= 1;
                    return Err(Fault::Syntax);
                }
            }
        }
        Ok(false)
    }

    /// Walks over an object's key to its value.
    fn key(&mut self, listener: &mut impl Listener) -> Result<(), Fault> {
        let quoted = self.text()?;
        listener.key(quoted);
        self.punctuation(b':')?;
        self.space();
        Ok(())
    }

    fn scalar(&mut self) -> Result<(), Fault> {
        match self.peek() {
            Some(b'"') => self.string(),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(b't') => self.word(b"true"),
            Some(b'f') => self.word(b"false"),
            Some(b'n') => self.word(b"null"),
            _ => Err(Fault::Syntax),
        }
    }

    fn word(&mut self, word: &[u8]) -> Result<(), Fault> {
        if !self.text[self.at..].starts_with(word) {
            return Err(Fault::Syntax);
        }
        self.at += word.len();
        Ok(())
    }

    fn number(&mut self) -> Result<(), Fault> {
        self.at += usize::from(self.peek() == Some(b'-'));
        if self.peek() == Some(b'0') {
            self.at += 1;
        } else {
            self.digits()?;
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if let Some(b'e' | b'E') = self.peek() {
            self.at += 1;
            self.at += usize::from(matches!(self.peek(), Some(b'+' | b'-')));
            self.digits()?;
        }
        Ok(())
    }

    fn digits(&mut self) -> Result<(), Fault> {
        let start = self.at;
        while let Some(b'0'..=b'9') = self.peek() {
            self.at += 1;
        }
        if self.at > start { Ok(()) } else { Err(Fault::Syntax) }
    }

    fn string(&mut self) -> Result<(), Fault> {
        if self.peek() != Some(b'"') {
            return Err(Fault::Syntax);
        }
        self.at += 1;
        loop {
            self.at += plain_bytes(&self.text[self.at..]);
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(());
                }
                Some(b'\\') => self.escape()?,
                _ => return Err(Fault::Syntax),
            }
        }
    }

    fn escape(&mut self) -> Result<(), Fault> {
        let bytes = match self.text.get(self.at + 1) {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => 2,
            Some(b'u') => 6,
            _ => return Err(Fault::Syntax),
        };
        let digits = self.text.get(self.at + 2..self.at + bytes).ok_or(Fault::Syntax)?;
        if !digits.iter().all(u8::is_ascii_hexdigit) {
            return Err(Fault::Syntax);
        }
        self.at += bytes;
        Ok(())
    }

    fn space(&mut self) {
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = self.peek() {
            self.at += 1;
        }
    }

    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }
}

/// The arrays and objects around a place: one bit each, the innermost lowest.
#[derive(Default)]
struct Open {
    objects: u64,
    depth: usize,
}

impl Open {
    fn push(&mut self, object: bool) -> Result<(), Fault> {
        if self.depth == DEPTH_MAX {
            return Err(Fault::Depth);
        }
        self.objects = self.objects << 1 | u64::from(object);
        self.depth += 1;
        Ok(())
    }

    fn pop(&mut self) {
        self.objects >>= 1;
        self.depth -= 1;
    }

    fn is_object(&self) -> bool {
        self.objects & 1 == 1
    }
}

const _: () = assert!(DEPTH_MAX <= u64::BITS as usize, "`Open` has a bit for each level");

/// How many bytes at the beginning stand for themselves inside a JSON string: neither `"` nor `\` nor control.
pub(super) fn plain_bytes(text: &[u8]) -> usize {
    let (words, rest) = text.as_chunks::<8>();
    for (index, word) in words.iter().enumerate() {
        let found = special(u64::from_le_bytes(*word));
        if found != 0 {
            return index * 8 + found.trailing_zeros() as usize / 8;
        }
    }
    let plain = rest.iter().take_while(|byte| !matches!(byte, b'"' | b'\\' | 0..0x20)).count();
    words.len() * 8 + plain
}

/// Marks, by its top bit, each of eight bytes that is `"`, `\` or a control character. A borrow can mark a byte
/// above a marked one wrongly; the lowest mark is always right.
const fn special(word: u64) -> u64 {
    const ONES: u64 = u64::from_le_bytes([1; 8]);
    const TOPS: u64 = ONES << 7;
    let quote = word ^ (ONES * b'"' as u64);
    let backslash = word ^ (ONES * b'\\' as u64);
    let control = word.wrapping_sub(ONES * 0x20) & !word;
    (control | (quote.wrapping_sub(ONES) & !quote) | (backslash.wrapping_sub(ONES) & !backslash)) & TOPS
}

/// Where the one JSON value is that `text` has to hold.
pub(crate) fn value_in(text: &[u8]) -> Result<Range<usize>, PayloadError> {
    heard_value(text, &mut Nobody)
}

/// The same, telling what is in it.
pub(crate) fn heard_value(text: &[u8], listener: &mut impl Listener) -> Result<Range<usize>, PayloadError> {
    let mut scanner = Scanner::new(text);
    let value = scanner.value_heard_by(listener).and_then(|range| scanner.end().map(|()| range));
    value.map_err(|fault| match fault {
        Fault::Syntax => PayloadError::Syntax { at: scanner.at },
        Fault::Depth => PayloadError::Depth,
    })
}

/// Whether arrays and objects lie at most `limit` deep inside each other.
///
/// One pass that looks at brackets outside of strings, for text whose grammar is somebody else's business: a
/// parser that recurses is safe after it.
pub fn check_depth(text: &[u8], limit: usize) -> bool {
    let mut depth = 0_usize;
    let mut at = 0;
    while let Some(byte) = text.get(at) {
        at += 1;
        match byte {
            b'[' | b'{' if depth == limit => return false,
            b'[' | b'{' => depth += 1,
            b']' | b'}' => depth = depth.saturating_sub(1),
            b'"' => at = string_end(text, at),
            _ => {}
        }
    }
    true
}

/// Where the string ends whose first character is at `at`, whatever it holds.
fn string_end(text: &[u8], mut at: usize) -> usize {
    while let Some(found) = text.get(at..).and_then(|rest| memchr::memchr2(b'"', b'\\', rest)) {
        at += found + 1;
        if text[at - 1] == b'"' {
            return at;
        }
        at += 1;
    }
    text.len()
}
