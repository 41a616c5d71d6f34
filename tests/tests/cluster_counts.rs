//! How many peers there are, whatever dies.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::ensure;
use dunlin_tests::{Cluster, LEASE, Listener, Node, PATIENCE, PREFIX, Peer, holds};
use futures_util::future::try_join_all;
use serde_json::json;
use tokio::time::Instant;

/// The `session` topic as it is by default, no rates, and the namespace named in metrics.
const CONFIG: &str = "
shards = 2
[limits]
handshakes_per_second = 0
[metrics]
namespaces = ['/counted']
";

const PEERS: &str = "dunlin_cluster_peers{namespace=\"/counted\"}";
const FENCED: &str = "dunlin_fenced_total";
const REAPED: &str = "dunlin_reaped_total";

/// A default lease.
const DEFAULT_LEASE: Duration = Duration::from_secs(6);

async fn watch(address: SocketAddr) -> anyhow::Result<Listener> {
    Ok(Listener::start(Peer::connect(address, "/counted").await?))
}

/// A watcher on each node, all of which know of each other.
async fn watch_all(nodes: &[Node]) -> anyhow::Result<Vec<Listener>> {
    let mut watchers = Vec::new();
    for node in nodes {
        watchers.push(watch(node.listen).await?);
    }
    all_count_to(&mut watchers, nodes.len() as u64).await?;
    Ok(watchers)
}

async fn crowd(address: SocketAddr, peers: usize) -> anyhow::Result<Vec<Peer>> {
    let mut crowd = Vec::with_capacity(peers);
    for _ in 0..peers {
        crowd.push(Peer::connect(address, "/counted").await?);
    }
    Ok(crowd)
}

async fn all_count_to(watchers: &mut [Listener], users: u64) -> anyhow::Result<()> {
    for watcher in watchers {
        watcher.counts_to(users, PATIENCE).await?;
    }
    Ok(())
}

fn forget(watchers: &mut [Listener]) {
    watchers.iter_mut().for_each(Listener::forget);
}

// C1, redis 7.1-7.4
#[tokio::test]
async fn every_node_tells_the_count_of_the_whole_cluster() -> anyhow::Result<()> {
    let cluster = Cluster::start(3, CONFIG).await?;
    let mut watchers = watch_all(&cluster.nodes).await?;
    forget(&mut watchers);
    let mut crowds = Vec::new();
    for (node, peers) in cluster.nodes.iter().zip([10, 20, 30]) {
        crowds.push(crowd(node.listen, peers).await?);
    }
    all_count_to(&mut watchers, 63).await?;
    for watcher in &watchers {
        let counts = watcher.counts();
        ensure!(counts.is_sorted(), "while peers only came, {counts:?} was told");
    }
    cluster.metric(PEERS, 63).await?;
    for node in &cluster.nodes {
        let mut opener = Peer::connect(node.listen, "/counted").await?;
        assert_eq!(opener.next().await?, json!({ "topic": "session", "payload": { "users": 64 } }));
        all_count_to(&mut watchers, 64).await?;
        opener.leave().await?;
        all_count_to(&mut watchers, 63).await?;
    }
    forget(&mut watchers);
    for peer in crowds.into_iter().flatten() {
        peer.leave().await?;
    }
    all_count_to(&mut watchers, 3).await?;
    for watcher in &watchers {
        let counts = watcher.counts();
        ensure!(counts.is_sorted_by(|one, next| one >= next), "while peers only left, {counts:?} was told");
    }
    cluster.metric(PEERS, 3).await
}

// C1: 200 on each node, on both at once; some say goodbye and some don't.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_many_came_and_went_on_two_nodes_the_last_count_is_true() -> anyhow::Result<()> {
    let cluster = Cluster::start(2, CONFIG).await?;
    let mut watchers = watch_all(&cluster.nodes).await?;
    let come_and_go = async |address| {
        for round in 0..200 {
            let peer = Peer::connect(address, "/counted").await?;
            if round % 2 == 0 { peer.leave().await? } else { drop(peer) }
        }
        anyhow::Ok(())
    };
    try_join_all(cluster.nodes.iter().map(|node| come_and_go(node.listen))).await?;
    all_count_to(&mut watchers, 2).await?;
    cluster.metric(PEERS, 2).await?;
    // What was told last stays: a count that was on its way would come within a lease.
    forget(&mut watchers);
    cluster.leases_pass(1).await?;
    for watcher in &watchers {
        ensure!(watcher.counts().iter().all(|users| *users == 2), "{:?} was told", watcher.counts());
    }
    Ok(())
}

