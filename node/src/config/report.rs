//! What is wrong with a configuration: all of it at once, each problem with
//! the place it was written at.

use std::cell::RefCell;
use std::fmt;
use std::path::{Path, PathBuf};

use ::config::{Map, Value, ValueKind};

use super::secret::masked;

/// Why a configuration is refused: every problem found, one to a line.
///
/// The process exits with 64 on it, before any port is bound. No problem quotes
/// a password of an address (behaviour E11), whatever key it was written at.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct ConfigError {
    problems: Vec<String>,
}

impl ConfigError {
    /// An error of one sentence.
    pub(super) fn of(problem: &str) -> Self {
        Self { problems: vec![masked(problem)] }
    }

    /// The problems, each a whole sentence naming place, key and what is allowed.
    pub fn problems(&self) -> &[String] {
        &self.problems
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.problems.join("\n"))
    }
}

/// Collects problems while reading goes on.
pub(super) struct Report {
    /// What messages call the file: its path as it was given.
    file: String,
    /// Sections share the report while they read; no borrow outlives a push.
    problems: RefCell<Vec<String>>,
}

impl Report {
    pub(super) fn new(file: String) -> Self {
        Self { file, problems: RefCell::new(Vec::new()) }
    }

    /// A path that was written in the file, which counts from where the file is.
    pub(super) fn beside_file(&self, path: &Path) -> PathBuf {
        Path::new(&self.file).with_file_name(path)
    }

    /// Reports `PLACE: key: message`.
    pub(super) fn push(&self, place: &Place, key: &str, message: impl fmt::Display) {
        self.push_line(place, format_args!("{key}: {message}"));
    }

    /// Reports `PLACE: message`, for what is about no single value.
    pub(super) fn push_line(&self, place: &Place, message: impl fmt::Display) {
        let line = match place {
            Place::File => format!("{}: {message}", self.file),
            Place::Environment(name) => format!("environment {name}: {message}"),
            Place::Flag(name) => format!("{name}: {message}"),
        };
        self.problems.borrow_mut().push(masked(&line));
    }

    /// The value if nothing was reported.
    pub(super) fn accept<T>(self, value: T) -> Result<T, ConfigError> {
        let problems = self.problems.into_inner();
        if problems.is_empty() { Ok(value) } else { Err(ConfigError { problems }) }
    }
}

/// Where a value was written; the one to name first is the least.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Place {
    File,
    /// The variable's name.
    Environment(String),
    /// The flag with its dashes.
    Flag(String),
}

impl Place {
    /// The place of a merged value: the environment and the flags name
    /// themselves as its origin, so one without an origin is the file's.
    pub(super) fn of(value: &Value) -> Self {
        match (&value.kind, value.origin()) {
            (_, Some(flag)) if flag.starts_with("--") => Self::Flag(flag.to_owned()),
            (_, Some(variable)) => Self::Environment(variable.to_owned()),
            (ValueKind::Table(values), None) => Self::of_all(values),
            (_, None) => Self::File,
        }
    }

    /// The place of a table; only a file can write an empty one.
    pub(super) fn of_all(values: &Map<String, Value>) -> Self {
        values.values().map(Self::of).min().unwrap_or(Self::File)
    }

    /// Whether this place wins over the other, whichever variable or flag they are.
    pub(super) fn is_above(&self, other: &Self) -> bool {
        let rank = |place: &Self| match place {
            Self::File => 0,
            Self::Environment(_) => 1,
            Self::Flag(_) => 2,
        };
        rank(self) > rank(other)
    }

    pub(super) fn is_environment(&self) -> bool {
        matches!(self, Self::Environment(_))
    }
}
