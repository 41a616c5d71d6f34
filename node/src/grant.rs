//! Session grants: proof that a peer had a session here, wherever it comes back (redis.md 2.10).
//!
//! The bytes, all numbers big-endian, as base64url without padding:
//!
//! ```text
//! version u8 = 1 | id of the key 4 | expiry u64 (ms since 1970) | peer 16 | HMAC-SHA256 32
//! ```
//!
//! The HMAC is over what comes before it and over the holder: endpoint, namespace and user are not in the text, since
//! whoever verifies it knows them of the peer that shows it. So a grant is [`TEXT_BYTES`] characters whatever its
//! holder is called, and opens nothing for another.

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use dunlin_protocol::{Namespace, PeerId};

/// What grants are signed with.
#[derive(Clone, PartialEq, Eq)]
pub struct Keys {
    /// For new ones.
    pub current: [u8; 32],
    /// What was used before; still good.
    pub previous: Option<[u8; 32]>,
}

/// Proof of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grant {
    /// Who the peer was.
    pub peer: PeerId,
    /// Until when it is good, in milliseconds since 1970.
    pub expires_ms: u64,
}

/// Whose session it was. Only the same may take it up.
#[derive(Debug, Clone, Copy)]
pub struct Holder<'a> {
    /// The endpoint's path as it is configured.
    pub endpoint: &'a str,
    /// The namespace.
    pub namespace: &'a Namespace,
    /// The user, if the peer is one.
    pub user: Option<&'a str>,
}

/// How long the text of every grant is.
pub const TEXT_BYTES: usize = ((SIGNED_BYTES + TAG_BYTES) * 4).div_ceil(3);

const VERSION: u8 = 1;
const KEY_ID_BYTES: usize = 4;
const SIGNED_BYTES: usize = 1 + KEY_ID_BYTES + 8 + 16;
const TAG_BYTES: usize = 32;

impl Keys {
    /// Keys that follow from a configured secret, the same on every node that has it.
    pub fn of_secret(secret: &str) -> Self {
        let secret = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
        let mut current = [0; 32];
        current.copy_from_slice(hmac::sign(&secret, b"dunlin grant").as_ref());
        Self { current, previous: None }
    }

    /// The key that a grant names.
    fn named(&self, id: &[u8]) -> Option<hmac::Key> {
        let keys = std::iter::once(&self.current).chain(&self.previous);
        keys.map(|key| hmac::Key::new(hmac::HMAC_SHA256, key)).find(|key| key_id(key) == id)
    }
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let count = 1 + usize::from(self.previous.is_some());
        write!(f, "Keys({count})")
    }
}

/// What tells keys apart and says nothing about them.
fn key_id(key: &hmac::Key) -> [u8; KEY_ID_BYTES] {
    let tag = hmac::sign(key, b"dunlin key id");
    let mut id = [0; KEY_ID_BYTES];
    id.copy_from_slice(&tag.as_ref()[..KEY_ID_BYTES]);
    id
}

impl Holder<'_> {
    /// Appends what is signed of it. Each part has its length before it: no two holders are the same bytes.
    fn append(&self, out: &mut Vec<u8>) {
        for part in [self.endpoint, self.namespace.as_str()].into_iter().chain(self.user) {
            out.extend_from_slice(&(part.len() as u64).to_be_bytes());
            out.extend_from_slice(part.as_bytes());
        }
    }
}