// C1, L1: a page that is loaded again, by the only peer of its node, before its going was told.
#[tokio::test]
async fn who_leaves_alone_and_comes_back_at_once_is_served() -> anyhow::Result<()> {
    let cluster = Cluster::start(2, CONFIG).await?;
    for round in 0..20 {
        let mut peer = Peer::connect(cluster.nodes[round / 10].listen, "/alone").await?;
        peer.ask(json!({ "type": "ping" })).await?;
        peer.leave().await?;
    }
    Ok(())
}

// C2, redis 5.2, 5.6
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_nodes_peers_are_gone_within_the_lease() -> anyhow::Result<()> {
    tokio::try_join!(gone_in_time(LEASE), gone_in_time(DEFAULT_LEASE))?;
    Ok(())
}

async fn gone_in_time(lease: Duration) -> anyhow::Result<()> {
    let mut cluster = Cluster::start_with_lease(3, CONFIG, lease).await?;
    let mut watchers = watch_all(&cluster.nodes[..2]).await?;
    let _crowd = crowd(cluster.nodes[2].listen, 100).await?;
    all_count_to(&mut watchers, 102).await?;
    forget(&mut watchers);
    let killed = Instant::now();
    cluster.nodes.remove(2).kill()?;
    for watcher in &mut watchers {
        let took = watcher.counts_to(2, lease + PATIENCE).await? - killed;
        println!("lease {lease:?}: gone after {took:.1?}");
        ensure!(took <= lease + Duration::from_secs(1), "a survivor told it after {took:?}");
    }
    cluster.is_complete().await?;
    cluster.metric(PEERS, 2).await?;
    cluster.leases_pass(1).await?;
    for watcher in &watchers {
        ensure!(watcher.counts() == [2], "gone once, but {:?} was told", watcher.counts());
    }
    assert_eq!(sum(&cluster, REAPED).await?, 1);
    Ok(())
}

async fn sum(cluster: &Cluster, series: &str) -> anyhow::Result<u64> {
    let scrapes = try_join_all(cluster.nodes.iter().map(Node::metrics)).await?;
    Ok(scrapes.iter().map(|scrape| scrape.value(series)).sum())
}

// C2, redis 5.6
#[tokio::test]
async fn two_nodes_that_are_killed_at_once_are_gone_in_time() -> anyhow::Result<()> {
    let mut cluster = Cluster::start(3, CONFIG).await?;
    let mut survivor = watch(cluster.nodes[0].listen).await?;
    let _crowds = [crowd(cluster.nodes[1].listen, 20).await?, crowd(cluster.nodes[2].listen, 30).await?];
    survivor.counts_to(51, PATIENCE).await?;
    survivor.forget();
    let killed = Instant::now();
    cluster.nodes.drain(1..).try_for_each(Node::kill)?;
    let took = survivor.counts_to(1, LEASE + PATIENCE).await? - killed;
    ensure!(took <= LEASE + Duration::from_secs(1), "the survivor told it after {took:?}");
    cluster.is_complete().await?;
    cluster.leases_pass(1).await?;
    let counts = survivor.counts();
    ensure!(counts.len() <= 2 && counts.is_sorted_by(|one, next| one > next), "{counts:?} was told");
    assert_eq!(sum(&cluster, REAPED).await?, 2);
    Ok(())
}

// C2, redis 5.5 (c)
#[tokio::test]
async fn a_frozen_nodes_peers_are_gone_once_and_back_once_and_keep_their_sockets() -> anyhow::Result<()> {
    let cluster = Cluster::start(3, CONFIG).await?;
    let mut watchers = watch_all(&cluster.nodes[..2]).await?;
    let mut crowd = crowd(cluster.nodes[2].listen, 20).await?;
    crowd[0].subscribe("talk").await?;
    let mut other = Peer::connect(cluster.nodes[0].listen, "/counted").await?;
    other.subscribe("talk").await?;
    all_count_to(&mut watchers, 23).await?;
    forget(&mut watchers);
    cluster.nodes[2].freeze()?;
    holds(2 * LEASE, async || Ok(())).await?;
    let counts: Vec<_> = watchers.iter().map(Listener::counts).collect();
    ensure!(counts == [[3], [3]], "frozen: {counts:?} was told");
    cluster.nodes[2].thaw()?;
    all_count_to(&mut watchers, 23).await?;
    cluster.is_complete().await?;
    cluster.metric(PEERS, 23).await?;
    cluster.leases_pass(1).await?;
    let counts: Vec<_> = watchers.iter().map(Listener::counts).collect();
    ensure!(counts == [[3, 23], [3, 23]], "gone once and back once, but {counts:?} was told");
    assert_eq!(cluster.nodes[2].metrics().await?.value(FENCED), 1);
    let hears = async |peer: &mut Peer, payload: &str| {
        let frame = json!({ "topic": "talk", "payload": payload });
        while peer.next().await? != frame {}
        anyhow::Ok(())
    };
    crowd[0].publish("talk", json!("from who was frozen")).await?;
    hears(&mut other, "from who was frozen").await?;
    other.publish("talk", json!("to who was frozen")).await?;
    hears(&mut crowd[0], "to who was frozen").await
}

