//! The broker on a real Redis, and its machine in a world of its own.

mod chronicle;
mod failover;
mod overflow;
mod remembering;
mod reported;
pub mod server;
mod simulation;
mod switch;
mod whole;
mod world;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use dunlin_protocol::Incarnation;
use prometheus::Registry;

use self::server::Server;
use super::{Membership, RedisBroker, RedisMetrics};
use crate::broker::{Broker, Command, Event, Status, Wake};
use crate::clock::Clock;
use crate::config;
use crate::feed::Rules;

/// A node of its own cluster, on the test process' Redis.
pub fn node() -> Arc<RedisBroker> {
    join(Server::shared(), &fresh_prefix())
}

/// A name that no other cluster of this process has.
fn fresh_prefix() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    format!("test-{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

/// A node of a cluster.
fn join(server: &Server, prefix: &str) -> Arc<RedisBroker> {
    join_by(&server.url(), prefix, Rules::ALL)
}

/// A node of a cluster that keeps these rules, and reaches Redis there.
fn join_by(url: &str, prefix: &str, rules: Rules) -> Arc<RedisBroker> {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let url = config::RedisUrl::parse(url).expect("a good url");
    let redis = config::Redis { url: url.clone(), prefix: prefix.to_owned(), lease: Duration::from_secs(6) };
    let seed = NEXT.fetch_add(1, Ordering::Relaxed);
    let interval = Duration::from_millis(100);
    let incarnation = Incarnation(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let membership =
        Membership { redis, incarnation, interval, named: Vec::new(), seed, secret: [1; 32], rules };
    let metrics = Arc::new(RedisMetrics::new(&Registry::new()));
    let broker = RedisBroker::start(&membership, Clock::start(), metrics).expect("the driver starts");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(broker.joined(&url, Duration::from_secs(20))).expect("redis is there");
    broker
}

/// Two nodes that look like one broker; shards belong to them in turns.
pub struct Cluster {
    nodes: [Arc<RedisBroker>; 2],
    /// Guards which node's which shard each shard is.
    shards: Mutex<Vec<(usize, usize)>>,
}

impl Default for Cluster {
    fn default() -> Self {
        let prefix = fresh_prefix();
        let nodes = [join(Server::shared(), &prefix), join(Server::shared(), &prefix)];
        Self { nodes, shards: Mutex::default() }
    }
}

impl Cluster {
    fn at(&self, shard: usize) -> (&RedisBroker, usize) {
        let (node, shard) = self.shards.lock().expect("nobody panics")[shard];
        (&self.nodes[node], shard)
    }
}

impl Broker for Cluster {
    fn name(&self) -> &'static str {
        "cluster"
    }

    fn attach(&self, wake: Wake) -> usize {
        let mut shards = self.shards.lock().expect("nobody panics");
        let node = shards.len() % 2;
        shards.push((node, self.nodes[node].attach(wake)));
        shards.len() - 1
    }

    fn submit(&self, shard: usize, commands: &mut Vec<Command>) {
        let (node, shard) = self.at(shard);
        node.submit(shard, commands);
    }

    fn topics(&self) -> usize {
        self.nodes.iter().map(|node| node.topics()).sum()
    }

    fn status(&self) -> Status {
        self.nodes[0].status()
    }

    fn collect(&self, shard: usize, events: &mut VecDeque<Event>) {
        let (node, shard) = self.at(shard);
        node.collect(shard, events);
    }
}
