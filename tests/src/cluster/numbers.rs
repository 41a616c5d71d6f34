//! Numbers on a log, and those who must miss none of them: publishers and followers that stay with their topic
//! whatever becomes of their node.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval};

use super::connect_v1;
use crate::patience::soon;
use crate::peer::Peer;

/// How often a publisher publishes what is due.
const TICK: Duration = Duration::from_millis(10);
/// Publications without an answer at most; whoever has more waits.
const WAITING_MAX: usize = 2_000;

/// Where peers connect, the first that takes them; changes when nodes go.
pub type Doors = watch::Receiver<Vec<SocketAddr>>;

/// Publishes 0, 1, 2 … on a log.
pub struct Publisher {
    acknowledged: watch::Receiver<Vec<bool>>,
    stop: watch::Sender<bool>,
    task: JoinHandle<anyhow::Result<()>>,
}

/// Hears the numbers on a log, and resumes where it was when its connection ends.
pub struct Follower {
    heard: watch::Receiver<Stretches>,
    task: JoinHandle<anyhow::Result<()>>,
}

/// What a follower was given.
#[derive(Debug, Clone, Default)]
pub struct Stretches {
    /// Numbers in the order in which they came; the next stretch begins where it was told that something is missing.
    pub numbers: Vec<Vec<u64>>,
    /// What it was told then.
    pub breaks: Vec<String>,
    /// How often it came back and nothing was missing.
    pub resumed: usize,
}

impl Publisher {
    /// Publishes so many a second.
    pub fn start(doors: Doors, topic: &str, per_second: usize) -> Self {
        let (note, acknowledged) = watch::channel(Vec::new());
        let (stop, stopped) = watch::channel(false);
        let publishing = Publishing { topic: topic.to_owned(), note, stopped, waiting: 0 };
        Self { acknowledged, stop, task: tokio::spawn(publishing.run(doors, per_second)) }
    }

    /// How many were published.
    pub fn published(&self) -> usize {
        self.acknowledged.borrow().len()
    }

    /// Waits until something that is published from now on is acknowledged.
    pub async fn is_heard(&mut self) -> anyhow::Result<()> {
        let now = self.published();
        soon("an acknowledgement", async {
            self.acknowledged.wait_for(|all| all[now..].contains(&true)).await?;
            Ok(())
        })
        .await
    }

    /// Ends it when everything is answered; says which numbers were acknowledged. The last one is.
    pub async fn end(mut self) -> anyhow::Result<Vec<bool>> {
        self.stop.send_replace(true);
        soon("the publisher's last answer", async { (&mut self.task).await? }).await?;
        Ok(self.acknowledged.borrow().clone())
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Publishing {
    topic: String,
    note: watch::Sender<Vec<bool>>,
    stopped: watch::Receiver<bool>,
    waiting: usize,
}

impl Publishing {
    async fn run(mut self, mut doors: Doors, per_second: usize) -> anyhow::Result<()> {
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let mut peer = enter(&mut doors).await?;
            self.waiting = 0;
            loop {
                let has_ended = *self.stopped.borrow() && self.waiting == 0;
                if has_ended && self.note.borrow().last() == Some(&true) {
                    return Ok(());
                }
                let went_on = tokio::select! {
                    _ = ticks.tick(), if self.waiting < WAITING_MAX => self.publish(&mut peer, per_second).await,
                    answer = peer.next() => answer.and_then(|answer| self.settle(&answer)),
                };
                // What was not answered over this connection never is.
                if went_on.is_err() && !is_open(&mut peer).await {
                    break;
                }
                went_on?;
            }
        }
    }

    async fn publish(&mut self, peer: &mut Peer, per_second: usize) -> anyhow::Result<()> {
        let count = match (*self.stopped.borrow(), self.waiting) {
            (false, _) => (per_second / 100).max(1),
            (true, 0) => 1,
            (true, _) => 0,
        };
        for _ in 0..count {
            let number = self.note.borrow().len();
            self.note.send_modify(|all| all.push(false));
            self.waiting += 1;
            let frame = json!({ "type": "publish", "topic": self.topic, "payload": number, "id": number });
            peer.send(frame).await?;
        }
        Ok(())
    }

    fn settle(&mut self, answer: &Value) -> anyhow::Result<()> {
        let Some(number) = answer["id"].as_u64() else { return Ok(()) };
        self.waiting -= 1;
        match (answer["type"].as_str(), answer["code"].as_str()) {
            (Some("ok"), _) => self.note.send_modify(|all| all[number as usize] = true),
            (_, Some("unavailable")) => {}
            _ => bail!("publishing {number}: {answer}"),
        }
        Ok(())
    }
}

impl Follower {
    /// Hears a log, and is there already.
    pub async fn start(mut doors: Doors, topic: &str) -> anyhow::Result<Self> {
        let peer = enter(&mut doors).await?;
        let (note, heard) = watch::channel(Stretches { numbers: vec![Vec::new()], ..Stretches::default() });
        let mut following = Following { topic: topic.to_owned(), note, cursor: None };
        let peer = following.subscribe(peer).await?;
        Ok(Self { heard, task: tokio::spawn(following.run(doors, peer)) })
    }

