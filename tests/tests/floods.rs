//! Too much of something good: floods, stalled readers, crowds; and that nobody else notices.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::ensure;
use dunlin_tests::{Ended, Peer, Raw, Rise, Siege, frame, upgrade_head};
use futures_util::future::try_join_all;
use serde_json::{Value, json};
use tokio::time::{Instant, interval};

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
        let publish = json!({ "type": "publish", "topic": "a", "payload": 1 });
        let subscribe = json!({ "type": "subscribe", "topic": "a" });
        let ping = json!({ "type": "ping" });
        // Each a good deal above its own rate; publishes and subscribes below that of frames.
        tokio::try_join!(flood(address, ping, 400), flood(address, publish, 100), flood(address, subscribe, 100))?;
        Ok(3)
    };
    siege.withstand_slow("floods", (Rise::AtLeast, &series), attack).await?;
    siege.end().await
}

/// Sends so many frames a second until the node closes, which must be with 1008 after ten seconds.
async fn flood(address: SocketAddr, frame: Value, per_second: u32) -> anyhow::Result<()> {
    let mut peer = Peer::connect(address, "/attack").await?;
    let began = Instant::now();
    let mut ticks = interval(Duration::from_millis(50));
    let mut told = 0;
    let ended = loop {
        tokio::select! {
            answer = peer.next() => match answer {
                Ok(answer) => told += u32::from(answer["code"] == "rate"),
                Err(_) => break peer.ended_with().clone(),
            },
            _ = ticks.tick() => for _ in 0..per_second / 20 {
                if peer.send(frame.clone()).await.is_err() {
                    break;
                }
            },
        }
    };
    let took = began.elapsed().as_secs_f64();
    ensure!(ended.code == 1008, "{frame}: {ended:?} after {took} s");
    ensure!((10.0..13.0).contains(&took), "{frame}: closed after {took} s");
    ensure!((1..=15).contains(&told), "{frame}: told {told} times");
    Ok(())
}
