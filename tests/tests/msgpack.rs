//! `dunlin.msgpack.v1` beside the other dialects, on one node and across two.

use std::net::SocketAddr;

use anyhow::{Context as _, ensure};
use dunlin_tests::{Cluster, Node, OPEN, Peer, Raw, connect_v1, upgrade_head};
use rmpv::Value;
use serde_json::json;

const SUBPROTOCOL: &str = "dunlin.msgpack.v1";

/// A peer that speaks `MessagePack`.
struct Packed {
    peer: Peer,
    asked: u64,
}

impl Packed {
    /// Connects and reads its welcome.
    async fn connect(address: SocketAddr, path: &str) -> anyhow::Result<Self> {
        let headers = [("sec-websocket-protocol", SUBPROTOCOL)];
        let mut packed = Self { peer: Peer::connect_with(address, path, &headers).await?, asked: 0 };
        let welcome = packed.next().await?;
        ensure!(welcome["type"] == "welcome".into() && welcome["ping_ms"] == 25_000.into(), "{welcome}");
        Ok(packed)
    }

    async fn send(&mut self, frame: &Value) -> anyhow::Result<()> {
        let mut bytes = Vec::new();
        rmpv::encode::write_value(&mut bytes, frame)?;
        self.peer.send_binary(bytes).await
    }

    /// The next message, which must be one binary message with one value.
    /// The next frame; a grant is passed over.
    async fn next(&mut self) -> anyhow::Result<Value> {
        loop {
            let value = self.any().await?;
            if value["type"] != "grant".into() {
                return Ok(value);
            }
        }
    }

    async fn any(&mut self) -> anyhow::Result<Value> {
        let message = self.peer.message().await?;
        ensure!(message.is_binary(), "{message:?}");
        let bytes = message.into_data();
        let mut rest = &bytes[..];
        let value = rmpv::decode::read_value(&mut rest).context("not MessagePack")?;
        ensure!(rest.is_empty(), "more than one value: {bytes:?}");
        Ok(value)
    }

    /// Sends a frame under an id and gives its answer, which must be the next message.
    async fn ask(&mut self, pairs: &[(&str, Value)]) -> anyhow::Result<Value> {
        self.asked += 1;
        let id = ("id", Value::from(self.asked));
        self.send(&map(pairs.iter().cloned().chain([id]))).await?;
        let answer = self.next().await?;
        ensure!(answer["id"] == self.asked.into(), "{answer}");
        Ok(answer)
    }

    async fn subscribe(&mut self, topic: &str) -> anyhow::Result<()> {
        let answer = self.ask(&[("type", "subscribe".into()), ("topic", topic.into())]).await?;
        ensure!(answer["type"] == "ok".into(), "{answer}");
        Ok(())
    }

    async fn publish(&mut self, topic: &str, payload: Value) -> anyhow::Result<()> {
        let answer =
            self.ask(&[("type", "publish".into()), ("topic", topic.into()), ("payload", payload)]).await?;
        ensure!(answer["type"] == "ok".into(), "{answer}");
        Ok(())
    }
}

fn map<'a>(pairs: impl IntoIterator<Item = (&'a str, Value)>) -> Value {
    Value::Map(pairs.into_iter().map(|(key, value)| (key.into(), value)).collect())
}

fn publication(payload: Value) -> Value {
    map([("topic", "talk".into()), ("payload", payload)])
}

/// Four peers, one of each kind, the first two of them on the first address.
struct Company {
    packed: Packed,
    json: Peer,
    plain: Peer,
    other: Packed,
}

impl Company {
    /// All of them subscribe to `talk`.
    async fn meet(here: SocketAddr, there: SocketAddr) -> anyhow::Result<Self> {
        let mut company = Self {
            packed: Packed::connect(here, "/company").await?,
            json: connect_v1(here, "/company").await?,
            plain: Peer::connect(there, "/company").await?,
            other: Packed::connect(there, "/company").await?,
        };
        company.packed.subscribe("talk").await?;
        company.json.subscribe("talk").await?;
        company.plain.subscribe("talk").await?;
        company.other.subscribe("talk").await?;
        Ok(company)
    }

