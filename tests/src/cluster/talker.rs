//! A peer that publishes numbers all the time, and what has become of them.

use std::collections::HashSet;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval};

use super::listener::{Heard, Listener};
use crate::patience::{PATIENCE, soon};
use crate::peer::Peer;

/// A peer that publishes 0, 1, 2 … on a topic and asks for an answer to each; it ends with this value.
pub struct Talker {
    topic: String,
    fates: watch::Receiver<Vec<Option<Fate>>>,
    stop: watch::Sender<bool>,
    task: JoinHandle<anyhow::Result<()>>,
}

/// How the node answered a publication.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// Every node has it.
    Taken,
    /// For certain only the publisher's node has it.
    Local,
    /// Nobody has it.
    Refused,
}

impl Talker {
    /// Talks with this peer, on a topic that nobody else publishes on.
    pub fn start(peer: Peer, topic: &str, pace: Duration) -> Self {
        let (note, fates) = watch::channel(Vec::new());
        let (stop, stopped) = watch::channel(false);
        let talk = Talk { peer, topic: topic.to_owned(), note, stopped };
        Self { topic: topic.to_owned(), fates, stop, task: tokio::spawn(talk.run(pace)) }
    }

    /// How many it has published.
    pub fn published(&self) -> usize {
        self.fates.borrow().len()
    }

    /// Waits until so many more are published.
    pub async fn publishes(&mut self, more: usize) -> anyhow::Result<()> {
        let goal = self.published() + more;
        self.sees(&format!("{more} more publications"), |fates| fates.len() >= goal).await
    }

    /// Waits until something published from now on meets this fate.
    pub async fn meets(&mut self, fate: Fate) -> anyhow::Result<()> {
        let now = self.published();
        self.sees(&format!("{fate:?}"), |fates| fates[now..].contains(&Some(fate))).await
    }

    async fn sees(&mut self, what: &str, fits: impl Fn(&[Option<Fate>]) -> bool) -> anyhow::Result<()> {
        let what = format!("{what} by the talker on {}", self.topic);
        soon(&what, async {
            self.fates.wait_for(|fates| fits(fates)).await.context("it was closed")?;
            Ok(())
        })
        .await
    }

    /// Ends its talk; says how each publication was answered.
    pub async fn end(mut self) -> anyhow::Result<Vec<Fate>> {
        self.stop.send_replace(true);
        soon("the talker's last answer", async { (&mut self.task).await? }).await?;
        let fates = self.fates.borrow();
        fates.iter().copied().collect::<Option<_>>().context("a publication without an answer")
    }
}

impl Drop for Talker {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Talk {
    peer: Peer,
    topic: String,
    note: watch::Sender<Vec<Option<Fate>>>,
    stopped: watch::Receiver<bool>,
}

impl Talk {
    async fn run(mut self, pace: Duration) -> anyhow::Result<()> {
        let mut ticks = interval(pace);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut waiting = 0;
        loop {
            let stopped = *self.stopped.borrow();
            if stopped && waiting == 0 {
                return Ok(());
            }
            tokio::select! {
                _ = ticks.tick(), if !stopped => {
                    self.publish().await?;
                    waiting += 1;
                }
                _ = self.stopped.changed(), if !stopped => {}
                answer = self.peer.next() => waiting -= usize::from(self.settle(&answer?)?),
            }
        }
    }

    async fn publish(&mut self) -> anyhow::Result<()> {
        let number = self.note.borrow().len();
        self.note.send_modify(|fates| fates.push(None));
        let frame = json!({ "type": "publish", "topic": self.topic, "payload": number, "id": number });
        self.peer.send(frame).await
    }

    /// Notes an answer; false for a frame that is none.
    fn settle(&mut self, answer: &Value) -> anyhow::Result<bool> {
        let Some(number) = answer["id"].as_u64() else { return Ok(false) };
        let fate = match (answer["type"].as_str(), answer["local"].as_bool()) {
            (Some("ok"), None | Some(false)) => Fate::Taken,
            (Some("ok"), Some(true)) => Fate::Local,
            (Some("error"), _) if answer["code"] == "unavailable" => Fate::Refused,
            _ => bail!("publication {number} was answered {answer}"),
        };
        let mut fresh = false;
        self.note.send_modify(|fates| {
            fresh = fates.get_mut(number as usize).is_some_and(|old| old.replace(fate).is_none());
        });
        ensure!(fresh, "an answer that nobody waits for: {answer}");
        Ok(true)
    }
}

/// Where a listener is, as seen from a talker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Distance {
    /// On the same node: nothing is lost to it, whatever happens to links.
    Mate,
    /// On another node: it gets what was taken, except where a gap says otherwise.
    Remote,
}

