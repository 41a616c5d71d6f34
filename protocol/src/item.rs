//! What a topic's history is made of, and how nodes hear of it (redis.md 1.1, 1.3, 3.4).
//!
//! An item is the same bytes in history and on the bus, all numbers big-endian:
//!
//! ```text
//! length u32 | mark u32 | id 16 | flags u8 | at u48 (ms) | length of the header u8 | header | payload
//! ```
//!
//! Flags: bits 0 and 1 are the payload's kind (0 JSON, 1 text, 2 binary, 3 no payload), then: 2 the header
//! begins with the publishing peer (16 bytes), 3 that peer gets it, too, 4 what was before it is gone, 5 the
//! header goes on with an offset (u64), below which everything is gone. Later versions may append to the header and
//! use other bits; a reader skips what it does not know.
//!
//! Two kinds of messages travel on a topic's channel, told apart by their first byte from each other and from an
//! envelope: `P` for what was committed, `E` for a node's word where the topic was after its last commit.

use bytes::Bytes;

use crate::{Epoch, Kind, Mark, Payload, PeerId, Position, PublicationId};

/// One entry of a topic's history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// What tells it from another history's item of the same number.
    pub mark: Mark,
    /// The publication's id: an attempt that is repeated has the same.
    pub id: PublicationId,
    /// When it was accepted, in milliseconds since 1970.
    pub at_ms: u64,
    /// The publishing peer; none for the server.
    pub origin: Option<PeerId>,
    /// Whether the publishing peer gets it.
    pub echo: bool,
    /// What becomes of the items before it.
    pub act: Act,
    /// What it brings.
    pub payload: Option<Payload>,
}

/// What an item does to those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// They stay.
    Add,
    /// All are gone.
    Clear,
    /// Those of a smaller offset are gone.
    Forget {
        /// The offset of the first that stays.
        before: u64,
    },
}

/// A message on the channel of a topic that remembers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// Items were committed together.
    Commit {
        /// The position they were put behind.
        before: Position,
        /// The items, each as it could be read.
        items: Vec<Result<Item, ItemError>>,
    },
    /// Where the topic was.
    Echo(Position),
}

/// Bytes that are no item. They still have a place, and the mark that stands where an item's would.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an item of a topic's history")]
pub struct ItemError {
    /// What was found in the place of a mark.
    pub mark: Mark,
}

const FIXED_BYTES: usize = 4 + 4 + 16 + 1 + 6 + 1;
const KIND_BITS: u8 = 0b11;
const NO_PAYLOAD: u8 = 3;
const HAS_ORIGIN: u8 = 1 << 2;
const ECHOES: u8 = 1 << 3;
const CLEARS: u8 = 1 << 4;
const FORGETS: u8 = 1 << 5;
const COMMIT: u8 = b'P';
const ECHO: u8 = b'E';

impl Item {
    /// Appends the item's bytes.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&self.mark.0.to_be_bytes());
        out.extend_from_slice(&self.id.to_bytes());
        out.push(self.flags());
        out.extend_from_slice(&self.at_ms.to_be_bytes()[2..]);
        let before = if let Act::Forget { before } = self.act { Some(before.to_be_bytes()) } else { None };
        let header = self.origin.map_or(0, |_| 16) + before.map_or(0, |_| 8);
        out.push(header);
        out.extend(self.origin.into_iter().flat_map(PeerId::to_bytes));
        out.extend(before.into_iter().flatten());
        if let Some(payload) = &self.payload {
            out.extend_from_slice(&payload.bytes);
        }
        let length = u32::try_from(out.len() - start).expect("a message is far below 4 GiB");
        out[start..start + 4].copy_from_slice(&length.to_be_bytes());
    }

    fn flags(&self) -> u8 {
        let kind = match self.payload.as_ref().map(|payload| payload.kind) {
            Some(Kind::Json) => 0,
            Some(Kind::Text) => 1,
            Some(Kind::Binary) => 2,
            None => NO_PAYLOAD,
        };
        let act = match self.act {
            Act::Add => 0,
            Act::Clear => CLEARS,
            Act::Forget { .. } => FORGETS,
        };
        let set = |flag, holds| if holds { flag } else { 0 };
        kind | act | set(HAS_ORIGIN, self.origin.is_some()) | set(ECHOES, self.echo)
    }

    /// Reads one item that fills the bytes; its payload shares their memory.
    pub fn decode(bytes: &Bytes) -> Result<Self, ItemError> {
        Self::read(bytes).ok_or_else(|| ItemError { mark: mark_of(bytes).unwrap_or_default() })
    }

    fn read(bytes: &Bytes) -> Option<Self> {
        let (fixed, rest) = bytes.split_at_checked(FIXED_BYTES)?;
        let header_bytes = usize::from(fixed[FIXED_BYTES - 1]);
        let (mut header, content) = rest.split_at_checked(header_bytes)?;
        if length_of(bytes) != Some(bytes.len()) {
            return None;
        }
        let flags = fixed[24];
        let mut origin = None;
        if flags & HAS_ORIGIN != 0 {
            let (peer, rest) = header.split_first_chunk()?;
            origin = Some(PeerId::from_bytes(*peer).ok()?);
            header = rest;
        }
        let act = match (flags & CLEARS != 0, flags & FORGETS != 0) {
            (true, _) => Act::Clear,
            (false, true) => Act::Forget { before: u64_at(header, 0)? },
            (false, false) => Act::Add,
        };
        let payload = payload(flags & KIND_BITS, bytes.slice(bytes.len() - content.len()..))?;
        Some(Self {
            mark: mark_of(bytes)?,
            id: PublicationId::from_bytes(*fixed[8..].first_chunk()?),
            at_ms: u64_at(fixed, 23)? & ((1 << 48) - 1),
            origin,
            echo: flags & ECHOES != 0,
            act,
            payload,
        })
    }
}

