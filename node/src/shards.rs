//! The node's shards, as the rest of the node sees them.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use crate::health::Readiness;
use crate::metrics::Snapshot;
use crate::shard::{Common, Request};

/// How long a shard may take to say how it is.
const ANSWER_TIME: Duration = Duration::from_secs(1);

/// The node's shards, as seen from outside.
pub struct Shards {
    common: Arc<Common>,
    requests: Vec<mpsc::Sender<Request>>,
}

impl Shards {
    /// Shards that run already, each with the way to ask it.
    pub fn new(common: Arc<Common>, requests: Vec<mpsc::Sender<Request>>) -> Self {
        Self { common, requests }
    }

    /// How things stand on every shard; none if one does not answer in time.
    pub async fn snapshots(&self) -> Option<Vec<Snapshot>> {
        self.ask_all(Request::Snapshot).await
    }

    /// Whether every shard answers in time.
    pub async fn are_alive(&self) -> bool {
        self.ask_all(Request::Alive).await.is_some()
    }

    async fn ask_all<T>(&self, question: fn(oneshot::Sender<T>) -> Request) -> Option<Vec<T>> {
        let mut answers = Vec::with_capacity(self.requests.len());
        for shard in &self.requests {
            let (answer, answered) = oneshot::channel();
            shard.try_send(question(answer)).ok()?;
            answers.push(answered);
        }
        let mut all = Vec::with_capacity(answers.len());
        for answered in answers {
            all.push(tokio::time::timeout(ANSWER_TIME, answered).await.ok()?.ok()?);
        }
        Some(all)
    }

    /// The text for Prometheus.
    pub fn render_metrics(&self, snapshots: &[Snapshot]) -> String {
        self.common.metrics.render(snapshots, self.common.broker.topics(), &self.common.broker.status())
    }

    /// Whether to send peers here.
    pub fn readiness(&self) -> Readiness {
        Readiness::of(&self.common)
    }

    /// Closes all peers, then tells the other nodes; returns when none is left, or when the time is over.
    pub async fn drain(&self, within: Duration) {
        self.common.draining.store(true, Ordering::Relaxed);
        let mut leaving = Vec::new();
        for shard in &self.requests {
            let (done, gone) = oneshot::channel();
            if shard.send(Request::Drain(within, done)).await.is_ok() {
                leaving.push(gone);
            }
        }
        let all = async {
            for gone in leaving {
                // A shard that ended has no peers.
                let _ = gone.await;
            }
        };
        if tokio::time::timeout(within, all).await.is_err() {
            tracing::warn!("some peers did not answer their Close in time");
        }
        self.common.broker.leave().await;
    }
}
