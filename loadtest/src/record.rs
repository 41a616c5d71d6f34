//! What a run is remembered by: its figures, and how they came about in time.

use std::{collections::BTreeMap, fs};

use serde::Serialize;

use crate::{
    clock::{self, SECOND},
    sampler::Sampler,
    statistics::Summary,
};

/// A whole run.
#[derive(Debug, Clone, Serialize)]
pub struct Record {
    /// The command.
    pub scenario: String,
    /// What was done, in a line.
    pub title: String,
    /// The command line that does it again.
    pub command: Vec<String>,
    /// Where it ran.
    pub machine: String,
    /// When it began.
    pub started_unix_s: u64,
    /// Whether all was well.
    pub verdict: Verdict,
    /// What it came to, in reading order.
    pub figures: Vec<Figure>,
    /// A climb's steps; none of another run.
    pub steps: Vec<StepRow>,
    /// What happened, interval by interval.
    pub samples: Vec<Sample>,
    /// Moments to look at.
    pub marks: Vec<Mark>,
}

/// Whether a run was as it must be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "is")]
pub enum Verdict {
    /// It was.
    Good,
    /// It was not.
    Bad {
        /// What was wrong, for people.
        why: String,
    },
}

/// One number.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Figure {
    /// What it is.
    pub name: String,
    /// None if it was not measured.
    pub value: Option<f64>,
    /// What the number counts; empty for a plain count.
    pub unit: &'static str,
}

/// One step of a climb.
#[derive(Debug, Clone, Serialize)]
pub struct StepRow {
    /// Deliveries per second asked for.
    pub intended: f64,
    /// Deliveries per second that came.
    pub achieved: f64,
    /// From the moment a publication was meant to leave.
    pub latency: Summary,
    /// The server's, per delivery.
    pub cpu_us: Option<f64>,
    /// Why the step is bad; none if it is good.
    pub fault: Option<String>,
}

/// A moment with a name.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Mark {
    /// Since the record's start.
    pub at_s: f64,
    /// What happened.
    pub text: String,
}

/// What happened in one interval.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Sample {
    /// The interval's end, since the record's start.
    pub at_s: f64,
    /// Its length.
    pub span_s: f64,
    /// Deliveries per second asked for.
    pub intended_per_second: Option<f64>,
    /// Deliveries that came.
    pub deliveries_per_second: f64,
    /// Publications that left.
    pub publications_per_second: f64,
    /// Of the deliveries that came; none without any.
    pub latency: Option<Summary>,
    /// Connected at the end.
    pub peers: u32,
    /// Whatever went wrong, since the start.
    pub faults: u64,
    /// The latest that a publication left: latencies up to here are the load's own.
    pub behind_ms: f64,
    /// The server's own code, in cores.
    pub server_user: Option<f64>,
    /// The kernel on the server's behalf, in cores.
    pub server_system: Option<f64>,
    /// The server's anonymous memory.
    pub memory_kib: Option<u64>,
    /// The server's open descriptors.
    pub descriptors: Option<u64>,
    /// Other processes, in cores.
    pub beside: BTreeMap<String, f64>,
    /// Redis' commands, without those of asking.
    pub redis_commands_per_second: Option<f64>,
    /// Redis' main thread, in cores.
    pub redis_cpu: Option<f64>,
}

impl Record {
    /// The record of a run that starts now, with this process' command line.
    pub fn begin(scenario: &str, title: impl Into<String>) -> Self {
        Self {
            scenario: scenario.to_owned(),
            title: title.into(),
            command: std::env::args().collect(),
            machine: machine(),
            started_unix_s: clock::unix_seconds(),
            verdict: Verdict::Good,
            figures: Vec::new(),
            steps: Vec::new(),
            samples: Vec::new(),
            marks: Vec::new(),
        }
    }

    /// Takes over what was sampled.
    #[must_use]
    pub fn with_samples(mut self, sampler: Sampler) -> Self {
        self.started_unix_s = clock::unix_seconds() - sampler.age() / SECOND;
        (self.samples, self.marks) = sampler.into_parts();
        self
    }
}

impl Verdict {
    /// Bad with all the reasons given, good without any.
    pub fn from_reasons(reasons: &[String]) -> Self {
        if reasons.is_empty() { Self::Good } else { Self::Bad { why: reasons.join("; ") } }
    }
}

impl Figure {
    /// A number that may not have been measured.
    pub fn new(name: impl Into<String>, value: impl Into<Option<f64>>, unit: &'static str) -> Self {
        Self { name: name.into(), value: value.into(), unit }
    }
}

/// The processor, its cores, the memory and the kernel: no names of people or hosts.
fn machine() -> String {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let field = |text: &str, name: &str| {
        let line = text.lines().find(|line| line.starts_with(name))?;
        line.split_once(':').map(|(_, value)| value.trim().to_owned())
    };
    let processors = read("/proc/cpuinfo");
    let processor = field(&processors, "model name").unwrap_or_else(|| "processor".to_owned());
    // All of the machine's, not those that this process is pinned to.
    let cores = processors.lines().filter(|line| line.starts_with("processor")).count();
    let memory_kib: f64 = field(&read("/proc/meminfo"), "MemTotal")
        .and_then(|text| text.split(' ').next()?.parse().ok())
        .unwrap_or_default();
    let kernel = read("/proc/sys/kernel/osrelease");
    format!("{processor}, {cores} cores, {:.0} GiB, Linux {}", memory_kib / 1_048_576.0, kernel.trim())
}
