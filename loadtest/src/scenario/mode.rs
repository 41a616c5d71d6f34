//! What the topics of a run remember.

use anyhow::{Result, bail};
use serde::{Deserialize, Serialize};

/// What a topic remembers. The server must have been told: topics of a mode are those whose names start
/// with its name and a colon.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Nothing.
    #[default]
    Relay,
    /// The last payload.
    Value,
    /// The last publications; each is delivered by itself.
    Log,
    /// The last publications; all of them are delivered, the newest at the end.
    List,
    /// An object that payloads are merged into; it is delivered whole.
    Map,
}

impl Mode {
    /// Every mode with its name on the command line and what its topics' names start with.
    const ALL: [(&str, Self, &str); 5] = [
        ("relay", Self::Relay, ""),
        ("value", Self::Value, "value:"),
        ("log", Self::Log, "log:"),
        ("list", Self::List, "list:"),
        ("map", Self::Map, "map:"),
    ];

    /// The mode of this name.
    pub fn parse(name: &str) -> Result<Self> {
        if let Some((_, mode, _)) = Self::ALL.iter().find(|(known, _, _)| *known == name) {
            return Ok(*mode);
        }
        bail!("no mode is called {name:?}; there are {}", Self::ALL.map(|(name, _, _)| name).join(", "))
    }

    /// Whether versions that were committed together may be delivered as one: each brings all before it.
    pub fn is_state(self) -> bool {
        matches!(self, Self::Value | Self::List | Self::Map)
    }

    /// What its topics' names start with.
    pub fn prefix(self) -> &'static str {
        Self::ALL.iter().find(|(_, mode, _)| *mode == self).map_or("", |(_, _, prefix)| prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mode_is_known_by_its_name_and_by_its_topics() {
        for (name, mode, prefix) in Mode::ALL {
            assert_eq!((Mode::parse(name).unwrap(), mode.prefix()), (mode, prefix));
        }
        assert!(Mode::parse("stack").unwrap_err().to_string().contains("relay, value, log, list, map"));
    }
}
