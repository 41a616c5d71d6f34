//! Messages of bounded length about texts of any.

use std::fmt::{self, Display, Write};

/// Takes text up to so many bytes and refuses the rest, so that nothing long is ever formatted.
pub(super) struct Words {
    text: String,
    space: usize,
}

impl Words {
    /// Room for so many bytes, the sign of what is left out included.
    pub(super) fn up_to(bytes: usize) -> Self {
        Self { text: String::new(), space: bytes - LEFT_OUT.len() }
    }

    pub(super) fn into_text(self) -> String {
        self.text
    }
}

impl Write for Words {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if text.len() <= self.space {
            self.space -= text.len();
            self.text.push_str(text);
            return Ok(());
        }
        if !self.text.ends_with(LEFT_OUT) {
            self.text.push_str(&text[..text.floor_char_boundary(self.space)]);
            self.text.push_str(LEFT_OUT);
        }
        self.space = 0;
        Err(fmt::Error)
    }
}

/// Stands for what is left out.
const LEFT_OUT: &str = "…";

/// What something says, or the beginning of it, in at most so many bytes.
pub(super) fn shortened(what: impl Display, bytes: usize) -> String {
    let mut words = Words::up_to(bytes);
    // An error says that the words are full.
    let _ = write!(words, "{what}");
    words.text
}
