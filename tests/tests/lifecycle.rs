//! A node from its ready line to its exit, and what it says about itself meanwhile.

use std::time::{Duration, Instant};

use anyhow::ensure;
use dunlin_tests::{Node, OPEN, Peer, Raw, certificate, frame, get, trusting, until};
use serde_json::json;

const PEERS: &str = "dunlin_peers{namespace=\"other\",transport=\"websocket\"}";

#[tokio::test]
async fn a_node_says_once_where_it_is() -> anyhow::Result<()> {
    let node = Node::start(OPEN)?;
    let words: Vec<&str> = node.ready.split(' ').collect();
    let keys = ["ready", "listen=", "internal=", "broker=memory", "node="];
    ensure!(
        words.len() == keys.len() && words.iter().zip(keys).all(|(word, key)| word.starts_with(key)),
        "{words:?}"
    );
    ensure!(node.listen.port() != 0 && node.internal.port() != 0 && node.listen != node.internal);
    let mut peer = Peer::connect(node.listen, "/a").await?;
    let hello = peer.ask(json!({ "type": "hello" })).await?;
    assert_eq!(format!("node={}", hello["node"].as_str().unwrap_or_default()), words[4]);
    Ok(())
}

/// `sched(7)`: what its threads may share a core for.
#[tokio::test]
async fn its_threads_do_not_stop_each_other_and_keep_their_niceness() -> anyhow::Result<()> {
    const SCHED_BATCH: &str = "3";
    let node = Node::start(OPEN)?;
    let own = scheduling("/proc/self/stat".as_ref())?.1;
    let mut threads = 0;
    for thread in std::fs::read_dir(format!("/proc/{}/task", node.pid()))? {
        let (policy, niceness) = scheduling(&thread?.path().join("stat"))?;
        assert_eq!((policy.as_str(), niceness), (SCHED_BATCH, own.clone()));
        threads += 1;
    }
    ensure!(threads > 1, "a shard has a thread of its own");
    Ok(())
}

/// Policy and niceness of a thread: the 41st and the 19th field of its `stat` (`proc_pid_stat(5)`), counted
/// behind the name.
fn scheduling(stat: &std::path::Path) -> anyhow::Result<(String, String)> {
    let stat = std::fs::read_to_string(stat)?;
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    ensure!(fields.len() > 38, "{stat}");
    Ok((fields[38].to_owned(), fields[16].to_owned()))
}

#[tokio::test]
async fn health_and_metrics_are_told() -> anyhow::Result<()> {
    let node = Node::start(OPEN)?;
    for (address, path) in
        [(node.internal, "/healthz"), (node.internal, "/readyz"), (node.listen, "/.dunlin/ready")]
    {
        assert_eq!(get(address, path).await?.status, 200, "{path}");
    }
    ensure!(
        get(node.listen, "/.dunlin/ready").await?.body.is_empty(),
        "the balancer's readiness has no body"
    );
    let answer = get(node.internal, "/metrics").await?;
    let content_type = answer.header("content-type").unwrap_or_default();
    ensure!(content_type.starts_with("text/plain; version=0.0.4"), "{content_type}");
    ensure!(answer.body.contains("dunlin_build_info{version="), "{}", answer.body);
    Ok(())
}

// R4
#[tokio::test]
async fn a_terminated_node_says_goodbye_and_exits_with_0() -> anyhow::Result<()> {
    let mut node = Node::start(OPEN)?;
    let mut peers = Vec::new();
    for _ in 0..50 {
        peers.push(Peer::connect(node.listen, "/a").await?);
    }
    node.terminate()?;
    for peer in &mut peers {
        assert_eq!(peer.ended().await?.code, 1001);
    }
    assert_eq!(node.exit(Duration::from_secs(5)).await?, 0, "{}", node.stderr());
    Ok(())
}

// R4, R5: a peer that doesn't answer our Close keeps the drain going for a moment.
#[tokio::test]
async fn a_draining_node_is_not_ready() -> anyhow::Result<()> {
    let mut node = Node::start(OPEN)?;
    let mut mute = Raw::upgraded(node.listen, "/a").await?;
    node.terminate()?;
    assert_eq!(mute.closed().await?.code, 1001);
    assert_eq!(get(node.internal, "/readyz").await?.status, 503);
    assert_eq!(get(node.internal, "/healthz").await?.status, 200);
    let ready = get(node.listen, "/.dunlin/ready").await;
    assert_eq!(node.exit(Duration::from_secs(5)).await?, 0, "{}", node.stderr());
    assert_eq!(ready?.status, 503, "a balancer asks the public listener");
    Ok(())
}

// R4: exit 0 within the drain time, also when a peer does not answer.
#[tokio::test]
async fn a_mute_peer_does_not_spoil_a_short_drain() -> anyhow::Result<()> {
    let mut node = Node::start(&OPEN.replace("drain = '5s'", "drain = '1s'"))?;
    let mut mute = Raw::upgraded(node.listen, "/a").await?;
    node.terminate()?;
    assert_eq!(mute.closed().await?.code, 1001);
    assert_eq!(node.exit(Duration::from_secs(2)).await?, 0, "{}", node.stderr());
    Ok(())
}

// R4
#[tokio::test]
async fn a_second_signal_stops_at_once() -> anyhow::Result<()> {
    let mut node = Node::start(&OPEN.replace("drain = '5s'", "drain = '10m'"))?;
    let mut mute = Raw::upgraded(node.listen, "/a").await?;
    node.terminate()?;
    assert_eq!(mute.closed().await?.code, 1001);
    node.terminate()?;
    let code = node.exit(Duration::from_secs(1)).await?;
    ensure!(code != 0 && code != 70, "exit {code}: it had peers, and it was no bug");
    Ok(())
}

