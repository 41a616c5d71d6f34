//! The keys of client frames.

/// A key that some client frame has, in the order of [`KEYS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Key {
    Type,
    Topic,
    Payload,
    Id,
    Topics,
    Base64,
    Echo,
    Idempotency,
    Since,
    Replay,
    Presence,
    Token,
    Before,
    Limit,
    Info,
    After,
    Grant,
}

/// What each key is called and has to hold.
pub(crate) const KEYS: [(&str, &str); 17] = [
    ("type", "a string"),
    ("topic", "a string"),
    ("payload", "json"),
    ("id", "an integer or a string"),
    ("topics", "a list of topics"),
    ("base64", "a string"),
    ("self", "true or false"),
    ("key", "a string"),
    ("since", "a string"),
    ("replay", "a whole number"),
    ("presence", "true or false"),
    ("token", "a string"),
    ("before", "a string"),
    ("limit", "a whole number"),
    ("info", "json"),
    ("after", "a string"),
    ("grant", "a string"),
];

impl Key {
    /// The key of that name. A `match` rather than a search through [`KEYS`]: the compiler makes it a jump by
    /// length. `rooms` is another name of `topics` (T4).
    pub(crate) fn named(name: &[u8]) -> Option<Self> {
        Some(match name {
            b"type" => Self::Type,
            b"topic" => Self::Topic,
            b"payload" => Self::Payload,
            b"id" => Self::Id,
            b"topics" | b"rooms" => Self::Topics,
            b"base64" => Self::Base64,
            b"self" => Self::Echo,
            b"key" => Self::Idempotency,
            b"since" => Self::Since,
            b"replay" => Self::Replay,
            b"presence" => Self::Presence,
            b"token" => Self::Token,
            b"before" => Self::Before,
            b"limit" => Self::Limit,
            b"info" => Self::Info,
            b"after" => Self::After,
            b"grant" => Self::Grant,
            _ => return None,
        })
    }

    pub(crate) fn name(self) -> &'static str {
        KEYS[self as usize].0
    }

    /// What it has to hold, for messages.
    pub(crate) fn wanted(self) -> &'static str {
        KEYS[self as usize].1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_listed_in_their_order() {
        for (index, (name, _)) in KEYS.iter().enumerate() {
            let key = Key::named(name.as_bytes()).unwrap();
            assert_eq!((key as usize, key.name()), (index, *name));
        }
    }
}
