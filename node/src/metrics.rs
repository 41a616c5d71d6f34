//! What `/metrics` tells (interfaces.md, Metrics).
//!
//! Shards count in plain numbers and hand them over once a turn; gauges are taken from the shards' real
//! state when somebody asks. Labels are closed sets.

mod latency;

use std::sync::Arc;

use dunlin_protocol::{CloseCode, Namespace};
use prometheus::core::Collector;
use prometheus::{Gauge, GaugeVec, IntCounter, IntCounterVec, Opts, Registry, TextEncoder};

pub use self::latency::Latency;
use crate::broker::{ClusterPeers, RedisMetrics, Status};
use crate::hub::{FrameType, Invalid, Kept, Limit, Moment, Recovered, SlowAction, Tally};

/// The node's counters and gauges.
pub struct Metrics {
    registry: Registry,
    named: Vec<Namespace>,
    frames: Vec<IntCounter>,
    invalid: Vec<IntCounter>,
    limited: Vec<IntCounter>,
    slow: Vec<IntCounter>,
    closes: IntCounterVec,
    connections: IntCounterVec,
    rejections: IntCounterVec,
    publications: Vec<IntCounter>,
    recoveries: Vec<IntCounter>,
    deliveries: IntCounter,
    bytes_received: IntCounter,
    bytes_sent: IntCounter,
    latency: Latency,
    peers: GaugeVec,
    subscriptions: Gauge,
    topics: Gauge,
    outbox: Gauge,
    nodes: Gauge,
    cluster_peers: GaugeVec,
    redis: Arc<RedisMetrics>,
}

/// How things stand on a shard.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    /// Peers of each named namespace, in the order of the metrics' names.
    pub named_peers: Vec<usize>,
    /// Peers of all namespaces.
    pub peers: usize,
    /// Subscriptions of all peers.
    pub subscriptions: usize,
    /// Bytes owed to all peers.
    pub owed: usize,
}

/// Registers a metric; a name used twice is a bug that the first start would show.
pub fn register<M: Collector + Clone + 'static>(registry: &Registry, metric: prometheus::Result<M>) -> M {
    let metric = metric.expect("the metric's name and labels are well-formed");
    registry.register(Box::new(metric.clone())).expect("each metric is registered once");
    metric
}

fn counters(registry: &Registry, name: &str, help: &str, label: &str) -> IntCounterVec {
    register(registry, IntCounterVec::new(Opts::new(name, help), &[label]))
}

/// The counters of a closed set of labels, in order; all are shown from the start, at zero.
pub fn closed_set<'a>(
    registry: &Registry,
    (name, help, label): (&str, &str, &str),
    values: impl Iterator<Item = &'a str>,
) -> Vec<IntCounter> {
    let family = counters(registry, name, help, label);
    values.map(|value| family.with_label_values(&[value])).collect()
}

