//! Topics that remember, over two nodes: what is published on either is one history for both.

use anyhow::ensure;
use dunlin_tests::{Cluster, Health, Node, OPEN, Peer, connect_v1};
use futures_util::future::try_join_all;
use serde_json::{Value, json};

const TOPICS: &str = "
[[topic]]
match = 'log'
mode = 'log'
replay = 2
[[topic]]
match = 'list'
mode = 'list'
[[topic]]
match = 'fat'
mode = 'list'
limit = 200
max_bytes = '16MiB'
slow = 'coalesce'
[[topic]]
match = 'value'
mode = 'value'
[[topic]]
match = 'map'
mode = 'map'
limit = 20000
max_bytes = '1MiB'
";
/// Room for byte-fat states.
const ROOM: &str = "outbox = '40MiB'\n";

async fn cluster() -> anyhow::Result<Cluster> {
    Cluster::start(2, &format!("{OPEN}{ROOM}{TOPICS}")).await
}

async fn peers(cluster: &Cluster) -> anyhow::Result<[Peer; 2]> {
    let [one, two] = [&cluster.nodes[0], &cluster.nodes[1]];
    Ok([connect_v1(one.listen, "/memory").await?, connect_v1(two.listen, "/memory").await?])
}

/// Publishes, and gives the answer, which is no error.
async fn publish(peer: &mut Peer, topic: &str, payload: Value) -> anyhow::Result<Value> {
    let answer = peer.ask(json!({ "type": "publish", "topic": topic, "payload": payload })).await?;
    ensure!(answer["type"] == "ok", "publishing on {topic}: {answer}");
    Ok(answer)
}

async fn subscribe(peer: &mut Peer, topic: &str) -> anyhow::Result<Value> {
    let answer = peer.ask(json!({ "type": "subscribe", "topic": topic })).await?;
    ensure!(answer["type"] == "ok", "subscribing to {topic}: {answer}");
    Ok(answer)
}

async fn code(peer: &mut Peer, frame: Value) -> anyhow::Result<Value> {
    Ok(peer.ask(frame).await?["code"].clone())
}

/// How many files and sockets each node holds open.
fn descriptors(cluster: &Cluster) -> anyhow::Result<Vec<usize>> {
    let of = |node: &Node| Ok(std::fs::read_dir(format!("/proc/{}/fd", node.pid()))?.count());
    cluster.nodes.iter().map(of).collect()
}

/// The payloads of an answer's publications.
fn payloads(answer: &Value) -> Vec<Value> {
    let all = answer["publications"].as_array().into_iter().flatten();
    all.map(|publication| publication["payload"].clone()).collect()
}

// T8
#[tokio::test]
async fn forty_concurrent_publishes_through_two_nodes_leave_forty() -> anyhow::Result<()> {
    let cluster = cluster().await?;
    let mut listeners = peers(&cluster).await?;
    for listener in &mut listeners {
        subscribe(listener, "list").await?;
    }
    let talk = async |number: usize| {
        let mut peer = connect_v1(cluster.nodes[number % 2].listen, "/memory").await?;
        publish(&mut peer, "list", number.into()).await
    };
    try_join_all((0..40).map(talk)).await?;
    let mut ends = Vec::new();
    for listener in &mut listeners {
        let mut array: Vec<Value> = Vec::new();
        while array.len() < 40 {
            let frame = listener.next().await?;
            let next = frame["payload"].as_array().cloned().unwrap_or_default();
            ensure!(next.len() > array.len() && next.starts_with(&array), "{frame} after {array:?}");
            array = next;
        }
        ends.push(array);
    }
    let mut numbers: Vec<u64> = ends[0].iter().filter_map(Value::as_u64).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (0..40).collect::<Vec<_>>());
    assert_eq!(ends[0], ends[1], "all end identical");
    Ok(())
}

