//! What a resume came to, and whether that is well.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{Back, Scene, Spent};
use crate::{
    record::{Figure, Record, Verdict},
    scenario::fanout::CpuPer,
    sequence::Faults,
    statistics::Summary,
};

/// What a resume came to.
#[derive(Debug, Clone, Serialize)]
pub struct Resumed {
    /// Who lost its connection.
    pub peers: u32,
    /// Publications in all.
    pub publications: u32,
    /// Publications before the break.
    pub publications_before: u32,
    /// When how many had their subscription answered, in seconds since the break.
    pub back: Back,
    /// When how many also knew of all that had been published up to that answer.
    pub current: Back,
    /// What answers said: `recovered`, or `not recovered: ` and the reason.
    pub answers: BTreeMap<String, u64>,
    /// `gap` frames by reason.
    pub gaps: BTreeMap<String, u64>,
    /// Publications that came inside answers.
    pub replayed: u64,
    /// All that came.
    pub deliveries: u64,
    /// Publications that a peer missed and was told to miss, over all peers.
    pub told_missing: u64,
    /// Publications that never came, without a word.
    pub lost: u64,
    /// Deliveries beyond the first.
    pub duplicated: u64,
    /// Deliveries that came after a later one.
    pub reordered: u64,
    /// Deliveries of what this run didn't publish.
    pub stray: u64,
    /// Upgrades answered 429 and tried again when told to, before and after the break.
    pub retried: u32,
    /// Upgrades that failed otherwise and were tried again.
    pub refused: u64,
    /// Error frames.
    pub errors: u64,
    /// Peers that were back and were closed; they came again.
    pub thrown_out: u64,
    /// History reads between the break and the last return, by the URL of a node's metrics.
    pub history_reads: BTreeMap<String, u64>,
    /// The CPU of the node they came back to, for each return: all it used between the break and the last of
    /// them, what was published meanwhile included.
    pub cpu_per_return: Option<CpuPer>,
    /// Microseconds of Redis' main thread over the same time, for each return.
    pub redis_us_per_return: Option<f64>,
    /// Of live deliveries.
    pub latency: Summary,
    /// The latest that a publication left.
    pub behind_ms: f64,
    /// The first thing that went wrong.
    pub complaint: Option<String>,
}

impl Scene {
    /// Called when all that could come has come.
    pub(super) fn judge(&mut self, spent: &Spent) -> Resumed {
        let Faults { lost, duplicated, reordered } = self.returners.settle();
        let returners = &self.returners;
        let each = |cpu| CpuPer::new(cpu, self.resume.peers.into());
        Resumed {
            peers: self.resume.peers,
            publications: returners.sent,
            publications_before: self.sent_before,
            back: self.back,
            current: self.current,
            answers: returners.answers.clone(),
            gaps: returners.gaps.clone(),
            replayed: returners.replayed,
            deliveries: returners.delivered,
            told_missing: returners.told,
            lost,
            duplicated,
            reordered,
            stray: returners.stray,
            retried: self.fleet.tally().retried,
            refused: returners.refused,
            errors: returners.denied,
            thrown_out: returners.thrown_out,
            history_reads: spent.reads.clone(),
            cpu_per_return: spent.server.map(each),
            redis_us_per_return: spent.redis_s.map(|used| used * 1e6 / f64::from(self.resume.peers)),
            latency: self.latencies.summary(),
            behind_ms: self.behind_max as f64 / 1e6,
            complaint: returners.complaint.clone(),
        }
    }
}

impl Resumed {
    /// How many answers said that nothing is missing.
    pub fn recovered(&self) -> u64 {
        self.answers.get("recovered").copied().unwrap_or_default()
    }

    /// All that is not as it must be, for people. What a peer was told to miss is not among it: that is a
    /// node's way out, and no lie.
    pub fn reasons(&self) -> Vec<String> {
        let count = |count: u64, what: &str| (count > 0).then(|| format!("{count} {what}"));
        [
            count(self.lost, "deliveries were lost without a word"),
            count(self.duplicated, "deliveries came more than once"),
            count(self.reordered, "deliveries came after a later one"),
            count(self.stray, "deliveries were of something else"),
            count(
                self.answers.get("not said").copied().unwrap_or_default(),
                "answers didn't say what is missing",
            ),
            count(self.thrown_out, "peers that were back were closed"),
            count(self.errors, "error frames came"),
        ]
        .into_iter()
        .flatten()
        .collect()
    }

    pub(super) fn into_record(self, record: Record) -> Record {
        let plain = |name: &str, count: u64| Figure::new(name, count as f64, "");
        let mut figures = vec![
            plain("peers", self.peers.into()),
            plain("publications", self.publications.into()),
            Figure::new("half are current after", self.current.half_s, "s"),
            Figure::new("99 % are current after", self.current.most_s, "s"),
            Figure::new("all are back after", self.back.all_s, "s"),
            Figure::new("all are back and current after", self.current.all_s, "s"),
        ];
        figures.extend(self.answers.iter().map(|(what, count)| plain(&format!("answers: {what}"), *count)));
        figures.extend(self.gaps.iter().map(|(reason, count)| plain(&format!("gaps: {reason}"), *count)));
        figures.extend([
            plain("replayed", self.replayed),
            plain("missing and told", self.told_missing),
            plain("lost without a word", self.lost),
            plain("duplicated", self.duplicated),
            plain("reordered", self.reordered),
            plain("stray", self.stray),
        ]);
        figures.extend(
            self.history_reads.iter().map(|(url, count)| plain(&format!("history reads, {url}"), *count)),
        );
        figures.extend([
            Figure::new("server CPU per return", self.cpu_per_return.map(|cpu| cpu.total_us), "µs"),
            Figure::new("Redis CPU per return", self.redis_us_per_return, "µs"),
            Figure::new("live p99", self.latency.p99_ms, "ms"),
            Figure::new("load behind its pace", self.behind_ms, "ms"),
            plain("retried after 429", self.retried.into()),
            plain("refused and tried again", self.refused),
            plain("closed again by the server", self.thrown_out),
            plain("error frames", self.errors),
        ]);
        Record { verdict: Verdict::from_reasons(&self.reasons()), figures, ..record }
    }
}
