//! Well-behaved peers that talk all the time, to see what somebody else's misbehaviour costs them.
//!
//! They live on a thread of their own, so that what a test does to the node does not delay their clocks.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use serde_json::json;
use tokio::sync::{oneshot, watch};
use tokio::time::{MissedTickBehavior, interval_at};

use crate::patience::{PATIENCE, until};
use crate::peer::Peer;

/// How often each peer says something.
const PACE: Duration = Duration::from_millis(50);

/// A ring of peers: each publishes to a topic of its own, which the next one hears.
pub struct Chatter {
    heard: Arc<Heard>,
    stop: watch::Sender<bool>,
    thread: Option<thread::JoinHandle<anyhow::Result<()>>>,
}

/// How long messages took, from the publisher's hand to the subscriber's.
#[derive(Debug, Clone, Copy)]
pub struct Latency {
    /// 99 of 100 took no longer.
    pub p99: Duration,
    /// How many were measured.
    pub count: usize,
}

#[derive(Default)]
struct Heard(Mutex<Vec<Duration>>);

impl Heard {
    fn samples<T>(&self, look: impl FnOnce(&mut Vec<Duration>) -> T) -> T {
        look(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Chatter {
    /// Connects so many peers and lets them talk.
    pub async fn start(address: SocketAddr, peers: usize) -> anyhow::Result<Self> {
        let heard = Arc::new(Heard::default());
        let (stop, stopped) = watch::channel(false);
        let (ready, is_ready) = oneshot::channel();
        let ring = Ring { address, peers, heard: heard.clone(), stopped };
        let thread = thread::Builder::new().name("chatter".to_owned()).spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(ring.run(ready))
        })?;
        let chatter = Self { heard, stop, thread: Some(thread) };
        match is_ready.await {
            Ok(()) => Ok(chatter),
            Err(_) => Err(chatter.end().await.err().context("the chatter ended")?),
        }
    }

    /// Starts a new measurement.
    pub fn begin(&self) {
        self.heard.samples(Vec::clear);
    }

    /// Waits until so many messages have been measured since the last [`Chatter::begin`].
    pub async fn measured(&self, count: usize) -> anyhow::Result<()> {
        until(format_args!("{count} messages among the chatter"), PATIENCE, async || {
            ensure!(
                !self.thread.as_ref().is_some_and(thread::JoinHandle::is_finished),
                "the chatter broke off"
            );
            Ok((self.heard.samples(|samples| samples.len()) >= count).then_some(()))
        })
        .await
    }

    /// What was measured since the last [`Chatter::begin`].
    pub fn latency(&self) -> Latency {
        let mut samples = self.heard.samples(|samples| samples.clone());
        samples.sort_unstable();
        let place = (samples.len() * 99).div_ceil(100).saturating_sub(1);
        Latency { p99: samples.get(place).copied().unwrap_or_default(), count: samples.len() }
    }

    /// Ends it; an error if any peer was closed, or missed, repeated or reordered a message.
    pub async fn end(mut self) -> anyhow::Result<()> {
        self.stop.send_replace(true);
        let thread = self.thread.take().context("it is ended once")?;
        until("the chatter's end", PATIENCE, async || Ok(thread.is_finished().then_some(()))).await?;
        thread.join().unwrap_or_else(|_| bail!("the chatter panicked"))
    }
}

impl Drop for Chatter {
    fn drop(&mut self) {
        self.stop.send_replace(true);
    }
}

/// The peers, before they talk.
struct Ring {
    address: SocketAddr,
    peers: usize,
    heard: Arc<Heard>,
    stopped: watch::Receiver<bool>,
}

impl Ring {
    async fn run(self, ready: oneshot::Sender<()>) -> anyhow::Result<()> {
        let began = Instant::now();
        let mut members = Vec::with_capacity(self.peers);
        for place in 0..self.peers {
            let mut peer = Peer::connect(self.address, "/chatter").await?;
            peer.subscribe(&topic((place + self.peers - 1) % self.peers)).await?;
            members.push(peer);
        }
        let mut talks = tokio::task::JoinSet::new();
        for (place, peer) in members.into_iter().enumerate() {
            let first = PACE * place as u32 / self.peers as u32;
            let member = Member { peer, own: topic(place), began, heard: self.heard.clone(), next: 0 };
            talks.spawn(member.talk(first));
        }
        let _ = ready.send(()); // Who waited may have given up.
        let mut stopped = self.stopped;
        tokio::select! {
            _ = stopped.wait_for(|stopped| *stopped) => Ok(()),
            Some(talk) = talks.join_next() => talk?,
        }
    }
}

struct Member {
    peer: Peer,
    own: String,
    began: Instant,
    heard: Arc<Heard>,
    next: u64,
}

impl Member {
    /// Talks and listens until something is wrong.
    async fn talk(mut self, first: Duration) -> anyhow::Result<()> {
        let mut ticks = interval_at(tokio::time::Instant::now() + first, PACE);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut number = 0;
        loop {
            tokio::select! {
                message = self.peer.next() => self.hear(&message?)?,
                _ = ticks.tick() => {
                    let at = self.began.elapsed().as_micros() as u64;
                    let payload = json!([number, at]);
                    self.peer.send(json!({ "type": "publish", "topic": self.own, "payload": payload })).await?;
                    number += 1;
                }
            }
        }
    }

    fn hear(&mut self, publication: &serde_json::Value) -> anyhow::Result<()> {
        if publication["topic"] == "session" {
            return Ok(());
        }
        let payload = &publication["payload"];
        ensure!(payload[0] == self.next, "expected message {} and got {publication}", self.next);
        self.next += 1;
        let at = Duration::from_micros(payload[1].as_u64().context("a time")?);
        let took = self.began.elapsed().saturating_sub(at);
        self.heard.samples(|samples| samples.push(took));
        Ok(())
    }
}

fn topic(place: usize) -> String {
    format!("chatter:{place}")
}
