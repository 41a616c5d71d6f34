//! Several nodes on one Redis.

mod listener;
mod numbers;
mod talker;
mod traffic;

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde_json::Value;
use tokio::time::Instant;

pub use self::listener::{Heard, Listener};
pub use self::numbers::{Doors, Follower, Publisher, Stretches};
pub use self::talker::{Distance, Fate, Talker, check};
pub use self::traffic::{Talked, Traffic};

use crate::http::{Answer, get};
use crate::machine::Share;
use crate::node::{Node, Starting};
use crate::patience::{PATIENCE, until};
use crate::peer::Peer;
use crate::proxy::Proxy;
use crate::redis::Redis;

/// A cluster; it ends with this value.
pub struct Cluster {
    /// Its nodes. A test that ends one takes it out.
    pub nodes: Vec<Node>,
    /// What stands between each node and Redis, if they were started apart.
    pub proxies: Vec<Proxy>,
    /// What they share.
    pub redis: Redis,
    config: String,
    lease: Duration,
    _share: Share,
}

/// What the keys and channels of these clusters begin with.
pub const PREFIX: &str = "dunlin-tests";

/// The shortest lease there is: whoever waits for the end of one waits no longer than this.
pub const LEASE: Duration = Duration::from_secs(3);

/// How many nodes there are, as a node knows it.
pub const NODES: &str = "dunlin_nodes";

/// How often a node has renewed its lease.
const TICKS: &str = "dunlin_redis_command_seconds_count{command=\"tick\"}";
/// Ticks within a lease.
const TICKS_PER_LEASE: u64 = 12;

impl Cluster {
    /// Starts nodes with this configuration, the shortest lease, and a Redis of their own.
    pub async fn start(nodes: usize, config: &str) -> anyhow::Result<Self> {
        Self::start_with_lease(nodes, config, LEASE).await
    }

    /// Starts nodes with another lease.
    pub async fn start_with_lease(nodes: usize, config: &str, lease: Duration) -> anyhow::Result<Self> {
        let mut cluster = Self::empty(config, lease).await?;
        for _ in 0..nodes {
            cluster.add_one()?;
        }
        cluster.is_complete().await?;
        Ok(cluster)
    }

    /// Starts nodes each of which reaches Redis through a proxy of its own.
    pub async fn start_apart(nodes: usize, config: &str) -> anyhow::Result<Self> {
        Self::start_apart_on(Redis::start().await?, nodes, config).await
    }

    /// The same on a Redis that is there already.
    pub async fn start_apart_on(redis: Redis, nodes: usize, config: &str) -> anyhow::Result<Self> {
        let mut cluster = Self::on(redis, config, LEASE)?;
        for _ in 0..nodes {
            let proxy = Proxy::start(cluster.redis.address())?;
            cluster.add(&url(proxy.address))?;
            cluster.proxies.push(proxy);
        }
        cluster.is_complete().await?;
        Ok(cluster)
    }

    async fn empty(config: &str, lease: Duration) -> anyhow::Result<Self> {
        Self::on(Redis::start().await?, config, lease)
    }

    fn on(redis: Redis, config: &str, lease: Duration) -> anyhow::Result<Self> {
        let (config, share) = (config.to_owned(), Share::some()?);
        Ok(Self { nodes: Vec::new(), proxies: Vec::new(), redis, config, lease, _share: share })
    }

    /// Starts one more node.
    pub fn add_one(&mut self) -> anyhow::Result<()> {
        self.add(&url(self.redis.address()))
    }

    fn add(&mut self, redis: &str) -> anyhow::Result<()> {
        let node = self.launch(redis)?.ready()?;
        ensure!(node.ready.contains(" broker=redis "), "{}", node.ready);
        self.nodes.push(node);
        Ok(())
    }

    /// Starts a node at this Redis, which need not get ready.
    pub fn launch(&self, redis: &str) -> anyhow::Result<Starting> {
        let Self { config, lease, .. } = self;
        let table = format!("url = '{redis}'\nprefix = '{PREFIX}'\nlease = '{}s'", lease.as_secs());
        Node::launch(&format!("{config}\n[redis]\n{table}\n"))
    }

    /// Waits until every node knows of each.
    pub async fn is_complete(&self) -> anyhow::Result<()> {
        self.metric(NODES, self.nodes.len() as u64).await
    }

