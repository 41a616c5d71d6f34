//! Walking over `MessagePack` without building anything.
//!
//! Ours for the same reason as the walk over JSON: it bounds depth, believes no length, and neither allocates
//! nor recurses. Tests and fuzzing hold it against `rmpv`.

use std::ops::Range;

use rmp::Marker;

use crate::DEPTH_MAX;

/// A place in `MessagePack`.
pub(super) struct Scanner<'a> {
    bytes: &'a [u8],
    at: usize,
}

/// What a value is, or begins with.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Token<'a> {
    Nil,
    Flag(bool),
    /// Any integer from 0 up that was written as one without a sign.
    Unsigned(u64),
    Signed(i64),
    Float(f64),
    /// A str; not looked at, so it may be no UTF-8.
    Text(&'a [u8]),
    Binary(&'a [u8]),
    Ext,
    /// An array, with the number of its elements, which follow.
    Array(usize),
    /// A map, with the number of its keys and values together.
    Map(usize),
}

/// Why a walk ended early. Where it ended is [`Scanner::at`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    Syntax,
    Depth,
}

impl<'a> Scanner<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// How far the walk has come; after a fault, where the value begins that is none.
    pub(super) fn at(&self) -> usize {
        self.at
    }

    /// Whether nothing is left.
    pub(super) fn is_at_end(&self) -> bool {
        self.at == self.bytes.len()
    }

    /// Walks over any value of at most [`DEPTH_MAX`] levels, and says where it was.
    pub(super) fn value(&mut self) -> Result<Range<usize>, Fault> {
        let start = self.at;
        let mut token = self.token()?;
        if let Token::Array(_) | Token::Map(_) = token {
            let mut open = Open::default();
            loop {
                open.begin(token)?;
                while open.end().is_some() {}
                if open.is_empty() {
                    break;
                }
                token = self.token()?;
                open.place();
            }
        }
        Ok(start..self.at)
    }

    /// Walks over any value, as [`Scanner::value`], and gives its bytes.
    pub(super) fn raw(&mut self) -> Result<&'a [u8], Fault> {
        self.value().map(|range| &self.bytes[range])
    }

    /// Walks over a value that holds no others, or over the head of one that does.
    pub(super) fn token(&mut self) -> Result<Token<'a>, Fault> {
        let start = self.at;
        self.read().ok_or_else(|| {
            self.at = start;
            Fault::Syntax
        })
    }

    fn read(&mut self) -> Option<Token<'a>> {
        let [marker] = self.array()?;
        Some(match Marker::from_u8(marker) {
            Marker::Null => Token::Nil,
            Marker::False => Token::Flag(false),
            Marker::True => Token::Flag(true),
            Marker::FixPos(number) => Token::Unsigned(number.into()),
            Marker::U8 => Token::Unsigned(u8::from_be_bytes(self.array()?).into()),
            Marker::U16 => Token::Unsigned(u16::from_be_bytes(self.array()?).into()),
            Marker::U32 => Token::Unsigned(u32::from_be_bytes(self.array()?).into()),
            Marker::U64 => Token::Unsigned(u64::from_be_bytes(self.array()?)),
            Marker::FixNeg(number) => Token::Signed(number.into()),
            Marker::I8 => Token::Signed(i8::from_be_bytes(self.array()?).into()),
            Marker::I16 => Token::Signed(i16::from_be_bytes(self.array()?).into()),
            Marker::I32 => Token::Signed(i32::from_be_bytes(self.array()?).into()),
            Marker::I64 => Token::Signed(i64::from_be_bytes(self.array()?)),
            Marker::F32 => Token::Float(f32::from_be_bytes(self.array()?).into()),
            Marker::F64 => Token::Float(f64::from_be_bytes(self.array()?)),
            Marker::FixStr(length) => Token::Text(self.take(length.into())?),
            Marker::Str8 => Token::Text(self.sized(1)?),
            Marker::Str16 => Token::Text(self.sized(2)?),
            Marker::Str32 => Token::Text(self.sized(4)?),
            Marker::Bin8 => Token::Binary(self.sized(1)?),
            Marker::Bin16 => Token::Binary(self.sized(2)?),
            Marker::Bin32 => Token::Binary(self.sized(4)?),
            Marker::FixArray(length) => Token::Array(self.elements(length.into(), 1)?),
            Marker::Array16 => Token::Array(self.length(2).and_then(|length| self.elements(length, 1))?),
            Marker::Array32 => Token::Array(self.length(4).and_then(|length| self.elements(length, 1))?),
            Marker::FixMap(length) => Token::Map(self.elements(length.into(), 2)?),
            Marker::Map16 => Token::Map(self.length(2).and_then(|length| self.elements(length, 2))?),
            Marker::Map32 => Token::Map(self.length(4).and_then(|length| self.elements(length, 2))?),
            Marker::FixExt1 => self.ext(1)?,
            Marker::FixExt2 => self.ext(2)?,
            Marker::FixExt4 => self.ext(4)?,
            Marker::FixExt8 => self.ext(8)?,
            Marker::FixExt16 => self.ext(16)?,
            Marker::Ext8 => self.length(1).and_then(|length| self.ext(length))?,
            Marker::Ext16 => self.length(2).and_then(|length| self.ext(length))?,
            Marker::Ext32 => self.length(4).and_then(|length| self.ext(length))?,
            Marker::Reserved => return None,
        })
    }

    /// An ext's type is a byte before its data.
    fn ext(&mut self, length: usize) -> Option<Token<'a>> {
        self.take(length.checked_add(1)?).map(|_| Token::Ext)
    }

    fn sized(&mut self, bytes: usize) -> Option<&'a [u8]> {
        self.length(bytes).and_then(|length| self.take(length))
    }

    /// A length of so many bytes, at most four.
    fn length(&mut self, bytes: usize) -> Option<usize> {
        Some(self.take(bytes)?.iter().fold(0, |length, byte| length << 8 | usize::from(*byte)))
    }

    /// How many values an array or map declares, if there are bytes for them: each takes one at least.
    fn elements(&self, length: usize, values: usize) -> Option<usize> {
        length.checked_mul(values).filter(|count| *count <= self.bytes.len() - self.at)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let bytes = self.bytes.get(self.at..)?.first_chunk()?;
        self.at += N;
        Some(*bytes)
    }

    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let bytes = self.bytes.get(self.at..)?.get(..length)?;
        self.at += length;
        Some(bytes)
    }
}

