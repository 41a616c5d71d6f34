//! A node under attack, and what its other peers notice of it.

use std::time::Duration;

use anyhow::{bail, ensure};

use crate::chatter::{Chatter, Latency};
use crate::node::Node;
use crate::patience::soon;

/// A node with a hundred peers that talk while it is attacked.
pub struct Siege {
    /// The node.
    pub node: Node,
    chatter: Chatter,
}

/// By how much a counter must rise during an attack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rise {
    /// What the attack says.
    Exactly,
    /// What the attack says, or more.
    AtLeast,
}

/// Peers that are not to notice anything.
const PEERS: usize = 100;
/// Messages measured before an attack, and at least during it.
const SAMPLES: usize = 1_500;
/// A delay nobody notices; below it the machine is measured and not the node.
const FLOOR: Duration = Duration::from_millis(5);
/// How often an attack is tried before its harm is believed, because the machine may be busy with others'
/// work for a moment. Harm that the node lets through shows in every round.
const ROUNDS: usize = 3;

impl Siege {
    /// Starts a node without other tests beside it, and its peers' talk.
    pub async fn begin(config: &str) -> anyhow::Result<Self> {
        let node = Node::start_alone(config)?;
        let chatter = Chatter::start(node.listen, PEERS).await?;
        Ok(Self { node, chatter })
    }

    /// Attacks again and again while messages are measured. The attack says how often it did what `series`
    /// count. The others' p99 may at most double, and the series must rise.
    pub async fn withstand(
        &self,
        what: &str,
        (rise, series): (Rise, &[&str]),
        attack: impl AsyncFn() -> anyhow::Result<u64>,
    ) -> anyhow::Result<()> {
        for round in 1..=ROUNDS {
            let before = self.measure(async || Ok(0)).await?.0;
            let metrics = self.node.metrics().await?;
            let (during, struck) = self.measure(&attack).await?;
            for name in series {
                let (old, expected) = (metrics.value(name), struck as f64);
                let risen = self.node.metric(name, |value| value - old >= expected).await? - old;
                ensure!(rise == Rise::AtLeast || risen == expected, "{what}: {name} rose by {risen}, not {expected}");
            }
            println!("{what}: p99 {:?} before, {:?} during {struck} in round {round}", before.p99, during.p99);
            if during.p99 <= (2 * before.p99).max(FLOOR) {
                return Ok(());
            }
        }
        bail!("{what}: the others' messages took more than twice as long in each of {ROUNDS} rounds")
    }

    /// Measures enough messages while something is done over and over; at least once.
    async fn measure(&self, deed: impl AsyncFn() -> anyhow::Result<u64>) -> anyhow::Result<(Latency, u64)> {
        self.chatter.begin();
        let mut done = 0;
        loop {
            let count = soon("one deed", deed()).await?;
            done += count;
            if count == 0 {
                self.chatter.measured(SAMPLES).await?;
            }
            let latency = self.chatter.latency();
            if latency.count >= SAMPLES {
                return Ok((latency, done));
            }
        }
    }

    /// Ends the talk; an error if any of the others was closed, or missed a message.
    pub async fn end(self) -> anyhow::Result<()> {
        self.chatter.end().await
    }
}
