//! A node under attack, and what its other peers notice of it.

use std::time::Duration;

use anyhow::{bail, ensure};
use tokio::time::timeout;

use crate::chatter::Chatter;
use crate::node::Node;

/// A node with a hundred peers that talk while it is attacked, and another one that isn't.
///
/// The attack itself takes cores that the node would need, and so do other programs. The bystander is a node
/// with the same peers on the same machine at the same time: what its messages suffer, too, is not the
/// attacked node's doing.
pub struct Siege {
    chatter: Chatter,
    bystanders: Chatter,
    _bystander: Node,
    /// The node that is attacked.
    pub node: Node,
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
/// What the longest attack may take: a flood is closed after ten seconds.
const DEED: Duration = Duration::from_secs(20);
/// A delay nobody notices; below it the machine is measured and not the node.
const FLOOR: Duration = Duration::from_millis(5);
/// How often an attack is tried before its harm is believed, because a moment's stall of the machine can hit
/// one node and not the other. Harm that the node lets through shows in every round.
const ROUNDS: usize = 5;

impl Siege {
    /// Starts a node without other tests beside it, the bystander, and their peers' talk.
    pub async fn begin(config: &str) -> anyhow::Result<Self> {
        let node = Node::start_alone(config)?;
        let bystander = node.start_beside("shards = 2")?;
        let chatter = Chatter::start(node.listen, PEERS).await?;
        let bystanders = Chatter::start(bystander.listen, PEERS).await?;
        Ok(Self { chatter, bystanders, _bystander: bystander, node })
    }

    /// Attacks again and again while messages are measured. The attack says how often it did what `series`
    /// count, which must rise by it. The others' p99 may at most double: against the time before the attack,
    /// or where that is more, against the bystander's meanwhile.
    pub async fn withstand(
        &self,
        what: &str,
        (rise, series): (Rise, &[&str]),
        attack: impl AsyncFn() -> anyhow::Result<u64>,
    ) -> anyhow::Result<()> {
        for _ in 0..ROUNDS {
            self.begin_measuring();
            self.chatter.measured(SAMPLES).await?;
            let before = self.chatter.latency().p99;
            let metrics = self.node.metrics().await?;
            let struck = self.strike(&attack).await?;
            let (during, elsewhere) = (self.chatter.latency().p99, self.bystanders.latency().p99);
            for name in series {
                let old = metrics.value(name);
                let risen = self.node.metric(name, |value| value >= old + struck).await? - old;
                ensure!(
                    rise == Rise::AtLeast || risen == struck,
                    "{what}: {name} rose by {risen}, not {struck}"
                );
            }
            println!(
                "{what}: p99 {before:.1?} before, {during:.1?} during {struck}, {elsewhere:.1?} at the bystander"
            );
            if during <= (2 * before.max(elsewhere)).max(FLOOR) {
                return Ok(());
            }
        }
        bail!("{what}: the others' messages took more than twice as long in each of {ROUNDS} rounds")
    }

    fn begin_measuring(&self) {
        self.chatter.begin();
        self.bystanders.begin();
    }

    /// Attacks until enough messages have been measured meanwhile; says how often.
    async fn strike(&self, attack: impl AsyncFn() -> anyhow::Result<u64>) -> anyhow::Result<u64> {
        self.begin_measuring();
        let mut struck = 0;
        while struck == 0 || self.chatter.latency().count < SAMPLES {
            match timeout(DEED, attack()).await {
                Ok(more) => struck += more?,
                Err(_) => bail!("the attack is not over after {DEED:?}"),
            }
        }
        Ok(struck)
    }

    /// Ends the talk; an error if any of the others was closed, or missed a message.
    pub async fn end(self) -> anyhow::Result<()> {
        self.chatter.end().await?;
        self.bystanders.end().await
    }
}
