//! The tables of `churn` and `storm`.

use super::{Report, cpu, milliseconds, per_second};
use crate::{
    scenario::{
        churn::{Churned, Growth},
        storm::{Control, Stormed},
    },
    trend::{ERRORS_MIN, GROWTH_MIN},
};

impl Report for Churned {
    fn rows(&self) -> Vec<(&'static str, String)> {
        let ways = self.ways;
        let thrown_out: Vec<_> =
            self.thrown_out.iter().map(|(code, count)| format!("{count} with {code}")).collect();
        let mut rows = vec![
            ("peers", self.peers.to_string()),
            ("replaced", format!("{} ({:.0}/s)", self.cycles, self.cycles as f64 / self.seconds)),
            (
                "left",
                format!(
                    "{} goodbye, {} reset, {} in the middle of a frame",
                    ways.goodbye, ways.reset, ways.half_frame
                ),
            ),
            ("server CPU per cycle", cpu(self.cpu_per_cycle)),
            ("deliveries", self.deliveries.to_string()),
            ("latency p99", milliseconds(self.latency.p99_ms)),
            ("latency max", milliseconds(self.latency.max_ms)),
            ("server memory", growth(self.memory.as_ref(), " KiB")),
            ("server descriptors", growth(self.descriptors.as_ref(), "")),
            (
                "grows means",
                format!(
                    "over the last two thirds: slope above {ERRORS_MIN} standard errors, and by more than {} %",
                    GROWTH_MIN * 100.0
                ),
            ),
            ("retried after 429", self.retried.to_string()),
            ("not let in", self.refused.to_string()),
            (
                "closed by the server",
                if thrown_out.is_empty() { "0".to_owned() } else { thrown_out.join(", ") },
            ),
            ("goodbyes unanswered", self.unanswered.to_string()),
            ("error frames", self.errors.to_string()),
            ("stray", self.stray.to_string()),
            ("client behind its pace", milliseconds(self.behind_ms)),
        ];
        rows.extend(self.complaint.clone().map(|complaint| ("first complaint", complaint)));
        rows.extend(verdict(&self.reasons()));
        rows
    }
}

impl Report for Stormed {
    fn rows(&self) -> Vec<(&'static str, String)> {
        let mut rows = vec![
            ("peers", self.peers.to_string()),
            ("last connection lost after", seconds(Some(self.gone_s))),
            ("half are back after", seconds(self.back.half_s)),
            ("99 % are back after", seconds(self.back.most_s)),
            ("all are back after", seconds(self.back.all_s)),
            ("returns", per_second(self.returns_per_second)),
            ("server CPU per return", cpu(self.cpu_per_return)),
            ("control peer before", control(&self.control_before)),
            ("control peer during", control(&self.control_during)),
            ("retried after 429", self.retried.to_string()),
            ("refused and tried again", self.refused.to_string()),
            ("closed again by the server", self.thrown_out.to_string()),
            ("closed for good", self.sent_away.values().sum::<u64>().to_string()),
            ("error frames", self.errors.to_string()),
            ("client behind its pace", milliseconds(self.behind_ms)),
        ];
        rows.extend(self.complaint.clone().map(|complaint| ("first complaint", complaint)));
        rows.extend(verdict(&self.reasons()));
        rows
    }
}

fn growth(growth: Option<&Growth>, unit: &str) -> String {
    growth.map_or("not measured (it takes --server-pid and a few seconds)".to_owned(), |growth| {
        let ((minute, minute_error), (cycles, cycles_error)) =
            (growth.per_minute, growth.per_thousand_cycles);
        format!(
            "{}: {:.0} to {:.0}{unit}; {minute:+.2} ± {minute_error:.2}{unit} a minute, {cycles:+.3} ± \
             {cycles_error:.3}{unit} per 1,000 cycles",
            growth.word(),
            growth.trend.first,
            growth.trend.last,
        )
    })
}

fn control(control: &Control) -> String {
    format!(
        "p99 {}, max {}, longest silence {}",
        milliseconds(control.latency.p99_ms),
        milliseconds(control.latency.max_ms),
        milliseconds(control.silence_ms)
    )
}

pub(super) fn seconds(seconds: Option<f64>) -> String {
    seconds.map_or("never".to_owned(), |seconds| format!("{seconds:.3} s"))
}

pub(super) fn verdict(reasons: &[String]) -> Vec<(&'static str, String)> {
    match reasons {
        [] => vec![("verdict", "good".to_owned())],
        reasons => reasons.iter().map(|reason| ("verdict", format!("bad: {reason}"))).collect(),
    }
}
