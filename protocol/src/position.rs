//! Where something is in a topic's history: positions, and cursors, their form on the wire (redis.md 2.1, 2.9).

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::{Namespace, Topic};

/// One life of a topic's numbering: eight bytes that are only ever compared.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Epoch(pub [u8; 8]);

/// Four bytes drawn for each attempt to write an item, so that two histories that parted never look alike.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Mark(pub u32);

/// The place of one item in a topic's history.
///
/// Not ordered: offsets of two epochs don't compare, and the same offset with another mark is another history.
/// Offset 0 with mark 0 is the place before the first item.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Position {
    /// Which numbering.
    pub epoch: Epoch,
    /// The number there, from 1 up.
    pub offset: u64,
    /// What tells it from another history's item of that number.
    pub mark: Mark,
}

/// A position in the text form that clients keep: opaque, unsigned, at most [`CURSOR_BYTES_MAX`] bytes of
/// base64url.
///
/// It grants nothing. The bytes: version 1, a hash of namespace and topic (u32), epoch, mark, offset (LEB128).
#[derive(Clone, Copy)]
pub struct Cursor {
    text: [u8; CURSOR_BYTES_MAX],
    length: u8,
}

/// Text that is no cursor of the topic: garbage, or of another topic. Nobody is told which.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a cursor of this topic")]
pub struct CursorError;

/// The longest cursor's text, in bytes.
pub const CURSOR_BYTES_MAX: usize = 36;
const VERSION: u8 = 1;
/// All but the offset.
const FIXED_BYTES: usize = 1 + 4 + 8 + 4;
const RAW_BYTES_MAX: usize = CURSOR_BYTES_MAX / 4 * 3;

impl Position {
    /// The place before the first item of a life.
    pub const fn origin(epoch: Epoch) -> Self {
        Self { epoch, offset: 0, mark: Mark(0) }
    }

    /// Its text for clients of the topic.
    pub fn cursor(self, namespace: &Namespace, topic: &Topic) -> Cursor {
        let mut raw = [0; RAW_BYTES_MAX];
        raw[0] = VERSION;
        raw[1..5].copy_from_slice(&hash(namespace, topic).to_be_bytes());
        raw[5..13].copy_from_slice(&self.epoch.0);
        raw[13..17].copy_from_slice(&self.mark.0.to_be_bytes());
        let mut length = FIXED_BYTES;
        let mut rest = self.offset;
        while rest >= 0x80 {
            raw[length] = rest as u8 | 0x80;
            rest >>= 7;
            length += 1;
        }
        raw[length] = rest as u8;
        let mut text = [0; CURSOR_BYTES_MAX];
        let length = URL_SAFE_NO_PAD.encode_slice(&raw[..=length], &mut text);
        let length = length.expect("four characters for three bytes are enough") as u8;
        Cursor { text, length }
    }

    /// The position that a client's text names, if it is a cursor of this topic.
    pub fn parse(text: &str, namespace: &Namespace, topic: &Topic) -> Result<Self, CursorError> {
        if text.len() > CURSOR_BYTES_MAX {
            return Err(CursorError);
        }
        let mut raw = [0; RAW_BYTES_MAX];
        let length = URL_SAFE_NO_PAD.decode_slice(text, &mut raw).map_err(|_| CursorError)?;
        let (fixed, offset) = raw[..length].split_at_checked(FIXED_BYTES).ok_or(CursorError)?;
        let is_ours = fixed[0] == VERSION && fixed[1..5] == hash(namespace, topic).to_be_bytes();
        let mut epoch = [0; 8];
        epoch.copy_from_slice(&fixed[5..13]);
        let mark = u32::from_be_bytes([fixed[13], fixed[14], fixed[15], fixed[16]]);
        let offset = number(offset).filter(|_| is_ours).ok_or(CursorError)?;
        Ok(Self { epoch: Epoch(epoch), offset, mark: Mark(mark) })
    }
}

/// A LEB128 number that fills the bytes, in its shortest form.
fn number(bytes: &[u8]) -> Option<u64> {
    let (last, more) = bytes.split_last()?;
    if *last >= 0x80 || (*last == 0 && !more.is_empty()) || bytes.len() > 9 {
        return None;
    }
    more.iter().rev().try_fold(u64::from(*last), |number, byte| {
        (*byte >= 0x80).then(|| number << 7 | u64::from(byte & 0x7f))
    })
}

/// FNV-1a, the same on every node: a cursor of another topic is refused, not believed.
fn hash(namespace: &Namespace, topic: &Topic) -> u32 {
    let bytes = namespace.as_str().bytes().chain([0]).chain(topic.as_str().bytes());
    bytes.fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

impl Cursor {
    /// The text.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.text[..usize::from(self.length)]).expect("base64url is ASCII")
    }
}

impl fmt::Debug for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.as_str())
    }
}

impl PartialEq for Cursor {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for Cursor {}

impl fmt::Debug for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", u64::from_be_bytes(self.0))
    }
}

impl fmt::Debug for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn names(space: &str, topic: &str) -> (Namespace, Topic) {
        (Namespace::parse(space).expect("good"), Topic::parse(topic).expect("good"))
    }

    fn position(offset: u64) -> Position {
        Position { epoch: Epoch(*b"12345678"), offset, mark: Mark(0xdead_beef) }
    }

    // redis 2.9
    #[test]
    fn a_cursor_is_short_and_belongs_to_one_topic() {
        let (space, topic) = names("/_ws", "chat");
        let cursor = position(5).cursor(&space, &topic);
        assert_eq!(cursor.as_str().len(), 24);
        assert_eq!(Position::parse(cursor.as_str(), &space, &topic), Ok(position(5)));
        for (space, topic) in [names("/_ws", "chat2"), names("/_w", "schat"), names("/_WS", "chat")] {
            assert_eq!(Position::parse(cursor.as_str(), &space, &topic), Err(CursorError));
        }
    }

    #[test]
    fn the_highest_offset_that_is_ever_given_fits() {
        let (space, topic) = names("/", "t");
        for offset in [0, 0x7f, 0x80, 99_999_999_999_999, (1 << 63) - 1] {
            let cursor = position(offset).cursor(&space, &topic);
            assert_eq!(Position::parse(cursor.as_str(), &space, &topic), Ok(position(offset)));
        }
    }

    #[test]
    fn garbage_is_no_cursor() {
        let (space, topic) = names("/_ws", "chat");
        let good = position(5).cursor(&space, &topic).as_str().to_owned();
        for text in ["", "AQ", "!", "äöü", &good[..23], &format!("{good}A"), &"A".repeat(100)] {
            assert_eq!(Position::parse(text, &space, &topic), Err(CursorError), "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_a_cursor_of_one_form_or_none(text in "[A-Za-z0-9_-]{0,40}", offset in 0..u64::MAX / 2) {
            let (space, topic) = names("/_ws", "chat");
            if let Ok(position) = Position::parse(&text, &space, &topic) {
                let cursor = position.cursor(&space, &topic);
                prop_assert_eq!(cursor.as_str(), text);
            }
            let cursor = position(offset).cursor(&space, &topic);
            prop_assert_eq!(Position::parse(cursor.as_str(), &space, &topic), Ok(position(offset)));
        }
    }
}
