//! Who sent what: ids of peers, node incarnations and publications.
//!
//! Chance is an argument here: whoever makes an id brings the entropy.

use std::fmt;

/// One life of a node; a node that was frozen past its lease comes back as another one.
///
/// As text it is 16 lowercase hex digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Incarnation(pub u64);

/// A peer's id: a UUID of version 4 that tells which node incarnation the peer is connected to.
///
/// Layout, from the top: 48 bits of incarnation, the version, 12 bits of incarnation, the variant, the last
/// 4 bits of incarnation, 58 bits of entropy. So any node finds a peer's node without asking anyone.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PeerId(u128);

/// A publication's id, unique in the cluster: the publishing incarnation, one of its lanes, and a counter there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PublicationId {
    /// The node's life that accepted the publication.
    pub incarnation: Incarnation,
    /// Which of its writers numbered it, so that shards need no shared counter.
    pub lane: u16,
    /// The writer's counter; 48 bits travel.
    pub sequence: u64,
}

/// A text or number that is no id of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// Not a version 4 UUID in its text form, dashes included.
    #[error("a peer id is a version 4 uuid such as 0f8fad5b-d9cb-469f-a165-70867728950e")]
    Peer,
    /// Not an incarnation.
    #[error("an incarnation is 16 hex digits")]
    Incarnation,
}

impl Incarnation {
    /// Reads 16 hex digits of either case.
    pub fn parse(text: &str) -> Result<Self, IdError> {
        if text.len() != 16 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(IdError::Incarnation);
        }
        u64::from_str_radix(text, 16).map(Self).map_err(|_| IdError::Incarnation)
    }
}

impl fmt::Display for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl PeerId {
    /// Makes the id of a peer on that incarnation; the lower 58 bits of `entropy` tell its peers apart.
    pub fn new(incarnation: Incarnation, entropy: u64) -> Self {
        let incarnation = u128::from(incarnation.0);
        let high = (incarnation >> 16) << 80;
        let middle = ((incarnation >> 4) & 0xfff) << 64;
        let low = (incarnation & 0xf) << ENTROPY_BITS;
        Self(high | middle | low | VERSION_AND_VARIANT | u128::from(entropy & ENTROPY_MASK))
    }

    /// The incarnation the peer is, or was, connected to.
    pub fn incarnation(self) -> Incarnation {
        let high = (self.0 >> 80) << 16;
        let middle = ((self.0 >> 64) & 0xfff) << 4;
        let low = (self.0 >> ENTROPY_BITS) & 0xf;
        Incarnation((high | middle | low) as u64)
    }

    /// The 58 bits that tell it apart from its node's other peers.
    pub fn entropy(self) -> u64 {
        self.0 as u64 & ENTROPY_MASK
    }

    /// Reads the text form, in either case.
    pub fn parse(text: &str) -> Result<Self, IdError> {
        let mut bits = 0;
        if text.len() != TEXT_BYTES {
            return Err(IdError::Peer);
        }
        for (at, byte) in text.bytes().enumerate() {
            match (char::from(byte).to_digit(16), DASHES.contains(&at)) {
                (Some(digit), false) => bits = bits << 4 | u128::from(digit),
                (None, true) if byte == b'-' => {}
                _ => return Err(IdError::Peer),
            }
        }
        Self::from_bits(bits)
    }

    /// Its 16 bytes, most significant first, as a UUID is stored.
    pub fn to_bytes(self) -> [u8; 16] {
        self.0.to_be_bytes()
    }

    /// The inverse of [`PeerId::to_bytes`]; refuses what is no version 4 UUID.
    pub fn from_bytes(bytes: [u8; 16]) -> Result<Self, IdError> {
        Self::from_bits(u128::from_be_bytes(bytes))
    }

    fn from_bits(bits: u128) -> Result<Self, IdError> {
        if bits & VERSION_AND_VARIANT_MASK == VERSION_AND_VARIANT {
            Ok(Self(bits))
        } else {
            Err(IdError::Peer)
        }
    }

    /// The text form, without the machinery of `fmt`: it is in every presence record and `ok` of a hello.
    pub(crate) fn text(self) -> [u8; TEXT_BYTES] {
        let mut text = [b'-'; TEXT_BYTES];
        let mut digits = (0..32).rev().map(|digit| HEX[(self.0 >> (4 * digit)) as usize & 0xf]);
        for (at, byte) in text.iter_mut().enumerate() {
            if !DASHES.contains(&at) {
                *byte = digits.next().expect("36 characters are 32 digits and 4 dashes");
            }
        }
        text
    }
}

