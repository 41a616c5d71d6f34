//! How a resume is told.

use std::collections::BTreeMap;

use super::{
    Report, cpu,
    lives::{seconds, verdict},
    milliseconds,
};
use crate::scenario::resume::Resumed;

impl Report for Resumed {
    fn rows(&self) -> Vec<(&'static str, String)> {
        let mut rows = vec![
            ("peers", self.peers.to_string()),
            ("publications", format!("{}, {} before the break", self.publications, self.publications_before)),
            ("half are back, and current, after", both(self.back.half_s, self.current.half_s)),
            ("99 % are back, and current, after", both(self.back.most_s, self.current.most_s)),
            ("all are back, and current, after", both(self.back.all_s, self.current.all_s)),
            ("answers", counts(&self.answers)),
            ("gaps told", counts(&self.gaps)),
            ("deliveries", format!("{}, {} of them replayed", self.deliveries, self.replayed)),
            ("missing and told", self.told_missing.to_string()),
            ("lost without a word", self.lost.to_string()),
            ("duplicated", self.duplicated.to_string()),
            ("reordered", self.reordered.to_string()),
            ("stray", self.stray.to_string()),
            ("history reads", reads(&self.history_reads)),
            ("server CPU per return", cpu(self.cpu_per_return)),
            (
                "Redis CPU per return",
                self.redis_us_per_return
                    .map_or("none (it takes --redis)".to_owned(), |each| format!("{each:.3} µs")),
            ),
            ("live p99", milliseconds(self.latency.p99_ms)),
            ("client behind its pace", milliseconds(self.behind_ms)),
            ("retried after 429", self.retried.to_string()),
            ("refused and tried again", self.refused.to_string()),
            ("closed again by the server", self.thrown_out.to_string()),
            ("error frames", self.errors.to_string()),
        ];
        rows.extend(self.complaint.clone().map(|complaint| ("first complaint", complaint)));
        rows.extend(verdict(&self.reasons()));
        rows
    }
}

fn both(back: Option<f64>, current: Option<f64>) -> String {
    format!("{}, {}", seconds(back), seconds(current))
}

fn counts(counts: &BTreeMap<String, u64>) -> String {
    let each: Vec<_> = counts.iter().map(|(what, count)| format!("{count} {what}")).collect();
    if each.is_empty() { "0".to_owned() } else { each.join(", ") }
}

fn reads(reads: &BTreeMap<String, u64>) -> String {
    if reads.is_empty() {
        return "not counted (it takes --metrics)".to_owned();
    }
    reads.iter().map(|(url, count)| format!("{count} at {url}")).collect::<Vec<_>>().join(", ")
}
