//! Configured endpoints: who may come, what they hear without asking, how long they may be silent.

use std::time::Duration;

use anyhow::ensure;
use dunlin_tests::{Ended, Node, Peer, Raw, frame, get, upgrade_head};
use serde_json::{Value, json};
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::Message;

const CONFIG: &str = "
shards = 2
[limits]
handshakes_per_second = 0
[[endpoint]]
path = '/rooms/{room}'
internals = ['notifications']
defaults = ['session', 'lobby']
subscribe = ['chat', 'page:*', 'in:{path.room}', 'every*']
publish = ['chat', 'page:*', 'in:{path.room}', 'lobby', 'session', 'notifications', '*eserved']
broadcast = true
subprotocols = ['chat.v1']
origins = ['https://app.example', 'https://*.wild.example']
[[endpoint]]
path = '/raw/**'
dialect = 'raw'
raw_topic = 'lines'
defaults = ['lines']
[[endpoint]]
path = '/api/**'
namespace = 'chat:{query.channel|general}'
defaults = []
subscribe = ['*']
publish = ['*']
[[endpoint]]
path = '/alive'
defaults = []
heartbeat = '1s'
misses = 2
[[endpoint]]
path = '/idle'
defaults = []
heartbeat = '200ms'
inactivity = '1s'
";

fn node() -> anyhow::Result<Node> {
    Node::start(CONFIG)
}

// E1
#[tokio::test]
async fn other_paths_and_requests_get_their_status() -> anyhow::Result<()> {
    let node = node()?;
    for (path, status) in [
        ("/", 404),
        ("/rooms", 404),
        ("/rooms/", 404),
        ("/rooms/a/b", 404),
        ("/Rooms/a", 404),
        ("/rooms/a", 426),
        ("/raw/a/b/c", 426),
        ("/api/x", 426),
        ("/client.js", 404),
    ] {
        let answer = get(node.listen, path).await?;
        assert_eq!(answer.status, status, "{path}");
        ensure!(status != 426 || answer.header("upgrade") == Some("websocket"), "{answer:?}");
        assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{path}");
    }
    for method in ["POST", "PUT", "DELETE", "HEAD", "OPTIONS"] {
        let head =
            format!("{method} /rooms/a HTTP/1.1\r\nhost: {}\r\ncontent-length: 0\r\n\r\n", node.listen);
        let answer = Raw::ask(node.listen, head.as_bytes()).await?;
        assert_eq!((answer.status, answer.header("allow")), (405, Some("GET")), "{method}");
    }
    Ok(())
}

// E8
#[tokio::test]
async fn only_listed_origins_may_connect() -> anyhow::Result<()> {
    let node = node()?;
    for (origin, status) in [
        ("https://app.example", 101),
        ("https://a.wild.example", 101),
        ("https://wild.example", 403),
        ("http://app.example", 403),
        ("https://app.example.evil", 403),
        ("https://evilwild.example", 403),
        ("null", 403),
        ("", 403),
    ] {
        let head = upgrade_head(node.listen, "/rooms/a", &[("origin", origin)]);
        let answer = Raw::ask(node.listen, head.as_bytes()).await?;
        assert_eq!(answer.status, status, "{origin:?}");
    }
    ensure!(node.stderr().contains("origins"), "the log does not say what to configure: {}", node.stderr());
    Ok(())
}

// E2
#[tokio::test]
async fn a_template_names_the_namespace() -> anyhow::Result<()> {
    let node = node()?;
    for (path, namespace) in [
        ("/api/x", "chat:general"),
        ("/api/y?channel=", "chat:general"),
        ("/api/x?channel=general", "chat:general"),
        ("/api/x?channel=a%2Fb", "chat:a%2Fb"),
        ("/api/x?channel=a%252Fb", "chat:a%252Fb"),
        ("/api/x?channel=a+b&channel=c", "chat:a%20b"),
        ("/api/x?channel=%C3%BC", "chat:%C3%BC"),
    ] {
        let mut peer = Peer::connect(node.listen, path).await?;
        assert_eq!(peer.ask(json!({ "type": "hello" })).await?["namespace"], namespace, "{path}");
    }
    let long = format!("/api/x?channel={}", "y".repeat(300));
    let answer = Raw::ask(node.listen, upgrade_head(node.listen, &long, &[]).as_bytes()).await?;
    assert_eq!(answer.status, 400, "a namespace of more than 255 bytes");
    Ok(())
}