/// The payload of an item, if it is as it says. What claims to be JSON is looked through once: it goes into frames as it is.
#[expect(clippy::option_option, reason = "none at all is an error")]
fn payload(kind: u8, bytes: Bytes) -> Option<Option<Payload>> {
    match kind {
        0 => Payload::parse_json(&bytes).ok().map(Some),
        1 if std::str::from_utf8(&bytes).is_err() => None,
        1 => Some(Some(Payload { kind: Kind::Text, bytes })),
        2 => Some(Some(Payload { kind: Kind::Binary, bytes })),
        _ => Some(None),
    }
}

/// The length that an item's first bytes claim, itself included.
fn length_of(bytes: &[u8]) -> Option<usize> {
    bytes.first_chunk().map(|length| u32::from_be_bytes(*length) as usize)
}

/// The mark of an item, also of one that can't be read otherwise.
pub fn mark_of(item: &[u8]) -> Option<Mark> {
    item.get(4..)?.first_chunk().map(|mark| Mark(u32::from_be_bytes(*mark)))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..)?.first_chunk().map(|number| u64::from_be_bytes(*number))
}

impl Heard {
    /// Appends the announcement of where a topic was.
    pub fn encode_echo(position: Position, out: &mut Vec<u8>) {
        out.push(ECHO);
        out.extend_from_slice(&position.epoch.0);
        out.extend_from_slice(&position.offset.to_be_bytes());
        out.extend_from_slice(&position.mark.0.to_be_bytes());
    }

    /// Reads a message; none if it is of a kind that this version does not know, an envelope for example. An
    /// item that can't be read still has its place.
    pub fn decode(bytes: &Bytes) -> Option<Self> {
        let epoch = Epoch(*bytes.get(1..)?.first_chunk()?);
        match *bytes.first()? {
            COMMIT => {
                let mark = Mark(u32::from_be_bytes(*bytes.get(9..)?.first_chunk()?));
                let offset = u64_at(bytes, 13)?.checked_sub(1)?;
                let items = items(bytes.slice(21..))?;
                Some(Self::Commit { before: Position { epoch, offset, mark }, items })
            }
            ECHO => {
                let mark = Mark(u32::from_be_bytes(*bytes.get(17..)?.first_chunk()?));
                Some(Self::Echo(Position { epoch, offset: u64_at(bytes, 9)?, mark }))
            }
            _ => None,
        }
    }
}