    /// Waits until a metric has this value at every node.
    pub async fn metric(&self, series: &str, value: u64) -> anyhow::Result<()> {
        for node in &self.nodes {
            let name = node.name()?;
            node.metric(series, |now| now == value).await.with_context(|| format!("{name}, not {value}"))?;
        }
        Ok(())
    }

    /// Waits until every node has renewed its lease so often that this many leases have passed.
    pub async fn leases_pass(&self, leases: u64) -> anyhow::Result<()> {
        let within = self.lease * leases as u32 + PATIENCE;
        let mut goals = Vec::new();
        for node in &self.nodes {
            goals.push(node.metrics().await?.value(TICKS) + leases * TICKS_PER_LEASE);
        }
        for (node, goal) in self.nodes.iter().zip(goals) {
            until(format_args!("tick {goal} of {}", node.name()?), within, async || {
                Ok((node.metrics().await?.value(TICKS) >= goal).then_some(()))
            })
            .await?;
        }
        Ok(())
    }
}

fn url(redis: SocketAddr) -> String {
    format!("redis://{redis}")
}

/// Sees to it that something holds again and again, for so long.
pub async fn holds(
    during: Duration,
    mut check: impl AsyncFnMut() -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let began = Instant::now();
    until("the end of what holds", during + PATIENCE, async || {
        check().await?;
        Ok((began.elapsed() > during).then_some(()))
    })
    .await
}

/// Connects a peer that speaks v1, and reads its welcome.
pub async fn connect_v1(address: SocketAddr, path: &str) -> anyhow::Result<Peer> {
    let mut peer = Peer::connect_with(address, path, &[("sec-websocket-protocol", "dunlin.json.v1")]).await?;
    let welcome = peer.next().await?;
    ensure!(welcome["type"] == "welcome", "{welcome}");
    Ok(peer)
}

/// What a node says about its health.
#[derive(Debug)]
pub struct Health {
    /// The status at the internal listener, and what it says.
    pub internal: (u16, Value),
    /// The same of `?degraded=ok`.
    pub lenient: (u16, Value),
    /// The status at the public listener, and that of `?degraded=ok`.
    pub public: (u16, u16),
    /// Whether the process lives.
    pub alive: u16,
}

impl Health {
    /// Asks a node everything it answers about its health.
    pub async fn of(node: &Node) -> anyhow::Result<Self> {
        let said = |answer: Answer| anyhow::Ok((answer.status, serde_json::from_str(&answer.body)?));
        let (strict, lenient) = ("/.dunlin/ready", "/.dunlin/ready?degraded=ok");
        let public = (get(node.listen, strict).await?, get(node.listen, lenient).await?);
        ensure!(public.0.body.is_empty() && public.1.body.is_empty(), "the public readiness has a body");
        Ok(Self {
            internal: said(get(node.internal, "/readyz").await?)?,
            lenient: said(get(node.internal, "/readyz?degraded=ok").await?)?,
            public: (public.0.status, public.1.status),
            alive: get(node.internal, "/healthz").await?.status,
        })
    }

    /// Whether all is well.
    pub fn is_ready(&self) -> bool {
        let says_ok = |(status, body): &(u16, Value)| *status == 200 && body["status"] == "ok";
        says_ok(&self.internal) && says_ok(&self.lenient) && self.public == (200, 200) && self.alive == 200
    }

    /// Why Redis is of no use to the node; none if it is not just that.
    pub fn trouble(&self) -> Option<&str> {
        let is_degraded = |body: &Value| body["status"] == "degraded";
        let (red, lenient) = (&self.internal, &self.lenient);
        let is_just_redis = (red.0, lenient.0, self.public, self.alive) == (503, 200, (503, 200), 200);
        let why = red.1["redis"].as_str().filter(|why| !why.is_empty());
        why.filter(|_| is_just_redis && is_degraded(&red.1) && is_degraded(&lenient.1))
    }

    /// Waits until all is well.
    pub async fn green(node: &Node, within: Duration) -> anyhow::Result<()> {
        until("readiness", within, async || Ok(Self::of(node).await?.is_ready().then_some(()))).await
    }

    /// Waits until Redis is of no use to the node; gives its reason.
    pub async fn red(node: &Node, within: Duration) -> anyhow::Result<String> {
        let mut last = String::new();
        let red = until("the node to be degraded", within, async || {
            let health = Self::of(node).await?;
            last = format!("{health:?}");
            Ok(health.trouble().map(str::to_owned))
        });
        let red = red.await;
        red.with_context(|| last)
    }
}
