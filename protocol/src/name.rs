//! Namespaces and topics: the two words every publication is routed by (behaviours E3).
//!
//! **Invariant:** a value of these types is valid, so nothing behind the door checks a name again.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

/// An isolated world of topics: 1 to 255 bytes of `A-Za-z0-9._~:@!$&'()*+,;=%/-`.
///
/// Cloning shares the text.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Namespace(Arc<str>);

/// What one subscribes to: 1 to 255 bytes of UTF-8 without control characters.
///
/// Cloning shares the text.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Topic(Arc<str>);

/// Why a text is no name, worded for whoever chose it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// The text has no bytes at all.
    #[error("{what} is empty")]
    Empty {
        /// `topic` or `namespace`.
        what: &'static str,
    },
    /// The text is longer than [`NAME_BYTES_MAX`].
    #[error("{what} is {bytes} bytes, at most {NAME_BYTES_MAX} are allowed")]
    Long {
        /// `topic` or `namespace`.
        what: &'static str,
        /// How long it is.
        bytes: usize,
    },
    /// A topic holds a control character, of ASCII or of Unicode's C1 block.
    #[error("topic holds a control character at byte {at}")]
    Control {
        /// Where it begins.
        at: usize,
    },
    /// A namespace holds a character outside its alphabet.
    #[error("namespace holds {character:?} at byte {at}; allowed are A-Za-z0-9 and ._~:@!$&'()*+,;=%/-")]
    Character {
        /// The first such character.
        character: char,
        /// Where it begins.
        at: usize,
    },
}

/// The longest name in bytes: what still fits a Redis channel, a metric label and a log line.
pub const NAME_BYTES_MAX: usize = 255;

impl Namespace {
    /// Checks a text and keeps it.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        check_length("namespace", text)?;
        match text.char_indices().find(|(_, character)| !is_namespace_character(*character)) {
            Some((at, character)) => Err(NameError::Character { character, at }),
            None => Ok(Self(text.into())),
        }
    }
}

impl Topic {
    /// Checks a text and keeps it.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        check_length("topic", text)?;
        if text.bytes().all(|byte| (b' '..=b'~').contains(&byte)) {
            return Ok(Self(text.into()));
        }
        match text.char_indices().find(|(_, character)| character.is_control()) {
            Some((at, _)) => Err(NameError::Control { at }),
            None => Ok(Self(text.into())),
        }
    }

    /// Whether the node keeps this topic for itself: it starts with `$`, and no client may publish there.
    pub fn is_reserved(&self) -> bool {
        self.0.starts_with('$')
    }
}

fn check_length(what: &'static str, text: &str) -> Result<(), NameError> {
    match text.len() {
        0 => Err(NameError::Empty { what }),
        1..=NAME_BYTES_MAX => Ok(()),
        bytes => Err(NameError::Long { what, bytes }),
    }
}

fn is_namespace_character(character: char) -> bool {
    character.is_ascii_alphanumeric()
        || (character.is_ascii() && b"._~:@!$&'()*+,;=%/-".contains(&(character as u8)))
}

macro_rules! name {
    ($name:ident) => {
        impl $name {
            /// The text itself.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", &*self.0)
            }
        }

        impl std::str::FromStr for $name {
            type Err = NameError;

            fn from_str(text: &str) -> Result<Self, NameError> {
                Self::parse(text)
            }
        }
    };
}

name!(Namespace);
name!(Topic);

#[cfg(test)]
mod tests {
    use super::*;

    fn topic_error(text: &str) -> String {
        Topic::parse(text).unwrap_err().to_string()
    }

    // E3
    #[test]
    fn a_topic_is_1_to_255_bytes_without_control_characters() {
        assert_eq!(Topic::parse("chät 🐦").unwrap().as_str(), "chät 🐦");
        assert!(Topic::parse(&"a".repeat(255)).is_ok());
        assert_eq!(topic_error(""), "topic is empty");
        assert_eq!(topic_error(&"a".repeat(300)), "topic is 300 bytes, at most 255 are allowed");
        assert_eq!(topic_error(&"ä".repeat(128)), "topic is 256 bytes, at most 255 are allowed");
        assert_eq!(topic_error("abc\nd"), "topic holds a control character at byte 3");
        assert_eq!(topic_error("ä\u{7f}"), "topic holds a control character at byte 2");
        assert_eq!(topic_error("\u{85}"), "topic holds a control character at byte 0");
    }

    // E3
    #[test]
    fn a_namespace_holds_only_its_alphabet() {
        let alphabet = "/Az09._~:@!$&'()*+,;=%-";
        assert_eq!(Namespace::parse(alphabet).unwrap().to_string(), alphabet);
        let error = Namespace::parse("ab#").unwrap_err().to_string();
        assert_eq!(error, "namespace holds '#' at byte 2; allowed are A-Za-z0-9 and ._~:@!$&'()*+,;=%/-");
        for refused in
            ["", " ", "ä", "a?b", "a b", "a\"", "a\0", "{x}", "a|b", "a^", "a\\b", &"a".repeat(256)]
        {
            assert!(Namespace::parse(refused).is_err(), "{refused:?}");
        }
    }

    // E3
    #[test]
    fn a_leading_dollar_is_reserved() {
        assert!(Topic::parse("$presence").unwrap().is_reserved());
        assert!(!Topic::parse("price$").unwrap().is_reserved());
    }

    #[test]
    fn a_map_keyed_by_topics_is_asked_with_plain_text() {
        let set = std::collections::HashSet::from([Topic::parse("chat").unwrap()]);
        assert!(set.contains("chat"));
    }
}
