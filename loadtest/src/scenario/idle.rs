//! `idle`: what connected, subscribed peers cost while nothing happens.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde::Serialize;

use super::{
    Moment,
    fanout::CpuPer,
    stage::{Cast, Stage},
};
use crate::clock::{self, Nanos, SECOND};

/// What idle peers came to.
#[derive(Debug, Serialize)]
pub struct Idle {
    /// Subscribers.
    pub peers: u32,
    /// Upgrades per second, with their subscriptions.
    pub connects_per_second: f64,
    /// Upgrades answered 429 and tried again.
    pub retried: u32,
    /// Server CPU per connect and subscribe.
    pub connect_cpu: CpuPer,
    /// The server's anonymous memory before, in KiB.
    pub memory_before_kib: u64,
    /// The same with everybody connected and subscribed.
    pub memory_after_kib: u64,
    /// The growth per peer, in KiB. The kernel's socket buffers are not in it.
    pub kib_per_peer: f64,
    /// Server CPU while held, in per cent of a core.
    pub idle_cpu_percent: f64,
    /// Connections the server ended while held.
    pub closed: u64,
}

/// Connects the cast, measures, and holds it; `told` hears when everybody is there and when it is over.
pub fn run(cast: Cast, hold: Duration, mut told: impl FnMut(Moment)) -> Result<Idle> {
    let server = cast.server.context("idle peers are measured in the server's memory: give --server-pid")?;
    ensure!(cast.peers > 0, "there must be a peer");
    let peers = cast.peers;
    let (before_kib, cpu_before, start) = (server.memory_kib()?, server.cpu()?, clock::now());
    let mut stage = Stage::open(cast)?;
    let (after_kib, cpu_after, connected) = (server.memory_kib()?, server.cpu()?, clock::now());
    told(Moment::Measuring);
    let until = connected + hold.as_nanos() as Nanos;
    stage.hold(until)?;
    told(Moment::Measured);
    let held = (clock::now() - connected).max(1) as f64 / SECOND as f64;
    Ok(Idle {
        peers,
        connects_per_second: f64::from(peers) * SECOND as f64 / (connected - start) as f64,
        retried: stage.fleet.tally().retried,
        connect_cpu: CpuPer::new(cpu_after - cpu_before, peers.into()),
        memory_before_kib: before_kib,
        memory_after_kib: after_kib,
        kib_per_peer: (after_kib as f64 - before_kib as f64) / f64::from(peers),
        idle_cpu_percent: (server.cpu()? - cpu_after).total() * 100.0 / held,
        closed: stage.audience.closed,
    })
}