/// What happens to Redis.
#[derive(Debug, Clone, Copy)]
enum Trouble {
    /// It is killed, and comes back empty after so long.
    Killed(Duration),
    /// It forgets everything while all connections stay.
    Flushed,
    /// It stands still for so long.
    Frozen(Duration),
}

impl Trouble {
    async fn strike(
        &self,
        cluster: &mut Cluster,
        meanwhile: impl AsyncFnOnce() -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let length = match self {
            Self::Killed(length) => {
                cluster.redis.kill()?;
                *length
            }
            Self::Frozen(length) => {
                cluster.redis.freeze()?;
                *length
            }
            Self::Flushed => {
                cluster.redis.ask(&["FLUSHALL"]).await?;
                return meanwhile().await;
            }
        };
        let began = Instant::now();
        meanwhile().await?;
        holds(length.saturating_sub(began.elapsed()), async || Ok(())).await?;
        if let Self::Killed(_) = self { cluster.redis.start_again().await } else { cluster.redis.thaw() }
    }
}

/// Two nodes with peers that stay, on whose count a trouble of Redis may have no effect.
async fn nobody_is_announced_gone(trouble: Trouble) -> anyhow::Result<()> {
    let mut cluster = Cluster::start(2, CONFIG).await?;
    let mut watchers = watch_all(&cluster.nodes).await?;
    let _crowds = [crowd(cluster.nodes[0].listen, 5).await?, crowd(cluster.nodes[1].listen, 7).await?];
    all_count_to(&mut watchers, 14).await?;
    forget(&mut watchers);
    trouble.strike(&mut cluster, async || Ok(())).await?;
    cluster.leases_pass(2).await?;
    for watcher in &watchers {
        ensure!(watcher.is_connected(), "a socket was lost");
        let counts = watcher.counts();
        ensure!(counts.iter().all(|users| *users == 14), "{trouble:?}: nobody went, but {counts:?} was told");
    }
    cluster.metric(PEERS, 14).await?;
    cluster.is_complete().await?;
    let _newcomer = crowd(cluster.nodes[1].listen, 1).await?;
    all_count_to(&mut watchers, 15).await?;
    assert_eq!((sum(&cluster, FENCED).await?, sum(&cluster, REAPED).await?), (0, 0));
    Ok(())
}

/// The same while peers come and go on both nodes: the last count is true, and none is lower than the number
/// of those who stayed.
async fn the_last_count_is_true(trouble: Trouble) -> anyhow::Result<()> {
    let mut cluster = Cluster::start(2, CONFIG).await?;
    let mut watchers = watch_all(&cluster.nodes).await?;
    let addresses = [cluster.nodes[0].listen, cluster.nodes[1].listen];
    let mut crowds = [crowd(addresses[0], 5).await?, crowd(addresses[1], 7).await?];
    all_count_to(&mut watchers, 14).await?;
    forget(&mut watchers);
    let change = async || {
        for (address, crowd_there) in addresses.into_iter().zip(&mut crowds) {
            for peer in crowd_there.drain(..2) {
                peer.leave().await?;
            }
            crowd_there.extend(crowd(address, 4).await?);
        }
        Ok(())
    };
    trouble.strike(&mut cluster, change).await?;
    all_count_to(&mut watchers, 18).await?;
    cluster.metric(PEERS, 18).await?;
    cluster.leases_pass(2).await?;
    for watcher in &watchers {
        let counts = watcher.counts();
        ensure!(counts.iter().all(|users| *users >= 10), "{trouble:?}: 10 stayed, but {counts:?} was told");
        ensure!(counts.last() == Some(&18), "{trouble:?}: the last of {counts:?} is not true");
    }
    Ok(())
}