impl Grant {
    /// The grant's text for its holder.
    pub fn sign(&self, keys: &Keys, holder: &Holder<'_>) -> String {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &keys.current);
        let mut bytes = vec![VERSION];
        bytes.extend_from_slice(&key_id(&key));
        bytes.extend_from_slice(&self.expires_ms.to_be_bytes());
        bytes.extend_from_slice(&self.peer.to_bytes());
        holder.append(&mut bytes);
        let tag = hmac::sign(&key, &bytes);
        bytes.truncate(SIGNED_BYTES);
        bytes.extend_from_slice(tag.as_ref());
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// The grant that a text is, if it was signed for this holder. Whether it has run out is for the caller.
    pub fn verify(text: &str, keys: &Keys, holder: &Holder<'_>) -> Option<Self> {
        if text.len() != TEXT_BYTES {
            return None;
        }
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        let (signed, tag) = bytes.split_at_checked(SIGNED_BYTES)?;
        let key = keys.named(&signed[1..=KEY_ID_BYTES])?;
        let mut message = signed.to_vec();
        holder.append(&mut message);
        hmac::verify(&key, &message, tag).ok().filter(|()| signed[0] == VERSION)?;
        let (expires, peer) = signed[1 + KEY_ID_BYTES..].split_first_chunk()?;
        let peer = PeerId::from_bytes(peer.try_into().ok()?).ok()?;
        Some(Self { peer, expires_ms: u64::from_be_bytes(*expires) })
    }
}

#[cfg(test)]
mod tests {
    use dunlin_protocol::Incarnation;

    use super::*;

    fn keys(current: u8, previous: Option<u8>) -> Keys {
        Keys { current: [current; 32], previous: previous.map(|byte| [byte; 32]) }
    }

    fn grant() -> Grant {
        Grant { peer: PeerId::new(Incarnation(7), 9), expires_ms: 1_700_000_000_000 }
    }

    fn space(name: &str) -> Namespace {
        Namespace::parse(name).expect("a namespace")
    }

    // redis 2.10
    #[test]
    fn a_grant_reads_back_until_its_key_has_been_replaced_twice() {
        let namespace = space("/ws");
        let holder = Holder { endpoint: "/ws", namespace: &namespace, user: Some("ann") };
        let text = grant().sign(&keys(1, None), &holder);
        assert_eq!(text.len(), TEXT_BYTES);
        for (keys, good) in [(keys(1, None), true), (keys(2, Some(1)), true), (keys(3, Some(2)), false)] {
            assert_eq!(Grant::verify(&text, &keys, &holder), good.then_some(grant()));
        }
    }

    // redis 2.10
    #[test]
    fn a_grant_is_nothing_to_anybody_else() {
        let (mine, others) = (space("/ws"), space("/wss"));
        let holder = Holder { endpoint: "/**", namespace: &mine, user: None };
        let text = grant().sign(&keys(1, None), &holder);
        for other in [
            Holder { namespace: &others, ..holder },
            Holder { endpoint: "/*", ..holder },
            Holder { user: Some(""), ..holder },
            Holder { user: Some("ann"), ..holder },
        ] {
            assert_eq!(Grant::verify(&text, &keys(1, None), &other), None, "{other:?}");
        }
    }

    #[test]
    fn no_changed_byte_is_a_grant() {
        let namespace = space("/ws");
        let holder = Holder { endpoint: "/ws", namespace: &namespace, user: None };
        let text = grant().sign(&keys(1, None), &holder);
        for at in 0..text.len() {
            let mut forged = text.clone().into_bytes();
            forged[at] = if forged[at] == b'A' { b'B' } else { b'A' };
            let forged = String::from_utf8(forged).expect("ASCII");
            assert_eq!(Grant::verify(&forged, &keys(1, None), &holder), None, "byte {at}");
        }
        for text in ["", "x", &text[1..], &format!("{text}A"), &"ä".repeat(TEXT_BYTES / 2)] {
            assert_eq!(Grant::verify(text, &keys(1, None), &holder), None, "{text}");
        }
    }

    // E11
    #[test]
    fn a_secret_gives_one_key_and_shows_none() {
        let long = "0123456789abcdef0123456789abcdef";
        assert_eq!(Keys::of_secret(long), Keys::of_secret(long));
        assert_ne!(Keys::of_secret(long), Keys::of_secret(&long.to_uppercase()));
        assert_eq!(format!("{:?}", Keys::of_secret(long)), "Keys(1)");
    }
}
