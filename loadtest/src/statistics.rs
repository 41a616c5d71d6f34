//! Latencies of a run and their summary.

use hdrhistogram::Histogram;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::clock::{Nanos, SECOND};

/// Latencies at 1 µs or 0.1 % resolution, whichever is coarser. Recording never allocates.
#[derive(Debug, Clone)]
pub struct Latencies {
    micros: Histogram<u64>,
}

/// Percentiles in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Summary {
    /// The median.
    pub p50_ms: f64,
    /// 99 %.
    pub p99_ms: f64,
    /// 99.9 %.
    pub p999_ms: f64,
    /// The largest.
    pub max_ms: f64,
}

impl Latencies {
    /// None recorded; longer than two minutes is recorded as two minutes.
    pub fn new() -> Self {
        let two_minutes = 120 * SECOND / 1000;
        Self {
            micros: Histogram::new_with_bounds(1, two_minutes, 3).expect("the bounds are constant and valid"),
        }
    }

    /// Adds one.
    #[inline]
    pub fn record(&mut self, latency: Nanos) {
        self.micros.saturating_record(latency / 1000);
    }

    /// The percentiles so far.
    pub fn summary(&self) -> Summary {
        let at = |quantile| self.micros.value_at_quantile(quantile) as f64 / 1000.0;
        Summary {
            p50_ms: at(0.5),
            p99_ms: at(0.99),
            p999_ms: at(0.999),
            max_ms: self.micros.max() as f64 / 1000.0,
        }
    }

    /// Adds all of the others, exactly.
    pub fn merge(&mut self, other: &Self) {
        self.micros.add(&other.micros).expect("all have the same bounds");
    }

    /// How many are recorded.
    pub fn count(&self) -> u64 {
        self.micros.len()
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.micros.reset();
    }
}

/// As pairs of microseconds and how often, which is all that a process tells another.
impl Serialize for Latencies {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let recorded = self.micros.iter_recorded();
        serializer.collect_seq(recorded.map(|step| (step.value_iterated_to(), step.count_at_value())))
    }
}

impl<'de> Deserialize<'de> for Latencies {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut latencies = Self::new();
        for (micros, count) in Vec::<(u64, u64)>::deserialize(deserializer)? {
            latencies.micros.saturating_record_n(micros, count);
        }
        Ok(latencies)
    }
}

impl Default for Latencies {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_those_of_the_recorded_values() {
        let mut latencies = Latencies::new();
        (1..=1000).for_each(|ms| latencies.record(ms * 1_000_000));
        let summary = latencies.summary();
        let near = |seen: f64, expected: f64| {
            assert!((seen - expected).abs() <= expected / 500.0, "{seen} {expected}");
        };
        near(summary.p50_ms, 500.0);
        near(summary.p99_ms, 990.0);
        near(summary.p999_ms, 999.0);
        near(summary.max_ms, 1000.0);
    }

    #[test]
    fn what_several_recorded_is_what_one_would_have_recorded() {
        let (mut one, mut several) = (Latencies::new(), Latencies::new());
        for part in 0..3 {
            let mut its = Latencies::new();
            for latency in (0..3000).map(|index| (index * index * 1009 + part) * 1000) {
                its.record(latency);
                one.record(latency);
            }
            its.record(3600 * SECOND);
            one.record(3600 * SECOND);
            let told = serde_json::to_string(&its).unwrap();
            several.merge(&serde_json::from_str(&told).unwrap());
        }
        assert_eq!((several.count(), several.summary()), (one.count(), one.summary()));
        assert_eq!(several.micros, one.micros, "bucket by bucket");
    }

    #[test]
    fn a_latency_beyond_the_range_still_counts() {
        let mut latencies = Latencies::new();
        latencies.record(3600 * SECOND);
        assert!(latencies.summary().max_ms >= 120_000.0);
        latencies.clear();
        assert!(latencies.summary().max_ms < 1.0);
    }
}
