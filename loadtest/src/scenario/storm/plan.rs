//! What a storm is to be.

use std::time::Duration;

use rustix::process::{Pid, Signal};

use crate::{
    adapter::Protocol,
    process::{Beside, Server},
    roll::Roll,
    scenario::{Answers, Topics},
    target::Target,
};

/// Who loses its node, and where to go.
#[derive(Debug, Clone)]
pub struct Storm {
    /// The node that goes.
    pub from: Target,
    /// The node that everybody comes to, and that is measured.
    pub to: Target,
    /// How both are spoken to.
    pub protocol: Protocol,
    /// The other node's process, if its costs are wanted.
    pub server: Option<Server>,
    /// Other processes whose CPU is wanted.
    pub beside: Vec<Beside>,
    /// What is subscribed to.
    pub topics: Topics,
    /// Who loses its node.
    pub peers: u32,
    /// Deliveries per second to them; 0 publishes nothing.
    pub rate: f64,
    /// How the node goes.
    pub end: End,
    /// A peer comes back after a time from nothing to this, each as likely as the other.
    pub delay: Duration,
    /// How long all is calm before, and again afterwards.
    pub calm: Duration,
    /// Bytes of a whole payload.
    pub size: usize,
    /// Upgrades under way at a time.
    pub concurrency: u32,
    /// How to find out that a subscription has taken effect.
    pub answers: Answers,
    /// What delays are drawn from.
    pub seed: u64,
}

/// How the node goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The peers lose their connections at one moment; the node is well.
    Cut,
    /// The process gets a signal.
    Signal(Pid, Signal),
}

impl Storm {
    pub(super) fn title(&self) -> String {
        let how = match self.end {
            End::Cut => "lose their connections".to_owned(),
            End::Signal(pid, signal) => format!("lose their node (signal {} to {pid})", signal.as_raw()),
        };
        let when = match self.delay.as_secs_f64() {
            0.0 => "at once".to_owned(),
            delay => format!("within {delay} s"),
        };
        format!(
            "{} peers {how} and come to another node {when}; latency is a control peer's there",
            self.peers
        )
    }

    /// Who loses its node, and their publisher.
    pub(super) fn roll(&self) -> Roll {
        let binding = self.protocol.binding();
        Roll { topics: self.topics.clone(), first: 0, peers: self.peers, publishers: 1, binding }
    }

    /// The control peer and its publisher, on one topic more than the others have.
    pub(super) fn control_roll(&self) -> Roll {
        let topics = Topics { count: self.topics.count + 1, ..self.topics.clone() };
        Roll { topics, first: self.control_topic(), peers: 1, ..self.roll() }
    }

    /// None of the others'.
    pub(super) fn control_topic(&self) -> u32 {
        self.topics.count
    }

    /// Who gets a publication.
    pub(super) fn audience(&self) -> f64 {
        f64::from(self.peers) / f64::from(self.topics.count)
    }
}