impl Distance {
    fn is_promised(self, fate: Fate) -> bool {
        match self {
            Self::Mate => fate != Fate::Refused,
            Self::Remote => fate == Fate::Taken,
        }
    }
}

/// What a listener heard of a talker.
#[derive(Debug, Clone, Copy)]
enum Told {
    Number(usize),
    Gap,
}

impl Told {
    fn of(frame: &Value) -> Option<Self> {
        if frame["type"] == "gap" {
            return Some(Self::Gap);
        }
        Some(Self::Number(frame["payload"].as_u64()? as usize))
    }
}

/// Checks what a listener has heard of a talker who has ended, as soon as the last of it has come.
pub async fn check(
    listener: &mut Listener,
    topic: &str,
    fates: &[Fate],
    distance: Distance,
) -> anyhow::Result<()> {
    let told = |heard: &[Heard]| -> Vec<Told> {
        let frames = heard.iter().map(|heard| &heard.frame);
        frames.filter(|frame| frame["topic"] == topic).filter_map(Told::of).collect()
    };
    let last = fates.iter().rposition(|fate| distance.is_promised(*fate));
    let has_come = |told: &Told| matches!(told, Told::Number(number) if Some(*number) >= last);
    let is_over = |heard: &[Heard]| (last.is_none() || told(heard).iter().any(has_come)).then_some(());
    listener.finds(&format!("number {last:?} on {topic}"), PATIENCE, is_over).await?;
    verify(&told(&listener.heard()), fates, distance).with_context(|| format!("{topic}, {distance:?}"))
}

/// Nothing came twice, and between two gaps all that was promised, in order.
fn verify(told: &[Told], fates: &[Fate], distance: Distance) -> anyhow::Result<()> {
    let (mut next, mut excused, mut seen) = (0, false, HashSet::new());
    for told in told {
        let &Told::Number(number) = told else {
            excused = distance == Distance::Remote;
            continue;
        };
        ensure!(seen.insert(number), "{number} came twice");
        ensure!(number >= next || excused, "{number} came after {}", next - 1);
        let is_missing = |each: &usize| distance.is_promised(fates[*each]) && !seen.contains(each);
        let mut missing = (next..number).filter(is_missing);
        if let Some(lost) = missing.next().filter(|_| !excused) {
            bail!("{lost}, answered {:?}, and {} more were lost", fates[lost], missing.count());
        }
        (next, excused) = (number + 1, false);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::Distance::{Mate, Remote};
    use super::Fate::{Local, Refused, Taken};
    use super::Told::{Gap, Number};
    use super::{Distance, Fate, Told, verify};

    #[test]
    fn a_listener_is_owed_what_it_was_promised_and_nothing_twice() {
        let table: [(&[Told], [Fate; 3], Distance, bool); 11] = [
            (&[Number(0), Number(1), Number(2)], [Taken; 3], Remote, true),
            (&[Number(0), Number(2)], [Taken; 3], Remote, false),
            (&[Number(0), Gap, Number(2)], [Taken; 3], Remote, true),
            (&[Number(0), Gap, Number(2)], [Taken; 3], Mate, false),
            (&[Number(0), Number(2)], [Taken, Local, Taken], Remote, true),
            (&[Number(0), Number(2)], [Taken, Local, Taken], Mate, false),
            (&[Number(0), Number(2)], [Taken, Refused, Taken], Mate, true),
            (&[Number(0), Number(2), Number(1)], [Local; 3], Remote, false),
            (&[Number(0), Number(1), Gap, Number(1), Number(2)], [Taken; 3], Remote, false),
            (&[Number(0), Number(1), Gap, Number(0), Number(2)], [Taken; 3], Remote, false),
            (&[Gap, Number(0), Number(2)], [Taken; 3], Remote, false),
        ];
        for (told, fates, distance, is_good) in table {
            assert_eq!(verify(told, &fates, distance).is_ok(), is_good, "{told:?} {fates:?} {distance:?}");
        }
    }
}
