//! What a churn came to, and whether that is well.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{Ends, Scene};
use crate::{
    clock::SECOND,
    record::{Figure, Record, Sample, Verdict},
    sampler::Sampler,
    scenario::fanout::CpuPer,
    statistics::Summary,
    trend::Trend,
};

/// What a churn came to.
#[derive(Debug, Clone, Serialize)]
pub struct Churned {
    /// Connected at any time.
    pub peers: u32,
    /// How long they came and went.
    pub seconds: f64,
    /// Peers that came and subscribed, each in place of one that had gone.
    pub cycles: u64,
    /// How those went whose place they took.
    pub ways: Ways,
    /// The server's CPU for each cycle, publications included.
    pub cpu_per_cycle: Option<CpuPer>,
    /// Publications of those who were here.
    pub publications: u64,
    /// Deliveries of what they published.
    pub deliveries: u64,
    /// Of these deliveries.
    pub latency: Summary,
    /// The server's anonymous memory, in KiB; none without its process.
    pub memory: Option<Growth>,
    /// The server's open descriptors.
    pub descriptors: Option<Growth>,
    /// Upgrades answered 429 and tried again.
    pub retried: u32,
    /// Peers that were not let in otherwise.
    pub refused: u64,
    /// Connections the server ended, by close code.
    pub thrown_out: BTreeMap<u16, u64>,
    /// Goodbyes that were not answered.
    pub unanswered: u64,
    /// Error frames.
    pub errors: u64,
    /// Deliveries on a topic their subscriber doesn't have.
    pub stray: u64,
    /// The latest that a publication left.
    pub behind_ms: f64,
    /// The first thing that went wrong.
    pub complaint: Option<String>,
}

/// How peers left.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Ways {
    /// With the closing handshake.
    pub goodbye: u64,
    /// With a reset.
    pub reset: u64,
    /// In the middle of a frame.
    pub half_frame: u64,
}

impl Ways {
    fn all(self) -> u64 {
        self.goodbye + self.reset + self.half_frame
    }
}

/// How a figure of the server went.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Growth {
    /// Its readings.
    #[serde(flatten)]
    pub trend: Trend,
    /// Growth per minute, and its standard error.
    pub per_minute: (f64, f64),
    /// Growth per 1,000 cycles, and its standard error.
    pub per_thousand_cycles: (f64, f64),
}

impl Scene {
    pub(super) fn judge(&self, before: &Ends, after: &Ends, sampler: &Sampler) -> Churned {
        let seconds = (after.at - before.at) as f64 / SECOND as f64;
        let cycles_per_second = self.cycles as f64 / seconds;
        let growth = |pick: fn(&Sample) -> Option<u64>| {
            let readings = sampler.samples().iter();
            let points: Vec<_> =
                readings.filter_map(|sample| Some((sample.at_s, pick(sample)? as f64))).collect();
            Some(Growth::new(Trend::of(&points)?, cycles_per_second))
        };
        let cpu = before.cpu.zip(after.cpu).map(|(before, after)| after - before);
        let mut latencies = crate::statistics::Latencies::new();
        latencies.merge(&self.latencies);
        latencies.merge(&self.guests.latencies);
        Churned {
            peers: self.churn.peers,
            seconds,
            cycles: self.cycles,
            ways: self.ways,
            cpu_per_cycle: cpu.filter(|_| self.cycles > 0).map(|cpu| CpuPer::new(cpu, self.cycles)),
            publications: self.voice.published(),
            deliveries: self.guests.delivered,
            latency: latencies.summary(),
            memory: growth(|sample| sample.memory_kib),
            descriptors: growth(|sample| sample.descriptors),
            retried: after.tally.retried - before.tally.retried,
            refused: self.refused,
            thrown_out: self.thrown_out.clone(),
            unanswered: self.unanswered,
            errors: self.guests.errors,
            stray: self.guests.stray,
            behind_ms: self.behind_max as f64 / 1e6,
            complaint: self.guests.complaint.clone(),
        }
    }
}

impl Growth {
    fn new(trend: Trend, cycles_per_second: f64) -> Self {
        let scaled = |factor: f64| (trend.slope.per_second * factor, trend.slope.error * factor);
        let per_cycle = if cycles_per_second > 0.0 { 1000.0 / cycles_per_second } else { 0.0 };
        Self { trend, per_minute: scaled(60.0), per_thousand_cycles: scaled(per_cycle) }
    }

    /// The judgement in a word.
    pub fn word(&self) -> &'static str {
        if self.trend.grows { "grows" } else { "flat" }
    }
}

