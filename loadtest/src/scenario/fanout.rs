//! `fanout`: publications at a steady pace or as fast as they are delivered, each to its topic's audience.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Result, ensure};
use serde::Serialize;

use super::{
    Moment,
    audience::Audience,
    stage::{Cast, Stage},
};
use crate::{
    clock::{self, Nanos, SECOND},
    pacer::{BEHIND_MAX, Pacer},
    process::{Beside, Cpu, Server},
    sequence::Faults,
    statistics::Summary,
};

/// How fast to publish.
#[derive(Debug, Clone, Copy)]
pub enum Pace {
    /// Deliveries per second, over all subscribers.
    Deliveries(f64),
    /// As fast as deliveries come back, with so many publications on their way.
    Window(u64),
    /// As fast as the server answers, with so many publications unanswered. It takes no subscriber.
    Answers(u64),
}

/// One run on a stage.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// How fast.
    pub pace: Pace,
    /// How long before anything is measured.
    pub warmup: Duration,
    /// How long is measured.
    pub duration: Duration,
}

/// What a run came to.
#[derive(Debug, Clone, Serialize)]
pub struct Outcome {
    /// Deliveries per second asked for; none with a window.
    pub intended_per_second: Option<f64>,
    /// Deliveries per second that arrived while measuring.
    pub achieved_per_second: f64,
    /// Deliveries that arrived while measuring.
    pub deliveries: u64,
    /// Publications that left while measuring; with [`Pace::Answers`], those that were answered.
    pub publications: u64,
    /// The same per second.
    pub publications_per_second: f64,
    /// From the moment a publication was meant to leave.
    pub latency: Summary,
    /// The server's, per delivery; none without its process or without deliveries.
    pub cpu: Option<CpuPer>,
    /// The server's, per publication; none without its process.
    pub cpu_per_publication: Option<CpuPer>,
    /// Those of the processes beside it, per delivery, by name.
    pub beside: BTreeMap<String, CpuPer>,
    /// Deliveries that never came, of the whole run.
    pub lost: u64,
    /// Deliveries beyond the first.
    pub duplicated: u64,
    /// Deliveries after a later one of the same publisher and topic.
    pub reordered: u64,
    /// Deliveries on a topic their subscriber doesn't have.
    pub stray: u64,
    /// Connections the server ended.
    pub closed: u64,
    /// Error frames.
    pub errors: u64,
    /// Publications without an answer, of those that asked for one.
    pub unanswered: u64,
    /// Publications whose answer says that one node only was reached.
    pub local: u64,
    /// The first close code or error frame.
    pub complaint: Option<String>,
    /// The longest this client spent between two waits.
    pub stall_ms: f64,
    /// The furthest this client was behind its own pace.
    pub behind_ms: f64,
}

/// CPU in microseconds per something.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct CpuPer {
    /// In the server's own code.
    pub user_us: f64,
    /// In the kernel on its behalf.
    pub system_us: f64,
    /// Both.
    pub total_us: f64,
}

impl CpuPer {
    pub(super) fn new(cpu: Cpu, count: u64) -> Self {
        let per = |seconds: f64| seconds * 1e6 / count.max(1) as f64;
        Self { user_us: per(cpu.user), system_us: per(cpu.system), total_us: per(cpu.total()) }
    }
}

impl Outcome {
    /// Whether every publication reached every subscriber once, in order, and nobody was thrown out.
    pub fn is_clean(&self) -> bool {
        let deliveries = self.lost + self.duplicated + self.reordered + self.stray;
        deliveries + self.closed + self.errors + self.unanswered + self.local == 0
    }

    /// Whether the client kept its own pace; if not, the latencies tell of it rather than of the server.
    pub fn client_kept_pace(&self) -> bool {
        self.behind_ms <= BEHIND_MAX as f64 / 1e6
    }
}

