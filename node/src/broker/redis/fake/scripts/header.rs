//! The first line of a script: `#!lua flags=a,b`.

use super::super::commands::Failure;
use super::Writes;

/// What a script says about itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Header {
    /// Nothing: Redis finds out as it goes.
    Absent,
    /// Refused by a replica before its first command.
    Writing,
    /// Its writes are refused.
    Reading,
}

const FLAGS: [&[u8]; 5] =
    [b"no-writes", b"allow-oom", b"allow-stale", b"no-cluster", b"allow-cross-slot-keys"];

impl Header {
    /// Parts a script into what its header says and the code, which keeps the line's end so that lines are
    /// numbered as the author sees them.
    pub fn split(body: &[u8]) -> Result<(Self, &[u8]), Failure> {
        if !body.starts_with(b"#!") {
            return Ok((Self::Absent, body));
        }
        let end = body.iter().position(|byte| *byte == b'\n');
        let (line, code) = body.split_at(end.ok_or(Failure::fixed("ERR Invalid script shebang"))?);
        let mut words = line.split(|byte| *byte == b' ');
        let engine = words.next().unwrap_or_default();
        if engine != b"#!lua" {
            return Err(complaint("Unexpected engine in script shebang", engine));
        }
        let mut header = Self::Writing;
        for word in words {
            let flags = word.strip_prefix(b"flags=");
            let flags = flags.ok_or_else(|| complaint("Unknown lua shebang option", word))?;
            for flag in flags.split(|byte| *byte == b',').filter(|_| !flags.is_empty()) {
                header = header.with(flag)?;
            }
        }
        Ok((header, code))
    }

    pub fn is_for_master(self) -> bool {
        self == Self::Writing
    }

    pub fn writes(self) -> Writes {
        if self == Self::Reading { Writes::Refused } else { Writes::Allowed }
    }

    /// Memory never runs out here and nothing is ever stale, so most flags change nothing.
    fn with(self, flag: &[u8]) -> Result<Self, Failure> {
        match flag {
            b"no-writes" => Ok(Self::Reading),
            known if FLAGS.contains(&known) => Ok(self),
            unknown => Err(complaint("Unexpected flag in script shebang", unknown)),
        }
    }
}

fn complaint(what: &str, word: &[u8]) -> Failure {
    Failure::said([b"ERR ", what.as_bytes(), b": ", word].concat())
}