impl Churned {
    /// All that is not as it must be, for people.
    pub fn reasons(&self) -> Vec<String> {
        let grown = |name: &str, growth: Option<Growth>| {
            growth.filter(|growth| growth.trend.grows).map(|growth| {
                format!(
                    "{name} grew by {:.1} % in {:.0} s",
                    growth.trend.growth * 100.0,
                    growth.trend.window_s
                )
            })
        };
        let count = |count: u64, what: &str| (count > 0).then(|| format!("{count} {what}"));
        let codes: Vec<_> =
            self.thrown_out.iter().map(|(code, count)| format!("{count} with {code}")).collect();
        let thrown_out = self.thrown_out.values().sum();
        [
            grown("memory", self.memory),
            grown("descriptors", self.descriptors),
            count(thrown_out, &format!("connections were closed by the server ({})", codes.join(", "))),
            count(self.refused, "peers were not let in"),
            count(self.unanswered, "goodbyes were not answered"),
            count(self.errors, "error frames came"),
            count(self.stray, "deliveries were on a foreign topic"),
            (self.publications > 0 && self.deliveries == 0)
                .then(|| "nothing came of what was published".to_owned()),
            (self.cycles == 0 && self.ways.all() > 0)
                .then(|| "nobody came in place of those who left".to_owned()),
        ]
        .into_iter()
        .flatten()
        .collect()
    }

    pub(super) fn into_record(self, record: Record) -> Record {
        let mut figures = vec![
            Figure::new("cycles", self.cycles as f64, ""),
            Figure::new("cycles per second", self.cycles as f64 / self.seconds, "/s"),
            Figure::new("server CPU per cycle", self.cpu_per_cycle.map(|cpu| cpu.total_us), "µs"),
            Figure::new("left with a goodbye", self.ways.goodbye as f64, ""),
            Figure::new("left by a reset", self.ways.reset as f64, ""),
            Figure::new("left in the middle of a frame", self.ways.half_frame as f64, ""),
            Figure::new("deliveries", self.deliveries as f64, ""),
            Figure::new("latency p99", self.latency.p99_ms, "ms"),
            Figure::new("latency max", self.latency.max_ms, "ms"),
            Figure::new("load behind its pace", self.behind_ms, "ms"),
        ];
        for (name, unit, growth) in [("memory", "KiB", self.memory), ("descriptors", "", self.descriptors)] {
            let part = |pick: fn(&Growth) -> f64| growth.as_ref().map(pick);
            figures.extend([
                Figure::new(format!("{name} first"), part(|growth| growth.trend.first), unit),
                Figure::new(format!("{name} last"), part(|growth| growth.trend.last), unit),
                Figure::new(format!("{name} per minute"), part(|growth| growth.per_minute.0), unit),
                Figure::new(
                    format!("{name} per minute, standard error"),
                    part(|growth| growth.per_minute.1),
                    unit,
                ),
                Figure::new(
                    format!("{name} per 1,000 cycles"),
                    part(|growth| growth.per_thousand_cycles.0),
                    unit,
                ),
                Figure::new(
                    format!("{name} per 1,000 cycles, standard error"),
                    part(|growth| growth.per_thousand_cycles.1),
                    unit,
                ),
            ]);
        }
        figures.extend([
            Figure::new("retried after 429", f64::from(self.retried), ""),
            Figure::new("not let in", self.refused as f64, ""),
            Figure::new("closed by the server", self.thrown_out.values().sum::<u64>() as f64, ""),
            Figure::new("goodbyes unanswered", self.unanswered as f64, ""),
            Figure::new("error frames", self.errors as f64, ""),
        ]);
        Record { verdict: Verdict::from_reasons(&self.reasons()), figures, ..record }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn churned(memory: impl Fn(f64) -> f64) -> Churned {
        let points: Vec<_> = (0..300).map(|second| (f64::from(second), memory(f64::from(second)))).collect();
        Churned {
            peers: 10,
            seconds: 300.0,
            cycles: 60_000,
            ways: Ways::default(),
            cpu_per_cycle: None,
            publications: 0,
            deliveries: 0,
            latency: crate::statistics::Latencies::new().summary(),
            memory: Some(Growth::new(Trend::of(&points).unwrap(), 200.0)),
            descriptors: None,
            retried: 0,
            refused: 0,
            thrown_out: BTreeMap::new(),
            unanswered: 0,
            errors: 0,
            stray: 0,
            behind_ms: 0.0,
            complaint: None,
        }
    }

    #[test]
    fn memory_that_grows_is_bad_and_memory_that_does_not_is_not() {
        assert_eq!(churned(|_| 9000.0).reasons(), Vec::<String>::new());
        let leaking = churned(|at| 9000.0 + at * 2.0);
        assert!(leaking.reasons()[0].starts_with("memory grew by 4."), "{:?}", leaking.reasons());
        let growth = leaking.memory.unwrap();
        assert!((growth.per_minute.0 - 120.0).abs() < 1e-6, "{growth:?}");
        assert!((growth.per_thousand_cycles.0 - 10.0).abs() < 1e-6, "200 cycles a second: {growth:?}");
    }

    #[test]
    fn whatever_goes_wrong_is_told_with_its_number() {
        let thrown_out = BTreeMap::from([(1008, 3), (1013, 1)]);
        let churned = Churned { thrown_out, unanswered: 2, ..churned(|_| 9000.0) };
        assert_eq!(
            churned.reasons(),
            [
                "4 connections were closed by the server (3 with 1008, 1 with 1013)",
                "2 goodbyes were not answered"
            ]
        );
    }
}
