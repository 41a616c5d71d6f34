//! Redis in trouble: what goes on, what is told, and that all is well again by itself.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use dunlin_tests::{
    Cluster, Fate, Health, Listener, OPEN, PATIENCE, Peer, Redis, Traffic, connect_v1, run, until,
};
use serde_json::json;
use tokio::time::Instant;

/// Fifty a second.
const PACE: Duration = Duration::from_millis(20);
/// How soon a node says that Redis is of no use to it.
const NOTICE: Duration = Duration::from_secs(5);
/// How soon nodes reach each other when Redis is back.
const RETURN: Duration = Duration::from_secs(5);

/// Waits until a node says, or says no more, that its peers reach only each other. Asks on a connection that
/// was there before, because a new one changes what the node does.
async fn says_local(peer: &mut Peer, local: bool) -> anyhow::Result<()> {
    until(format_args!("a hello with local {local}"), RETURN, async || {
        let hello = peer.ask(json!({ "type": "hello" })).await?;
        ensure!(hello["type"] == "ok", "{hello}");
        Ok(((hello["local"] == true) == local).then_some(()))
    })
    .await
}

// R3, T12, redis 4.1, 4.2, 9
#[tokio::test]
async fn while_redis_is_away_a_nodes_peers_reach_each_other() -> anyhow::Result<()> {
    let mut cluster = Cluster::start(2, OPEN).await?;
    let mut traffic = Traffic::start(&cluster.nodes, "/traffic", PACE).await?;
    let mut asker = Peer::connect(cluster.nodes[0].listen, "/traffic").await?;
    says_local(&mut asker, false).await?;
    cluster.redis.kill()?;
    for talker in &mut traffic.talkers {
        talker.meets(Fate::Local).await?;
        talker.publishes(50).await?;
    }
    says_local(&mut asker, true).await?;
    cluster.redis.start_again().await?;
    let back = Instant::now();
    traffic.flows(RETURN).await?;
    println!("all reached each other {:.1?} after the return", back.elapsed());
    says_local(&mut asker, false).await?;
    for talker in &mut traffic.talkers {
        talker.meets(Fate::Taken).await?;
    }
    let topics = traffic.topics();
    let talked = traffic.end().await?;
    for fates in talked.fates {
        ensure!(!fates.contains(&Fate::Refused), "something was refused");
    }
    for listener in &talked.listeners {
        let mut gaps = listener.gaps();
        gaps.sort_unstable();
        ensure!(gaps == topics, "one gap for each topic, not {gaps:?}");
        let is_link = |gap: &serde_json::Value| gap["type"] != "gap" || gap["reason"] == "link";
        ensure!(listener.heard().iter().all(|heard| is_link(&heard.frame)), "a gap for another reason");
    }
    cluster.metric("dunlin_gaps_total{result=\"link\"}", topics.len() as u64).await
}

// R5, redis 0.5, 9.2
#[tokio::test]
async fn health_is_honest_about_redis() -> anyhow::Result<()> {
    let mut cluster = Cluster::start(2, OPEN).await?;
    for node in &cluster.nodes {
        Health::green(node, PATIENCE).await?;
    }
    cluster.redis.kill()?;
    let began = Instant::now();
    for node in &cluster.nodes {
        Health::red(node, NOTICE.saturating_sub(began.elapsed())).await?;
    }
    println!("red after {:.1?}", began.elapsed());
    for link in ["bus", "work"] {
        cluster.metric(&format!("dunlin_redis_up{{link=\"{link}\"}}"), 0).await?;
    }
    cluster.redis.start_again().await?;
    for node in &cluster.nodes {
        Health::green(node, RETURN).await?;
        for link in ["bus", "work"] {
            let series = format!("dunlin_redis_reconnects_total{{link=\"{link}\"}}");
            node.metric(&series, |count| count >= 1).await?;
        }
    }
    for link in ["bus", "work"] {
        cluster.metric(&format!("dunlin_redis_up{{link=\"{link}\"}}"), 1).await?;
    }
    Ok(())
}

// R3, redis 9
#[tokio::test]
async fn newcomers_are_served_while_redis_is_away() -> anyhow::Result<()> {
    let mut cluster = Cluster::start(2, OPEN).await?;
    let mut early = [
        Peer::connect(cluster.nodes[0].listen, "/old").await?,
        Peer::connect(cluster.nodes[1].listen, "/old").await?,
    ];
    cluster.redis.kill()?;
    for peer in &mut early {
        says_local(peer, true).await?;
    }
    let mut here = connect_v1(cluster.nodes[0].listen, "/new").await?;
    let mut mate = connect_v1(cluster.nodes[0].listen, "/new").await?;
    let remote = Listener::start(connect_v1(cluster.nodes[1].listen, "/new").await?);
    mate.subscribe("talk").await?;
    let answer = here.ask(json!({ "type": "publish", "topic": "talk", "payload": "away" })).await?;
    ensure!(answer["type"] == "ok" && answer["local"] == true, "{answer}");
    assert_eq!(mate.next().await?, json!({ "topic": "talk", "payload": "away" }));
    cluster.redis.start_again().await?;
    for peer in &mut early {
        says_local(peer, false).await?;
    }
    let mut there = Peer::connect(cluster.nodes[1].listen, "/new").await?;
    let answer = there.ask(json!({ "type": "publish", "topic": "talk", "payload": "back" })).await?;
    ensure!(answer["type"] == "ok" && answer["local"] != true, "{answer}");
    let back = json!({ "topic": "talk", "payload": "back" });
    while mate.next().await? != back {}
    let heard = remote.heard();
    ensure!(remote.is_connected() && heard.is_empty(), "what was local is told later elsewhere: {heard:?}");
    Ok(())
}