// E10
#[tokio::test]
async fn the_first_subprotocol_that_is_served_is_selected() -> anyhow::Result<()> {
    let node = node()?;
    for (offered, selected) in [
        ("dunlin.json.v1", Ok("dunlin.json.v1")),
        ("soap, dunlin.plain.v1, dunlin.json.v1", Ok("dunlin.plain.v1")),
        ("chat.v1", Ok("chat.v1")),
        ("dunlin.token.abc, dunlin.json.v1", Ok("dunlin.json.v1")),
        ("dunlin.token.abc", Err(400)),
        ("soap", Err(400)),
    ] {
        let head = upgrade_head(node.listen, "/rooms/a", &[("sec-websocket-protocol", offered)]);
        let answer = Raw::ask(node.listen, head.as_bytes()).await?;
        let got = match answer.status {
            101 => Ok(answer.header("sec-websocket-protocol").unwrap_or_default()),
            status => Err(status),
        };
        assert_eq!(got, selected, "{offered}");
    }
    let headers = [("sec-websocket-protocol", "dunlin.json.v1")];
    let mut peer = Peer::connect_with(node.listen, "/rooms/a", &headers).await?;
    let welcome = peer.next().await?;
    ensure!(welcome["type"] == "welcome" && welcome["ping_ms"] == 25_000, "{welcome}");
    Ok(())
}

// T5
#[tokio::test]
async fn internals_and_defaults_are_joined_and_internals_are_listen_only() -> anyhow::Result<()> {
    let node = node()?;
    let mut peer = Peer::connect(node.listen, "/rooms/a").await?;
    let topics = peer.ask(json!({ "type": "hello" })).await?["topics"].clone();
    assert_eq!(topics, json!(["lobby", "notifications", "session"]));
    for kind in ["subscribe", "unsubscribe", "publish"] {
        let mut silent = json!({ "type": kind, "topic": "notifications", "payload": 1 });
        peer.send(silent.clone()).await?;
        silent["note"] = "an error without an id would come before this answer".into();
        assert_eq!(peer.ask(silent).await?["code"], "forbidden", "{kind}");
    }
    peer.ask(json!({ "type": "unsubscribe", "topic": "lobby" })).await?;
    let topics = peer.ask(json!({ "type": "hello" })).await?["topics"].clone();
    assert_eq!(topics, json!(["notifications", "session"]));
    assert_eq!(peer.next().await?, json!({ "topic": "session", "payload": { "users": 1 } }));
    let answer = peer.ask(json!({ "type": "subscribe", "topic": "lobby" })).await?;
    assert_eq!(answer["type"], "ok", "a default may be joined again: {answer}");
    let answer = peer.ask(json!({ "type": "ping" })).await?;
    assert_eq!(answer["type"], "ok");
    Ok(())
}

// T6
#[tokio::test]
async fn policy_decides_what_a_client_may_name() -> anyhow::Result<()> {
    let node = node()?;
    let mut peer = Peer::connect(node.listen, "/rooms/kit*chen").await?;
    let code = async |peer: &mut Peer, kind: &str, topic: &str| {
        let answer = peer.ask(json!({ "type": kind, "topic": topic, "payload": 1 })).await?;
        anyhow::Ok(answer["code"].as_str().unwrap_or("ok").to_owned())
    };
    for (kind, topic, expected) in [
        ("subscribe", "chat", "ok"),
        ("subscribe", "page:1", "ok"),
        ("subscribe", "page:", "ok"),
        ("subscribe", "in:kit*chen", "ok"),
        ("subscribe", "in:kit-chen", "forbidden"),
        ("subscribe", "in:hall", "forbidden"),
        ("subscribe", "chat2", "forbidden"),
        ("subscribe", "other", "forbidden"),
        ("subscribe", "$reserved", "forbidden"),
        ("publish", "chat", "ok"),
        ("publish", "in:kit*chen", "ok"),
        ("publish", "in:kit-chen", "forbidden"),
        ("publish", "session", "forbidden"),
        ("publish", "$reserved", "forbidden"),
        ("publish", "everything", "forbidden"),
    ] {
        assert_eq!(code(&mut peer, kind, topic).await?, expected, "{kind} {topic}");
    }
    let forbidden = node.metric("dunlin_invalid_total{reason=\"forbidden\"}", |count| count >= 9).await?;
    ensure!(forbidden == 9, "{forbidden} were counted");
    Ok(())
}

