//! Histograms whose observations have a weight, which the library's own don't: many deliveries of one
//! publication, or many commands of one write, took the same time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use prometheus::core::{Collector, Desc};
use prometheus::proto::{Bucket, Histogram, LabelPair, Metric, MetricFamily, MetricType};

/// Upper bounds in microseconds: 100 µs to 10 s.
const BOUNDS_US: [u64; 16] = [
    100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000,
    2_500_000, 5_000_000, 10_000_000,
];

/// One histogram for each value of a label, shared by all who count.
#[derive(Clone)]
pub struct Latency(Arc<Family>);

struct Family {
    desc: Desc,
    series: Vec<Series>,
}

#[derive(Default)]
struct Series {
    label: Option<(&'static str, &'static str)>,
    /// One more than there are bounds: the last is what lies beyond.
    buckets: [AtomicU64; BOUNDS_US.len() + 1],
    sum_us: AtomicU64,
}

impl Latency {
    /// A single histogram.
    pub fn new(name: &'static str, help: &'static str) -> Self {
        Self::of(name, help, vec![Series::default()])
    }

    /// A histogram for each value of a label.
    pub fn with_label(
        name: &'static str,
        help: &'static str,
        label: &'static str,
        values: impl Iterator<Item = &'static str>,
    ) -> Self {
        Self::of(
            name,
            help,
            values.map(|value| Series { label: Some((label, value)), ..Series::default() }).collect(),
        )
    }

    fn of(name: &'static str, help: &'static str, series: Vec<Series>) -> Self {
        let labels = series.first().and_then(|series| series.label).map(|(name, _)| name.to_owned());
        let desc = Desc::new(
            name.into(),
            help.into(),
            labels.into_iter().collect(),
            std::collections::HashMap::new(),
        );
        Self(Arc::new(Family { desc: desc.expect("the metric's name is well-formed"), series }))
    }

    /// So many things took so long each; `series` is the place of the label's value.
    pub fn observe(&self, series: usize, took: Duration, count: u64) {
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let bucket = BOUNDS_US.partition_point(|bound| *bound < us);
        let series = &self.0.series[series];
        series.buckets[bucket].fetch_add(count, Ordering::Relaxed);
        series.sum_us.fetch_add(us.saturating_mul(count), Ordering::Relaxed);
    }
}

impl Series {
    fn metric(&self) -> Metric {
        let mut histogram = Histogram::default();
        let mut cumulative = 0;
        let mut buckets = Vec::with_capacity(BOUNDS_US.len());
        for (place, bound) in BOUNDS_US.iter().enumerate() {
            cumulative += self.buckets[place].load(Ordering::Relaxed);
            let mut bucket = Bucket::default();
            bucket.set_upper_bound(*bound as f64 / 1e6);
            bucket.set_cumulative_count(cumulative);
            buckets.push(bucket);
        }
        cumulative += self.buckets[BOUNDS_US.len()].load(Ordering::Relaxed);
        histogram.set_bucket(buckets);
        histogram.set_sample_count(cumulative);
        histogram.set_sample_sum(self.sum_us.load(Ordering::Relaxed) as f64 / 1e6);
        let mut metric = Metric::default();
        metric.set_histogram(histogram);
        if let Some((name, value)) = self.label {
            let mut pair = LabelPair::default();
            pair.set_name(name.into());
            pair.set_value(value.into());
            metric.set_label(vec![pair]);
        }
        metric
    }
}

impl Collector for Latency {
    fn desc(&self) -> Vec<&Desc> {
        vec![&self.0.desc]
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let mut family = MetricFamily::default();
        family.set_name(self.0.desc.fq_name.clone());
        family.set_help(self.0.desc.help.clone());
        family.set_field_type(MetricType::HISTOGRAM);
        family.set_metric(self.0.series.iter().map(Series::metric).collect());
        vec![family]
    }
}
