//! Exit codes (interfaces.md, Command line), as in sysexits.h.

/// `dunlin keys` found something wrong.
pub const FINDINGS: i32 = 1;
/// Bad usage or configuration.
pub const USAGE: i32 = 64;
/// A server we talk to can't be reached.
pub const UNAVAILABLE: i32 = 69;
/// A bug.
pub const BUG: i32 = 70;
/// An address is in use, or the system refuses what a node needs.
pub const SYSTEM: i32 = 71;
/// A second signal ended the drain.
pub const INTERRUPTED: i32 = 130;
