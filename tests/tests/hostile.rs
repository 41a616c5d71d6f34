//! Bad input: what it is answered, that it is counted, and that nobody else notices.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use dunlin_tests::{Ended, Peer, Raw, Rise, Siege, frame, raise_descriptor_limit, upgrade_head};
use futures_util::future::try_join_all;
use serde_json::json;
use tokio::time::interval;

/// No rates, so that nothing but the input itself is in the node's way; `session` is on, to be forged.
const FREE: &str = "
shards = 2
[limits]
frames_per_second = 0
publishes_per_second = 0
subscribes_per_second = 0
handshakes_per_second = 0
message_time = '1s'
header_time = '1s'
";

/// Frames one attacker sends on its connection.
const FRAMES: usize = 50;

// E3, H5, T6, W1, W7
#[tokio::test]
async fn bad_frames_are_answered_and_counted() -> anyhow::Result<()> {
    let siege = Siege::begin(FREE).await?;
    let deep = format!("{}{}", "[".repeat(30_000), "]".repeat(30_000));
    let deep_payload = format!(r#"{{"type":"publish","topic":"a","payload":{deep}}}"#);
    let deep_elsewhere = format!(r#"{{"type":"publish","topic":"a","payload":1,"x":{deep}}}"#);
    let topic = |topic: &str| json!({ "type": "subscribe", "topic": topic }).to_string();
    let publish =
        |topic: &str| json!({ "type": "publish", "topic": topic, "payload": { "users": 9 } }).to_string();
    let table = [
        ("wrong JSON", r#"{"type":"#.to_owned(), "malformed"),
        ("no object", "[1]".to_owned(), "malformed"),
        ("a deep payload", deep_payload, "malformed"),
        ("depth elsewhere", deep_elsewhere, "malformed"),
        ("nothing but depth", deep, "malformed"),
        ("an unknown type", r#"{"type":"explode"}"#.to_owned(), "unknown_type"),
        ("an empty topic", topic(""), "invalid_topic"),
        ("a control character", topic("a\u{7}"), "invalid_topic"),
        ("256 bytes of topic", topic(&"t".repeat(256)), "invalid_topic"),
        ("a subscribe to a reserved topic", topic("$x"), "forbidden"),
        ("a publish to a reserved topic", publish("$x"), "forbidden"),
        ("a forged session", publish("session"), "forbidden"),
    ];
    let mut witness = Peer::connect(siege.node.listen, "/attack").await?;
    for (what, text, code) in &table {
        let series = format!("dunlin_invalid_total{{reason=\"{code}\"}}");
        let attack = async || send_bad_frames(siege.node.listen, text, code).await;
        siege.withstand(what, (Rise::Exactly, &[&series]), attack).await?;
    }
    for publication in witness.heard_by_now().await? {
        let users = publication["payload"]["users"].as_u64();
        ensure!(publication["topic"] == "session" && users.is_some_and(|users| users < 9), "{publication}");
    }
    siege.end().await
}

async fn send_bad_frames(address: SocketAddr, text: &str, code: &str) -> anyhow::Result<u64> {
    let mut peer = Peer::connect(address, "/attack").await?;
    for _ in 0..FRAMES {
        peer.send_text(text).await?;
        let mut answer = peer.next().await?;
        while answer["topic"] == "session" && answer["type"].is_null() {
            answer = peer.next().await?;
        }
        ensure!(answer["type"] == "error" && answer["code"] == code, "{answer}");
    }
    peer.leave().await?;
    Ok(FRAMES as u64)
}

// H3, H4, H5
#[tokio::test]
async fn bytes_that_are_no_websocket_are_closed_and_counted() -> anyhow::Result<()> {
    let siege = Siege::begin(FREE).await?;
    let x = |length| vec![b'x'; length];
    let fragments =
        [vec![frame(0x01, b"x")], vec![frame(0x00, b"x"); 1023], vec![frame(0x80, b"x")]].concat();
    let (protocol, utf8) =
        ("dunlin_invalid_total{reason=\"protocol\"}", "dunlin_invalid_total{reason=\"utf8\"}");
    let limited = |limit| format!("dunlin_limited_total{{limit=\"{limit}\"}}");
    let (message, too_many) = (limited("message"), limited("fragments"));
    let table: [(&str, Vec<u8>, u16, &str); 14] = [
        ("more than 64 KiB", frame(0x81, &x(65_537)), 1009, &message),
        (
            "more than 64 KiB in fragments",
            [frame(0x01, &x(40_000)), frame(0x80, &x(40_000))].concat(),
            1009,
            &message,
        ),
        ("a length of 2^62", [&[0x82, 0xff, 0x40][..], &[0; 11]].concat(), 1009, &message),
        ("1,025 fragments", fragments.concat(), 1009, &too_many),
        ("an unmasked frame", vec![0x81, 1, b'x'], 1002, protocol),
        ("a reserved bit", frame(0xc1, b"x"), 1002, protocol),
        ("a reserved opcode", frame(0x83, b"x"), 1002, protocol),
        ("a ping in fragments", frame(0x09, b"x"), 1002, protocol),
        ("a ping of 126 bytes", frame(0x89, &x(126)), 1002, protocol),
        ("a continuation of nothing", frame(0x80, b"x"), 1002, protocol),
        ("a message within a message", [frame(0x01, b"x"), frame(0x81, b"x")].concat(), 1002, protocol),
        ("a Close of one byte", frame(0x88, &[3]), 1002, protocol),
        ("text that is not UTF-8", frame(0x81, &[0xff]), 1007, utf8),
        ("a reason that is not UTF-8", frame(0x88, &[3, 0xe8, 0xff]), 1007, utf8),
    ];
    for (what, bytes, code, series) in &table {
        let closes = format!("dunlin_closes_total{{code=\"{code}\"}}");
        let attack = async || closed_with(siege.node.listen, bytes, *code).await;
        siege.withstand(what, (Rise::Exactly, &[series, &closes]), attack).await?;
    }
    siege.end().await
}

async fn closed_with(address: SocketAddr, bytes: &[u8], code: u16) -> anyhow::Result<u64> {
    let mut raw = Raw::upgraded(address, "/attack").await?;
    raw.write(bytes).await?;
    let ended = raw.closed().await?;
    ensure!(ended.code == code, "{ended:?}");
    Ok(1)
}

// H3
#[tokio::test]
async fn close_codes_that_nobody_may_send_are_answered_with_1002() -> anyhow::Result<()> {
    let siege = Siege::begin(FREE).await?;
    let attack = async || {
        let codes = [0_u16, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, u16::MAX];
        for code in codes {
            let struck = closed_with(siege.node.listen, &frame(0x88, &code.to_be_bytes()), 1002).await;
            struck.with_context(|| format!("a received {code}"))?;
        }
        Ok(codes.len() as u64)
    };
    let series = "dunlin_closes_total{code=\"1002\"}";
    siege.withstand("forbidden close codes", (Rise::Exactly, &[series]), attack).await?;
    for code in [1000_u16, 1001, 1003, 1007, 1008, 1011, 1012, 1013, 1014, 3000, 4999] {
        let answered = closed_with(siege.node.listen, &frame(0x88, &code.to_be_bytes()), code).await;
        answered.with_context(|| format!("a received {code} is allowed"))?;
    }
    siege.end().await
}

// E1, E2, E8, E10, H5
#[tokio::test]
async fn bad_heads_are_refused_and_counted() -> anyhow::Result<()> {
    let siege = Siege::begin(FREE).await?;
    let address = siege.node.listen;
    let head = |more: &[(&str, &str)]| upgrade_head(address, "/attack", more);
    let at = |path: &str| upgrade_head(address, path, &[]);
    let lines = vec![("x", "y"); 70];
    let table = [
        ("a head of more than 16 KiB", head(&[("x", &"y".repeat(17_000))]), 431, "header"),
        ("a target of more than 16 KiB", at(&format!("/{}", "y".repeat(17_000))), 431, "header"),
        ("more than 64 lines", head(&lines), 431, "header"),
        ("a foreign Origin", head(&[("origin", "http://evil.example")]), 403, "origin"),
        ("a null Origin", head(&[("origin", "null")]), 403, "origin"),
        ("a foreign Host", head(&[("host", "evil.example")]), 403, "host"),
        ("an empty segment", at("/a//b"), 400, "path"),
        ("two dots", at("/a/../b"), 400, "path"),
        ("encoded dots", at("/a/%2e%2E/b"), 400, "path"),
        ("an encoded slash", at("/a%2fb"), 400, "path"),
        ("an encoded zero", at("/a%00"), 400, "path"),
        ("a short key", head(&[("sec-websocket-key", "AAAA")]), 400, "handshake"),
        ("version 12", head(&[("sec-websocket-version", "12")]), 426, "version"),
        ("unknown subprotocols", head(&[("sec-websocket-protocol", "soap, grpc")]), 400, "subprotocol"),
        ("no HTTP", "\u{16}\u{3}\u{1}hello\r\n\r\n".to_owned(), 400, "http"),
    ];
    for (what, head, status, reason) in &table {
        let series = format!("dunlin_upgrade_rejections_total{{reason=\"{reason}\"}}");
        let attack = async || {
            let answer = Raw::ask(address, head.as_bytes()).await?;
            ensure!(answer.status == *status, "{what}: {answer:?}");
            Ok(1)
        };
        siege.withstand(what, (Rise::Exactly, &[&series]), attack).await?;
    }
    siege.end().await
}

// H5
#[tokio::test]
async fn a_message_that_never_ends_is_closed_with_1008() -> anyhow::Result<()> {
    let siege = Siege::begin(FREE).await?;
    let attack = async || {
        let trickles = (0..50).map(|_| async {
            let raw = Raw::upgraded(siege.node.listen, "/attack").await?;
            let ended = trickle(raw, &frame(0x01, b"x"), &frame(0x00, b"x")).await?;
            ensure!(ended.code == 1008, "{ended:?}");
            Ok(())
        });
        try_join_all(trickles).await.map(|ended| ended.len() as u64)
    };
    let series = ["dunlin_limited_total{limit=\"message_time\"}", "dunlin_closes_total{code=\"1008\"}"];
    siege.withstand("messages without end", (Rise::Exactly, &series), attack).await?;
    siege.end().await
}

/// Sends a beginning, then a bit more again and again, until the node closes.
async fn trickle(mut raw: Raw, first: &[u8], more: &[u8]) -> anyhow::Result<Ended> {
    raw.write(first).await?;
    let mut ticks = interval(Duration::from_millis(100));
    loop {
        tokio::select! {
            ended = raw.closed() => return ended,
            _ = ticks.tick() => raw.write(more).await?,
        }
    }
}

// H5: the time is each message's own.
#[tokio::test]
async fn messages_that_follow_each_other_without_a_pause_are_no_endless_message() -> anyhow::Result<()> {
    let siege = Siege::begin(FREE).await?;
    let mut raw = Raw::upgraded(siege.node.listen, "/attack").await?;
    let message = frame(0x81, br#"{"type":"publish","topic":"a","payload":1}"#);
    let (end, start) = (&message[10..], &message[..10]);
    raw.write(start).await?;
    let mut ticks = interval(Duration::from_millis(20));
    for _ in 0..100 {
        ticks.tick().await; // Twice the message time in all; no message takes longer than a tick.
        raw.write(&[end, start].concat()).await?;
    }
    raw.write(&[end, &frame(0x89, b"still here")[..]].concat()).await?;
    loop {
        let (opcode, payload) = raw.frame().await?;
        ensure!(opcode != 8, "closed: {}", String::from_utf8_lossy(payload.get(2..).unwrap_or_default()));
        if opcode == 10 {
            return siege.end().await;
        }
    }
}

// H5
#[tokio::test]
async fn heads_that_never_end_are_answered_with_408() -> anyhow::Result<()> {
    let siege = Siege::begin(FREE).await?;
    let address = siege.node.listen;
    let attack = async || {
        let drips = (0..200).map(|_| async {
            let mut raw = Raw::connect(address).await?;
            raw.write(b"GET /attack HTTP/1.1\r\n").await?;
            let mut ticks = interval(Duration::from_millis(200));
            loop {
                tokio::select! {
                    answer = raw.answer() => break ensure!(answer?.status == 408),
                    _ = ticks.tick() => raw.write(b"x: y\r\n").await?,
                }
            }
            Ok(())
        });
        try_join_all(drips).await.map(|answered| answered.len() as u64)
    };
    let limited = "dunlin_limited_total{limit=\"header_time\"}";
    let rejected = "dunlin_upgrade_rejections_total{reason=\"header_time\"}";
    siege.withstand("heads without end", (Rise::Exactly, &[limited, rejected]), attack).await?;
    siege.end().await
}

// H5
#[tokio::test]
async fn ten_thousand_half_open_sockets_keep_nobody_out() -> anyhow::Result<()> {
    const SOCKETS: usize = 10_000;
    const STEP: usize = 25;
    const HANDSHAKES: usize = 1024;
    ensure!(raise_descriptor_limit()? > 11_000, "this test needs 11,000 descriptors");
    let siege = Siege::begin(&FREE.replace("header_time = '1s'", "header_time = '30s'")).await?;
    let address = siege.node.listen;
    let attack = async || {
        let mut held = Vec::with_capacity(SOCKETS);
        let mut steps = interval(Duration::from_millis(10)); // 2,500 a second: connecting itself costs cores.
        while held.len() < SOCKETS {
            steps.tick().await;
            held.extend(try_join_all((0..STEP).map(|_| Raw::connect(address))).await?);
            Peer::connect(address, "/newcomer").await?.leave().await?;
        }
        Ok(held.len() as u64)
    };
    let series = "dunlin_connections_total{result=\"evicted\"}";
    let before = siege.node.metrics().await?.value("process_open_fds");
    siege.withstand("half-open sockets", (Rise::Exactly, &[]), attack).await?;
    let _held = try_join_all((0..2 * HANDSHAKES).map(|_| Raw::connect(address))).await?;
    siege.node.metric(series, |evicted| evicted >= (SOCKETS - HANDSHAKES) as u64).await?;
    // What is evicted closes a little later than it is counted.
    let most = before + (HANDSHAKES + 10) as u64;
    siege
        .node
        .metric("process_open_fds", |open| open <= most)
        .await
        .context("half-open sockets are too many")?;
    siege.end().await
}