// R5, redis 0.5, 9
#[tokio::test]
async fn a_demoted_master_is_of_no_use_until_it_is_master_again() -> anyhow::Result<()> {
    let cluster = Cluster::start(2, OPEN).await?;
    let other = Redis::start().await?;
    let mut traffic = Traffic::start(&cluster.nodes, "/traffic", PACE).await?;
    cluster.redis.ask(&["REPLICAOF", "127.0.0.1", &other.address().port().to_string()]).await?;
    for node in &cluster.nodes {
        let why = Health::red(node, NOTICE).await?;
        ensure!(why.contains("master") || why.contains("replica"), "its role is not told: {why}");
    }
    for talker in &mut traffic.talkers {
        talker.meets(Fate::Local).await?;
    }
    cluster.redis.ask(&["REPLICAOF", "NO", "ONE"]).await?;
    for node in &cluster.nodes {
        Health::green(node, PATIENCE).await?;
        for link in ["bus", "work"] {
            let series = format!("dunlin_redis_reconnects_total{{link=\"{link}\"}}");
            node.metric(&series, |count| count >= 1).await?;
        }
    }
    traffic.flows(RETURN).await?;
    traffic.end().await?;
    cluster.is_complete().await
}

// R3, redis 0.4, 9
#[tokio::test]
async fn a_full_redis_relays_and_counts() -> anyhow::Result<()> {
    let cluster = Cluster::start(2, OPEN).await?;
    cluster.redis.ask(&["CONFIG", "SET", "maxmemory", "1"]).await?;
    let refused = cluster.redis.ask(&["SET", "any", "thing"]).await;
    ensure!(refused.is_err_and(|error| error.to_string().contains("answer")), "Redis is not full");
    let traffic = Traffic::start(&cluster.nodes, "/traffic", PACE).await?;
    cluster.metric("dunlin_cluster_peers{namespace=\"other\"}", 4).await?;
    cluster.leases_pass(2).await?;
    for node in &cluster.nodes {
        ensure!(Health::of(node).await?.is_ready(), "a full Redis is of use for relay");
    }
    cluster.is_complete().await?;
    let talked = traffic.end().await?;
    for (fates, listener) in talked.fates.iter().zip(&talked.listeners) {
        ensure!(fates.iter().all(|fate| *fate == Fate::Taken) && listener.gaps().is_empty());
    }
    Ok(())
}

// R5, redis 9.2
#[tokio::test]
async fn a_redis_that_may_evict_leases_is_of_no_use() -> anyhow::Result<()> {
    let mut cluster = Cluster::start(1, OPEN).await?;
    cluster.redis.ask(&["CONFIG", "SET", "maxmemory-policy", "volatile-lru"]).await?;
    cluster.add_one()?;
    until("a word on what to configure", NOTICE, async || {
        let health = Health::of(&cluster.nodes[1]).await?;
        Ok(health.trouble().filter(|why| why.contains("noeviction")).map(drop))
    })
    .await?;
    cluster.redis.ask(&["CONFIG", "SET", "maxmemory-policy", "noeviction"]).await?;
    Health::green(&cluster.nodes[1], PATIENCE).await
}

// E11, redis 9
#[tokio::test]
async fn a_password_is_used_and_never_told() -> anyhow::Result<()> {
    let cluster = Cluster::start(0, OPEN).await?;
    cluster.redis.ask(&["CONFIG", "SET", "requirepass", "open:sesame"]).await?;
    let url = |password| format!("redis://:{password}@{}", cluster.redis.address());
    let node = cluster.launch(&url("open%3Asesame"))?.ready()?;
    Health::green(&node, PATIENCE).await?;
    ensure!(!node.stderr().contains("sesame"), "{}", node.stderr());
    let wrong = cluster.launch(&url("wrong-one"))?;
    until("a word about the password", NOTICE, async || {
        let said = wrong.stderr();
        Ok((said.contains("WRONGPASS") || said.contains("password")).then_some(()))
    })
    .await?;
    ensure!(!wrong.stderr().contains("wrong-one"), "{}", wrong.stderr());
    Ok(())
}

#[tokio::test]
async fn a_node_that_finds_no_redis_says_so_and_waits_for_it() -> anyhow::Result<()> {
    let mut cluster = Cluster::start(0, OPEN).await?;
    let address = cluster.redis.address().to_string();
    cluster.redis.kill()?;
    let starting = cluster.launch(&format!("redis://{address}"))?;
    let says = async |times: usize, within| {
        let what = format!("stderr naming {address} {times} times");
        until(what, within, async || {
            let said = starting.stderr();
            Ok((said.lines().filter(|line| line.contains(&address)).count() >= times).then_some(()))
        })
        .await
    };
    says(1, Duration::from_secs(2)).await?;
    says(2, PATIENCE).await?;
    cluster.redis.start_again().await?;
    let node = starting.ready()?;
    says_local(&mut Peer::connect(node.listen, "/late").await?, false).await?;
    Health::green(&node, PATIENCE).await
}

#[test]
fn a_redis_that_is_not_built_yet_is_refused() -> anyhow::Result<()> {
    for url in ["redis-sentinel://127.0.0.1", "redis-cluster://127.0.0.1", "http://127.0.0.1"] {
        let exit = run(&["--redis", url], "")?;
        let (scheme, _) = url.split_once(':').context("a scheme")?;
        ensure!(exit.code == 64 && exit.stderr.contains(scheme), "{exit:?}");
        ensure!(scheme == "http" || exit.stderr.contains("not yet"), "{exit:?}");
    }
    Ok(())
}