// T9, W5
#[tokio::test]
async fn a_newcomer_to_either_node_has_the_state_before_anything_live() -> anyhow::Result<()> {
    let cluster = cluster().await?;
    let mut talkers = peers(&cluster).await?;
    for (number, talker) in talkers.iter_mut().enumerate() {
        publish(talker, "log", number.into()).await?;
        publish(talker, "list", number.into()).await?;
        publish(talker, "value", number.into()).await?;
        publish(talker, "map", json!({ "same": number, number.to_string(): number })).await?;
    }
    let map = json!({ "0": 0, "1": 1, "same": 1 });
    for newcomer in &mut peers(&cluster).await? {
        assert_eq!(payloads(&subscribe(newcomer, "log").await?), [0, 1], "as many as `replay`");
        for (topic, state) in [("list", json!([0, 1])), ("value", json!(1)), ("map", map.clone())] {
            assert_eq!(subscribe(newcomer, topic).await?["state"], state, "{topic}");
        }
        publish(&mut talkers[0], "value", 2.into()).await?;
        let frame = newcomer.next().await?;
        assert_eq!((&frame["topic"], &frame["payload"]), (&json!("value"), &json!(2)));
        publish(&mut talkers[1], "value", 1.into()).await?;
    }
    for node in &cluster.nodes {
        let mut plain = Peer::connect(node.listen, "/memory").await?;
        plain.send(json!({ "type": "subscribe", "topic": "list", "id": "x" })).await?;
        assert_eq!(plain.next().await?, json!({ "topic": "list", "payload": [0, 1] }));
        assert_eq!(plain.next().await?["id"], "x");
    }
    Ok(())
}

// A1, redis 1.3
#[tokio::test]
async fn a_key_that_both_nodes_are_brought_happens_once() -> anyhow::Result<()> {
    let cluster = cluster().await?;
    let [mut one, mut two] = peers(&cluster).await?;
    for topic in ["log", "list", "map"] {
        let frame = json!({ "type": "publish", "topic": topic, "payload": { "a": 1 }, "key": "once" });
        let first = one.ask(frame.clone()).await?;
        ensure!(first["type"] == "ok" && first["cursor"].is_string(), "{first}");
        for peer in [&mut two, &mut one] {
            assert_eq!(peer.ask(frame.clone()).await?["cursor"], first["cursor"], "{topic}");
        }
    }
    assert_eq!(payloads(&subscribe(&mut two, "log").await?), [json!({ "a": 1 })]);
    assert_eq!(subscribe(&mut two, "list").await?["state"], json!([{ "a": 1 }]));
    Ok(())
}

// R1
#[tokio::test]
async fn history_is_paged_back_and_forth_on_either_node() -> anyhow::Result<()> {
    let cluster = cluster().await?;
    let mut peers = peers(&cluster).await?;
    for number in 0..100 {
        publish(&mut peers[number % 2], "log", number.into()).await?;
    }
    let page = |bound: &str, cursor: &Value| {
        let mut frame = json!({ "type": "history", "topic": "log", "limit": 30 });
        if !cursor.is_null() {
            frame[bound] = cursor.clone();
        }
        frame
    };
    let ends = |answer: &Value| {
        let all = answer["publications"].as_array().cloned().unwrap_or_default();
        [all.first(), all.last()].map(|end| end.map_or(Value::Null, |end| end["cursor"].clone()))
    };
    for peer in &mut peers {
        let (mut back, mut oldest) = (Vec::new(), Value::Null);
        while back.len() < 100 {
            let answer = peer.ask(page("before", &oldest)).await?;
            ensure!(answer["type"] == "ok" && !payloads(&answer).is_empty(), "{answer}");
            [oldest, _] = ends(&answer);
            back.splice(0..0, payloads(&answer));
        }
        assert_eq!(back, (0..100).map(Value::from).collect::<Vec<_>>());
        assert_eq!(payloads(&peer.ask(page("before", &oldest)).await?), Vec::<Value>::new());
        let (mut forth, mut newest) = (vec![json!(0)], oldest);
        while forth.len() < 100 {
            let answer = peer.ask(page("since", &newest)).await?;
            ensure!(answer["recovered"] == true && !payloads(&answer).is_empty(), "{answer}");
            [_, newest] = ends(&answer);
            forth.extend(payloads(&answer));
        }
        assert_eq!(forth, back);
        let answer = peer.ask(page("since", &newest)).await?;
        assert_eq!((&answer["recovered"], payloads(&answer).len()), (&json!(true), 0));
    }
    Ok(())
}

