//! The histogram from publish to flush: many deliveries of one publication are one observation with a
//! weight, which the library's own histogram doesn't have.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use prometheus::core::{Collector, Desc};
use prometheus::proto::{Bucket, Histogram, Metric, MetricFamily, MetricType};

/// Upper bounds in microseconds: 100 µs to 10 s.
const BOUNDS_US: [u64; 16] = [
    100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000,
    2_500_000, 5_000_000, 10_000_000,
];
const NAME: &str = "dunlin_delivery_seconds";
const HELP: &str = "From a publication's arrival at its node to the write to its subscribers' sockets.";

/// Counts per bucket, shared by all shards.
#[derive(Clone)]
pub struct Latency(Arc<Counts>);

struct Counts {
    desc: Desc,
    /// One more than there are bounds: the last is what lies beyond.
    buckets: [AtomicU64; BOUNDS_US.len() + 1],
    sum_us: AtomicU64,
}

impl Default for Latency {
    fn default() -> Self {
        let desc = Desc::new(NAME.into(), HELP.into(), Vec::new(), std::collections::HashMap::new());
        let desc = desc.expect("the metric's name is well-formed");
        Self(Arc::new(Counts {
            desc,
            buckets: [const { AtomicU64::new(0) }; BOUNDS_US.len() + 1],
            sum_us: AtomicU64::new(0),
        }))
    }
}

impl Latency {
    /// So many deliveries took so long each.
    pub fn observe(&self, took: Duration, deliveries: u64) {
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let bucket = BOUNDS_US.partition_point(|bound| *bound < us);
        self.0.buckets[bucket].fetch_add(deliveries, Ordering::Relaxed);
        self.0.sum_us.fetch_add(us.saturating_mul(deliveries), Ordering::Relaxed);
    }
}

impl Collector for Latency {
    fn desc(&self) -> Vec<&Desc> {
        vec![&self.0.desc]
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let mut histogram = Histogram::default();
        let mut cumulative = 0;
        let mut buckets = Vec::with_capacity(BOUNDS_US.len());
        for (place, bound) in BOUNDS_US.iter().enumerate() {
            cumulative += self.0.buckets[place].load(Ordering::Relaxed);
            let mut bucket = Bucket::default();
            bucket.set_upper_bound(*bound as f64 / 1e6);
            bucket.set_cumulative_count(cumulative);
            buckets.push(bucket);
        }
        cumulative += self.0.buckets[BOUNDS_US.len()].load(Ordering::Relaxed);
        histogram.set_bucket(buckets);
        histogram.set_sample_count(cumulative);
        histogram.set_sample_sum(self.0.sum_us.load(Ordering::Relaxed) as f64 / 1e6);
        let mut metric = Metric::default();
        metric.set_histogram(histogram);
        let mut family = MetricFamily::default();
        family.set_name(NAME.into());
        family.set_help(HELP.into());
        family.set_field_type(MetricType::HISTOGRAM);
        family.set_metric(vec![metric]);
        vec![family]
    }
}
