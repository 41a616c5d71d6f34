//! What a topic remembers (behaviour T7).

use std::time::Duration;

use super::Bytes;
use crate::config::limits::Limits;
use crate::config::section::Section;
use crate::config::setting::{Setting, choose, quoted};

/// What a topic remembers, and how much of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retention {
    /// What a publication does to what is remembered.
    pub mode: Mode,
    /// Entries of a log or list, keys of a map, from 1 to [`LIMIT_MAX`]. A value has none.
    pub limit: u32,
    /// Bytes of all that is remembered, at most half of `limits.outbox`.
    pub max_bytes: usize,
    /// How long it is remembered after the last publication, from 1 s to ten years.
    pub ttl: Duration,
    /// How many publications of a log a subscriber gets that didn't say since when; at most `limit`.
    pub replay: u32,
}

/// What a publication does to what a topic remembers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// It takes the place of the one before.
    Value,
    /// It comes behind the others; subscribers get each one.
    Log,
    /// It comes behind the others; subscribers get all of them together.
    List,
    /// Its members take the place of those before, a null takes one out; subscribers get the whole object.
    Map,
}

impl Retention {
    /// The defaults of a mode.
    pub(super) fn of(mode: Mode, limits: &Limits) -> Self {
        let max_bytes = MAX_BYTES.min(half_of_outbox(limits));
        Self { mode, limit: LIMIT, max_bytes, ttl: TTL, replay: 0 }
    }

    /// Reads the keys of topics that remember; they are refused where there is no mode that does.
    pub(super) fn read(section: &Section<'_>, mode: Option<Mode>, limits: &Limits) -> Option<Self> {
        let Some(mode) = mode else {
            for key in ["limit", "max_bytes", "ttl", "replay"].into_iter().filter(|key| section.has(key)) {
                let advice = "choose mode = \"value\", \"log\", \"list\" or \"map\", or remove it";
                section.refuse(key, format_args!("is only for topics that remember; {advice}"));
            }
            return None;
        };
        let default = Self::of(mode, limits);
        let retention = Self {
            mode,
            limit: section.value::<u32>("limit", default.limit),
            max_bytes: section.value::<Bytes>("max_bytes", default.max_bytes),
            ttl: section.value::<Duration>("ttl", default.ttl),
            replay: section.value::<u32>("replay", default.replay),
        };
        retention.check(section, limits);
        Some(retention)
    }

    fn check(&self, section: &Section<'_>, limits: &Limits) {
        if !(1..=LIMIT_MAX).contains(&self.limit) {
            section.refuse("limit", format_args!("{} is out of range; use 1 to {LIMIT_MAX}", self.limit));
        }
        self.check_bytes(section, half_of_outbox(limits));
        if self.ttl < TTL_MIN {
            let shown = Duration::print(&self.ttl);
            section.refuse("ttl", format_args!("{shown} is too short; use \"1s\" to \"3650d\""));
        }
        if self.mode != Mode::Log && section.has("replay") {
            let why = "subscribers of other topics that remember always get the whole state";
            section.refuse("replay", format_args!("is only for mode = \"log\": {why}; remove it"));
        } else if self.replay > self.limit {
            let (replay, limit) = (self.replay, self.limit);
            section.refuse("replay", format_args!("{replay} is more than `limit` keeps; use 0 to {limit}"));
        }
    }

    fn check_bytes(&self, section: &Section<'_>, most: usize) {
        let shown = Bytes::print(&self.max_bytes);
        let why = "what a topic remembers is sent to a peer at once";
        if most < MAX_BYTES_MIN {
            let advice = "set `limits.outbox` to at least \"2KiB\"";
            section.refuse("max_bytes", format_args!("may be half of `limits.outbox`, too little: {advice}"));
        } else if self.max_bytes < MAX_BYTES_MIN {
            section.refuse("max_bytes", format_args!("{shown} is too small; use at least \"1KiB\""));
        } else if self.max_bytes > most {
            let most = Bytes::print(&most);
            section.refuse(
                "max_bytes",
                format_args!("{shown} is more than half of `limits.outbox`; use at most {most}: {why}"),
            );
        }
    }

    pub(super) fn lines(&self) -> Vec<(&'static str, String)> {
        let mut lines = vec![
            ("limit", u32::print(&self.limit)),
            ("max_bytes", Bytes::print(&self.max_bytes)),
            ("ttl", Duration::print(&self.ttl)),
        ];
        if self.mode == Mode::Log {
            lines.push(("replay", u32::print(&self.replay)));
        }
        lines
    }
}

const LIMIT: u32 = 200;

/// More would make a look at the whole topic too long for one call of Redis.
pub const LIMIT_MAX: u32 = 100_000;

const MAX_BYTES: usize = 256 << 10;

/// With less, hardly a publication could be remembered.
const MAX_BYTES_MIN: usize = 1 << 10;

const TTL: Duration = Duration::from_hours(7 * 24);

/// Redis counts on in whole seconds when it gives memory back.
const TTL_MIN: Duration = Duration::from_secs(1);

/// Where one whole state always finds room while another is on its way.
fn half_of_outbox(limits: &Limits) -> usize {
    if limits.outbox == usize::MAX { usize::MAX } else { limits.outbox / 2 }
}

/// The mode's word; a relay has no mode of remembering.
pub(super) struct ModeOrRelay;

const MODES: [(&str, Option<Mode>); 5] = [
    ("relay", None),
    ("value", Some(Mode::Value)),
    ("log", Some(Mode::Log)),
    ("list", Some(Mode::List)),
    ("map", Some(Mode::Map)),
];

impl ModeOrRelay {
    pub(super) fn word(mode: Option<Mode>) -> &'static str {
        let found = MODES.iter().find(|(_, known)| *known == mode);
        found.map(|(word, _)| *word).expect("each mode has a word")
    }
}

impl Setting for ModeOrRelay {
    type Value = Option<Mode>;

    fn parse(text: &str) -> Result<Option<Mode>, String> {
        choose(text, &MODES)
    }

    fn print(value: &Option<Mode>) -> String {
        quoted(Self::word(*value))
    }
}

#[cfg(test)]
impl Default for Retention {
    /// A log as the documentation has it.
    fn default() -> Self {
        let ttl = std::time::Duration::from_hours(7 * 24);
        Self { mode: Mode::Log, limit: 200, max_bytes: 256 * 1024, ttl, replay: 0 }
    }
}
