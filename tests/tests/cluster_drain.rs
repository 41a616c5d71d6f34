//! A node that leaves a cluster politely.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use dunlin_tests::{Cluster, Fate, Listener, NODES, OPEN, PATIENCE, PREFIX, Peer, Traffic, get};
use futures_util::future::try_join_all;
use tokio::time::Instant;

/// A hundred a second.
const PACE: Duration = Duration::from_millis(10);

/// Time enough to see peers leave in batches: the first hundred of a shard leave at once.
const CONFIG: &str = "
shards = 1
drain = '4s'
[limits]
handshakes_per_second = 0
[metrics]
namespaces = ['/counted']
";

/// Long enough that whoever waits for it is found out.
const LEASE: Duration = Duration::from_secs(6);

// R4, C1
#[tokio::test]
async fn a_node_that_leaves_takes_its_peers_off_the_count_as_they_go() -> anyhow::Result<()> {
    let mut cluster = Cluster::start_with_lease(2, CONFIG, LEASE).await?;
    let mut watcher = Listener::start(Peer::connect(cluster.nodes[0].listen, "/counted").await?);
    let mut leaving = cluster.nodes.pop().context("two nodes")?;
    let mut crowd = Vec::new();
    for _ in 0..200 {
        crowd.push(Peer::connect(leaving.listen, "/counted").await?);
    }
    watcher.counts_to(201, PATIENCE).await?;
    watcher.forget();
    leaving.terminate()?;
    dunlin_tests::until("503 from the leaving node", Duration::from_millis(500), async || {
        Ok((get(leaving.internal, "/readyz").await?.status == 503).then_some(()))
    })
    .await?;
    let draining = get(leaving.internal, "/readyz?degraded=ok").await?;
    ensure!(draining.status == 503 && draining.body.contains("\"draining\""), "{draining:?}");
    let ends = try_join_all(crowd.iter_mut().map(Peer::ended)).await?;
    let all_gone = Instant::now();
    ensure!(ends.iter().all(|end| end.code == 1001), "{ends:?}");
    let late = watcher.counts_to(1, PATIENCE).await?.saturating_duration_since(all_gone);
    ensure!(late < Duration::from_secs(1), "the last count came {late:?} after the last peer went");
    let counts = watcher.counts();
    ensure!(counts.len() > 3 && counts.is_sorted_by(|one, next| one > next), "{counts:?} was told");
    assert_eq!(leaving.exit(PATIENCE).await?, 0, "{}", leaving.stderr());
    let exited = Instant::now();
    cluster.nodes[0].metric(NODES, |nodes| nodes == 1).await?;
    let took = exited.elapsed();
    ensure!(took < Duration::from_secs(1), "the node was missed {took:?} after its exit");
    cluster.metric("dunlin_cluster_peers{namespace=\"/counted\"}", 1).await?;
    let keys = cluster.redis.keys().await?;
    let lasting = |key: &&dunlin_tests::Key| key.ttl < 0 || !key.name.starts_with(PREFIX);
    let lasting: Vec<_> = keys.iter().filter(lasting).collect();
    ensure!(lasting.is_empty(), "foreign keys, or such that stay: {lasting:?}");
    Ok(())
}

// R4, T2
#[tokio::test]
async fn a_rolling_restart_disturbs_nobody_on_the_other_nodes() -> anyhow::Result<()> {
    let mut cluster = Cluster::start(2, OPEN).await?;
    for round in 0..2 {
        let mut stays = Traffic::start(&cluster.nodes[1..], "/stays", PACE).await?;
        let before = Traffic::start(&cluster.nodes, &format!("/before:{round}"), PACE).await?.end().await?;
        let mut leaving = cluster.nodes.remove(0);
        leaving.terminate()?;
        cluster.add_one()?;
        // The node that stayed is now the first, and the next to leave.
        let mut after = Traffic::start(&cluster.nodes, &format!("/after:{round}"), PACE).await?;
        assert_eq!(leaving.exit(PATIENCE).await?, 0, "{}", leaving.stderr());
        cluster.is_complete().await?;
        ensure!(!before.listeners[0].is_connected() && before.listeners[1].is_connected());
        stays.flows(PATIENCE).await?;
        after.flows(PATIENCE).await?;
        for talked in [stays.end().await?, after.end().await?] {
            ensure!(talked.fates.iter().flatten().all(|fate| *fate == Fate::Taken), "not all was taken");
            ensure!(talked.listeners.iter().all(|each| each.gaps().is_empty()), "no link was lost");
        }
    }
    Ok(())
}