// T4
#[tokio::test]
async fn several_topics_at_once_reach_each_peer_once() -> anyhow::Result<()> {
    let node = node()?;
    let mut both = Peer::connect(node.listen, "/api/x").await?;
    both.subscribe("b").await?;
    both.subscribe("a").await?;
    let mut one = Peer::connect(node.listen, "/api/x").await?;
    one.subscribe("b").await?;
    let mut talker = Peer::connect(node.listen, "/api/x").await?;
    for key in ["topics", "rooms"] {
        talker.ask(json!({ "type": "publish", key: ["a", "b", "c"], "payload": key })).await?;
        assert_eq!(both.heard_by_now().await?, [json!({ "topic": "a", "payload": key })]);
        assert_eq!(one.heard_by_now().await?, [json!({ "topic": "b", "payload": key })]);
    }
    talker.ask(json!({ "type": "publish", "topics": [], "payload": 0 })).await?;
    ensure!(one.heard_by_now().await?.is_empty(), "`topics: []` is nobody");
    assert_eq!(
        talker.ask(json!({ "type": "publish", "payload": 0 })).await?["code"],
        "forbidden",
        "broadcast is off"
    );
    let mut here = Peer::connect(node.listen, "/rooms/all").await?;
    let mut there = Peer::connect(node.listen, "/rooms/all").await?;
    there.ask(json!({ "type": "ping" })).await?; // It is open when it is answered.
    assert_eq!(here.ask(json!({ "type": "publish", "payload": { "to": "all" } })).await?["type"], "ok");
    while there.next().await? != json!({ "to": "all" }) {} // A broadcast has no envelope (W1); `session` may come before.
    Ok(())
}