impl fmt::Display for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(std::str::from_utf8(&self.text()).expect("hex digits and dashes are ASCII"))
    }
}

impl fmt::Debug for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl PublicationId {
    /// The 16 bytes that travel (redis 1.1 `mid`): incarnation, lane, and 48 bits of sequence, big-endian.
    pub fn to_bytes(self) -> [u8; 16] {
        let lane_and_sequence = u64::from(self.lane) << 48 | (self.sequence & SEQUENCE_MASK);
        (u128::from(self.incarnation.0) << 64 | u128::from(lane_and_sequence)).to_be_bytes()
    }

    /// The inverse of [`PublicationId::to_bytes`]; any 16 bytes are an id.
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        let bits = u128::from_be_bytes(bytes);
        Self {
            incarnation: Incarnation((bits >> 64) as u64),
            lane: (bits >> 48) as u16,
            sequence: bits as u64 & SEQUENCE_MASK,
        }
    }
}

const ENTROPY_BITS: u32 = 58;
const ENTROPY_MASK: u64 = (1 << ENTROPY_BITS) - 1;
const SEQUENCE_MASK: u64 = (1 << 48) - 1;
const VERSION_AND_VARIANT: u128 = 4 << 76 | 0b10 << 62;
const VERSION_AND_VARIANT_MASK: u128 = 0xf << 76 | 0b11 << 62;
const TEXT_BYTES: usize = 36;
const DASHES: [usize; 4] = [8, 13, 18, 23];
const HEX: &[u8; 16] = b"0123456789abcdef";

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_peer_id_is_a_version_4_uuid_in_lowercase() {
        let id = PeerId::new(Incarnation(0x0123_4567_89ab_cdef), 0x2aa_aaaa_aaaa_aaaa);
        assert_eq!(id.to_string(), "01234567-89ab-4cde-beaa-aaaaaaaaaaaa");
        assert_eq!(PeerId::parse("01234567-89AB-4CDE-BEAA-AAAAAAAAAAAA"), Ok(id));
    }

    #[test]
    fn what_is_no_version_4_uuid_is_no_peer_id() {
        for text in [
            "",
            "0123456789ab4cdebeaaaaaaaaaaaaaa",
            "01234567-89ab-1cde-beaa-aaaaaaaaaaaa",
            "01234567-89ab-4cde-0eaa-aaaaaaaaaaaa",
            "01234567+89ab-4cde-beaa-aaaaaaaaaaaa",
            "0123456-789ab-4cde-beaa-aaaaaaaaaaaa",
            "01234567-89ab-4cde-beaa-aaaaaaaaaaag",
            "+1234567-89ab-4cde-beaa-aaaaaaaaaaaa",
        ] {
            assert_eq!(PeerId::parse(text), Err(IdError::Peer), "{text}");
        }
    }

    #[test]
    fn an_incarnation_is_16_hex_digits() {
        assert_eq!(Incarnation(0xab).to_string(), "00000000000000ab");
        assert_eq!(Incarnation::parse("00000000000000AB"), Ok(Incarnation(0xab)));
        assert_eq!(Incarnation::parse("ab"), Err(IdError::Incarnation));
        assert_eq!(Incarnation::parse("+0000000000000ab"), Err(IdError::Incarnation));
    }

    // redis 1.1
    #[test]
    fn a_publication_id_is_incarnation_lane_and_sequence() {
        let id = PublicationId { incarnation: Incarnation(1), lane: 2, sequence: 3 };
        assert_eq!(id.to_bytes(), [0, 0, 0, 0, 0, 0, 0, 1, 0, 2, 0, 0, 0, 0, 0, 3]);
    }

    proptest! {
        #[test]
        fn a_peer_id_keeps_its_incarnation_and_its_text(incarnation: u64, entropy: u64) {
            let id = PeerId::new(Incarnation(incarnation), entropy);
            prop_assert_eq!(id.incarnation(), Incarnation(incarnation));
            prop_assert_eq!(id.entropy(), entropy & ENTROPY_MASK);
            prop_assert_eq!(PeerId::parse(&id.to_string()), Ok(id));
            prop_assert_eq!(PeerId::from_bytes(id.to_bytes()), Ok(id));
            let other = PeerId::new(Incarnation(incarnation), entropy ^ 1);
            prop_assert_ne!(other, id);
        }

        #[test]
        fn any_16_bytes_are_one_publication_id(bytes: [u8; 16]) {
            prop_assert_eq!(PublicationId::from_bytes(bytes).to_bytes(), bytes);
        }
    }
}
