//! Topics that remember when Redis forgets, or says something that does not arrive.

use std::time::Duration;

use anyhow::ensure;
use dunlin_tests::{Cluster, OPEN, Peer, Redis, connect_v1};
use serde_json::{Value, json};
use tokio::time::Instant;

const TOPICS: &str = "
[[topic]]
match = 'log'
mode = 'log'
[[topic]]
match = 'list'
mode = 'list'
";
/// How long a lost tail may stay lost.
const HEALED: Duration = Duration::from_millis(1500);
const BOTH: [&str; 2] = ["log", "list"];

/// Publishes on both topics, and gives their cursors.
async fn publish(peer: &mut Peer, payload: &str) -> anyhow::Result<[Value; 2]> {
    let mut cursors = [Value::Null, Value::Null];
    for (topic, cursor) in BOTH.into_iter().zip(&mut cursors) {
        let frame = json!({ "type": "publish", "topic": topic, "payload": payload });
        let answer = peer.ask(frame).await?;
        ensure!(answer["type"] == "ok" && answer["cursor"].is_string(), "{payload} on {topic}: {answer}");
        *cursor = answer["cursor"].clone();
    }
    Ok(cursors)
}

/// What a peer is told on each topic up to the end of it: payloads, or what else a frame is.
async fn told(peer: &mut Peer, last: &str) -> anyhow::Result<[Vec<String>; 2]> {
    let mut told = [Vec::new(), Vec::new()];
    let whole = |frame: &Value| frame["payload"].as_array().or(frame["state"].as_array()).cloned();
    let mut ended = [false; 2];
    while ended != [true; 2] {
        let frame = peer.next().await?;
        let topic = BOTH.into_iter().position(|topic| frame["topic"] == topic);
        let Some(topic) = topic else { continue };
        let payload =
            whole(&frame).and_then(|items| items.last().cloned()).unwrap_or(frame["payload"].clone());
        let kind = frame["type"].as_str().map_or(String::new(), |kind| match frame["reason"].as_str() {
            Some(reason) => format!("{kind} {reason} "),
            None => format!("{kind} "),
        });
        told[topic].push(format!("{kind}{}", payload.as_str().unwrap_or_default()).trim().to_owned());
        ended[topic] = payload == last;
    }
    Ok(told)
}

async fn resume(cluster: &Cluster, node: usize, topic: &str, since: &Value) -> anyhow::Result<Value> {
    let mut peer = connect_v1(cluster.nodes[node].listen, "/memory").await?;
    peer.ask(json!({ "type": "subscribe", "topic": topic, "since": since })).await
}

/// The payloads of an `ok`.
fn payloads(answer: &Value) -> Vec<&str> {
    let all = answer["publications"].as_array().into_iter().flatten();
    all.filter_map(|publication| publication["payload"].as_str()).collect()
}

// R1, R2, T8, redis 2.1, 2.5, 2.6
#[tokio::test]
async fn a_failover_that_forgets_is_told_to_all_who_are_there_and_all_who_come_back() -> anyhow::Result<()> {
    let cluster = Cluster::start_apart(2, &format!("{OPEN}{TOPICS}")).await?;
    let replica = Redis::start().await?;
    replica.follow(&cluster.redis).await?;
    let mut listeners = Vec::new();
    for node in &cluster.nodes {
        let mut peer = connect_v1(node.listen, "/memory").await?;
        peer.subscribe("log").await?;
        peer.subscribe("list").await?;
        listeners.push(peer);
    }
    let mut talker = connect_v1(cluster.nodes[0].listen, "/memory").await?;
    publish(&mut talker, "1").await?;
    let good = publish(&mut talker, "2").await?;
    replica.catch_up_with(&cluster.redis).await?;
    replica.lead().await?;
    publish(&mut talker, "x3").await?;
    let forgotten = publish(&mut talker, "x4").await?;
    for listener in &mut listeners {
        assert_eq!(told(listener, "x4").await?, [["1", "2", "x3", "x4"], ["1", "2", "x3", "x4"]]);
    }

    cluster.proxies[0].lead_to(replica.address());
    publish(&mut talker, "y3").await?;
    publish(&mut talker, "y4").await?;
    let [log, list] = told(&mut listeners[0], "y4").await?;
    assert_eq!(log, ["gap forked", "y3", "y4"]);
    is_reset(&list, "y4")?;

    // The other node stays on the old master, which becomes a replica of the new one under its feet.
    cluster.redis.follow(&replica).await?;
    publish(&mut talker, "y5").await?;
    cluster.proxies[1].lead_to(replica.address());
    publish(&mut talker, "y6").await?;
    let [log, list] = told(&mut listeners[1], "y6").await?;
    assert_eq!(log, ["gap forked", "y3", "y4", "y5", "y6"]);
    is_reset(&list, "y6")?;

    for node in [0, 1] {
        let answer = resume(&cluster, node, "log", &forgotten[0]).await?;
        assert_eq!((&answer["recovered"], &answer["reason"]), (&json!(false), &json!("forked")), "{answer}");
        let answer = resume(&cluster, node, "list", &forgotten[1]).await?;
        assert_eq!((&answer["recovered"], &answer["reason"]), (&json!(false), &json!("forked")), "{answer}");
        assert_eq!(answer["state"], json!(["1", "2", "y3", "y4", "y5", "y6"]));
        let answer = resume(&cluster, node, "log", &good[0]).await?;
        assert_eq!((&answer["recovered"], payloads(&answer)), (&json!(true), vec!["y3", "y4", "y5", "y6"]));
    }
    Ok(())
}

/// Whether a list was said to be another one before it went on.
fn is_reset(told: &[String], last: &str) -> anyhow::Result<()> {
    let place = told.iter().position(|each| each.starts_with("reset"));
    let is_good =
        place.is_some_and(|place| place <= 1) && told.last().is_some_and(|each| each.ends_with(last));
    ensure!(is_good && told.iter().all(|each| !each.contains('x')), "{told:?}");
    Ok(())
}

// R2, redis 3.4, 3.6
#[tokio::test]
async fn a_tail_that_is_lost_on_a_quiet_topic_is_healed_soon() -> anyhow::Result<()> {
    let cluster = Cluster::start_apart(2, &format!("{OPEN}{TOPICS}")).await?;
    let mut talker = connect_v1(cluster.nodes[0].listen, "/memory").await?;
    let mut listener = connect_v1(cluster.nodes[1].listen, "/memory").await?;
    listener.subscribe("log").await?;
    for round in 0..5 {
        let payload = format!("tail-{round}");
        cluster.proxies[1].lose_message(&payload);
        let began = Instant::now();
        let frame = json!({ "type": "publish", "topic": "log", "payload": payload });
        ensure!(talker.ask(frame).await?["type"] == "ok");
        let frame = listener.next().await?;
        let took = began.elapsed();
        ensure!(cluster.proxies[1].has_lost_it(), "the message came");
        ensure!(frame["payload"] == *payload, "peers notice nothing: {frame}");
        ensure!(took < HEALED, "healed after {took:?}");
        println!("healed after {took:.0?}");
    }
    let reconnects = cluster.nodes[1].metrics().await?.value("dunlin_redis_reconnects_total{link=\"bus\"}");
    ensure!(reconnects == 0, "the link was never cut");
    Ok(())
}
