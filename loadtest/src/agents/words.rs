//! What a coordinator and its agents say to each other: one JSON value a line.

use serde::{Deserialize, Serialize};

use crate::{
    clock::Nanos,
    scenario::{fanout::Plan, share::Share, stage::Cast},
    statistics::Latencies,
};

/// From the coordinator.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Order {
    /// What time is it there?
    Time,
    /// Connect this part of the cast and wait until it is settled.
    Open(Box<Cast>),
    /// Everybody is settled: no probe is needed any more.
    Settled,
    /// Run a plan.
    Run(Start),
    /// This was published in all: wait for what is missing, and judge.
    Conclude(Vec<u32>),
}

/// A run's plan and moment, by the clock of the agent who gets it.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) struct Start {
    pub(super) plan: Plan,
    /// When the warm-up begins.
    pub(super) at: Nanos,
    /// How often to tell where the run is.
    pub(super) interval: Nanos,
    /// How far this clock is ahead of that of the agent who publishes.
    pub(super) skew: i64,
}

/// From an agent.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Word {
    /// It is this late here.
    Time(Nanos),
    /// So many peers are connected.
    Connected(u32),
    /// All of its subscriptions have taken effect.
    Settled,
    /// Where the run is.
    Tick(Tick),
    /// The run's publications have left; with what was published, if that was here.
    Published(Option<Vec<u32>>),
    /// The run is over.
    Share(Box<Share>),
    /// It can't go on.
    Failed(String),
}

/// Where an agent's run is.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Tick {
    /// When it was due, since the run's start.
    pub(super) at: Nanos,
    /// Deliveries, publications and faults since the agent started.
    pub(super) deliveries: u64,
    pub(super) publications: u64,
    pub(super) faults: u64,
    /// Connected peers.
    pub(super) peers: u32,
    /// How late the agent itself was since the last tick.
    pub(super) behind: Nanos,
    /// Since the last tick.
    pub(super) latencies: Latencies,
}
