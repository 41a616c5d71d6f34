//! What a resume is to be.

use std::time::Duration;

use rustix::process::Pid;

use crate::{
    metrics::Page,
    process::{Beside, Server},
    scenario::Topics,
    target::Target,
};

/// Who loses its connection, and where to come back to. All speak `dunlin.json.v1`.
#[derive(Debug, Clone)]
pub struct Resume {
    /// Where the peers are at first.
    pub from: Target,
    /// Where they come back, and where the publisher is all along; maybe the same node.
    pub to: Target,
    /// The process at `to`, if its costs are wanted.
    pub server: Option<Server>,
    /// Other processes whose CPU is wanted.
    pub beside: Vec<Beside>,
    /// Metrics of nodes whose history reads are counted.
    pub pages: Vec<Page>,
    /// One topic, which is a log.
    pub topics: Topics,
    /// Who loses its connection.
    pub peers: u32,
    /// Publications before the break.
    pub publications: u32,
    /// Publications a second, before, during and after.
    pub rate: f64,
    /// A process that is killed at the break: the node at `from`.
    pub end: Option<Pid>,
    /// The peers dial one after the other over so long; 0 is all at once.
    pub ramp: Duration,
    /// How long publishing goes on once all are back.
    pub calm: Duration,
    /// Bytes of a whole payload.
    pub size: usize,
    /// Upgrades under way at a time.
    pub concurrency: u32,
    /// What the delays of those who were refused are drawn from.
    pub seed: u64,
}

impl Resume {
    pub(super) fn title(&self) -> String {
        let how = match self.end {
            None => "lose their connections".to_owned(),
            Some(pid) => format!("lose their node (process {} killed)", pid.as_raw_nonzero()),
        };
        let when = match self.ramp.as_secs_f64() {
            0.0 => "at once".to_owned(),
            ramp => format!("over {ramp} s"),
        };
        format!(
            "{} peers of one log {how} after {} publications and come back {when}, {} publications/s all along",
            self.peers, self.publications, self.rate
        )
    }
}
