//! What happens to those who can't keep up, and to those who send what doesn't fit.

use super::retention::{Mode, ModeOrRelay};
use crate::config::section::Section;
use crate::config::setting::{Setting, choose, quoted};

/// What happens to a publication for a peer whose outbox is full (behaviour H6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Slow {
    /// The peer is closed with 1013 and may come back.
    Close,
    /// The peer misses it.
    Drop,
    /// The peer gets the newest state when it has room, and misses those between.
    Coalesce,
    /// The peer is told that it misses some, and gets what it missed when it has room.
    Gap,
}

impl Slow {
    /// The default of a mode; `None` is relay.
    pub(super) fn of(mode: Option<Mode>) -> Self {
        match mode {
            None | Some(Mode::Log) => Self::Close,
            Some(Mode::Value | Mode::List | Mode::Map) => Self::Coalesce,
        }
    }

    /// What makes sense: who follows a state needs its last version, who follows publications each one or word of
    /// what was missed, which takes a history.
    fn allowed(mode: Option<Mode>) -> &'static [Self] {
        match mode {
            None => &[Self::Close, Self::Drop],
            Some(Mode::Log) => &[Self::Close, Self::Drop, Self::Gap],
            Some(Mode::Value | Mode::List | Mode::Map) => &[Self::Coalesce, Self::Close],
        }
    }

    pub(super) fn read(section: &Section<'_>, mode: Option<Mode>) -> Self {
        let slow = section.value::<Self>("slow", Self::of(mode));
        let allowed = Self::allowed(mode);
        if !allowed.contains(&slow) {
            let words: Vec<_> = allowed.iter().map(|slow| format!("`{}`", slow.word())).collect();
            let (word, mode, words) = (slow.word(), ModeOrRelay::word(mode), words.join(" or "));
            section.refuse(
                "slow",
                format_args!("`{word}` is not for mode `{mode}`{}; use {words}", slow.why_not()),
            );
        }
        slow
    }

    /// Why it isn't for every mode.
    fn why_not(self) -> &'static str {
        match self {
            Self::Close => "",
            Self::Drop => ", whose last state must not be missed",
            Self::Coalesce => ", which has no state that replaces older ones",
            Self::Gap => ", which has no history to make up for a gap",
        }
    }

    fn word(self) -> &'static str {
        SLOWS.iter().find(|(_, slow)| *slow == self).map(|(word, _)| *word).expect("each has a word")
    }
}

const SLOWS: [(&str, Slow); 4] =
    [("close", Slow::Close), ("drop", Slow::Drop), ("coalesce", Slow::Coalesce), ("gap", Slow::Gap)];

impl Setting for Slow {
    type Value = Self;

    fn parse(text: &str) -> Result<Self, String> {
        choose(text, &SLOWS)
    }

    fn print(value: &Self) -> String {
        quoted(value.word())
    }
}

/// What a publisher gets whose payload doesn't fit (behaviour T11). It is counted in any case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnInvalid {
    /// Nothing.
    Silent,
    /// An error frame that says what doesn't fit.
    Error,
    /// A close with 1008.
    Close,
}

impl Setting for OnInvalid {
    type Value = Self;

    fn parse(text: &str) -> Result<Self, String> {
        choose(text, &[("silent", Self::Silent), ("error", Self::Error), ("close", Self::Close)])
    }

    fn print(value: &Self) -> String {
        quoted(match value {
            Self::Silent => "silent",
            Self::Error => "error",
            Self::Close => "close",
        })
    }
}