/// Items one after the other, at least one.
fn items(mut bytes: Bytes) -> Option<Vec<Result<Item, ItemError>>> {
    let mut items = Vec::new();
    while !bytes.is_empty() {
        let length = length_of(&bytes).filter(|length| (FIXED_BYTES..=bytes.len()).contains(length))?;
        items.push(Item::decode(&bytes.split_to(length)));
    }
    (!items.is_empty()).then_some(items)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::Incarnation;

    fn item() -> Item {
        Item {
            mark: Mark(7),
            id: PublicationId { incarnation: Incarnation(1), lane: 2, sequence: 3 },
            at_ms: 1_700_000_000_123,
            origin: None,
            echo: false,
            act: Act::Add,
            payload: Some(Payload::json(&b"{\"a\":1}"[..])),
        }
    }

    fn bytes(item: &Item) -> Bytes {
        let mut out = Vec::new();
        item.encode(&mut out);
        out.into()
    }

    // redis 1.1
    #[test]
    fn the_first_fields_are_where_scripts_look_for_them() {
        let bytes = bytes(&item());
        assert_eq!(&bytes[..4], (bytes.len() as u32).to_be_bytes());
        assert_eq!((&bytes[4..8], &bytes[8..24]), (&[0, 0, 0, 7][..], &item().id.to_bytes()[..]));
        assert_eq!(mark_of(&bytes), Some(Mark(7)));
    }

    fn commit(before: Position, items: &[Bytes]) -> Bytes {
        let mut out = vec![b'P'];
        out.extend_from_slice(&before.epoch.0);
        out.extend_from_slice(&before.mark.0.to_be_bytes());
        out.extend_from_slice(&(before.offset + 1).to_be_bytes());
        out.extend(items.iter().flatten());
        out.into()
    }

    #[test]
    fn a_commit_keeps_the_places_of_items_that_can_not_be_read() {
        let before = Position { epoch: Epoch(*b"abcdefgh"), offset: 9, mark: Mark(1) };
        let mut bad = bytes(&item()).to_vec();
        bad.truncate(FIXED_BYTES + 2);
        bad[3] = bad.len() as u8;
        let good = bytes(&item());
        let heard = Heard::decode(&commit(before, &[good.clone(), bad.into(), good]));
        let items = vec![Ok(item()), Err(ItemError { mark: Mark(7) }), Ok(item())];
        assert_eq!(heard, Some(Heard::Commit { before, items }));
    }

    // redis 3.4
    #[test]
    fn an_echo_is_21_bytes_and_reads_back() {
        let position = Position { epoch: Epoch(*b"abcdefgh"), offset: 1 << 40, mark: Mark(9) };
        let mut out = Vec::new();
        Heard::encode_echo(position, &mut out);
        assert_eq!(out.len(), 21);
        assert_eq!(Heard::decode(&out.into()), Some(Heard::Echo(position)));
    }

    // redis 11.1
    #[test]
    fn what_a_later_version_appends_to_the_header_is_skipped() {
        let item = Item { origin: Some(PeerId::new(Incarnation(1), 5)), echo: true, ..item() };
        let mut later = bytes(&item).to_vec();
        later[24] |= 0x80;
        later[FIXED_BYTES - 1] += 3;
        (0..3).for_each(|_| later.insert(FIXED_BYTES + 16, 0xff));
        let length = later.len() as u32;
        later[..4].copy_from_slice(&length.to_be_bytes());
        assert_eq!(Item::decode(&later.into()), Ok(item));
    }

    #[test]
    fn what_claims_to_be_json_or_text_and_is_not_is_no_item() {
        for (kind, content) in [(Kind::Json, &b"{\"a\":"[..]), (Kind::Json, b"1 2"), (Kind::Text, b"\xff")] {
            let payload = Some(Payload { kind, bytes: Bytes::from_static(content) });
            assert_eq!(Item::decode(&bytes(&Item { payload, ..item() })), Err(ItemError { mark: Mark(7) }));
        }
    }

    proptest! {
        #[test]
        fn every_item_reads_back(
            mark: u32, id: [u8; 16], at_ms in 0..1_u64 << 48, entropy: Option<u64>, echo: bool, act in 0..3,
            before: u64, kind in 0..4, content in "\\PC{0,40}",
        ) {
            let payload = match kind {
                0 => Some(Payload::json(serde_json::to_vec(&content).expect("a string"))),
                1 => Some(Payload::text(content)),
                2 => Some(Payload::binary(content)),
                _ => None,
            };
            let item = Item {
                mark: Mark(mark),
                id: PublicationId::from_bytes(id),
                at_ms,
                origin: entropy.map(|entropy| PeerId::new(Incarnation(before), entropy)),
                echo,
                act: match act { 0 => Act::Add, 1 => Act::Clear, _ => Act::Forget { before } },
                payload,
            };
            prop_assert_eq!(Item::decode(&bytes(&item)), Ok(item));
        }

        #[test]
        fn no_bytes_panic(bytes: Vec<u8>, kind in 0..3_u8) {
            let mut bytes = bytes;
            if let Some(first) = bytes.first_mut() {
                *first = [b'P', b'E', *first][usize::from(kind)];
            }
            let bytes = Bytes::from(bytes);
            let _ = Heard::decode(&bytes);
            let _ = Item::decode(&bytes);
        }
    }
}