// C2, R3, redis 5.3, 5.8
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trouble_of_redis_announces_nobody_gone() -> anyhow::Result<()> {
    tokio::try_join!(
        nobody_is_announced_gone(Trouble::Killed(LEASE / 2)),
        nobody_is_announced_gone(Trouble::Killed(LEASE * 5 / 2)),
        nobody_is_announced_gone(Trouble::Frozen(LEASE * 3 / 2)),
        nobody_is_announced_gone(Trouble::Flushed),
    )?;
    Ok(())
}

// C2, R3, redis 5.8
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_came_and_went_during_a_trouble_of_redis_is_counted_right_after_it() -> anyhow::Result<()> {
    tokio::try_join!(
        the_last_count_is_true(Trouble::Killed(LEASE * 5 / 2)),
        the_last_count_is_true(Trouble::Frozen(LEASE * 3 / 2)),
        the_last_count_is_true(Trouble::Flushed),
    )?;
    Ok(())
}

// C2, redis 5.3, 5.8: the price of believing everybody after a pause.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_dies_during_a_trouble_of_redis_is_gone_two_leases_later() -> anyhow::Result<()> {
    tokio::try_join!(dies_during(Trouble::Frozen(LEASE)), dies_during(Trouble::Killed(LEASE)))?;
    Ok(())
}

async fn dies_during(trouble: Trouble) -> anyhow::Result<()> {
    let mut cluster = Cluster::start(3, CONFIG).await?;
    let mut watchers = watch_all(&cluster.nodes).await?;
    let dead = cluster.nodes.remove(2);
    watchers.truncate(2);
    forget(&mut watchers);
    trouble.strike(&mut cluster, async || dead.kill()).await?;
    let back = Instant::now();
    for watcher in &mut watchers {
        let took = watcher.counts_to(2, 2 * LEASE + PATIENCE).await? - back;
        println!("{trouble:?}: gone {took:.1?} after the return");
        // The nodes try again every two seconds, at the latest.
        ensure!(took <= 2 * LEASE + Duration::from_secs(3), "{trouble:?}: missed {took:?} after the return");
    }
    cluster.is_complete().await?;
    cluster.metric(PEERS, 2).await?;
    for watcher in &watchers {
        ensure!(watcher.counts() == [2], "{trouble:?}: gone once, but {:?} was told", watcher.counts());
    }
    Ok(())
}

// redis 0.3, 9.6 (g), C6
#[tokio::test]
async fn what_is_left_in_redis_goes_by_itself() -> anyhow::Result<()> {
    let cluster = Cluster::start(2, CONFIG).await?;
    let peers = [crowd(cluster.nodes[0].listen, 3).await?, crowd(cluster.nodes[1].listen, 3).await?];
    cluster.metric(PEERS, 6).await?;
    for mut peer in peers.into_iter().flatten() {
        peer.subscribe("talk").await?;
        peer.leave().await?;
    }
    cluster.metric(PEERS, 0).await?;
    let keys = cluster.redis.keys().await?;
    ensure!(!keys.is_empty(), "two nodes live, and nothing says so");
    let lasting = |key: &&dunlin_tests::Key| key.ttl < 0 || !key.name.starts_with(PREFIX);
    let lasting: Vec<_> = keys.iter().filter(lasting).collect();
    ensure!(lasting.is_empty(), "foreign keys, or such that stay: {lasting:?}");
    Ok(())
}

// C6, redis 0.5, 5.2
#[tokio::test]
async fn a_thousand_idle_peers_cost_redis_nothing() -> anyhow::Result<()> {
    let cluster = Cluster::start_with_lease(2, CONFIG, DEFAULT_LEASE).await?;
    let mut peers = Vec::new();
    for place in 0..1_000 {
        let mut peer = Peer::connect(cluster.nodes[place % 2].listen, "/counted").await?;
        peer.subscribe("talk").await?;
        peers.push(peer);
    }
    cluster.metric(PEERS, 1_000).await?;
    cluster.leases_pass(1).await?; // Until what they cost when they came is paid.
    let began = Instant::now();
    let overheard = cluster.redis.overhear(cluster.leases_pass(1)).await?;
    let rate = overheard.len() as f64 / began.elapsed().as_secs_f64() / 2.0;
    println!("{rate:.1} commands a second and node");
    ensure!(rate > 2.0, "the nodes' leases were not overheard");
    ensure!(
        rate <= 12.0,
        "{rate:.1} commands a second and node: {:?}",
        &overheard[..overheard.len().min(50)]
    );
    Ok(())
}
