//! One node's way to Redis in trouble, as networks and operators make it.

use std::time::Duration;

use anyhow::ensure;
use dunlin_tests::{Cluster, Fate, Health, OPEN, PATIENCE, Peer, Traffic};
use serde_json::json;
use tokio::time::{Instant, interval};

/// A hundred a second.
const PACE: Duration = Duration::from_millis(10);
/// How soon a node says that Redis is of no use to it.
const NOTICE: Duration = Duration::from_secs(5);
/// How soon nodes reach each other when the link is back.
const RETURN: Duration = Duration::from_secs(5);

const DUPLICATES: &str = "dunlin_bus_dropped_total{reason=\"duplicate\"}";

// R5, redis 0.5
#[tokio::test]
async fn a_half_open_link_is_noticed_and_healed() -> anyhow::Result<()> {
    let cluster = Cluster::start_apart(2, OPEN).await?;
    let mut traffic = Traffic::start(&cluster.nodes, "/traffic", PACE).await?;
    cluster.proxies[0].swallow();
    let began = Instant::now();
    let why = Health::red(&cluster.nodes[0], NOTICE).await?;
    println!("half-open: red after {:.1?}: {why}", began.elapsed());
    traffic.talkers[0].meets(Fate::Local).await?;
    traffic.talkers[1].meets(Fate::Taken).await?;
    ensure!(Health::of(&cluster.nodes[1]).await?.is_ready(), "the other node's link is well");
    cluster.proxies[0].pass();
    // An attempt that was swallowed has to be given up first.
    traffic.flows(PATIENCE).await?;
    Health::green(&cluster.nodes[0], RETURN).await?;
    let topics = traffic.topics();
    let talked = traffic.end().await?;
    let mut gaps = talked.listeners[0].gaps();
    gaps.sort_unstable();
    ensure!(gaps == topics, "one gap for each topic, not {gaps:?}");
    ensure!(talked.listeners[1].gaps().is_empty(), "the other node's peers missed nothing");
    Ok(())
}

// T2, redis 4.1, 4.3, 4.7
#[tokio::test]
async fn a_link_that_is_cut_again_and_again_doubles_and_reorders_nothing() -> anyhow::Result<()> {
    let cluster = Cluster::start_apart(2, OPEN).await?;
    let mut traffic = Traffic::start(&cluster.nodes, "/traffic", PACE).await?;
    let mut cuts = interval(Duration::from_millis(300));
    for _ in 0..15 {
        cuts.tick().await;
        cluster.proxies[0].cut();
    }
    traffic.flows(RETURN).await?;
    let talked = traffic.end().await?;
    ensure!(talked.listeners[1].gaps().is_empty(), "the other node's peers missed nothing");
    let series = "dunlin_redis_reconnects_total{link=\"work\"}";
    let reconnects = cluster.nodes[0].metrics().await?.value(series);
    ensure!(reconnects >= 5, "15 cuts met {reconnects} connections");
    Ok(())
}

// T2, redis 0.7, 4.3, 4.7
#[tokio::test]
async fn a_thousand_publications_whose_replies_are_lost_arrive_once() -> anyhow::Result<()> {
    let cluster = Cluster::start_apart(2, OPEN).await?;
    let mut traffic = Traffic::start(&cluster.nodes, "/traffic", Duration::from_millis(2)).await?;
    for _ in 0..10 {
        cluster.proxies[0].lose_replies();
        traffic.talkers[0].publishes(100).await?;
        cluster.proxies[0].cut();
        cluster.proxies[0].pass();
        traffic.talkers[0].meets(Fate::Taken).await?;
    }
    traffic.flows(RETURN).await?;
    traffic.end().await?;
    let dropped = cluster.nodes[1].metrics().await?.value(DUPLICATES);
    println!("{dropped} duplicates were dropped");
    ensure!(dropped > 0, "nothing was sent again although its reply was lost");
    Ok(())
}

// redis 0.7: what a dead connection still brings to Redis.
#[tokio::test]
async fn what_arrives_late_from_a_dead_connection_is_not_delivered_again() -> anyhow::Result<()> {
    let cluster = Cluster::start_apart(2, OPEN).await?;
    let mut traffic = Traffic::start(&cluster.nodes, "/traffic", PACE).await?;
    for _ in 0..3 {
        cluster.proxies[0].hold_requests();
        traffic.talkers[0].publishes(30).await?;
        cluster.proxies[0].cut();
        cluster.proxies[0].pass();
        traffic.flows(RETURN).await?;
        cluster.proxies[0].deliver_late();
        traffic.talkers[0].publishes(30).await?;
    }
    traffic.flows(RETURN).await?;
    traffic.end().await?;
    Ok(())
}

// T2, redis 2.11, 4.1
#[tokio::test]
async fn connections_that_redis_ends_double_and_reorder_nothing() -> anyhow::Result<()> {
    let cluster = Cluster::start(2, OPEN).await?;
    let mut traffic = Traffic::start(&cluster.nodes, "/traffic", PACE).await?;
    let mut kills = interval(Duration::from_millis(500));
    for round in 0..8 {
        kills.tick().await;
        let kind = if round % 2 == 0 { "pubsub" } else { "normal" };
        let killed = cluster.redis.ask(&["CLIENT", "KILL", "TYPE", kind]).await?;
        ensure!(round > 1 || killed.as_i64() >= Some(2), "{killed} connections of type {kind}");
    }
    traffic.flows(RETURN).await?;
    traffic.end().await?;
    Ok(())
}

// T12, redis 4.2
#[tokio::test]
async fn a_publication_that_is_late_in_coming_back_is_delivered_locally_and_once() -> anyhow::Result<()> {
    const LATE: &str = "dunlin_local_publications_total{reason=\"late\"}";
    let cluster = Cluster::start_apart(2, OPEN).await?;
    let mut peers = Vec::new();
    for node in &cluster.nodes {
        let mut peer = Peer::connect(node.listen, "/late").await?;
        peer.subscribe("talk").await?;
        peers.push(peer);
    }
    let mut talker = Peer::connect(cluster.nodes[0].listen, "/late").await?;
    cluster.proxies[0].hold_replies();
    let began = Instant::now();
    talker.send(json!({ "type": "publish", "topic": "talk", "payload": 1, "id": 1 })).await?;
    let publication = json!({ "topic": "talk", "payload": 1 });
    assert_eq!(peers[1].next().await?, publication);
    assert_eq!(peers[0].next().await?, publication);
    let took = began.elapsed();
    ensure!((900..2_000).contains(&took.as_millis()), "delivered locally after {took:?}");
    assert_eq!(talker.next().await?, json!({ "type": "ok", "id": 1, "local": true }));
    cluster.proxies[0].pass();
    talker.publish("talk", json!(2)).await?;
    for peer in &mut peers {
        assert_eq!(peer.next().await?["payload"], 2, "the echo came, too");
    }
    assert_eq!(cluster.nodes[0].metrics().await?.value(LATE), 1);
    let reconnects = "dunlin_redis_reconnects_total{link=\"bus\"}";
    assert_eq!(cluster.nodes[0].metrics().await?.value(reconnects), 0, "the link was only slow");
    cluster.nodes[0].metric(DUPLICATES, |count| count <= 1).await?;
    Health::green(&cluster.nodes[0], PATIENCE).await
}
