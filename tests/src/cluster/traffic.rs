//! Talk between all nodes of a cluster, while a test troubles them.

use std::time::Duration;

use anyhow::Context as _;

use super::connect_v1;
use super::listener::{Heard, Listener};
use super::talker::{Distance, Fate, Talker, check};
use crate::node::Node;
use crate::patience::PATIENCE;
use crate::peer::Peer;

/// A talker on each node, and on each a v1 peer that listens to all of them; they end with this value.
pub struct Traffic {
    /// By node.
    pub talkers: Vec<Talker>,
    /// By node.
    pub listeners: Vec<Listener>,
}

/// What has become of it.
pub struct Talked {
    /// How each talker's publications were answered.
    pub fates: Vec<Vec<Fate>>,
    /// By node; they listen on.
    pub listeners: Vec<Listener>,
}

impl Traffic {
    /// Everybody talks at this pace on this path, and has been heard by all when this returns.
    pub async fn start(nodes: &[Node], path: &str, pace: Duration) -> anyhow::Result<Self> {
        let (mut talkers, mut listeners) = (Vec::new(), Vec::new());
        for node in nodes {
            let mut listener = connect_v1(node.listen, path).await?;
            for talker in 0..nodes.len() {
                listener.subscribe(&topic(talker)).await?;
            }
            listeners.push(Listener::start(listener));
        }
        for (place, node) in nodes.iter().enumerate() {
            let peer = Peer::connect(node.listen, path).await?;
            talkers.push(Talker::start(peer, &topic(place), pace));
        }
        let mut traffic = Self { talkers, listeners };
        traffic.flows(PATIENCE).await?;
        Ok(traffic)
    }

    /// The topics they talk on.
    pub fn topics(&self) -> Vec<String> {
        (0..self.talkers.len()).map(topic).collect()
    }

    /// Waits until everybody has heard something that everybody has said since now.
    pub async fn flows(&mut self, within: Duration) -> anyhow::Result<()> {
        for (place, talker) in self.talkers.iter().enumerate() {
            let (now, topic) = (talker.published() as u64, topic(place));
            let is_news =
                |heard: &Heard| heard.frame["topic"] == topic && heard.frame["payload"].as_u64() >= Some(now);
            for (node, listener) in self.listeners.iter_mut().enumerate() {
                let what = format!("anything on {topic} at node {node} from number {now} on");
                listener.finds(&what, within, |heard| heard.iter().rev().any(is_news).then_some(())).await?;
            }
        }
        Ok(())
    }

    /// Ends the talk, and checks that everybody has heard what was promised.
    pub async fn end(self) -> anyhow::Result<Talked> {
        let (mut fates, mut listeners) = (Vec::new(), self.listeners);
        for talker in self.talkers {
            fates.push(talker.end().await?);
        }
        for (node, listener) in listeners.iter_mut().enumerate() {
            for (talker, fates) in fates.iter().enumerate() {
                let distance = if node == talker { Distance::Mate } else { Distance::Remote };
                let checked = check(listener, &topic(talker), fates, distance).await;
                checked.with_context(|| format!("the listener on node {node}"))?;
            }
        }
        Ok(Talked { fates, listeners })
    }
}

fn topic(talker: usize) -> String {
    format!("from:{talker}")
}
