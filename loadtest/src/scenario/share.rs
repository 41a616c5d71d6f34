//! What one process saw of a run. Shares of several processes add up to what one would have seen.

use serde::{Deserialize, Serialize};

use crate::{clock::Nanos, statistics::Latencies};

/// A process' part of a run's result.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Share {
    /// Deliveries that arrived while measuring.
    pub deliveries: u64,
    /// The same per second.
    pub deliveries_per_second: f64,
    /// Publications that left while measuring; with [`super::fanout::Pace::Answers`], those answered.
    pub publications: u64,
    /// The same per second.
    pub publications_per_second: f64,
    /// Deliveries that arrived in the whole run, warm-up included: what faults are faults of.
    pub delivered: u64,
    /// Of the whole run, as all that follow.
    pub lost: u64,
    /// Deliveries beyond the first.
    pub duplicated: u64,
    /// Deliveries after a later one.
    pub reordered: u64,
    /// Deliveries on a foreign topic.
    pub stray: u64,
    /// Connections the server ended.
    pub closed: u64,
    /// Error frames.
    pub errors: u64,
    /// Publications without the answer they asked for.
    pub unanswered: u64,
    /// Publications that reached one node only.
    pub local: u64,
    /// The first close code or error frame.
    pub complaint: Option<String>,
    /// The longest a client spent between two waits.
    pub stall: Nanos,
    /// The furthest a client was behind its own pace.
    pub behind: Nanos,
    /// Of publications meant to leave while measuring.
    pub latencies: Latencies,
}

impl Share {
    /// Adds another process' share.
    pub fn add(&mut self, other: Self) {
        self.deliveries += other.deliveries;
        self.deliveries_per_second += other.deliveries_per_second;
        self.publications += other.publications;
        self.publications_per_second += other.publications_per_second;
        self.delivered += other.delivered;
        self.lost += other.lost;
        self.duplicated += other.duplicated;
        self.reordered += other.reordered;
        self.stray += other.stray;
        self.closed += other.closed;
        self.errors += other.errors;
        self.unanswered += other.unanswered;
        self.local += other.local;
        self.complaint = self.complaint.take().or(other.complaint);
        self.stall = self.stall.max(other.stall);
        self.behind = self.behind.max(other.behind);
        self.latencies.merge(&other.latencies);
    }

    /// Whatever was wrong.
    pub fn faults(&self) -> u64 {
        let deliveries = self.lost + self.duplicated + self.reordered + self.stray;
        deliveries + self.closed + self.errors + self.unanswered + self.local
    }
}