// T8, redis 1.7
#[tokio::test]
async fn fat_lists_and_large_maps_are_the_same_on_both_nodes() -> anyhow::Result<()> {
    let cluster = cluster().await?;
    let [mut one, mut two] = peers(&cluster).await?;
    let item = "x".repeat(60 * 1024);
    for number in 0..210 {
        publish(&mut one, "fat", format!("{number}{item}").into()).await?;
    }
    for first in (0..10_000).step_by(500) {
        let members: serde_json::Map<_, _> =
            (first..first + 500).map(|key| (key.to_string(), json!(key))).collect();
        publish(&mut two, "map", members.into()).await?;
    }
    for peer in [&mut one, &mut two] {
        let answer = subscribe(peer, "map").await?;
        let map = if answer["state"].is_null() {
            peer.next().await?["payload"].take()
        } else {
            answer["state"].clone()
        };
        assert_eq!(map.as_object().map(serde_json::Map::len), Some(10_000));
        let answer = subscribe(peer, "fat").await?;
        let list = if answer["state"].is_null() {
            peer.next().await?["payload"].take()
        } else {
            answer["state"].clone()
        };
        let list = list.as_array().cloned().unwrap_or_default();
        assert_eq!(list.len(), 200);
        ensure!(
            list.last().and_then(Value::as_str).is_some_and(|last| last.starts_with("209x")),
            "the newest"
        );
    }
    let too_much = json!({ "big": "y".repeat(60 * 1024) });
    let mut last = Value::Null;
    for number in 0..20 {
        let mut members = too_much.clone();
        members[number.to_string() + "big"] = members["big"].take();
        last = code(&mut one, json!({ "type": "publish", "topic": "map", "payload": members })).await?;
    }
    assert_eq!(last, "too_large");
    Ok(())
}

// R1, T9, redis 2.9
#[tokio::test]
async fn what_is_broken_stored_or_brought_is_told_and_harms_nobody_else() -> anyhow::Result<()> {
    let cluster = cluster().await?;
    let [mut one, mut two] = peers(&cluster).await?;
    let key = |topic: &str, kind: &str| format!("dunlin-tests:1:{{t|/memory|{topic}}}:{kind}");
    let mut cursors = Vec::new();
    for number in 0..5 {
        cursors.push(publish(&mut one, "log", number.into()).await?["cursor"].clone());
    }
    let other = publish(&mut one, "list", 1.into()).await?["cursor"].clone();

    // Cursors.
    let stale = format!("AAAA{}", &cursors[0].as_str().unwrap_or_default()[4..]);
    for since in [json!("garbage"), json!(stale), other, json!("A".repeat(36))] {
        let answer = two.ask(json!({ "type": "subscribe", "topic": "log", "since": since })).await?;
        assert_eq!(
            (&answer["type"], &answer["recovered"]),
            (&json!("ok"), &json!(false)),
            "{since}: {answer}"
        );
        two.ask(json!({ "type": "unsubscribe", "topic": "log" })).await?;
    }

    // One entry that nobody can read.
    cluster.redis.ask(&["LSET", &key("log", "s"), "2", "garbage"]).await?;
    let mut fresh = peers(&cluster).await?;
    let answer = fresh[1].ask(json!({ "type": "subscribe", "topic": "log", "since": cursors[0] })).await?;
    assert_eq!((&answer["type"], &answer["recovered"]), (&json!("ok"), &json!(false)), "{answer}");
    let answer = fresh[1].ask(json!({ "type": "subscribe", "topic": "log", "since": cursors[3] })).await?;
    assert_eq!((&answer["recovered"], payloads(&answer)), (&json!(true), vec![json!(4)]), "{answer}");

    // A head, a list and a map that are something else.
    cluster.redis.ask(&["SET", &key("value", "h"), "garbage"]).await?;
    cluster.redis.ask(&["SET", &key("map", "k"), "garbage"]).await?;
    let descriptors = descriptors(&cluster)?;
    for topic in ["value", "map"].repeat(20) {
        for peer in &mut fresh {
            let payload = json!({ "a": 1 });
            let published =
                code(peer, json!({ "type": "publish", "topic": topic, "payload": payload })).await?;
            let subscribed = code(peer, json!({ "type": "subscribe", "topic": topic })).await?;
            assert_eq!((published, subscribed), (json!("internal"), json!("internal")), "{topic}");
        }
    }
    assert_eq!(self::descriptors(&cluster)?, descriptors, "nothing leaks");
    // A foreign key beside them.
    cluster.redis.ask(&["SET", "dunlin-tests:1:{t|/memory|foreign}:x", "1"]).await?;

    // Another mode than what is stored.
    cluster.redis.ask(&["RENAME", &key("log", "h"), &key("list", "h")]).await?;
    for peer in &mut fresh {
        let published = code(peer, json!({ "type": "publish", "topic": "list", "payload": 1 })).await?;
        assert_eq!(published, "invalid_topic");
    }
    cluster.nodes[1].metric("dunlin_bus_dropped_total{reason=\"unreadable\"}", |count| count > 0).await?;
    for (node, peer) in cluster.nodes.iter().zip(&mut fresh) {
        peer.publish("chatter", json!(1)).await?;
        ensure!(Health::of(node).await?.is_ready());
    }
    Ok(())
}