impl Metrics {
    /// All at zero. `named` are the namespaces with a label of their own.
    pub fn new(named: Vec<Namespace>) -> Self {
        let registry = Registry::new();
        let r = &registry;
        let counter = |name, help| register(r, IntCounter::new(name, help));
        let gauge = |name, help| register(r, Gauge::new(name, help));
        let help = "From a publication's arrival at its node to the write to its subscribers' sockets.";
        let latency = register(r, Ok(Latency::new("dunlin_delivery_seconds", help)));
        let process = prometheus::process_collector::ProcessCollector::for_self();
        registry.register(Box::new(process)).expect("each metric is registered once");
        let build = register(
            r,
            GaugeVec::new(Opts::new("dunlin_build_info", "The version running, as a label."), &["version"]),
        );
        build.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1.0);
        let frames = ("dunlin_frames_received_total", "Frames received from peers.", "type");
        let invalid = ("dunlin_invalid_total", "Bad input from peers.", "reason");
        let limited = ("dunlin_limited_total", "Times a limit was met.", "limit");
        let recoveries =
            ("dunlin_recoveries_total", "Peers that came back with a cursor, by what they got.", "result");
        let slow = ("dunlin_slow_peers_total", "What was done about peers that could not keep up.", "action");
        let publications = Opts::new("dunlin_publications_total", "Publications accepted.");
        let publications = register(r, IntCounterVec::new(publications, &["mode", "source"]));
        let peers = Opts::new("dunlin_peers", "Peers connected to this node.");
        let cluster_peers =
            Opts::new("dunlin_cluster_peers", "Peers of all nodes; every node says the same.");
        let metrics = Self {
            frames: closed_set(r, frames, FrameType::ALL.iter().map(|each| each.label())),
            invalid: closed_set(r, invalid, Invalid::ALL.iter().map(|each| each.label())),
            limited: closed_set(r, limited, Limit::ALL.iter().map(|each| each.label())),
            slow: closed_set(r, slow, SlowAction::ALL.iter().map(|each| each.label())),
            closes: counters(r, "dunlin_closes_total", "Connections ended, by close code.", "code"),
            connections: counters(
                r,
                "dunlin_connections_total",
                "Connections, by what became of them.",
                "result",
            ),
            rejections: counters(r, "dunlin_upgrade_rejections_total", "Upgrades refused.", "reason"),
            publications: Kept::ALL
                .iter()
                .map(|each| publications.with_label_values(&[each.label(), "peer"]))
                .collect(),
            recoveries: closed_set(r, recoveries, Recovered::ALL.iter().map(|each| each.label())),
            deliveries: counter("dunlin_deliveries_total", "Publications put into peers' outboxes."),
            bytes_received: counter(
                "dunlin_bytes_received_total",
                "Bytes read from peers after their upgrade.",
            ),
            bytes_sent: counter("dunlin_bytes_sent_total", "Bytes written to peers after their upgrade."),
            latency,
            peers: register(r, GaugeVec::new(peers, &["namespace", "transport"])),
            subscriptions: gauge("dunlin_subscriptions", "Subscriptions of this node's peers."),
            topics: gauge("dunlin_topics", "Topics that peers of this node subscribe to, `session` aside."),
            outbox: gauge("dunlin_outbox_bytes", "Bytes owed to this node's peers."),
            nodes: gauge("dunlin_nodes", "Nodes in the cluster, as this one sees it."),
            cluster_peers: register(r, GaugeVec::new(cluster_peers, &["namespace"])),
            redis: Arc::new(RedisMetrics::new(r)),
            named,
            registry,
        };
        metrics.connections.with_label_values(&["opened"]);
        metrics
    }

    /// Those of the links to Redis.
    pub fn redis(&self) -> Arc<RedisMetrics> {
        self.redis.clone()
    }

    /// The namespaces with a label of their own.
    pub fn named_namespaces(&self) -> &[Namespace] {
        &self.named
    }

    /// Takes over what a shard counted, and leaves the tally at zero. `now` is when the deliveries in it had
    /// been written.
    pub fn absorb(&self, tally: &mut Tally, now: Moment) {
        take_over(&self.frames, &mut tally.frames);
        take_over(&self.invalid, &mut tally.invalid);
        take_over(&self.limited, &mut tally.limited);
        take_over(&self.slow, &mut tally.slow);
        take_over(&self.publications, &mut tally.publications);
        take_over(&self.recoveries, &mut tally.recoveries);
        for code in tally.closes.drain(..) {
            self.closes.with_label_values(&[CloseCode(code).label()]).inc();
        }
        let singles = [
            (&self.deliveries, &mut tally.deliveries),
            (&self.bytes_received, &mut tally.bytes_received),
            (&self.bytes_sent, &mut tally.bytes_sent),
        ];
        for (counter, count) in singles {
            add(counter, count);
        }
        for (published_us, deliveries) in tally.delivered.drain(..) {
            self.latency.observe(0, now.since(Moment::from_micros(published_us)), deliveries);
        }
    }

    /// A connection came to this.
    pub fn connection(&self, result: &'static str) {
        self.connections.with_label_values(&[result]).inc();
    }

    /// An upgrade was refused.
    pub fn rejected(&self, reason: &'static str) {
        self.rejections.with_label_values(&[reason]).inc();
        self.connection("rejected");
    }

    /// A limit was met outside the hub.
    pub fn limited(&self, limit: Limit) {
        self.limited[limit as usize].inc();
    }

    /// The text for Prometheus, with gauges as the shards' snapshots and the broker (`topics`, `status`) say.
    pub fn render(&self, snapshots: &[Snapshot], topics: usize, status: &Status) -> String {
        let sum = |of: fn(&Snapshot) -> usize| snapshots.iter().map(of).sum::<usize>();
        let mut own = ClusterPeers { named: Vec::new(), all: sum(|snapshot| snapshot.peers) as u64 };
        for place in 0..self.named.len() {
            let peers: usize = snapshots.iter().filter_map(|snapshot| snapshot.named_peers.get(place)).sum();
            own.named.push(peers as u64);
        }
        self.set_peers(&own, |name| self.peers.with_label_values(&[name, "websocket"]));
        let cluster = status.peers.as_ref().unwrap_or(&own);
        self.set_peers(cluster, |name| self.cluster_peers.with_label_values(&[name]));
        self.nodes.set(status.nodes as f64);
        self.subscriptions.set(sum(|snapshot| snapshot.subscriptions) as f64);
        self.topics.set(topics as f64);
        self.outbox.set(sum(|snapshot| snapshot.owed) as f64);
        TextEncoder::new().encode_to_string(&self.registry.gather()).unwrap_or_default()
    }
}

impl Metrics {
    /// Sets a gauge for each named namespace, and one for all others together.
    fn set_peers(&self, peers: &ClusterPeers, gauge: impl Fn(&str) -> Gauge) {
        for (name, peers) in self.named.iter().zip(&peers.named) {
            gauge(name.as_str()).set(*peers as f64);
        }
        gauge("other").set(peers.all.saturating_sub(peers.named.iter().sum()) as f64);
    }
}

fn take_over(counters: &[IntCounter], counts: &mut [u64]) {
    for (counter, count) in counters.iter().zip(counts) {
        add(counter, count);
    }
}

fn add(counter: &IntCounter, count: &mut u64) {
    if *count > 0 {
        counter.inc_by(std::mem::take(count));
    }
}

#[cfg(test)]
mod tests;
