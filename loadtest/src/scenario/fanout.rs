//! `fanout`, `topics`, `cross`: publications at a steady pace or as fast as they are delivered, each to its
//! topic's audience. They differ in how many topics and peers there are and where the publishers connect.

use std::{collections::BTreeMap, time::Duration};

use anyhow::Result;
use serde::{Deserialize, Serialize};

use super::{
    chronicle::{Chronicle, Cost},
    share::Share,
};
use crate::{
    pacer::BEHIND_MAX,
    process::Cpu,
    record::{Figure, Record, Verdict},
    sampler::Sampler,
    statistics::Summary,
};

/// How fast to publish.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pace {
    /// Deliveries per second, over all subscribers.
    Deliveries(f64),
    /// As fast as deliveries come back, with so many publications on their way. Of several processes it is
    /// the publishers' own whose deliveries count.
    Window(u64),
    /// As fast as the server answers, with so many publications unanswered. It takes no subscriber.
    Answers(u64),
}

/// One run on a stage.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
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
    /// Deliveries of the whole run, warm-up included: what faults are faults of.
    #[serde(skip)]
    pub delivered: u64,
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
    /// Whether nothing came while measuring, neither a delivery nor, with [`Pace::Answers`], an answer: then
    /// nothing was measured.
    pub silent: bool,
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

impl Pace {
    /// What is intended, if anything is.
    pub fn deliveries_per_second(self) -> Option<f64> {
        match self {
            Self::Deliveries(rate) => Some(rate),
            Self::Window(_) | Self::Answers(_) => None,
        }
    }

    /// Whether publications ask for an answer.
    pub fn asks(self) -> bool {
        matches!(self, Self::Answers(_))
    }
}

/// What is wrong with a run in which nothing was measured.
pub const NOTHING_CAME: &str = "nothing came while measuring";

/// Whoever can carry out a plan: one stage, or several processes with a stage each.
pub trait Performer {
    /// Warms up, measures, waits for the rest, and judges.
    fn perform(&mut self, plan: Plan, chronicle: &mut Chronicle<'_>) -> Result<Share>;
}

/// Carries out the plan once, and reads its bill.
pub fn run<P: Performer + ?Sized>(
    performer: &mut P,
    plan: Plan,
    chronicle: &mut Chronicle<'_>,
) -> Result<Outcome> {
    let share = performer.perform(plan, chronicle)?;
    Ok(Outcome::new(plan, &share, chronicle.cost()))
}

impl Outcome {
    /// What the plan came to.
    pub fn new(plan: Plan, share: &Share, cost: &Cost) -> Self {
        let per = |cpu: Cpu, count: u64| (count > 0).then(|| CpuPer::new(cpu, count));
        let beside = cost.beside.iter();
        Self {
            intended_per_second: plan.pace.deliveries_per_second(),
            achieved_per_second: share.deliveries_per_second,
            deliveries: share.deliveries,
            publications: share.publications,
            publications_per_second: share.publications_per_second,
            latency: share.latencies.summary(),
            cpu: cost.server.and_then(|cpu| per(cpu, share.deliveries)),
            cpu_per_publication: cost.server.and_then(|cpu| per(cpu, share.publications)),
            beside: beside
                .filter_map(|(name, cpu)| Some((name.clone(), per(*cpu, share.deliveries)?)))
                .collect(),
            delivered: share.delivered,
            lost: share.lost,
            duplicated: share.duplicated,
            reordered: share.reordered,
            stray: share.stray,
            closed: share.closed,
            errors: share.errors,
            unanswered: share.unanswered,
            local: share.local,
            silent: if plan.pace.asks() { share.publications == 0 } else { share.deliveries == 0 },
            complaint: share.complaint.clone(),
            stall_ms: share.stall as f64 / 1e6,
            behind_ms: share.behind as f64 / 1e6,
        }
    }

    /// Whether every publication reached every subscriber once, in order, nobody was thrown out, and
    /// something came while measuring.
    pub fn is_clean(&self) -> bool {
        !self.silent && self.is_clean_but_for(0.0)
    }

    /// The same, if this part of the deliveries may be lost, doubled or swapped.
    pub fn is_clean_but_for(&self, part: f64) -> bool {
        let missed = self.lost + self.duplicated + self.reordered;
        let never = self.stray + self.closed + self.errors + self.unanswered + self.local;
        never == 0 && missed as f64 <= part * (self.delivered + self.lost) as f64
    }

    /// Everything that was wrong, in words.
    fn verdict(&self) -> Verdict {
        let counted = [
            (self.lost, "deliveries lost"),
            (self.duplicated, "deliveries doubled"),
            (self.reordered, "deliveries out of order"),
            (self.stray, "deliveries on a foreign topic"),
            (self.closed, "connections closed by the server"),
            (self.errors, "errors from the server"),
            (self.unanswered, "publications unanswered"),
            (self.local, "publications to one node only"),
        ];
        let wrong = counted.iter().filter(|(count, _)| *count > 0);
        let mut reasons: Vec<String> = wrong.map(|(count, what)| format!("{count} {what}")).collect();
        reasons.extend(self.silent.then(|| NOTHING_CAME.to_owned()));
        reasons.extend(self.complaint.clone());
        Verdict::from_reasons(&reasons)
    }

    /// The record of a run that came to this.
    pub fn record(&self, scenario: &str, title: String, sampler: Sampler) -> Record {
        let (verdict, figures) = (self.verdict(), self.figures());
        Record { verdict, figures, ..Record::begin(scenario, title).with_samples(sampler) }
    }

    /// The figures of a record.
    pub(super) fn figures(&self) -> Vec<Figure> {
        let per_publication = self.cpu_per_publication.map(|cpu| cpu.total_us);
        let mut figures = vec![
            Figure::new("deliveries intended", self.intended_per_second, "/s"),
            Figure::new("deliveries achieved", self.achieved_per_second, "/s"),
            Figure::new("publications", self.publications_per_second, "/s"),
            Figure::new("latency p50", self.latency.p50_ms, "ms"),
            Figure::new("latency p99", self.latency.p99_ms, "ms"),
            Figure::new("latency p99.9", self.latency.p999_ms, "ms"),
            Figure::new("latency max", self.latency.max_ms, "ms"),
            Figure::new("server CPU per delivery", self.cpu.map(|cpu| cpu.total_us), "µs"),
            Figure::new("server CPU per publication", per_publication, "µs"),
            Figure::new("lost", self.lost as f64, ""),
            Figure::new("duplicated", self.duplicated as f64, ""),
            Figure::new("reordered", self.reordered as f64, ""),
            Figure::new("longest client stall", self.stall_ms, "ms"),
            Figure::new("client behind its pace", self.behind_ms, "ms"),
        ];
        let beside = self.beside.iter();
        figures.extend(
            beside.map(|(name, cpu)| Figure::new(format!("{name} CPU per delivery"), cpu.total_us, "µs")),
        );
        figures
    }

    /// Whether the client kept its own pace; if not, the latencies tell of it rather than of the server.
    pub fn client_kept_pace(&self) -> bool {
        self.behind_ms <= BEHIND_MAX as f64 / 1e6
    }
}
