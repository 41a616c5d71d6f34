//! A peer that hears all there is to hear while a test does something else.

use std::time::Duration;

use anyhow::{Context as _, bail};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, interval, timeout};

use crate::peer::Peer;

/// How often it asks for a sign of life, so that silence is not taken for patience.
const SIGN: Duration = Duration::from_secs(2);

/// A peer that notes what it hears; it ends with this value.
pub struct Listener {
    heard: watch::Receiver<Vec<Heard>>,
    /// How much was heard before [`Listener::forget`].
    forgotten: usize,
    task: JoinHandle<anyhow::Result<()>>,
}

/// A frame, and when it came.
#[derive(Debug, Clone)]
pub struct Heard {
    /// When it was read.
    pub at: Instant,
    /// What it says.
    pub frame: Value,
}

impl Listener {
    /// Listens with this peer from now on.
    pub fn start(peer: Peer) -> Self {
        let (note, heard) = watch::channel(Vec::new());
        Self { heard, forgotten: 0, task: tokio::spawn(listen(peer, note)) }
    }

    /// All it has heard since [`Listener::forget`].
    pub fn heard(&self) -> Vec<Heard> {
        self.heard.borrow()[self.forgotten..].to_vec()
    }

    /// From now on only what comes later is told.
    pub fn forget(&mut self) {
        self.forgotten = self.heard.borrow().len();
    }

    /// Waits until something is found in what was heard.
    pub async fn finds<T>(
        &mut self,
        what: &str,
        within: Duration,
        look: impl Fn(&[Heard]) -> Option<T>,
    ) -> anyhow::Result<T> {
        let (heard, forgotten) = (&mut self.heard, self.forgotten);
        let found = async {
            loop {
                if let Some(found) = look(&heard.borrow_and_update()[forgotten..]) {
                    return Ok(found);
                }
                heard.changed().await.with_context(|| format!("a listener for {what} was closed"))?;
            }
        };
        match timeout(within, found).await {
            Ok(found) => found,
            Err(_) => bail!("{what}: not within {within:?}; heard {}", self.summary()),
        }
    }

    /// The last of what was heard.
    fn summary(&self) -> String {
        let heard = self.heard();
        let last: Vec<String> = heard.iter().rev().take(5).map(|heard| heard.frame.to_string()).collect();
        format!("{} frames, the last of them, latest first: {}", heard.len(), last.join(" "))
    }

    /// The counts it was told.
    pub fn counts(&self) -> Vec<u64> {
        self.heard().iter().filter_map(count).collect()
    }

    /// Waits until the last count it was told is this one; says when that came.
    pub async fn counts_to(&mut self, users: u64, within: Duration) -> anyhow::Result<Instant> {
        self.finds(&format!("users: {users}"), within, |heard| {
            let (last, at) = heard.iter().rev().find_map(|heard| Some((count(heard)?, heard.at)))?;
            (last == users).then_some(at)
        })
        .await
    }

    /// The topics for which it was told that something may be missing.
    pub fn gaps(&self) -> Vec<String> {
        let heard = self.heard();
        let gaps = heard.iter().filter(|heard| heard.frame["type"] == "gap");
        gaps.map(|heard| heard.frame["topic"].as_str().unwrap_or_default().to_owned()).collect()
    }

    /// Whether its connection is as it was.
    pub fn is_connected(&self) -> bool {
        !self.task.is_finished()
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The number in a `session` frame.
fn count(heard: &Heard) -> Option<u64> {
    let frame = &heard.frame;
    (frame["topic"] == "session").then(|| frame["payload"]["users"].as_u64()).flatten()
}

async fn listen(mut peer: Peer, note: watch::Sender<Vec<Heard>>) -> anyhow::Result<()> {
    let mut signs = interval(SIGN);
    loop {
        tokio::select! {
            frame = peer.next() => {
                let heard = Heard { at: Instant::now(), frame: frame? };
                if heard.frame["id"] != "sign" {
                    note.send_modify(|all| all.push(heard));
                }
            }
            _ = signs.tick() => peer.send(json!({ "type": "ping", "id": "sign" })).await?,
            () = note.closed() => return Ok(()),
        }
    }
}
