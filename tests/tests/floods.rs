//! Too much of something good: floods, stalled readers, crowds; and that nobody else notices.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::ensure;
use dunlin_tests::{Peer, Raw, Rise, Siege, frame, upgrade_head};
use futures_util::future::try_join_all;
use serde_json::{Value, json};
use tokio::time::{Instant, interval, timeout};

/// The limits as they are by default.
const DEFAULTS: &str = "shards = 2\n";

/// No rates.
const FREE: &str = "
shards = 2
[limits]
frames_per_second = 0
publishes_per_second = 0
subscribes_per_second = 0
";

// H5, L1
#[tokio::test]
async fn floods_are_told_their_rate_and_closed_after_ten_seconds() -> anyhow::Result<()> {
    let siege = Siege::begin(DEFAULTS).await?;
    let address = siege.node.listen;
    let limits = ["frames_per_second", "publishes_per_second", "subscribes_per_second"];
    let limits = limits.map(|limit| format!("dunlin_limited_total{{limit=\"{limit}\"}}"));
    let mut series: Vec<&str> = limits.iter().map(String::as_str).collect();
    series.push("dunlin_closes_total{code=\"1008\"}");
    let attack = async || {
        let (ping, subscribe) = (r#"{"type":"ping"}"#, r#"{"type":"subscribe","topic":"a"}"#);
        let publish = r#"{"type":"publish","topic":"a","payload":1}"#;
        // Each a good deal above its own rate; publishes and subscribes below that of frames.
        tokio::try_join!(
            flood(address, ping, 400),
            flood(address, publish, 100),
            flood(address, subscribe, 100)
        )?;
        Ok(3)
    };
    siege.withstand("floods", (Rise::AtLeast, &series), attack).await?;
    siege.end().await
}

/// Sends so many frames a second until the node closes, which must be with 1008 after ten seconds.
async fn flood(address: SocketAddr, message: &str, per_second: usize) -> anyhow::Result<()> {
    let mut raw = Raw::upgraded(address, "/attack").await?;
    let burst = frame(0x81, message.as_bytes()).repeat(per_second / 20);
    let began = Instant::now();
    let mut ticks = interval(Duration::from_millis(50));
    let mut told = 0;
    let code = loop {
        tokio::select! {
            received = raw.frame() => match received? {
                (8, close) => break u16::from_be_bytes([close[0], close[1]]),
                (_, text) => told += u32::from(String::from_utf8_lossy(&text).contains(r#""code":"rate""#)),
            },
            _ = ticks.tick() => raw.write(&burst).await?,
        }
    };
    let took = began.elapsed().as_secs_f64();
    ensure!(code == 1008 && (10.0..13.0).contains(&took), "{message}: closed with {code} after {took} s");
    ensure!((1..=15).contains(&told), "{message}: told {told} times");
    Ok(())
}

// H5
#[tokio::test]
async fn a_peer_that_sends_as_fast_as_it_can_delays_nobody() -> anyhow::Result<()> {
    let siege = Siege::begin(DEFAULTS).await?;
    let bursts = [r#"{"type":"ping"}"#, r#"{"type":"publish","topic":"a","payload":1}"#, "nonsense"];
    for text in bursts {
        let burst = frame(0x81, text.as_bytes()).repeat(5_000);
        let attack = async || {
            let mut raw = Raw::upgraded(siege.node.listen, "/attack").await?;
            // It is read in small portions, so that the sender soon has to wait.
            let flood = async {
                loop {
                    raw.write(&burst).await?;
                }
            };
            match timeout(Duration::from_secs(1), flood).await {
                Ok(anyhow::Result::<()>::Err(error)) => return Err(error),
                _ => raw.reset()?,
            }
            Ok(1)
        };
        let series = "dunlin_limited_total{limit=\"frames_per_second\"}";
        siege.withstand(text, (Rise::AtLeast, &[series]), attack).await?;
    }
    siege.end().await
}

// H5
#[tokio::test]
async fn subscriptions_beyond_the_limit_are_refused() -> anyhow::Result<()> {
    let siege = Siege::begin(FREE).await?;
    let attack = async || {
        let mut peer = Peer::connect(siege.node.listen, "/attack").await?;
        let mut codes = Vec::new();
        for topic in 0..150 {
            let subscribe = json!({ "type": "subscribe", "topic": format!("t{topic}") });
            codes.push(peer.ask(subscribe).await?["code"].clone());
        }
        // One of the hundred is `session`, which every peer starts on.
        ensure!(
            codes[..99].iter().all(Value::is_null) && codes[99..].iter().all(|code| code == "limit"),
            "{codes:?}"
        );
        peer.leave().await?;
        Ok(51)
    };
    let series = "dunlin_limited_total{limit=\"subscriptions\"}";
    siege.withstand("subscriptions beyond 100", (Rise::Exactly, &[series]), attack).await?;
    siege.end().await
}

// H6, T2
#[tokio::test]
async fn a_stalled_reader_is_closed_with_1013_and_harms_nobody() -> anyhow::Result<()> {
    let siege = Siege::begin(FREE).await?;
    let (node, closed) = (&siege.node, "dunlin_slow_peers_total{action=\"close\"}");
    let attack = async || {
        let mut stalled = Raw::upgraded(node.listen, "/slow").await?;
        stalled.write(&frame(0x81, br#"{"type":"subscribe","topic":"big"}"#)).await?;
        let mut healthy = Peer::connect(node.listen, "/slow").await?;
        healthy.subscribe("big").await?;
        let mut talker = Peer::connect(node.listen, "/slow").await?;
        let before = node.metrics().await?.value(closed);
        let mut sent = 0;
        while node.metrics().await?.value(closed) == before {
            for _ in 0..16 {
                sent += 1;
                talker.publish("big", json!([sent, "x".repeat(60_000)])).await?;
                ensure!(hears(&mut healthy).await? == sent, "the healthy subscriber missed number {sent}");
            }
            ensure!(sent < 2_000, "120 MB are owed to a peer that doesn't read");
        }
        let ended = stalled.closed().await?;
        ensure!(ended.code == 1013, "{ended:?}");
        Ok(1)
    };
    let closes = "dunlin_closes_total{code=\"1013\"}";
    siege.withstand("a stalled reader", (Rise::Exactly, &[closed, closes]), attack).await?;
    siege.node.metric("dunlin_outbox_bytes", |bytes| bytes < 1_000_000).await?;
    siege.end().await
}

/// The number of the next publication on `big`.
async fn hears(peer: &mut Peer) -> anyhow::Result<u64> {
    loop {
        let publication = peer.next().await?;
        if publication["topic"] == "big" {
            return Ok(publication["payload"][0].as_u64().unwrap_or_default());
        }
    }
}

// E3, H5
#[tokio::test]
async fn crowds_are_refused_with_429() -> anyhow::Result<()> {
    // The hundred that talk are in one namespace and from one address, as are those that fill the limit.
    for (limit, value, room) in [
        ("peers", 120, 20),
        ("peers_per_address", 120, 20),
        ("peers_per_namespace", 110, 110),
        ("namespaces", 2, 1),
    ] {
        let siege = Siege::begin(&format!("{FREE}handshakes_per_second = 0\n{limit} = {value}\n")).await?;
        let address = siege.node.listen;
        let path =
            |place: usize| if limit == "namespaces" { format!("/{place}") } else { "/crowd".to_owned() };
        let _crowd =
            try_join_all((0..room).map(async |place| Raw::upgraded(address, &path(place)).await)).await?;
        let head = upgrade_head(address, &path(room), &[]);
        let attack = async || {
            let answer = Raw::ask(address, head.as_bytes()).await?;
            ensure!(answer.status == 429 && answer.header("retry-after").is_some(), "{limit}: {answer:?}");
            Ok(1)
        };
        let rejected = format!("dunlin_upgrade_rejections_total{{reason=\"{limit}\"}}");
        let limited = format!("dunlin_limited_total{{limit=\"{limit}\"}}");
        siege.withstand(limit, (Rise::Exactly, &[&rejected, &limited]), attack).await?;
        let mut elsewhere = Raw::connect_from([127, 0, 0, 2], address).await?;
        elsewhere.write(upgrade_head(address, "/chatter", &[]).as_bytes()).await?;
        let expected = if limit == "peers" { 429 } else { 101 };
        assert_eq!(elsewhere.answer().await?.status, expected, "{limit}: somebody from another address");
        siege.end().await?;
    }
    Ok(())
}

// H5
#[tokio::test]
async fn upgrades_beyond_the_rate_are_refused_with_429() -> anyhow::Result<()> {
    let siege = Siege::begin("shards = 2\n[limits]\nhandshakes_per_second = 200\n").await?;
    let address = siege.node.listen;
    let attack = async || {
        let head = upgrade_head(address, "/attack", &[]);
        let answers = try_join_all((0..50).map(|_| Raw::ask(address, head.as_bytes()))).await?;
        ensure!(answers.iter().all(|answer| [101, 429].contains(&answer.status)), "{answers:?}");
        let refused = answers.iter().filter(|answer| answer.status == 429).count();
        Ok(refused as u64)
    };
    let series = "dunlin_upgrade_rejections_total{reason=\"handshakes_per_second\"}";
    siege.withstand("upgrades beyond the rate", (Rise::Exactly, &[series]), attack).await?;
    siege.end().await
}
