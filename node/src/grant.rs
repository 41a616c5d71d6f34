//! Session grants: what a peer may take up elsewhere, signed (redis.md 2.10).

/// What grants are signed with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keys {
    /// For new ones.
    pub current: [u8; 32],
    /// What was used before; still good.
    pub previous: Option<[u8; 32]>,
}
