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
}

impl Script {
    /// All, in the order of their index.
    pub const ALL: [Self; 4] = [Self::Tick, Self::Count, Self::Registry, Self::Leave];

    /// Its text.
    pub const fn body(self) -> &'static str {
        match self {
            Self::Tick => include_str!("scripts/tick.lua"),
            Self::Count => include_str!("scripts/count.lua"),
            Self::Registry => include_str!("scripts/registry.lua"),
            Self::Leave => include_str!("scripts/leave.lua"),
        }
    }
}
