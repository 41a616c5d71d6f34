//! What a machine counted since it was last asked: plain numbers, no atomics.

use std::time::Duration;

use super::link::Measured;
use crate::hub::Moment;

/// Why publications were delivered on this node only, or for certain only here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Local {
    /// The link was known to be down.
    Down,
    /// It did not come back in time.
    Late,
    /// The link was lost before Redis answered, and it could not be sent again.
    Unknown,
}

/// Why something from the bus went to nobody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dropped {
    /// A shard did not keep up.
    Overflow,
    /// It was here before.
    Duplicate,
    /// It is nothing this node understands.
    Malformed,
    /// An entry of a topic's history can't be read.
    Unreadable,
}

/// Why peers were told that publications may be missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gap {
    /// A link was down.
    Link,
    /// A shard did not keep up.
    Overflow,
    /// What was delivered never became history.
    Forked,
    /// History does not say what was missed.
    Lost,
    /// A topic was emptied.
    Reset,
}

/// What became of the links.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum News {
    /// They are up.
    Up,
    /// They were up, and are lost.
    Lost(String),
    /// They did not come up.
    Failed(String),
}

/// Counts since the last time they were taken.
#[derive(Debug, Clone, Default)]
pub struct Tally {
    /// Publications by [`Local`].
    pub local: [u64; 3],
    /// By [`Dropped`].
    pub dropped: [u64; 4],
    /// Topics by [`Gap`].
    pub gaps: [u64; 5],
    /// What became of the links, in order.
    pub news: Vec<News>,
    /// Times that this node lost its lease.
    pub fenced: u64,
    /// Dead nodes done with.
    pub reaped: u64,
    /// What commands took, by [`Measured`]: how many took so long.
    pub took: Vec<(Measured, Duration, u64)>,
}

impl Local {
    /// Labels in the order of their index.
    pub const LABELS: [&'static str; 3] = ["down", "late", "unknown"];
}

impl Dropped {
    /// Labels in the order of their index.
    pub const LABELS: [&'static str; 4] = ["overflow", "duplicate", "malformed", "unreadable"];
}

impl Gap {
    /// Labels in the order of their index.
    pub const LABELS: [&'static str; 5] = ["link", "overflow", "forked", "lost", "reset"];
}

impl Tally {
    /// Counts publications that only this node's peers are sure to get.
    pub fn local(&mut self, reason: Local, publications: usize) {
        self.local[reason as usize] += publications as u64;
    }

    /// Counts something that went to nobody.
    pub fn dropped(&mut self, reason: Dropped) {
        self.dropped[reason as usize] += 1;
    }

    /// Counts a topic whose peers were told.
    pub fn gap(&mut self, reason: Gap) {
        self.gaps[reason as usize] += 1;
    }

    /// A command was answered.
    pub fn took(&mut self, measured: Measured, sent_at: Moment, now: Moment) {
        let took = now.since(sent_at);
        match self.took.last_mut() {
            Some((last, same, count)) if *last == measured && *same == took => *count += 1,
            _ => self.took.push((measured, took, 1)),
        }
    }
}
