//! A connected fleet whose subscriptions have all taken effect: where runs start from.

use anyhow::{Result, bail, ensure};

use super::{Answers, Topics, audience::Audience, publishers::Publishers};
use crate::{
    clock::{self, Nanos, SECOND},
    fleet::{Fleet, Rest},
    limits,
    process::{Beside, Server},
    target::Target,
};

/// Who takes part, and against whom.
#[derive(Debug, Clone)]
pub struct Cast {
    /// The measured server's address: where the subscribers connect.
    pub target: Target,
    /// Where the publishers connect: another node of the cluster, or the same.
    pub publishing: Target,
    /// Its process, if its costs are wanted.
    pub server: Option<Server>,
    /// Other processes whose CPU is wanted.
    pub beside: Vec<Beside>,
    /// What is subscribed to.
    pub topics: Topics,
    /// Subscribers in all.
    pub peers: u32,
    /// Publishers, who don't subscribe.
    pub publishers: u32,
    /// Bytes of a whole payload.
    pub size: usize,
    /// Upgrades under way at a time.
    pub concurrency: u32,
    /// How to find out that a subscription has taken effect.
    pub answers: Answers,
    /// What the client does between deliveries.
    pub rest: Rest,
}

/// The cast, connected.
pub struct Stage {
    pub(super) cast: Cast,
    pub(super) fleet: Fleet,
    pub(super) audience: Audience,
    pub(super) publishers: Publishers,
}

/// How often unconfirmed topics get another probe.
const PROBE_EVERY: Nanos = SECOND / 5;

/// How long nothing may happen while connecting.
const PATIENCE: Nanos = 30 * SECOND;

impl Stage {
    /// Connects everybody, subscribes, and waits until every subscription has taken effect.
    pub fn open(cast: Cast) -> Result<Self> {
        ensure!(
            cast.topics.count > 0 && cast.concurrency > 0,
            "there must be a topic and a connection at a time"
        );
        ensure!(cast.publishers > 0 || cast.answers == Answers::Ok, "without answers a publisher must probe");
        limits::make_room_for(u64::from(cast.peers + cast.publishers))?;
        let mut fleet = Fleet::new(cast.concurrency, cast.rest)?;
        fleet.add(&cast.target, cast.peers);
        fleet.add(&cast.publishing, cast.publishers);
        let audience = Audience::new(cast.topics.clone(), cast.peers, cast.publishers, cast.answers);
        let publishers = Publishers::new(cast.peers, cast.publishers, &cast.topics, cast.size);
        let mut stage = Self { cast, fleet, audience, publishers };
        stage.settle()?;
        Ok(stage)
    }

    /// Lets the peers live on until then, answering pings.
    pub fn hold(&mut self, until: Nanos) -> Result<()> {
        while clock::now() < until {
            self.fleet.turn(until, &mut self.audience)?;
        }
        Ok(())
    }

    fn settle(&mut self) -> Result<()> {
        let mut patience = Patience::new(clock::now());
        let mut probe_due = 0;
        while !self.is_settled() {
            let now = clock::now();
            let progress = (self.fleet.tally().opened, self.audience.confirmed_count);
            if patience.ends(now, progress) {
                bail!(
                    "nothing happened for {} s: {} of {} peers are connected, {} subscriptions confirmed{}",
                    PATIENCE / SECOND,
                    progress.0,
                    self.cast.peers + self.cast.publishers,
                    progress.1,
                    if self.cast.answers == Answers::Ok {
                        " (a server without answers needs --no-ack)"
                    } else {
                        ""
                    },
                );
            }
            if let Some(complaint) = &self.audience.complaint {
                bail!("the server objected while peers subscribed: {complaint}");
            }
            if self.cast.answers == Answers::Nothing && self.everybody_is_open() && now >= probe_due {
                self.publishers.probe(&mut self.fleet, &self.audience.unconfirmed())?;
                probe_due = now + PROBE_EVERY;
            }
            self.fleet.turn(now + PROBE_EVERY, &mut self.audience)?;
        }
        Ok(())
    }

    fn is_settled(&self) -> bool {
        self.everybody_is_open() && self.audience.confirmed_count == self.cast.peers
    }

    fn everybody_is_open(&self) -> bool {
        self.fleet.tally().opened == self.cast.peers + self.cast.publishers
    }
}

/// Notices that something has stopped moving.
#[derive(Debug)]
pub(super) struct Patience<T> {
    since: Nanos,
    last: Option<T>,
}

impl<T: PartialEq> Patience<T> {
    pub(super) fn new(now: Nanos) -> Self {
        Self { since: now, last: None }
    }

    /// Whether `progress` has been the same for too long.
    pub(super) fn ends(&mut self, now: Nanos, progress: T) -> bool {
        if self.last.as_ref() != Some(&progress) {
            self.last = Some(progress);
            self.since = now;
        }
        now - self.since > PATIENCE
    }
}
