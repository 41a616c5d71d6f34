//! The scripts that run inside Redis, by name.

/// One script.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Script {
    /// Renews a lease, finds the dead.
    Tick,
    /// Counts peers.
    Count,
    /// Notes what is about to be written.
    Registry,
    /// Ends a lease.
    Leave,
    /// Appends to a topic's history.
    Commit,
    /// Reads a page of a topic's history.
    Read,
    /// Gives a topic its first position.
    Birth,
    /// Changes a topic that is one object.
    Merge,
}

impl Script {
    /// All, in the order of their index.
    pub const ALL: [Self; 8] = [
        Self::Tick,
        Self::Count,
        Self::Registry,
        Self::Leave,
        Self::Commit,
        Self::Read,
        Self::Birth,
        Self::Merge,
    ];

    /// Its text.
    pub const fn body(self) -> &'static str {
        match self {
            Self::Tick => include_str!("scripts/tick.lua"),
            Self::Count => include_str!("scripts/count.lua"),
            Self::Registry => include_str!("scripts/registry.lua"),
            Self::Leave => include_str!("scripts/leave.lua"),
            Self::Commit => include_str!("scripts/commit.lua"),
            Self::Read => include_str!("scripts/read.lua"),
            Self::Birth => include_str!("scripts/birth.lua"),
            Self::Merge => include_str!("scripts/merge.lua"),
        }
    }
}
