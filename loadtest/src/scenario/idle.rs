//! `idle`: what connected, subscribed peers cost while nothing happens.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context, Result, ensure};
use serde::Serialize;

use super::{
    fanout::CpuPer,
    follower::Nobody,
    stage::{Cast, Stage},
};
use crate::{
    clock::{self, Nanos, SECOND},
    process::{Beside, Cpu},
    progress::{Progress, glance},
    record::{Figure, Record, Verdict},
    redis::Redis,
    sampler::{Counts, Sampler, interval_of},
};

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
    /// That of the processes beside it, by name; none of one that is gone.
    pub beside_cpu_percent: BTreeMap<String, Option<f64>>,
    /// Connections the server ended while held.
    pub closed: u64,
}

/// Connects the cast, measures, and holds it. Progress hears `measuring` when everybody is there and
/// `measured` when it is over.
pub fn run(
    cast: Cast,
    hold: Duration,
    redis: Option<Redis>,
    progress: &mut dyn Progress,
) -> Result<(Idle, Record)> {
    let server = cast.server.context("idle peers are measured in the server's memory: give --server-pid")?;
    ensure!(cast.peers > 0, "there must be a peer");
    let peers = cast.peers;
    let title = format!("peers that do nothing: {peers}, topics: {}", cast.topics.count);
    let record = Record::begin("idle", title);
    let beside = cast.beside.clone();
    let (before_kib, cpu_before, start) = (server.memory_kib()?, server.cpu()?, clock::now());
    progress.phase("connecting", Some(peers.into()));
    let mut stage = Stage::open(cast, &mut Nobody)?;
    let (after_kib, cpu_after, connected) = (server.memory_kib()?, server.cpu()?, clock::now());
    let beside_before = spent(&beside);
    let sampler = Sampler::new(connected, interval_of(hold), Some(server), beside.clone());
    let mut sampler = sampler.with_redis(connected, redis)?;
    progress.line("measuring");
    rest(&mut stage, connected, hold, &mut sampler, progress)?;
    progress.line("measured");
    let held = (clock::now() - connected).max(1) as f64 / SECOND as f64;
    let idle = Idle {
        peers,
        connects_per_second: f64::from(peers) * SECOND as f64 / (connected - start) as f64,
        retried: stage.fleet.tally().retried,
        connect_cpu: CpuPer::new(cpu_after - cpu_before, peers.into()),
        memory_before_kib: before_kib,
        memory_after_kib: after_kib,
        kib_per_peer: (after_kib as f64 - before_kib as f64) / f64::from(peers),
        idle_cpu_percent: percent(server.cpu()? - cpu_after, held),
        beside_cpu_percent: beside_percent(&beside, &beside_before, held),
        closed: stage.audience.judge.closed,
    };
    let verdict = Verdict::from_reasons(&idle.reasons());
    let record = Record { verdict, figures: idle.figures(), ..record.with_samples(sampler) };
    Ok((idle, record))
}

/// What each has used since it started; none of one that is gone.
fn spent(beside: &[Beside]) -> Vec<Option<Cpu>> {
    beside.iter().map(|one| one.server.cpu().ok()).collect()
}

/// What each has used since then.
fn beside_percent(beside: &[Beside], before: &[Option<Cpu>], seconds: f64) -> BTreeMap<String, Option<f64>> {
    let since = before.iter().zip(spent(beside));
    let used = since.map(|(before, after)| Some(percent(after? - (*before)?, seconds)));
    beside.iter().map(|one| one.name.clone()).zip(used).collect()
}

fn percent(cpu: Cpu, seconds: f64) -> f64 {
    cpu.total() * 100.0 / seconds
}

/// Keeps everybody connected for so long.
fn rest(
    stage: &mut Stage,
    connected: Nanos,
    hold: Duration,
    sampler: &mut Sampler,
    progress: &mut dyn Progress,
) -> Result<()> {
    let until = connected + hold.as_nanos() as Nanos;
    progress.phase("holding", Some(hold.as_secs()));
    while clock::now() < until {
        stage.hold(sampler.due().min(until))?;
        let now = clock::now();
        if now >= sampler.due() {
            let closed = stage.audience.judge.closed;
            let peers = stage.cast.peers - (closed as u32).min(stage.cast.peers);
            let counts = Counts { peers, faults: closed, ..Counts::default() };
            sampler.take(now, counts, None)?;
            progress
                .at((now - connected) / SECOND, &sampler.samples().last().map(glance).unwrap_or_default());
        }
    }
    Ok(())
}

impl Idle {
    /// All that is not as it must be, for people.
    pub fn reasons(&self) -> Vec<String> {
        let closed = (self.closed > 0).then(|| format!("{} peers were closed by the server", self.closed));
        closed.into_iter().collect()
    }

    fn figures(&self) -> Vec<Figure> {
        let mut figures = vec![
            Figure::new("peers", f64::from(self.peers), ""),
            Figure::new("connects", self.connects_per_second, "/s"),
            Figure::new("retried after 429", f64::from(self.retried), ""),
            Figure::new("server CPU per connect and subscribe", self.connect_cpu.total_us, "µs"),
            Figure::new("server memory before", self.memory_before_kib as f64, "KiB"),
            Figure::new("server memory after", self.memory_after_kib as f64, "KiB"),
            Figure::new("server memory per peer", self.kib_per_peer, "KiB"),
            Figure::new("server CPU while idle", self.idle_cpu_percent, "% of a core"),
            Figure::new("closed by the server", self.closed as f64, ""),
        ];
        let beside = self.beside_cpu_percent.iter();
        figures.extend(
            beside.map(|(name, cpu)| Figure::new(format!("{name} CPU while idle"), *cpu, "% of a core")),
        );
        figures
    }
}
