//! What a storm came to, and whether that is well.

use std::collections::BTreeMap;

use serde::Serialize;

use super::Scene;
use crate::{
    clock::{Nanos, SECOND},
    record::{Figure, Record, Verdict},
    scenario::fanout::CpuPer,
    statistics::Summary,
};

/// What a storm came to.
#[derive(Debug, Clone, Serialize)]
pub struct Stormed {
    /// Who lost its node.
    pub peers: u32,
    /// When the last of them lost it, in seconds since it began to go.
    pub gone_s: f64,
    /// How they came back, in seconds since the node began to go.
    pub back: Back,
    /// Upgrades with their subscriptions, from the first that was dialled to the last that was back.
    pub returns_per_second: f64,
    /// Upgrades answered 429 and tried again when told to.
    pub retried: u32,
    /// Upgrades that failed otherwise and were tried again.
    pub refused: u64,
    /// Peers that were back and were closed by the other node; they came again.
    pub thrown_out: u64,
    /// Peers whose close code forbids coming back, by code.
    pub sent_away: BTreeMap<u16, u64>,
    /// Error frames.
    pub errors: u64,
    /// The other node's CPU for each return: all it used from the storm's beginning until all were back.
    pub cpu_per_return: Option<CpuPer>,
    /// A peer that was on the other node all along, before the storm.
    pub control_before: Control,
    /// The same from the storm's beginning until all were back.
    pub control_during: Control,
    /// The latest that a publication left.
    pub behind_ms: f64,
    /// The first thing that went wrong.
    pub complaint: Option<String>,
}

/// When how many were back, in seconds.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct Back {
    /// One of two.
    pub half_s: Option<f64>,
    /// 99 %.
    pub most_s: Option<f64>,
    /// Everybody.
    pub all_s: Option<f64>,
}

/// What the control peer saw.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Control {
    /// Of its publications, 100 a second.
    pub latency: Summary,
    /// The longest time it heard nothing.
    pub silence_ms: f64,
}

impl Back {
    /// Notes the first moment at which so many of those expected were back.
    pub(crate) fn note(&mut self, since: Nanos, back: u32, expected: u32) {
        let seconds = since as f64 / SECOND as f64;
        let part = f64::from(back) / f64::from(expected.max(1));
        for (moment, least) in [(&mut self.half_s, 0.5), (&mut self.most_s, 0.99), (&mut self.all_s, 1.0)] {
            if part >= least || expected == 0 {
                moment.get_or_insert(seconds);
            }
        }
    }
}

impl Scene {
    /// Called when all are back and it is calm again; CPU is that of the storm alone.
    pub(super) fn judge(&self, control_before: Control, control_during: Control) -> Stormed {
        let sent_away: u64 = self.sent_away.values().sum();
        let returns = u64::from(self.storm.peers) - sent_away;
        let all_at = self.began + self.back.all_s.map_or(0, |seconds| (seconds * SECOND as f64) as Nanos);
        let first = self.first_dial.unwrap_or(self.began);
        let spent = self.spent.filter(|_| returns > 0);
        Stormed {
            peers: self.storm.peers,
            gone_s: (self.last_orphaned - self.began) as f64 / SECOND as f64,
            back: self.back,
            returns_per_second: returns as f64 * SECOND as f64 / all_at.saturating_sub(first).max(1) as f64,
            retried: self.retried,
            refused: self.refused,
            thrown_out: self.thrown_out,
            sent_away: self.sent_away.clone(),
            errors: self.crowd.errors,
            cpu_per_return: spent.map(|cpu| CpuPer::new(cpu, returns)),
            control_before,
            control_during,
            behind_ms: self.behind_max as f64 / 1e6,
            complaint: self.crowd.complaint.clone(),
        }
    }
}

impl Stormed {
    /// All that is not as it must be, for people.
    pub fn reasons(&self) -> Vec<String> {
        let count = |count: u64, what: &str| (count > 0).then(|| format!("{count} {what}"));
        let codes: Vec<_> =
            self.sent_away.iter().map(|(code, count)| format!("{count} with {code}")).collect();
        [
            count(
                self.sent_away.values().sum(),
                &format!("peers were closed for good ({})", codes.join(", ")),
            ),
            count(self.thrown_out, "peers that were back were closed by the node they had come to"),
            count(self.errors, "error frames came"),
        ]
        .into_iter()
        .flatten()
        .collect()
    }

    pub(super) fn into_record(self, record: Record) -> Record {
        let figures = vec![
            Figure::new("peers", f64::from(self.peers), ""),
            Figure::new("last connection lost after", self.gone_s, "s"),
            Figure::new("half are back after", self.back.half_s, "s"),
            Figure::new("99 % are back after", self.back.most_s, "s"),
            Figure::new("all are back after", self.back.all_s, "s"),
            Figure::new("returns", self.returns_per_second, "/s"),
            Figure::new("server CPU per return", self.cpu_per_return.map(|cpu| cpu.total_us), "µs"),
            Figure::new("control p99 before", self.control_before.latency.p99_ms, "ms"),
            Figure::new("control p99 during", self.control_during.latency.p99_ms, "ms"),
            Figure::new("control's longest silence before", self.control_before.silence_ms, "ms"),
            Figure::new("control's longest silence during", self.control_during.silence_ms, "ms"),
            Figure::new("load behind its pace", self.behind_ms, "ms"),
            Figure::new("retried after 429", f64::from(self.retried), ""),
            Figure::new("refused and tried again", self.refused as f64, ""),
            Figure::new("closed again by the server", self.thrown_out as f64, ""),
            Figure::new("closed for good", self.sent_away.values().sum::<u64>() as f64, ""),
            Figure::new("error frames", self.errors as f64, ""),
        ];
        Record { verdict: Verdict::from_reasons(&self.reasons()), figures, ..record }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_moment_at_which_so_many_are_back_stays() {
        let mut back = Back::default();
        for (second, returned) in [(1, 40), (2, 50), (3, 45), (4, 99), (5, 100)] {
            back.note(second * SECOND, returned, 100);
        }
        assert_eq!((back.half_s, back.most_s, back.all_s), (Some(2.0), Some(4.0), Some(5.0)));
    }
}