    /// What it was told each time when something was missing.
    pub fn breaks(&self) -> Vec<String> {
        self.heard.borrow().breaks.clone()
    }

    /// Waits until it was given a number; says what it was given until then.
    pub async fn hears(mut self, number: u64) -> anyhow::Result<Stretches> {
        let heard = async {
            let is_there =
                |all: &Stretches| all.numbers.iter().any(|stretch| stretch.last() == Some(&number));
            Ok(self.heard.wait_for(is_there).await?.clone())
        };
        let heard = soon(format_args!("number {number}"), heard).await;
        if self.task.is_finished() {
            soon("its end", async { (&mut self.task).await? }).await?;
        }
        heard.with_context(|| {
            format!("it was given {:?}", self.heard.borrow().numbers.last().map(|all| all.last()))
        })
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Following {
    topic: String,
    note: watch::Sender<Stretches>,
    cursor: Option<Value>,
}

impl Following {
    async fn run(mut self, mut doors: Doors, mut peer: Peer) -> anyhow::Result<()> {
        loop {
            match peer.next().await {
                Ok(frame) => self.take(&frame)?,
                Err(_) if !is_open(&mut peer).await => {
                    let next = enter(&mut doors).await?;
                    peer = self.subscribe(next).await?;
                }
                Err(error) => return Err(error),
            }
        }
    }

    async fn subscribe(&mut self, mut peer: Peer) -> anyhow::Result<Peer> {
        let mut frame = json!({ "type": "subscribe", "topic": self.topic });
        if let Some(cursor) = &self.cursor {
            frame["since"] = cursor.clone();
        }
        let answer = peer.ask(frame).await?;
        ensure!(answer["type"] == "ok", "{answer}");
        match answer["recovered"].as_bool() {
            Some(true) => self.note.send_modify(|all| all.resumed += 1),
            Some(false) => self.broke(format!("resumed: {}", answer["reason"])),
            None => ensure!(self.cursor.is_none(), "{answer}"),
        }
        for publication in answer["publications"].as_array().into_iter().flatten() {
            self.give(&publication["payload"])?;
        }
        self.cursor = answer.get("cursor").filter(|cursor| !cursor.is_null()).cloned();
        Ok(peer)
    }

    fn take(&mut self, frame: &Value) -> anyhow::Result<()> {
        match frame["type"].as_str() {
            Some("gap") => self.broke(frame["reason"].to_string()),
            None if frame["topic"] == *self.topic && frame["cursor"].is_string() => {
                self.cursor = Some(frame["cursor"].clone());
                self.give(&frame["payload"])?;
            }
            _ => bail!("an unexpected frame: {frame}"),
        }
        Ok(())
    }

    fn give(&mut self, payload: &Value) -> anyhow::Result<()> {
        let number = payload.as_u64().with_context(|| format!("no number: {payload}"))?;
        self.note
            .send_modify(|all| all.numbers.last_mut().expect("one is there from the first").push(number));
        Ok(())
    }

    fn broke(&mut self, why: String) {
        self.note.send_modify(|all| {
            all.numbers.push(Vec::new());
            all.breaks.push(why);
        });
    }
}

impl Stretches {
    /// Checks what was given against what was acknowledged: within a stretch nothing twice, and of what was
    /// acknowledged nothing missing and nothing out of its order.
    pub fn check(&self, acknowledged: &[bool]) -> anyhow::Result<()> {
        for stretch in &self.numbers {
            let mut seen = std::collections::HashSet::new();
            for number in stretch {
                ensure!(seen.insert(number), "{number} came twice, after {:?}", self.breaks);
            }
            let was_acknowledged = |number: &u64| acknowledged[*number as usize];
            let got: Vec<u64> = stretch.iter().copied().filter(was_acknowledged).collect();
            let (Some(first), Some(last)) = (got.first(), got.last()) else { continue };
            let due: Vec<u64> = (*first..=*last).filter(was_acknowledged).collect();
            let wrong = got.iter().zip(&due).find(|(got, due)| got != due);
            ensure!(got == due, "{wrong:?} is the first that differs, of {} and {}", got.len(), due.len());
        }
        Ok(())
    }
}

/// Connects to the first node that takes peers.
async fn enter(doors: &mut Doors) -> anyhow::Result<Peer> {
    let mut looks = interval(TICK);
    soon("a node that takes peers", async {
        loop {
            looks.tick().await;
            let all = doors.borrow().clone();
            for door in all {
                if let Ok(peer) = connect_v1(door, "/numbers").await {
                    return Ok(peer);
                }
            }
        }
    })
    .await
}

/// Whether a peer that met an error can go on.
async fn is_open(peer: &mut Peer) -> bool {
    peer.ask(json!({ "type": "ping" })).await.is_ok()
}
