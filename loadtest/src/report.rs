//! Shows results: a table for people, JSON for everything else, and a page with plots.

pub mod page;

mod axis;
mod html;
mod lives;
mod plot;
mod resumed;
mod svg;

use std::fmt::Write;

use anyhow::Result;
use serde::Serialize;

use crate::{
    pacer::BEHIND_MAX,
    scenario::{
        climb::{Ascent, Fault, Step},
        connect::{Connects, Part},
        fanout::{CpuPer, NOTHING_CAME, Outcome},
        idle::Idle,
    },
};

/// A result that people can read.
pub trait Report: Serialize {
    /// Names and figures, in reading order.
    fn rows(&self) -> Vec<(&'static str, String)>;
}

/// The result in the form asked for.
pub fn render(report: &impl Report, json: bool) -> Result<String> {
    if json {
        return Ok(serde_json::to_string_pretty(report)? + "\n");
    }
    let rows = report.rows();
    let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    Ok(rows.iter().fold(String::new(), |mut table, (name, figure)| {
        let _ = writeln!(table, "{name:<width$}  {figure}");
        table
    }))
}

/// One step of a climb on one line.
pub fn step_line(step: &Step) -> String {
    let Step { fault, outcome } = step;
    format!(
        "{:>10.0}/s intended {:>10.0}/s achieved  p99 {:>8.2} ms  {}  {}",
        outcome.intended_per_second.unwrap_or_default(),
        outcome.achieved_per_second,
        outcome.latency.p99_ms,
        cpu(outcome.cpu),
        fault.map_or("good", Fault::name),
    ) + &behind(outcome)
}

/// A step in which the client itself was late says little about the server.
fn behind(outcome: &Outcome) -> String {
    if outcome.client_kept_pace() {
        return String::new();
    }
    format!(" (the client was {:.0} ms behind)", outcome.behind_ms)
}

impl Report for Outcome {
    fn rows(&self) -> Vec<(&'static str, String)> {
        let mut rows = vec![
            (
                "deliveries intended",
                self.intended_per_second.map_or("as fast as delivered".to_owned(), per_second),
            ),
            ("deliveries achieved", per_second(self.achieved_per_second)),
            ("publications", per_second(self.publications_per_second)),
            ("latency p50", milliseconds(self.latency.p50_ms)),
            ("latency p99", milliseconds(self.latency.p99_ms)),
            ("latency p99.9", milliseconds(self.latency.p999_ms)),
            ("latency max", milliseconds(self.latency.max_ms)),
            ("server CPU per delivery", cpu(self.cpu)),
            ("server CPU per publication", cpu(self.cpu_per_publication)),
            ("lost", self.lost.to_string()),
            ("duplicated", self.duplicated.to_string()),
            ("reordered", self.reordered.to_string()),
            ("stray", self.stray.to_string()),
            ("closed by the server", self.closed.to_string()),
            ("error frames", self.errors.to_string()),
            ("publications unanswered", self.unanswered.to_string()),
            ("publications to one node only", self.local.to_string()),
            ("longest client stall", milliseconds(self.stall_ms)),
            ("client behind its pace", milliseconds(self.behind_ms)),
        ];
        let beside = self.beside.iter().map(|(name, each)| format!("{name}: {}", cpu(Some(*each))));
        rows.extend(beside.map(|figure| ("CPU beside it, per delivery", figure)));
        rows.extend(self.silent.then(|| ("fault", NOTHING_CAME.to_owned())));
        rows.extend(self.complaint.clone().map(|complaint| ("first complaint", complaint)));
        if !self.client_kept_pace() {
            let limit = BEHIND_MAX / 1_000_000;
            rows.push((
                "warning",
                format!("the client fell behind by more than {limit} ms: latencies are also its own"),
            ));
        }
        rows
    }
}

impl Report for Ascent {
    fn rows(&self) -> Vec<(&'static str, String)> {
        let mut rows: Vec<_> = self.steps.iter().map(|step| ("step", step_line(step))).collect();
        let knee = self
            .knee
            .map_or("none: the first step was bad".to_owned(), |index| step_line(&self.steps[index]));
        rows.push(("knee", knee));
        rows
    }
}

impl Report for Idle {
    fn rows(&self) -> Vec<(&'static str, String)> {
        let mut rows = vec![
            ("peers", self.peers.to_string()),
            ("connects", per_second(self.connects_per_second)),
            ("retried after 429", self.retried.to_string()),
            ("server CPU per connect and subscribe", cpu(Some(self.connect_cpu))),
            ("server memory before", format!("{} KiB", self.memory_before_kib)),
            ("server memory after", format!("{} KiB", self.memory_after_kib)),
            ("server memory per peer", format!("{:.2} KiB", self.kib_per_peer)),
            ("server CPU while idle", format!("{:.2} % of a core", self.idle_cpu_percent)),
            ("closed by the server", self.closed.to_string()),
        ];
        let beside = self.beside_cpu_percent.iter().map(|(name, cpu)| {
            format!("{name}: {}", cpu.map_or("gone".to_owned(), |cpu| format!("{cpu:.2} % of a core")))
        });
        rows.extend(beside.map(|figure| ("CPU beside it while idle", figure)));
        rows
    }
}

impl Report for Connects {
    fn rows(&self) -> Vec<(&'static str, String)> {
        vec![
            ("connections", self.count.to_string()),
            ("connect", part(&self.connect)),
            ("close", part(&self.close)),
            ("connect + subscribe + close", part(&self.cycle)),
            ("retried after 429", self.retried.to_string()),
            ("ended without a Close frame", self.abrupt.to_string()),
            ("closed by the server", self.thrown_out.values().sum::<u32>().to_string()),
        ]
    }
}

fn part(part: &Part) -> String {
    format!("{:>7.0}/s  {}", part.per_second, cpu(part.cpu))
}

fn cpu(cpu: Option<CpuPer>) -> String {
    cpu.map_or("none (it takes --server-pid)".to_owned(), |cpu| {
        format!("{:.3} µs ({:.3} user, {:.3} system)", cpu.total_us, cpu.user_us, cpu.system_us)
    })
}

fn per_second(rate: f64) -> String {
    format!("{rate:.0}/s")
}

fn milliseconds(ms: f64) -> String {
    format!("{ms:.3} ms")
}
