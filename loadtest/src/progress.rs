//! Where a run is, for whoever waits for it: bars on a terminal, plain lines elsewhere.

use std::io::{IsTerminal, Write, stderr};

use indicatif::{ProgressBar, ProgressStyle};

use crate::{
    clock::{self, Nanos, SECOND},
    record::Sample,
};

/// Hears how far a run is.
pub trait Progress {
    /// Something begins that will have so many parts, if that is known.
    fn phase(&mut self, text: &str, total: Option<u64>);
    /// So many of them are done; `figures` is what there is to see meanwhile.
    fn at(&mut self, done: u64, figures: &str);
    /// A line that stays.
    fn line(&mut self, text: &str);
}

/// What suits stderr.
pub fn on_stderr() -> Box<dyn Progress> {
    if stderr().is_terminal() {
        Box::new(Bars::default())
    } else {
        Box::new(Lines::new(stderr(), clock::now))
    }
}

/// A sample on half a line.
pub fn glance(sample: &Sample) -> String {
    let cores = sample.server_user.zip(sample.server_system).map(|(user, system)| user + system);
    let delivered = sample.deliveries_per_second;
    let parts = [
        Some(format!("{delivered:.0}/s")),
        sample.latency.map(|latency| format!("p99 {:.2} ms", latency.p99_ms)),
        cores.filter(|_| delivered > 0.0).map(|cores| format!("{:.2} µs each", cores * 1e6 / delivered)),
        cores.map(|cores| format!("CPU {:.0} %", cores * 100.0)),
        Some(format!("{} peers", sample.peers)),
        sample.memory_kib.map(|kib| format!("{:.1} MiB", kib as f64 / 1024.0)),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join("  ")
}

/// Says nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Progress for Silent {
    fn phase(&mut self, _text: &str, _total: Option<u64>) {}
    fn at(&mut self, _done: u64, _figures: &str) {}
    fn line(&mut self, _text: &str) {}
}

/// One bar at a time at the bottom of a terminal, lines above it.
#[derive(Debug, Default)]
pub struct Bars {
    bar: Option<ProgressBar>,
}

impl Progress for Bars {
    fn phase(&mut self, text: &str, total: Option<u64>) {
        self.clear();
        let (bar, template) = match total {
            Some(total) => (ProgressBar::new(total), "{prefix:<14} [{bar:24}] {pos}/{len}  {msg}"),
            None => (ProgressBar::new_spinner(), "{prefix:<14} {spinner} {elapsed}  {msg}"),
        };
        let style = ProgressStyle::with_template(template).expect("the template is constant and valid");
        self.bar = Some(bar.with_style(style.progress_chars("=> ")).with_prefix(text.to_owned()));
    }

    fn at(&mut self, done: u64, figures: &str) {
        if let Some(bar) = &self.bar {
            bar.set_position(done);
            bar.set_message(figures.to_owned());
        }
    }

    fn line(&mut self, text: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| eprintln!("{text}")),
            None => eprintln!("{text}"),
        }
    }
}

impl Bars {
    fn clear(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}

impl Drop for Bars {
    fn drop(&mut self) {
        self.clear();
    }
}

/// Plain lines for a log: where the run is at most once a second, all else at once.
#[derive(Debug)]
pub struct Lines<W> {
    out: W,
    now: fn() -> Nanos,
    due: Nanos,
    phase: String,
    total: Option<u64>,
}

impl<W: Write> Lines<W> {
    /// Writes there; `now` is asked when a line may be due.
    pub fn new(out: W, now: fn() -> Nanos) -> Self {
        Self { out, now, due: 0, phase: String::new(), total: None }
    }
}

impl<W: Write> Progress for Lines<W> {
    fn phase(&mut self, text: &str, total: Option<u64>) {
        text.clone_into(&mut self.phase);
        self.total = total;
        self.due = (self.now)() + SECOND;
        let of = total.map_or(String::new(), |total| format!(" (of {total})"));
        self.line(&format!("{text}{of}"));
    }

    fn at(&mut self, done: u64, figures: &str) {
        let now = (self.now)();
        if now >= self.due {
            self.due = now + SECOND;
            let of = self.total.map_or(String::new(), |total| format!("/{total}"));
            self.line(&format!("{} {done}{of}  {figures}", self.phase));
        }
    }

    fn line(&mut self, text: &str) {
        // Nobody is left to tell if stderr is closed, and the run goes on.
        let _ = writeln!(self.out, "{text}");
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    #[test]
    fn a_log_gets_one_line_a_second_and_what_scripts_wait_for_at_once() {
        static NOW: AtomicU64 = AtomicU64::new(0);
        let mut written = Vec::new();
        let mut lines = Lines::new(&mut written, || NOW.load(Ordering::Relaxed));
        lines.phase("connecting", Some(900));
        for done in 1..=20 {
            NOW.fetch_add(SECOND / 10, Ordering::Relaxed);
            lines.at(done, "5/s");
        }
        lines.line("measuring");
        let written = String::from_utf8(written).unwrap();
        assert_eq!(
            written,
            "connecting (of 900)\nconnecting 10/900  5/s\nconnecting 20/900  5/s\nmeasuring\n"
        );
    }
}
