//! Who gets what, in which order, across nodes.

use std::collections::HashMap;

use anyhow::{Context as _, ensure};
use dunlin_tests::{Cluster, OPEN, Peer, connect_v1};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio_tungstenite::tungstenite::Message;

const NODES: usize = 2;
const PUBLISHERS: usize = 2 * NODES;
const EACH: usize = 25_000;
const ALL: usize = PUBLISHERS * EACH;
/// A publisher waits for an answer after so many, so that nobody's outbox overflows.
const BATCH: usize = 250;

/// No limits, and outboxes that hold what subscribers on a busy machine may fall behind.
fn roomy() -> String {
    format!("{OPEN}subscriptions = 0\noutbox = '64MiB'\noutbox_total = '1GiB'\n")
}

/// Who published which, as it arrives.
type Order = Vec<(usize, usize)>;

// T2, T12, redis 4.1, 4.2
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_thousand_publications_arrive_once_and_in_one_order_on_every_node() -> anyhow::Result<()> {
    let cluster = Cluster::start(NODES, &roomy()).await?;
    let mut listening = JoinSet::new();
    let mut peers = Vec::new();
    for place in 0..2 * PUBLISHERS {
        let mut peer = Peer::connect(cluster.nodes[place % NODES].listen, "/order").await?;
        peer.subscribe("0").await?;
        peers.push(peer);
    }
    for (place, peer) in peers.into_iter().enumerate() {
        match place.checked_sub(PUBLISHERS) {
            None => listening.spawn(async move { anyhow::Ok((None, hear(peer, ALL).await?.remove(0))) }),
            Some(publisher) => listening.spawn(async move {
                Ok((Some(publisher), publish(peer, publisher, 1, ALL - EACH).await?.remove(0)))
            }),
        };
    }
    let (mut whole, mut partial) = (Vec::new(), Vec::new());
    while let Some(heard) = listening.join_next().await {
        match heard?? {
            (None, order) => whole.push(order),
            (Some(publisher), order) => partial.push((publisher, order)),
        }
    }
    for order in &whole {
        ensure!(*order == whole[0], "subscribers disagree about the order");
    }
    for (publisher, order) in &partial {
        let own = whole[0].iter().filter(|(from, _)| from == publisher).map(|(_, each)| *each);
        ensure!(own.eq(0..EACH), "publisher {publisher}'s are not complete, or not in order");
        let others = whole[0].iter().filter(|(from, _)| from != publisher);
        ensure!(others.eq(order), "publisher {publisher} heard its own, or another order");
    }
    Ok(())
}

// T2, T12
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_a_thousand_topics_each_has_one_order_on_every_node() -> anyhow::Result<()> {
    const TOPICS: usize = 1_000;
    let cluster = Cluster::start(NODES, &roomy()).await?;
    let mut subscribers = Vec::new();
    for node in &cluster.nodes {
        let mut peer = Peer::connect(node.listen, "/many").await?;
        for topic in 0..TOPICS {
            let frame = json!({ "type": "subscribe", "topic": topic.to_string(), "id": topic });
            peer.feed(frame.to_string()).await?;
        }
        peer.ask(json!({ "type": "ping" })).await?;
        // Those for the subscribes come when Redis has taken them.
        for _ in 0..TOPICS {
            let answer = peer.next().await?;
            ensure!(answer["type"] == "ok", "{answer}");
        }
        subscribers.push(peer);
    }
    let mut publishing = JoinSet::new();
    for publisher in 0..PUBLISHERS {
        let peer = Peer::connect(cluster.nodes[publisher % NODES].listen, "/many").await?;
        publishing.spawn(publish(peer, publisher, TOPICS, 0));
    }
    let [one, other]: [Peer; NODES] = subscribers.try_into().ok().context("one on each node")?;
    let (one, other) = tokio::try_join!(hear(one, ALL), hear(other, ALL))?;
    publishing.join_all().await.into_iter().try_for_each(|done| done.map(drop))?;
    ensure!(one == other, "the nodes disagree about a topic's order");
    for (topic, order) in one.iter().enumerate() {
        for publisher in 0..PUBLISHERS {
            let own = order.iter().filter(|(from, _)| *from == publisher).map(|(_, each)| *each);
            let expected = (topic..EACH).step_by(TOPICS);
            ensure!(own.eq(expected), "{publisher}'s on {topic} are not complete, or not in order");
        }
    }
    Ok(())
}

/// Hears so many publications; gives their order on each topic.
async fn hear(mut peer: Peer, count: usize) -> anyhow::Result<Vec<Order>> {
    let mut orders = Vec::new();
    for each in 0..count {
        note(&mut orders, &peer.text().await.with_context(|| format!("a subscriber after {each}"))?)?;
    }
    Ok(orders)
}