#[tokio::test]
async fn peers_are_counted_as_they_come_and_go() -> anyhow::Result<()> {
    let named = OPEN.to_owned() + "[metrics]\nnamespaces = ['/named']\n";
    let node = Node::start(&named)?;
    let mut peers = Vec::new();
    for place in 0..40 {
        peers.push(Peer::connect(node.listen, if place < 10 { "/named" } else { "/a" }).await?);
    }
    let series = "dunlin_peers{namespace=\"/named\",transport=\"websocket\"}";
    node.metric(series, |peers| peers == 10).await?;
    node.metric(PEERS, |peers| peers == 30).await?;
    for peer in peers {
        peer.leave().await?;
    }
    node.metric(series, |peers| peers == 0).await?;
    node.metric(PEERS, |peers| peers == 0).await?;
    let metrics = node.metrics().await?;
    assert_eq!(metrics.value("dunlin_closes_total{code=\"1005\"}"), 40);
    assert_eq!(metrics.value("dunlin_connections_total{result=\"opened\"}"), 40);
    Ok(())
}

// L2
#[tokio::test]
async fn after_five_hundred_resets_every_count_is_right() -> anyhow::Result<()> {
    let node = Node::start(&format!("{OPEN}peers = 510\n"))?;
    for _ in 0..3 {
        let mut peers = Vec::new();
        for place in 0..500 {
            let mut raw = Raw::upgraded(node.listen, "/a").await?;
            let subscribe = json!({ "type": "subscribe", "topic": format!("t{}", place % 50) }).to_string();
            raw.write(&frame(0x81, subscribe.as_bytes())).await?;
            peers.push(raw);
        }
        node.metric("dunlin_subscriptions", |count| count == 500).await?;
        peers.into_iter().try_for_each(Raw::reset)?;
        for series in [PEERS, "dunlin_subscriptions", "dunlin_topics", "dunlin_outbox_bytes"] {
            node.metric(series, |count| count == 0).await?;
        }
    }
    let closes = node.metrics().await?.value("dunlin_closes_total{code=\"1006\"}");
    assert_eq!(closes, 1_500);
    Ok(())
}

#[tokio::test]
async fn peers_chat_over_tls() -> anyhow::Result<()> {
    let (certificate, key) = certificate()?;
    let config = format!("{OPEN}[tls]\ncertificate = 'cert.pem'\nkey = 'key.pem'\n");
    let node = Node::start_with(&config, &[("cert.pem", &certificate), ("key.pem", &key)])?;
    let tls = trusting(&certificate)?;
    let mut listener = Peer::connect_secure(node.listen, "/a", &tls).await?;
    listener.subscribe("talk").await?;
    let mut talker = Peer::connect_secure(node.listen, "/a", &tls).await?;
    for length in [1, 1_000, 60_000] {
        let payload = json!("x".repeat(length));
        talker.publish("talk", payload.clone()).await?;
        assert_eq!(listener.next().await?, json!({ "topic": "talk", "payload": payload }));
    }
    ensure!(get(node.listen, "/.dunlin/ready").await.is_err(), "plain HTTP was answered on a TLS port");
    let errors = until("a failed handshake", Duration::from_secs(5), async || {
        let errors = node.metrics().await?.value("dunlin_connections_total{result=\"tls_error\"}");
        Ok((errors > 0).then_some(errors))
    });
    assert_eq!(errors.await?, 1);
    talker.leave().await?;
    listener.leave().await
}

/// A node on which nothing happens by itself: no heartbeat and no count sets a deadline that would wake a
/// shard. Asking it for metrics would, too.
const STILL: &str = r#"
shards = 1
[session]
topic = ""
[limits]
message_time = "1s"
[[endpoint]]
path = "/**"
heartbeat = "0s"
defaults = []
"#;

// H5: a deadline set while reading is kept although nothing else wakes the shard.
#[tokio::test]
async fn a_message_that_never_ends_is_closed_on_a_node_where_nothing_else_happens() -> anyhow::Result<()> {
    let node = Node::start(STILL)?;
    let mut raw = Raw::upgraded(node.listen, "/a").await?;
    raw.write(&frame(0x81, b"never all of it")[..9]).await?;
    let began = Instant::now();
    ensure!(raw.closed().await?.code == 1008);
    ensure!(began.elapsed() < Duration::from_secs(3), "after {:?}", began.elapsed());
    Ok(())
}

// H5, W2: so is the end of a pause.
#[tokio::test]
async fn a_paused_peer_is_read_again_on_a_node_where_nothing_else_happens() -> anyhow::Result<()> {
    let node = Node::start(STILL)?;
    let mut raw = Raw::upgraded(node.listen, "/a").await?;
    raw.write(&frame(0x8a, b"").repeat(300)).await?;
    let (_, refusal) = raw.frame().await?;
    ensure!(String::from_utf8_lossy(&refusal).contains("\"code\":\"rate\""), "{refusal:?}");
    // The next portion is refused without a word, and so wakes nobody; the ping comes in the one after it.
    let portion = frame(0x8a, b"").repeat(4096 / 6 + 1);
    raw.write(&[portion, frame(0x81, b"ping")].concat()).await?;
    let began = Instant::now();
    ensure!(raw.frame().await? == (1, b"ping".to_vec()));
    ensure!(began.elapsed() < Duration::from_secs(3), "after {:?}", began.elapsed());
    Ok(())
}
