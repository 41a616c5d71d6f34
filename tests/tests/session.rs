//! How many peers there are, as the `session` topic tells it.

use anyhow::ensure;
use dunlin_tests::{Node, Peer, soon};
use serde_json::Value;

const CONFIG: &str = "shards = 2\n[limits]\nhandshakes_per_second = 0\n";
const PEERS: usize = 50;

/// The number in a `session` frame.
fn users(frame: &Value) -> anyhow::Result<u64> {
    ensure!(frame["topic"] == "session", "{frame}");
    frame["payload"]["users"].as_u64().ok_or_else(|| anyhow::anyhow!("{frame}"))
}

/// Reads until this number is told, and gives all that was told until then.
async fn told(peer: &mut Peer, expected: u64) -> anyhow::Result<Vec<u64>> {
    soon(format_args!("users: {expected}"), async {
        let mut all = Vec::new();
        while all.last() != Some(&expected) {
            all.push(users(&peer.next().await?)?);
        }
        Ok(all)
    })
    .await
}

// C1, W5
#[tokio::test]
async fn everybody_is_told_how_many_there_are_and_last_the_truth() -> anyhow::Result<()> {
    let node = Node::start(CONFIG)?;
    let mut peers = Vec::new();
    for _ in 0..PEERS {
        let mut peer = Peer::connect(node.listen, "/counted").await?;
        let first = users(&peer.next().await?)?;
        ensure!((1..=PEERS as u64).contains(&first), "the opener was told {first}");
        peers.push((peer, first));
    }
    for (peer, first) in &mut peers {
        if *first != PEERS as u64 {
            told(peer, PEERS as u64).await?;
        }
    }
    let mut stayers = peers.split_off(PEERS / 2);
    for (peer, _) in peers {
        peer.leave().await?;
    }
    for (peer, _) in &mut stayers {
        let all = told(peer, stayers_left()).await?;
        ensure!(all.is_sorted_by(|one, next| one > next), "while peers only left, {all:?} was told");
    }
    // Nothing more comes when nothing changes: what was told last is the truth.
    for (peer, _) in &mut stayers {
        ensure!(peer.heard_by_now().await?.is_empty(), "more was told although nobody came or went");
    }
    node.metric("dunlin_peers{namespace=\"other\",transport=\"websocket\"}", |peers| peers == 25).await?;
    Ok(())
}

const fn stayers_left() -> u64 {
    (PEERS - PEERS / 2) as u64
}

// C1, E2
#[tokio::test]
async fn a_namespace_counts_its_own_peers_only() -> anyhow::Result<()> {
    let node = Node::start(CONFIG)?;
    let mut here = Peer::connect(node.listen, "/here").await?;
    told(&mut here, 1).await?;
    let mut there = Peer::connect(node.listen, "/there").await?;
    told(&mut there, 1).await?;
    let mut second = Peer::connect(node.listen, "/here").await?;
    told(&mut second, 2).await?;
    told(&mut here, 2).await?;
    ensure!(there.heard_by_now().await?.is_empty(), "somebody else's namespace was told");
    Ok(())
}

// C1: peers that come and go all the time, on both shards.
#[tokio::test]
async fn after_many_came_and_went_the_number_is_true() -> anyhow::Result<()> {
    let node = Node::start(CONFIG)?;
    let mut witness = Peer::connect(node.listen, "/busy").await?;
    told(&mut witness, 1).await?;
    for _ in 0..20 {
        let mut crowd = Vec::new();
        for _ in 0..10 {
            crowd.push(Peer::connect(node.listen, "/busy").await?);
        }
        told(&mut witness, 11).await?;
        for (place, peer) in crowd.into_iter().enumerate() {
            if place % 2 == 0 { peer.leave().await? } else { drop(peer) }
        }
        told(&mut witness, 1).await?;
    }
    Ok(())
}
