//! What `/metrics` tells about the links (interfaces.md, Metrics).

use std::sync::atomic::{AtomicBool, Ordering};

use prometheus::{GaugeVec, IntCounter, IntCounterVec, Opts, Registry};

use super::link::Measured;
use super::tally::{Dropped, Gap, Local, Tally};
use crate::metrics::{Latency, closed_set, register};

/// A connection to Redis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Connection {
    /// Subscriptions.
    Bus,
    /// Everything that is written.
    Work,
    /// What is neither quick nor ordered.
    Bulk,
}

/// Counters and gauges of the links and of what goes over them.
pub struct RedisMetrics {
    up: GaugeVec,
    reconnects: IntCounterVec,
    /// Whether each connection was ever up.
    seen: [AtomicBool; Connection::LABELS.len()],
    commands: Latency,
    gaps: Vec<IntCounter>,
    local: Vec<IntCounter>,
    dropped: Vec<IntCounter>,
    fenced: IntCounter,
    reaped: IntCounter,
}

impl Connection {
    const LABELS: [&'static str; 3] = ["bus", "work", "bulk"];

    const fn label(self) -> &'static str {
        Self::LABELS[self as usize]
    }
}

impl RedisMetrics {
    /// All at zero.
    pub fn new(registry: &Registry) -> Self {
        let up = Opts::new("dunlin_redis_up", "Whether a link to Redis works, end to end.");
        let reconnects =
            Opts::new("dunlin_redis_reconnects_total", "Times that a link was lost and is back.");
        let commands = Latency::with_label(
            "dunlin_redis_command_seconds",
            "From a command to its answer.",
            "command",
            Measured::ALL.into_iter().map(Measured::label),
        );
        let gaps =
            ("dunlin_gaps_total", "Topics whose peers were told that publications may be missing.", "result");
        let local = (
            "dunlin_local_publications_total",
            "Publications that only this node is sure to have.",
            "reason",
        );
        let dropped =
            ("dunlin_bus_dropped_total", "Publications from the bus that went to nobody.", "reason");
        let counter = |name, help| register(registry, IntCounter::new(name, help));
        Self {
            up: register(registry, GaugeVec::new(up, &["link"])),
            reconnects: register(registry, IntCounterVec::new(reconnects, &["link"])),
            seen: Default::default(),
            commands: register(registry, Ok(commands)),
            gaps: closed_set(registry, gaps, Gap::LABELS.into_iter()),
            local: closed_set(registry, local, Local::LABELS.into_iter()),
            dropped: closed_set(registry, dropped, Dropped::LABELS.into_iter()),
            fenced: counter("dunlin_fenced_total", "Times that this node lost its lease and came back."),
            reaped: counter("dunlin_reaped_total", "Dead nodes whose counts this node took away."),
        }
    }

    /// Publications that a shard did not take.
    #[cfg(test)]
    pub(super) fn dropped(&self) -> u64 {
        self.dropped[Dropped::Overflow as usize].get()
    }

    /// Times that a link was built again.
    #[cfg(test)]
    pub(super) fn reconnects(&self) -> u64 {
        Connection::LABELS.iter().map(|link| self.reconnects.with_label_values(&[link]).get()).sum()
    }

    /// There are going to be connections; a node without Redis has none to tell of.
    pub(super) fn begin(&self) {
        for link in Connection::LABELS {
            self.up.with_label_values(&[link]).set(0.0);
            self.reconnects.with_label_values(&[link]);
        }
    }

    /// A connection works.
    pub(super) fn came_up(&self, connection: Connection) {
        let gauge = self.up.with_label_values(&[connection.label()]);
        let was_down = gauge.get() == 0.0;
        gauge.set(1.0);
        if self.seen[connection as usize].swap(true, Ordering::Relaxed) && was_down {
            self.reconnects.with_label_values(&[connection.label()]).inc();
        }
    }

    /// A connection does not work.
    pub(super) fn went_down(&self, connection: Connection) {
        self.up.with_label_values(&[connection.label()]).set(0.0);
    }

    /// Takes over what was counted, and leaves the tally at zero.
    pub(super) fn absorb(&self, tally: &mut Tally) {
        let sets = [
            (&self.gaps, &mut tally.gaps[..]),
            (&self.local, &mut tally.local[..]),
            (&self.dropped, &mut tally.dropped[..]),
        ];
        for (counters, counts) in sets {
            for (counter, count) in counters.iter().zip(counts) {
                counter.inc_by(std::mem::take(count));
            }
        }
        self.fenced.inc_by(std::mem::take(&mut tally.fenced));
        self.reaped.inc_by(std::mem::take(&mut tally.reaped));
        for (measured, took, count) in tally.took.drain(..) {
            self.commands.observe(measured as usize, took, count);
        }
    }
}