    /// Each says something to all others, in every kind there is.
    async fn talk(&mut self) -> anyhow::Result<()> {
        self.objects().await?;
        self.bytes().await?;
        let big = u64::MAX;
        self.other.publish("talk", big.into()).await?;
        assert_eq!(self.packed.next().await?, publication(big.into()));
        for json in [&mut self.json, &mut self.plain] {
            assert_eq!(json.text().await?, format!(r#"{{"topic":"talk","payload":{big}}}"#));
        }
        Ok(())
    }

    async fn objects(&mut self) -> anyhow::Result<()> {
        let list = Value::Array(vec![1.into(), 1.5.into(), Value::Nil]);
        let said = map([("list", list), ("text", "Grüezi".into())]);
        self.packed.publish("talk", said.clone()).await?;
        let heard = json!({ "topic": "talk", "payload": { "text": "Grüezi", "list": [1, 1.5, null] } });
        assert_eq!(self.json.next().await?, heard);
        assert_eq!(self.plain.next().await?, heard);
        assert_eq!(self.other.next().await?, publication(said.clone()));
        self.plain.publish("talk", heard["payload"].clone()).await?;
        assert_eq!(self.json.next().await?, heard);
        assert_eq!(self.packed.next().await?, publication(said.clone()));
        assert_eq!(self.other.next().await?, publication(said));
        Ok(())
    }

    async fn bytes(&mut self) -> anyhow::Result<()> {
        let bytes = vec![0, 255, 128, 10];
        let base64 = json!({ "topic": "talk", "base64": "AP+ACg==" });
        self.packed.publish("talk", Value::Binary(bytes.clone())).await?;
        assert_eq!(self.json.next().await?, base64);
        assert_eq!(self.plain.message().await?.into_data()[..], bytes);
        assert_eq!(self.other.next().await?, publication(Value::Binary(bytes.clone())));
        let frame = json!({ "type": "publish", "topic": "talk", "base64": "AP+ACg==" });
        ensure!(self.json.ask(frame).await?["type"] == "ok");
        assert_eq!(self.plain.message().await?.into_data()[..], bytes);
        for packed in [&mut self.packed, &mut self.other] {
            assert_eq!(packed.next().await?, publication(Value::Binary(bytes.clone())));
        }
        Ok(())
    }
}

// W7, L5, T2
#[tokio::test]
async fn peers_of_all_dialects_understand_each_other_on_one_node() -> anyhow::Result<()> {
    let node = Node::start(OPEN)?;
    Company::meet(node.listen, node.listen).await?.talk().await
}

// W7, L5, T2
#[tokio::test]
async fn peers_of_all_dialects_understand_each_other_across_nodes() -> anyhow::Result<()> {
    let cluster = Cluster::start(2, OPEN).await?;
    Company::meet(cluster.nodes[0].listen, cluster.nodes[1].listen).await?.talk().await
}

// W3, W7
#[tokio::test]
async fn what_is_wrong_is_said_in_messagepack_and_the_connection_stays() -> anyhow::Result<()> {
    let node = Node::start(OPEN)?;
    let mut peer = Packed::connect(node.listen, "/errors").await?;
    for (payload, code) in [
        (Value::F64(f64::NAN), "invalid_payload"),
        (Value::Ext(-1, vec![0, 0, 0, 0]), "invalid_payload"),
        (Value::Map(vec![(1.into(), 2.into())]), "invalid_payload"),
    ] {
        let answer =
            peer.ask(&[("type", "publish".into()), ("topic", "talk".into()), ("payload", payload)]).await?;
        assert_eq!((&answer["type"], &answer["code"]), (&"error".into(), &code.into()), "{answer}");
    }
    let answer = peer.ask(&[("type", "dance".into())]).await?;
    assert_eq!(answer["code"], "unknown_type".into());
    let claim = b"\x82\xa4type\xa7publish\xa7payload\xc6\xff\xff\xff\xff".to_vec();
    for bytes in [claim, b"{\"type\":\"ping\"}".to_vec(), vec![], vec![0x91; 60_000]] {
        peer.peer.send_binary(bytes).await?;
        assert_eq!(peer.next().await?["code"], "malformed".into());
    }
    peer.peer.send_text(r#"{"type":"ping"}"#).await?;
    assert_eq!(peer.next().await?["code"], "malformed".into());
    peer.peer.send_text("ping").await?;
    assert_eq!(peer.peer.text().await?, "ping");
    let answer = peer.ask(&[("type", "ping".into())]).await?;
    assert_eq!(answer["type"], "ok".into(), "it is still served");
    Ok(())
}

// E10
#[tokio::test]
async fn the_dialect_is_selected_where_it_is_the_first_that_is_served() -> anyhow::Result<()> {
    let node = Node::start(OPEN)?;
    for (offered, selected) in [
        ("soap, dunlin.msgpack.v1, dunlin.json.v1", SUBPROTOCOL),
        ("dunlin.json.v1, dunlin.msgpack.v1", "dunlin.json.v1"),
    ] {
        let head = upgrade_head(node.listen, "/offer", &[("sec-websocket-protocol", offered)]);
        let answer = Raw::ask(node.listen, head.as_bytes()).await?;
        assert_eq!((answer.status, answer.header("sec-websocket-protocol")), (101, Some(selected)));
    }
    Ok(())
}
