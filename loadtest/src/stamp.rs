//! What a measured payload carries: who published it on which topic, its number and when it was due.
//!
//! A payload is a JSON string, so a server that relays it verbatim keeps every byte in place:
//! `"`, `MARK`, 40 letters, filler, `"`. Numbers are written as letters `a`-`p`, four bits each and
//! the lowest first, because those need no escaping and decode eight at a time.

use crate::clock::Nanos;

/// The smallest whole payload, quotes included.
pub const PAYLOAD_BYTES_MIN: usize = 2 + BYTES;

/// The publisher of probes, which are not measured: they find out whether subscriptions have taken effect.
pub const PROBE: u32 = u32::MAX;

/// The bytes a stamp starts with, by which it is found in a frame.
const MARK: [u8; 8] = *b"dunlin~1";
const BYTES: usize = MARK.len() + 40;

/// One publication's identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    /// The topic's index.
    pub topic: u32,
    /// The publisher's index, or [`PROBE`].
    pub publisher: u32,
    /// Counts from 0 for each pair of publisher and topic.
    pub sequence: u32,
    /// When the publication was meant to leave.
    pub intended: Nanos,
}

impl Stamp {
    /// Writes the stamp behind the payload's opening quote.
    pub fn write(&self, payload: &mut [u8]) {
        let late = (self.intended >> 32) as u32;
        let words = [self.topic, self.publisher, self.sequence, self.intended as u32, late];
        let (mark, letters) = payload[1..=BYTES].split_at_mut(MARK.len());
        mark.copy_from_slice(&MARK);
        for (eight, word) in letters.chunks_exact_mut(8).zip(words) {
            eight.copy_from_slice(&to_letters(word));
        }
    }

    /// Reads a stamp that starts here.
    #[inline]
    fn read(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; BYTES] = bytes.first_chunk()?;
        if bytes[..8] != MARK {
            return None;
        }
        let word = |index: usize| from_letters(*bytes[index..].first_chunk()?);
        Some(Self {
            topic: word(8)?,
            publisher: word(16)?,
            sequence: word(24)?,
            intended: u64::from(word(32)?) | u64::from(word(40)?) << 32,
        })
    }
}

/// A payload of `size` bytes with room for a stamp.
pub fn blank_payload(size: usize) -> Vec<u8> {
    let mut payload = vec![b'x'; size.max(PAYLOAD_BYTES_MIN)];
    if let [first, .., last] = payload.as_mut_slice() {
        (*first, *last) = (b'"', b'"');
    }
    payload
}

/// Finds stamps in messages. It remembers where the last one was: topics have names of equal length, so
/// the next is there too.
#[derive(Debug, Default)]
pub struct Finder {
    end: End,
    /// From that end.
    offset: usize,
}

/// From which end of a message a stamp is looked for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum End {
    /// There is one stamp, or the first counts.
    #[default]
    Front,
    /// The last of many counts, whatever their number.
    Back,
}

impl Finder {
    /// Finds the last stamp of a message that has several.
    pub fn of_the_last() -> Self {
        Self { end: End::Back, offset: 0 }
    }

    /// The message's stamp, if it is a measured publication.
    #[inline]
    pub fn find(&mut self, message: &[u8]) -> Option<Stamp> {
        let at = match self.end {
            End::Front => self.offset,
            End::Back => message.len().saturating_sub(self.offset),
        };
        message.get(at..).and_then(Stamp::read).or_else(|| self.search(message))
    }

    #[cold]
    fn search(&mut self, message: &[u8]) -> Option<Stamp> {
        let mut places = message.windows(MARK.len());
        let is_mark = |eight: &[u8]| eight == MARK;
        let at = match self.end {
            End::Front => places.position(is_mark),
            End::Back => places.rposition(is_mark),
        }?;
        let stamp = Stamp::read(&message[at..])?;
        self.offset = if self.end == End::Front { at } else { message.len() - at };
        Some(stamp)
    }
}

/// Spreads a word's eight nibbles over eight letters.
fn to_letters(word: u32) -> [u8; 8] {
    std::array::from_fn(|index| b'a' + (word >> (4 * index) & 0xf) as u8)
}

/// Gathers eight letters' nibbles without a loop; anything but `a`-`p` is none.
#[inline]
fn from_letters(letters: [u8; 8]) -> Option<u32> {
    let nibbles = u64::from_le_bytes(letters).wrapping_sub(0x6161_6161_6161_6161);
    if nibbles & 0xf0f0_f0f0_f0f0_f0f0 != 0 {
        return None;
    }
    let bytes = (nibbles | nibbles >> 4) & 0x00ff_00ff_00ff_00ff;
    let halves = (bytes | bytes >> 8) & 0x0000_ffff_0000_ffff;
    Some((halves | halves >> 16) as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAMP: Stamp =
        Stamp { topic: 7, publisher: 0xffff_0001, sequence: 0x1234_5678, intended: u64::MAX - 2 };

    fn message(prefix: &str) -> Vec<u8> {
        let mut payload = blank_payload(128);
        STAMP.write(&mut payload);
        [prefix.as_bytes(), &payload, b"}"].concat()
    }

    #[test]
    fn a_stamp_is_found_wherever_the_server_puts_the_payload() {
        let mut finder = Finder::default();
        for prefix in ["", r#"{"topic":"a","payload":"#, r#"{"payload":"#] {
            assert_eq!(finder.find(&message(prefix)), Some(STAMP), "{prefix}");
        }
    }

    #[test]
    fn the_last_of_many_stamps_is_found_however_many_there_are() {
        let mut finder = Finder::of_the_last();
        let mut list = br#"{"topic":"a","payload":["#.to_vec();
        for sequence in 0..5 {
            let mut payload = blank_payload(128);
            Stamp { sequence, ..STAMP }.write(&mut payload);
            list.extend([&payload[..], b","].concat());
            let message = [&list[..list.len() - 1], br#"],"cursor":"AYFy9BRWgp1mvlA5m_WqQR8D"}"#].concat();
            assert_eq!(finder.find(&message).map(|stamp| stamp.sequence), Some(sequence));
        }
        assert_eq!(finder.find(br#"{"topic":"a","payload":[]}"#), None);
    }

    #[test]
    fn a_payload_is_a_json_string_of_the_size_asked_for() {
        let mut payload = blank_payload(128);
        STAMP.write(&mut payload);
        assert_eq!(payload.len(), 128);
        assert_eq!(serde_json::from_slice::<String>(&payload).unwrap().len(), 126);
    }

    #[test]
    fn other_messages_have_no_stamp() {
        let mut broken = message("");
        broken[20] = b'z';
        let mut finder = Finder::default();
        assert_eq!(finder.find(br#"{"type":"ok","id":1}"#), None);
        assert_eq!(finder.find(&broken), None);
        assert_eq!(finder.find(b"dunlin~1"), None);
    }
}
