//! `[log]`: what standard error gets.

use tracing::Level;

use super::section::Section;
use super::setting::{Setting, choose, quoted};

/// The `[log]` section.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Log {
    /// How a line looks.
    pub format: LogFormat,
    /// The least severe events that are written.
    pub level: Level,
}

impl Default for Log {
    fn default() -> Self {
        Self { format: LogFormat::Human, level: Level::INFO }
    }
}

impl Log {
    pub(super) fn read(section: Section<'_>) -> Self {
        let default = Self::default();
        let log = Self {
            format: section.value::<LogFormat>("format", default.format),
            level: section.value::<Level>("level", default.level),
        };
        section.finish(&[]);
        log
    }

    pub(super) fn lines(&self) -> Vec<(&'static str, String)> {
        vec![("format", LogFormat::print(&self.format)), ("level", Level::print(&self.level))]
    }
}

/// How a log line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For a person at a terminal.
    Human,
    /// One JSON object per line.
    Json,
}

impl Setting for LogFormat {
    type Value = Self;

    fn parse(text: &str) -> Result<Self, String> {
        choose(text, &[("human", Self::Human), ("json", Self::Json)])
    }

    fn print(value: &Self) -> String {
        quoted(match value {
            Self::Human => "human",
            Self::Json => "json",
        })
    }
}

impl Setting for Level {
    type Value = Self;

    fn parse(text: &str) -> Result<Self, String> {
        choose(
            text,
            &[
                ("error", Self::ERROR),
                ("warn", Self::WARN),
                ("info", Self::INFO),
                ("debug", Self::DEBUG),
                ("trace", Self::TRACE),
            ],
        )
    }

    fn print(value: &Self) -> String {
        quoted(value.as_str().to_ascii_lowercase())
    }
}
