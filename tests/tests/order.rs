//! Who gets what, in which order: many peers, two shards.

use anyhow::{Context as _, ensure};
use dunlin_tests::{Node, OPEN, Peer};
use serde_json::{Value, json};
use tokio::task::JoinSet;

const PUBLISHERS: usize = 8;
const SUBSCRIBERS: usize = 20;
const EACH: usize = 12_500;
/// A publisher waits for an answer after so many, so that nobody's outbox overflows.
const BATCH: usize = 250;

/// Outboxes that hold what subscribers on a busy machine may fall behind.
fn roomy() -> String {
    format!("{OPEN}outbox = '64MiB'\noutbox_total = '1GiB'\n")
}

// T2, T12
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_thousand_publications_reach_everybody_once_in_one_order() -> anyhow::Result<()> {
    let node = Node::start(&roomy())?;
    let mut peers = Vec::new();
    for _ in 0..SUBSCRIBERS + PUBLISHERS {
        let mut peer = Peer::connect(node.listen, "/order").await?;
        peer.subscribe("all").await?;
        peers.push(peer);
    }
    let mut listening = JoinSet::new();
    for (place, peer) in peers.into_iter().enumerate() {
        match place.checked_sub(SUBSCRIBERS) {
            None => listening.spawn(async move { hear(peer).await }),
            Some(publisher) => listening.spawn(async move { publish_and_hear(peer, publisher).await }),
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
    let expected = (PUBLISHERS * EACH * (SUBSCRIBERS + PUBLISHERS - 1)) as u64;
    node.metric("dunlin_deliveries_total", |value| value >= expected).await?;
    let metrics = node.metrics().await?;
    assert_eq!(metrics.value("dunlin_deliveries_total"), expected);
    assert_eq!(
        metrics.value("dunlin_publications_total{mode=\"relay\",source=\"peer\"}"),
        (PUBLISHERS * EACH) as u64
    );
    Ok(())
}

/// Who published which, as it arrives.
type Order = Vec<(usize, usize)>;

/// Listens to all; `None`, because it publishes nothing.
async fn hear(mut peer: Peer) -> anyhow::Result<(Option<usize>, Order)> {
    let mut order = Vec::with_capacity(PUBLISHERS * EACH);
    while order.len() < PUBLISHERS * EACH {
        let text = peer.text().await.with_context(|| format!("a subscriber after {}", order.len()))?;
        note(&mut order, &text)?;
    }
    Ok((None, order))
}

/// Publishes its share, and listens to the others'.
async fn publish_and_hear(mut peer: Peer, publisher: usize) -> anyhow::Result<(Option<usize>, Order)> {
    let mut order = Vec::with_capacity((PUBLISHERS - 1) * EACH);
    for each in 0..EACH {
        let mut frame = json!({ "type": "publish", "topic": "all", "payload": [publisher, each] });
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
            note(&mut order, &text)?;
        }
    }
    while order.len() < (PUBLISHERS - 1) * EACH {
        let text =
            peer.text().await.with_context(|| format!("publisher {publisher} after {}", order.len()))?;
        note(&mut order, &text)?;
    }
    Ok((Some(publisher), order))
}

fn note(order: &mut Order, text: &str) -> anyhow::Result<()> {
    let payload = text.strip_prefix(r#"{"topic":"all","payload":["#).and_then(|rest| rest.strip_suffix("]}"));
    let (publisher, each) = payload.and_then(|pair| pair.split_once(',')).with_context(|| text.to_owned())?;
    order.push((publisher.parse()?, each.parse()?));
    Ok(())
}

// E2
#[tokio::test]
async fn namespaces_that_look_alike_never_meet() -> anyhow::Result<()> {
    let node = Node::start(OPEN)?;
    let paths = ["/a", "/a/", "/A", "/a/b", "/%61", "/a?x=1"];
    let mut peers = Vec::new();
    for path in paths {
        let mut peer = Peer::connect(node.listen, path).await?;
        peer.subscribe("talk").await?;
        peers.push(peer);
    }
    for (path, peer) in paths.iter().zip(&mut peers) {
        peer.publish("talk", json!(path)).await?;
    }
    for (path, mut peer) in paths.iter().zip(peers) {
        let heard = peer.heard_by_now().await?;
        let heard: Vec<&Value> = heard.iter().map(|publication| &publication["payload"]).collect();
        // The query is no part of a namespace: those two are in one.
        let expected: Vec<Value> = match *path {
            "/a" => vec![json!("/a?x=1")],
            "/a?x=1" => vec![json!("/a")],
            _ => vec![],
        };
        assert_eq!(heard, expected.iter().collect::<Vec<_>>(), "{path}");
    }
    Ok(())
}

// T1, T2
#[tokio::test]
async fn a_thousand_topics_each_reach_their_own_subscribers() -> anyhow::Result<()> {
    let node = Node::start(&format!("{OPEN}subscriptions = 0\n"))?;
    let mut peers = [Peer::connect(node.listen, "/many").await?, Peer::connect(node.listen, "/many").await?];
    for peer in &mut peers {
        for topic in 0..1_000 {
            peer.feed(json!({ "type": "subscribe", "topic": format!("topic:{topic}") }).to_string()).await?;
        }
        peer.ask(json!({ "type": "ping" })).await?;
    }
    node.metric("dunlin_subscriptions", |value| value == 2_000).await?;
    let [talker, listener] = &mut peers;
    for topic in 0..1_000 {
        let frame = json!({ "type": "publish", "topic": format!("topic:{topic}"), "payload": topic });
        talker.feed(frame.to_string()).await?;
    }
    talker.ask(json!({ "type": "ping" })).await?;
    for topic in 0..1_000 {
        assert_eq!(listener.next().await?, json!({ "topic": format!("topic:{topic}"), "payload": topic }));
    }
    for peer in &mut peers {
        for topic in 0..1_000 {
            peer.feed(json!({ "type": "unsubscribe", "topic": format!("topic:{topic}") }).to_string())
                .await?;
        }
        peer.ask(json!({ "type": "ping" })).await?;
    }
    node.metric("dunlin_topics", |value| value == 0).await?;
    Ok(())
}