/// Publishes [`EACH`], on so many topics in turn, and hears so many of the others'.
async fn publish(
    mut peer: Peer,
    publisher: usize,
    topics: usize,
    others: usize,
) -> anyhow::Result<Vec<Order>> {
    let (mut orders, mut heard) = (Vec::new(), 0);
    for each in 0..EACH {
        let topic = (each % topics).to_string();
        let mut frame = json!({ "type": "publish", "topic": topic, "payload": [publisher, each] });
        if each % BATCH != BATCH - 1 {
            peer.feed(frame.to_string()).await?;
            continue;
        }
        frame["id"] = each.into();
        peer.send(frame).await?;
        loop {
            let text = peer.text().await.with_context(|| format!("publisher {publisher} at {each}"))?;
            if text.contains("\"ok\"") {
                break;
            }
            note(&mut orders, &text)?;
            heard += 1;
        }
    }
    while heard < others {
        let text = peer.text().await.with_context(|| format!("publisher {publisher} after {heard}"))?;
        note(&mut orders, &text)?;
        heard += 1;
    }
    Ok(orders)
}

fn note(orders: &mut Vec<Order>, text: &str) -> anyhow::Result<()> {
    let parts = || {
        let (topic, rest) = text.strip_prefix(r#"{"topic":""#)?.split_once('"')?;
        let pair = rest.strip_prefix(r#","payload":["#)?.strip_suffix("]}")?;
        let (publisher, each) = pair.split_once(',')?;
        Some((topic.parse::<usize>().ok()?, publisher.parse().ok()?, each.parse().ok()?))
    };
    let (topic, publisher, each) = parts().with_context(|| text.to_owned())?;
    orders.resize(orders.len().max(topic + 1), Order::new());
    orders[topic].push((publisher, each));
    Ok(())
}

// E2, redis 0.2
#[tokio::test]
async fn namespaces_and_topics_that_look_alike_never_meet_on_any_node() -> anyhow::Result<()> {
    let cluster = Cluster::start(NODES, OPEN).await?;
    let longest = "ü".repeat(127) + "x";
    let worlds = [
        ("/a", "talk"),
        ("/a/", "talk"),
        ("/A", "talk"),
        ("/%61", "talk"),
        ("/a", "b/c"),
        ("/a/b", "c"),
        ("/a", "}"),
        ("/a", "{"),
        ("/a", "{a}"),
        ("/a", "|b"),
        ("/a", "%7B"),
        ("/a", "%"),
        ("/a", "a:b"),
        ("/a:b", "a"),
        ("/a", "*"),
        ("/a", "?"),
        ("/a", "[a-z]"),
        ("/a", " "),
        ("/a", "a b"),
        ("/a", "\"'\\"),
        ("/a", longest.as_str()),
        ("/a*", "talk"),
    ];
    let mut listeners = Vec::new();
    for (path, topic) in worlds {
        let mut peer = Peer::connect(cluster.nodes[1].listen, path).await?;
        peer.subscribe(topic).await.with_context(|| format!("sub {path} {topic}"))?;
        listeners.push(peer);
    }
    for (place, (path, topic)) in worlds.iter().enumerate() {
        let mut peer = Peer::connect(cluster.nodes[0].listen, path).await?;
        peer.publish(topic, json!(place)).await.with_context(|| format!("{path} {topic}"))?;
    }
    for (place, (mut listener, (path, topic))) in listeners.into_iter().zip(worlds).enumerate() {
        let only = json!({ "topic": topic, "payload": place });
        let world = || format!("{path} {topic}");
        assert_eq!(listener.next().await.with_context(world)?, only, "{path} {topic}");
        let more = listener.heard_by_now().await.with_context(world)?;
        assert_eq!(more, Vec::<Value>::new(), "{path} {topic}");
    }
    Ok(())
}

// L5, T3, W7
#[tokio::test]
async fn payloads_arrive_on_other_nodes_as_they_were_sent() -> anyhow::Result<()> {
    let cluster = Cluster::start(NODES, OPEN).await?;
    let mut plain = Peer::connect(cluster.nodes[1].listen, "/kinds").await?;
    let mut v1 = connect_v1(cluster.nodes[1].listen, "/kinds").await?;
    let mut talker = Peer::connect(cluster.nodes[0].listen, "/kinds").await?;
    plain.subscribe("t").await?;
    v1.subscribe("t").await?;
    let payloads = [
        "null",
        "false",
        "0",
        "-0.0",
        "\"\"",
        "[]",
        "{}",
        r#"{ "b" : 1e400,  "a":1.0, "a":"\u0041\ud83d\ude00ü😀" }"#,
        "12345678901234567890123456789",
    ];
    for payload in payloads {
        talker.send_text(format!(r#"{{"type":"publish","topic":"t","payload":{payload}}}"#)).await?;
        let expected = format!(r#"{{"topic":"t","payload":{payload}}}"#);
        assert_eq!(plain.text().await?, expected);
        assert_eq!(v1.text().await?, expected);
    }
    talker.send(json!({ "type": "publish", "topic": "t", "base64": "AAH/DQo=" })).await?;
    assert_eq!(plain.message().await?, Message::binary(vec![0, 1, 255, 13, 10]));
    assert_eq!(v1.next().await?, json!({ "topic": "t", "base64": "AAH/DQo=" }));
    talker.send(json!({ "type": "publish", "topic": "t" })).await?;
    assert_eq!(plain.next().await?, json!({ "topic": "t", "payload": null }));
    Ok(())
}

/// A namespace without envelopes, and one whose peers may talk to all of it.
const ENDPOINTS: &str = "
shards = 2
[limits]
handshakes_per_second = 0
[[endpoint]]
path = '/raw'
dialect = 'raw'
raw_topic = 'lines'
defaults = ['lines']
[[endpoint]]
path = '/**'
defaults = []
subscribe = ['*']
publish = ['*']
broadcast = true
";

// W6, W7
#[tokio::test]
async fn raw_messages_stay_text_or_binary_on_other_nodes() -> anyhow::Result<()> {
    let cluster = Cluster::start(NODES, ENDPOINTS).await?;
    let mut here = Peer::connect(cluster.nodes[0].listen, "/raw").await?;
    let mut there = Peer::connect(cluster.nodes[1].listen, "/raw").await?;
    // A peer is open before its node has told Redis; only what comes back says that it has.
    dunlin_tests::until("the raw topic's subscription", dunlin_tests::PATIENCE, async || {
        let channels = cluster.redis.ask(&["PUBSUB", "CHANNELS", "*lines*"]).await?;
        let subscribers = match channels[0].as_str() {
            Some(channel) => cluster.redis.ask(&["PUBSUB", "NUMSUB", channel]).await?[1].as_u64(),
            None => None,
        };
        Ok((subscribers == Some(NODES as u64)).then_some(()))
    })
    .await?;
    for message in
        [Message::text("näher, {\"my\":\ngod"), Message::text(""), Message::binary(vec![0, 255, 10])]
    {
        match message.clone() {
            Message::Text(text) => here.send_text(text.as_str()).await?,
            other => here.send_binary(other.into_data().to_vec()).await?,
        }
        assert_eq!(there.message().await?, message);
    }
    Ok(())
}

// T4, redis 4.5
#[tokio::test]
async fn a_publish_to_several_topics_is_one_copy_on_every_node() -> anyhow::Result<()> {
    let cluster = Cluster::start(NODES, OPEN).await?;
    let mut listeners = HashMap::new();
    for (name, topics) in [("all", vec!["c", "b", "a"]), ("two", vec!["c", "b"]), ("one", vec!["c"])] {
        let mut pair = Vec::new();
        for node in &cluster.nodes {
            let mut peer = Peer::connect(node.listen, "/several").await?;
            for topic in &topics {
                peer.subscribe(topic).await?;
            }
            pair.push(peer);
        }
        listeners.insert(name, pair);
    }
    let mut talker = Peer::connect(cluster.nodes[0].listen, "/several").await?;
    for number in 0..50 {
        let frame = json!({ "type": "publish", "topics": ["a", "b", "c", "a"], "payload": number });
        ensure!(talker.ask(frame).await?["type"] == "ok");
    }
    for (name, first) in [("all", "a"), ("two", "b"), ("one", "c")] {
        for listener in listeners.get_mut(name).context(name)? {
            for number in 0..50 {
                assert_eq!(listener.next().await?, json!({ "topic": first, "payload": number }), "{name}");
            }
            assert_eq!(listener.heard_by_now().await?, Vec::<Value>::new(), "{name}");
        }
    }
    Ok(())
}

// T4, T2
#[tokio::test]
async fn a_broadcast_reaches_everybody_on_every_node_once() -> anyhow::Result<()> {
    let cluster = Cluster::start(NODES, ENDPOINTS).await?;
    let (mut inside, mut outside) = (Vec::new(), Vec::new());
    for place in 0..4 * NODES {
        let node = &cluster.nodes[place % NODES];
        inside.push(connect_v1(node.listen, "/in").await?);
        outside.push(connect_v1(node.listen, "/out").await?);
    }
    cluster.metric("dunlin_cluster_peers{namespace=\"other\"}", 8 * NODES as u64).await?;
    for peer in &mut inside {
        peer.ask(json!({ "type": "publish", "payload": false })).await?;
    }
    for peer in &mut inside {
        for _ in 0..4 * NODES - 1 {
            assert_eq!(peer.next().await?, json!({ "type": "message", "payload": false }));
        }
    }
    for mut peer in inside.into_iter().chain(outside) {
        assert_eq!(peer.heard_by_now().await?, Vec::<Value>::new());
    }
    Ok(())
}