/// Connects the cast and runs the plan once; `told` hears when the measured time begins and ends.
pub fn run(cast: Cast, plan: Plan, told: impl FnMut(Moment)) -> Result<Outcome> {
    ensure!(cast.publishers > 0, "somebody must publish");
    let asks = matches!(plan.pace, Pace::Answers(_));
    ensure!(cast.peers > 0 || asks, "without subscribers only answers say how fast to publish");
    let mut stage = Stage::open(cast)?;
    if asks {
        stage.publishers.ask_for_answers();
    }
    stage.run(plan, told)
}

/// How long after the last publication nothing may come before the rest counts as lost.
const DRAIN_QUIET: Nanos = 3 * SECOND;

/// How long the rest may take in all.
const DRAIN_MAX: Nanos = 60 * SECOND;

/// What is read at both ends of the measured time.
#[derive(Debug)]
struct Mark {
    at: Nanos,
    cpu: Option<Cpu>,
    beside: Vec<Cpu>,
    delivered: u64,
    published: u64,
}

impl Stage {
    /// Warms up, measures, waits for the rest, and judges.
    pub(super) fn run(&mut self, plan: Plan, mut told: impl FnMut(Moment)) -> Result<Outcome> {
        let start = clock::now();
        let from = start + plan.warmup.as_nanos() as Nanos;
        let until = from + plan.duration.as_nanos() as Nanos;
        let mut run = Run::new(start, plan.pace, self);
        self.audience.measured = from..until;
        self.audience.latencies.clear();
        self.fleet.forget_stall();
        self.publish_until(&mut run, from)?;
        told(Moment::Measuring);
        let began = self.mark(&run)?;
        self.publish_until(&mut run, until)?;
        let ended = self.mark(&run)?;
        told(Moment::Measured);
        self.drain(&run)?;
        Ok(self.judge(&run, &began, &ended))
    }

    fn publish_until(&mut self, run: &mut Run, until: Nanos) -> Result<()> {
        loop {
            let now = clock::now();
            if now >= until {
                return Ok(());
            }
            while let Some(intended) = run.take(now, &self.audience) {
                let topic = self.publishers.publish(&mut self.fleet, intended)?;
                run.published += 1;
                run.expected += u64::from(self.cast.topics.audience(topic, self.cast.peers));
            }
            self.publishers.flush(&mut self.fleet)?;
            self.fleet.turn(run.due().map_or(until, |due| due.min(until)), &mut self.audience)?;
        }
    }

    fn mark(&self, run: &Run) -> Result<Mark> {
        let cpu = self.cast.server.map(Server::cpu).transpose()?;
        let beside = self.cast.beside.iter().map(|beside| beside.server.cpu()).collect::<Result<_>>()?;
        let published = if run.asks() { self.audience.answered } else { run.published };
        Ok(Mark { at: clock::now(), cpu, beside, delivered: self.audience.delivered, published })
    }

    fn drain(&mut self, run: &Run) -> Result<()> {
        let start = clock::now();
        let (mut arrived, mut quiet_since) = ((0, 0), start);
        while self.audience.delivered < run.expected || run.unanswered(&self.audience) > 0 {
            let now = clock::now();
            let (delivered, answered) = (self.audience.delivered, self.audience.answered);
            if (delivered, answered) != arrived {
                (arrived, quiet_since) = ((delivered, answered), now);
            }
            if now - quiet_since > DRAIN_QUIET || now - start > DRAIN_MAX {
                break;
            }
            self.fleet.turn(now + SECOND / 10, &mut self.audience)?;
        }
        Ok(())
    }

