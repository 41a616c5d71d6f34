//! How names and sizes look where people read them.

use std::fmt::{self, Write as _};

/// Bytes of a name, with everything escaped that could disturb a terminal, and cut where it gets too long.
pub struct Shown<'a>(&'a [u8]);

/// More is not of help to anybody.
const SHOWN_MAX: usize = 300;

impl<'a> Shown<'a> {
    /// Shows bytes, which may be no text.
    pub fn bytes(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// Shows a text.
    pub fn text(text: &'a str) -> Self {
        Self(text.as_bytes())
    }
}

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for chunk in self.0[..self.0.len().min(SHOWN_MAX)].utf8_chunks() {
            for letter in chunk.valid().chars() {
                match letter {
                    '"' | '\'' => f.write_char(letter)?,
                    _ => write!(f, "{}", letter.escape_debug())?,
                }
            }
            for byte in chunk.invalid() {
                write!(f, "\\x{byte:02x}")?;
            }
        }
        if self.0.len() > SHOWN_MAX { f.write_char('…') } else { Ok(()) }
    }
}

/// A size with three digits or so.
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut amount = bytes as f64 / 1024.0;
    let mut unit = 0;
    while amount >= 1000.0 && unit + 1 < UNITS.len() {
        amount /= 1024.0;
        unit += 1;
    }
    format!("{amount:.1} {}", UNITS[unit])
}

/// A span in its two largest units.
pub fn span(ms: u64) -> String {
    match ms {
        0..1_000 => format!("{ms}ms"),
        1_000..60_000 => format!("{}s", ms / 1_000),
        60_000..3_600_000 => format!("{}m{}s", ms / 60_000, ms / 1_000 % 60),
        _ => format!("{}h{}m", ms / 3_600_000, ms / 60_000 % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_escaped_and_cut() {
        assert_eq!(Shown::bytes(b"a\x1b[31m\xffz\\\"\t").to_string(), "a\\u{1b}[31m\\xffz\\\\\"\\t");
        let long = "x".repeat(SHOWN_MAX + 1);
        assert_eq!(Shown::text(&long).to_string(), "x".repeat(SHOWN_MAX) + "…");
        assert_eq!(Shown::text(&long[1..]).to_string(), long[1..]);
    }

    #[test]
    fn sizes_and_spans_are_short() {
        let sizes = [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (1_048_576, "1.0 MiB"),
            (u64::MAX, "16777216.0 TiB"),
        ];
        for (bytes, text) in sizes {
            assert_eq!(size(bytes), text);
        }
        let spans = [(0, "0ms"), (999, "999ms"), (59_999, "59s"), (300_000, "5m0s"), (86_400_000, "24h0m")];
        for (ms, text) in spans {
            assert_eq!(span(ms), text);
        }
    }
}
