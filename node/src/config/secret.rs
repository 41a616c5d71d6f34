//! Texts that nobody may see.

use std::fmt;

/// A password, a key or a text that holds one. It shows as `…` wherever it is
/// formatted (behaviour E11); only [`reveal`](Self::reveal) gives it away.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Box<str>);

impl Secret {
    /// The text itself, for whoever has to send it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl<T: Into<Box<str>>> From<T> for Secret {
    fn from(text: T) -> Self {
        Self(text.into())
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MASK)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MASK)
    }
}

/// What stands in the place of a secret.
pub(super) const MASK: &str = "…";

/// A message that may quote what was configured, without what could be the user
/// and password of an address: each line loses what is between its first `://`
/// and its last `@`. That is sometimes more than needed and never less.
pub(super) fn masked(message: &str) -> String {
    message.split('\n').map(masked_line).collect::<Vec<_>>().join("\n")
}

fn masked_line(line: &str) -> String {
    let parts = line.split_once("://").and_then(|(scheme, rest)| Some((scheme, rest.rsplit_once('@')?.1)));
    parts.map_or_else(|| line.to_owned(), |(scheme, address)| format!("{scheme}://{MASK}@{address}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_shows_a_mask_however_it_is_formatted() {
        // E11
        let secret = Secret::from("hush");
        assert_eq!(format!("{secret} {secret:?} {secret:#?}"), "… … …");
        assert_eq!(secret.reveal(), "hush");
    }

    #[test]
    fn a_message_loses_users_and_passwords_of_addresses() {
        // E11
        let table = [
            ("redis: \"redis://u:hu@sh@a:1\" is no table", "redis: \"redis://…@a:1\" is no table"),
            ("at line 1\n1 | url = redis://:hush@a\n  |", "at line 1\n1 | url = redis://…@a\n  |"),
            ("origin \"https://a.example\"", "origin \"https://a.example\""),
            ("who@example", "who@example"),
            ("", ""),
        ];
        for (message, shown) in table {
            assert_eq!(masked(message), shown);
        }
    }
}