// W6, W7
#[tokio::test]
async fn raw_messages_are_carried_as_they_are() -> anyhow::Result<()> {
    let node = node()?;
    let mut one = Peer::connect(node.listen, "/raw/a").await?;
    let mut other = Peer::connect(node.listen, "/raw/a").await?;
    let mut elsewhere = Peer::connect(node.listen, "/raw/b").await?;
    let node_has_three = "dunlin_subscriptions";
    node.metric(node_has_three, |count| count == 3).await?;
    for text in ["hello", "ping", "", r#"{"type":"subscribe","topic":"x"}"#, "{\"topic\": 1 ,", "\u{1f426}\n"]
    {
        one.send_text(text).await?;
        assert_eq!(other.message().await?, Message::text(text));
    }
    one.send_binary(vec![0, 255, 1]).await?;
    assert_eq!(other.message().await?, Message::binary(vec![0, 255, 1]));
    other.send_text("back").await?;
    assert_eq!(one.text().await?, "back", "and nothing of its own before that");
    other.send_text("ends here").await?;
    elsewhere.send_text("x").await?;
    elsewhere.leave().await?;
    assert_eq!(one.text().await?, "ends here");
    Ok(())
}

// W1, W2, W3
#[tokio::test]
async fn plain_peers_get_nothing_they_did_not_ask_for() -> anyhow::Result<()> {
    let node = node()?;
    let mut peer = Peer::connect(node.listen, "/api/x").await?;
    peer.send_text("ping").await?;
    assert_eq!(peer.text().await?, "ping");
    peer.send(json!({ "type": "subscribe", "topic": "a" })).await?;
    peer.send(json!({ "type": "publish", "topic": "a", "payload": null })).await?;
    peer.send(json!({ "type": "unsubscribe", "topic": "never" })).await?;
    for id in [json!(0), json!(-7), json!("x".repeat(64)), json!("ü")] {
        peer.send(json!({ "type": "ping", "id": id })).await?;
        assert_eq!(peer.next().await?, json!({ "type": "ok", "id": id }));
    }
    for id in [json!("x".repeat(65)), json!(1.5), json!(null), json!({})] {
        peer.send(json!({ "type": "ping", "id": id })).await?;
        let expected = if id.is_null() { continue } else { "malformed" };
        assert_eq!(peer.next().await?["code"], expected, "{id}");
    }
    let mut other = Peer::connect(node.listen, "/api/x").await?;
    for payload in [json!(null), json!(0), json!(false), json!(""), json!([]), json!({})] {
        other.publish("a", payload.clone()).await?;
        assert_eq!(peer.next().await?, json!({ "topic": "a", "payload": payload }), "T3: falsy is a payload");
    }
    other.ask(json!({ "type": "publish", "topic": "a" })).await?;
    assert_eq!(peer.next().await?, json!({ "topic": "a", "payload": Value::Null }));
    Ok(())
}

// L5: payload bytes travel verbatim.
#[tokio::test]
async fn json_payloads_arrive_byte_for_byte() -> anyhow::Result<()> {
    let node = node()?;
    let mut peer = Peer::connect(node.listen, "/api/x").await?;
    peer.subscribe("a").await?;
    let mut talker = Peer::connect(node.listen, "/api/x").await?;
    for payload in
        ["1.0", "1e400", "123456789012345678901234567890", r#"{"b":1,  "a":2,"a":3}"#, r#""\u00e9\ud800""#]
    {
        talker.send_text(format!(r#"{{"type":"publish","topic":"a","payload":{payload}}}"#)).await?;
        assert_eq!(peer.text().await?, format!(r#"{{"topic":"a","payload":{payload}}}"#));
    }
    Ok(())
}

// H1
#[tokio::test]
async fn a_peer_that_answers_no_pings_is_closed_and_one_that_does_stays() -> anyhow::Result<()> {
    let node = node()?;
    let mut answering = Peer::connect(node.listen, "/alive").await?;
    let stays = tokio::spawn(async move { answering.ended().await });
    let mut mute = Raw::upgraded(node.listen, "/alive").await?;
    let began = Instant::now();
    let ended = mute.closed().await?;
    assert_eq!(ended, Ended { code: 1000, reason: "No pong received".to_owned() });
    let took = began.elapsed().as_secs_f64();
    ensure!((2.5..5.0).contains(&took), "two pings a second apart, then the end: {took} s");
    ensure!(!stays.is_finished(), "the peer that answers was closed");
    stays.abort();
    Ok(())
}

// H1
#[tokio::test]
async fn a_peer_that_says_nothing_is_closed_for_inactivity() -> anyhow::Result<()> {
    let node = node()?;
    let mut silent = Peer::connect(node.listen, "/idle").await?;
    let mut busy = Raw::upgraded(node.listen, "/idle").await?;
    let began = Instant::now();
    let mut ticks = tokio::time::interval(Duration::from_millis(300));
    let ended = loop {
        tokio::select! {
            ended = silent.ended() => break ended?,
            _ = ticks.tick() => busy.write(&frame(0x81, b"ping")).await?,
        }
        ensure!(began.elapsed() < Duration::from_secs(5), "it is still there");
    };
    assert_eq!(ended, Ended { code: 1000, reason: "Inactivity timeout".to_owned() });
    ensure!(began.elapsed() >= Duration::from_millis(900), "after {:?}", began.elapsed());
    busy.write(&frame(0x89, b"")).await?;
    loop {
        match busy.frame().await? {
            (8, _) => anyhow::bail!("the busy peer was closed"),
            (10, _) => return Ok(()),
            _ => {}
        }
    }
}