/// The arrays and maps around a place, and how many values each still lacks.
pub(super) struct Open {
    lacking: [usize; DEPTH_MAX],
    /// A bit for each level that is a map, the innermost lowest.
    maps: u64,
    depth: usize,
}

/// What a value is to the array or map it stands in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Alone,
    Element,
    Key,
    Value,
}

const _: () = assert!(DEPTH_MAX <= u64::BITS as usize, "`Open` has a bit for each level");

impl Default for Open {
    fn default() -> Self {
        Self { lacking: [0; DEPTH_MAX], maps: 0, depth: 0 }
    }
}

impl Open {
    /// Counts a value in that begins, and says what it is to what is around it.
    pub(super) fn place(&mut self) -> Place {
        let Some(innermost) = self.depth.checked_sub(1) else { return Place::Alone };
        let lacking = &mut self.lacking[innermost];
        *lacking -= 1;
        match (self.maps & 1 == 1, *lacking % 2 == 1) {
            (false, _) => Place::Element,
            (true, true) => Place::Key,
            (true, false) => Place::Value,
        }
    }

    /// Goes inside, if the value holds others.
    pub(super) fn begin(&mut self, token: Token<'_>) -> Result<(), Fault> {
        let (Token::Array(lacking) | Token::Map(lacking)) = token else { return Ok(()) };
        if self.depth == DEPTH_MAX {
            return Err(Fault::Depth);
        }
        self.lacking[self.depth] = lacking;
        self.maps = self.maps << 1 | u64::from(matches!(token, Token::Map(_)));
        self.depth += 1;
        Ok(())
    }

    /// Leaves the innermost array or map if it is complete, and says whether it was a map.
    pub(super) fn end(&mut self) -> Option<bool> {
        let innermost = self.depth.checked_sub(1).filter(|innermost| self.lacking[*innermost] == 0)?;
        let is_map = self.maps & 1 == 1;
        self.maps >>= 1;
        self.depth = innermost;
        Some(is_map)
    }

    /// Whether nothing is around the place.
    pub(super) fn is_empty(&self) -> bool {
        self.depth == 0
    }
}