    fn judge(&mut self, run: &Run, began: &Mark, ended: &Mark) -> Outcome {
        let (publishers, topics) = (&self.publishers, &self.cast.topics);
        let count = self.cast.publishers as usize;
        let Faults { lost, duplicated, reordered } = self
            .audience
            .ledger
            .settle(|stream| publishers.sent((stream % count) as u32, topics.of((stream / count) as u32)));
        let deliveries = ended.delivered - began.delivered;
        let publications = ended.published - began.published;
        let per_second = |count: u64| count as f64 * SECOND as f64 / (ended.at - began.at) as f64;
        let cpu = began.cpu.zip(ended.cpu).map(|(began, ended)| ended - began);
        let per = |cpu: Cpu, count: u64| (count > 0).then(|| CpuPer::new(cpu, count));
        let beside = began.beside.iter().zip(&ended.beside).map(|(&began, &ended)| ended - began);
        let names = self.cast.beside.iter().map(|Beside { name, .. }| name.clone());
        let audience = &mut self.audience;
        Outcome {
            intended_per_second: run.intended_per_second(),
            achieved_per_second: per_second(deliveries),
            deliveries,
            publications,
            publications_per_second: per_second(publications),
            latency: audience.latencies.summary(),
            cpu: cpu.and_then(|cpu| per(cpu, deliveries)),
            cpu_per_publication: cpu.and_then(|cpu| per(cpu, publications)),
            beside: names.zip(beside).filter_map(|(name, cpu)| Some((name, per(cpu, deliveries)?))).collect(),
            lost,
            duplicated,
            reordered,
            stray: std::mem::take(&mut audience.stray),
            closed: std::mem::take(&mut audience.closed),
            errors: std::mem::take(&mut audience.errors),
            unanswered: run.unanswered(audience),
            local: std::mem::take(&mut audience.local),
            complaint: audience.complaint.take(),
            stall_ms: self.fleet.tally().stall as f64 / 1e6,
            behind_ms: run.behind() as f64 / 1e6,
        }
    }
}

/// Decides when to publish, and knows how many deliveries should come of it.
#[derive(Debug)]
struct Run {
    tempo: Tempo,
    expected: u64,
    published: u64,
}

#[derive(Debug)]
enum Tempo {
    Paced { pacer: Pacer, deliveries_per_second: f64 },
    Windowed { deliveries: u64 },
    Answered { publications: u64 },
}

impl Run {
    fn new(start: Nanos, pace: Pace, stage: &Stage) -> Self {
        let audience = f64::from(stage.cast.peers) / f64::from(stage.cast.topics.count);
        let tempo = match pace {
            Pace::Deliveries(deliveries_per_second) => Tempo::Paced {
                pacer: Pacer::new(start, deliveries_per_second / audience),
                deliveries_per_second,
            },
            Pace::Window(publications) => {
                Tempo::Windowed { deliveries: ((publications as f64 * audience) as u64).max(1) }
            }
            Pace::Answers(publications) => Tempo::Answered { publications },
        };
        Self { tempo, expected: stage.audience.delivered, published: stage.audience.answered }
    }

    /// When the next publication was meant to leave, if it is time for it.
    fn take(&mut self, now: Nanos, audience: &Audience) -> Option<Nanos> {
        match &mut self.tempo {
            Tempo::Paced { pacer, .. } => pacer.take(now),
            Tempo::Windowed { deliveries } => {
                (self.expected < audience.delivered + *deliveries).then_some(now)
            }
            Tempo::Answered { publications } => {
                (self.published < audience.answered + *publications).then_some(now)
            }
        }
    }

    /// Whether publications ask for an answer.
    fn asks(&self) -> bool {
        matches!(self.tempo, Tempo::Answered { .. })
    }

    /// Publications without an answer, of those that asked for one.
    fn unanswered(&self, audience: &Audience) -> u64 {
        if self.asks() { self.published.saturating_sub(audience.answered) } else { 0 }
    }

    /// When to look again; none if only a delivery changes anything.
    fn due(&self) -> Option<Nanos> {
        match &self.tempo {
            Tempo::Paced { pacer, .. } => Some(pacer.due()),
            Tempo::Windowed { .. } | Tempo::Answered { .. } => None,
        }
    }

    fn behind(&self) -> Nanos {
        match &self.tempo {
            Tempo::Paced { pacer, .. } => pacer.behind(),
            Tempo::Windowed { .. } | Tempo::Answered { .. } => 0,
        }
    }

    fn intended_per_second(&self) -> Option<f64> {
        match self.tempo {
            Tempo::Paced { deliveries_per_second, .. } => Some(deliveries_per_second),
            Tempo::Windowed { .. } | Tempo::Answered { .. } => None,
        }
    }
}
