//! A connected fleet whose subscriptions have all taken effect: where runs start from.

use anyhow::{Result, bail, ensure};
use serde::{Deserialize, Serialize};

use super::{
    Answers, DIGITS, Mode, TOPICS_MAX, Topics,
    audience::Audience,
    follower::{Follower, Stretch},
    publishers::Publishers,
};
use crate::{
    adapter::{Adapter, Losses, Protocol},
    clock::{self, Nanos, SECOND},
    fleet::{Fleet, Rest},
    limits,
    process::{Beside, Server},
    roll::Roll,
    sampler::Counts,
    target::Target,
};

/// Who takes part, and against whom.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Cast {
    /// The measured server's address: where the subscribers connect.
    pub target: Target,
    /// Where the publishers connect: another node of the cluster, or the same.
    pub publishing: Target,
    /// How it is spoken to.
    pub protocol: Protocol,
    /// What is made faulty on purpose.
    pub losses: Option<Losses>,
    /// Its process, if its costs are wanted.
    #[serde(skip)]
    pub server: Option<Server>,
    /// Other processes whose CPU is wanted.
    #[serde(skip)]
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
    /// Whether publications ask for an answer.
    pub asks: bool,
    /// What the client does between deliveries.
    pub rest: Rest,
    /// Which part of all this is this process'; none if everything is.
    pub part: Option<Part>,
}

/// One process' part of a cast.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// The number of its first subscriber.
    pub first: u32,
    /// Its subscribers.
    pub peers: u32,
    /// Whether the publishers are here.
    pub publishes: bool,
}

/// The cast, connected.
pub struct Stage {
    pub(super) cast: Cast,
    pub(super) roll: Roll,
    pub(super) fleet: Fleet,
    pub(super) audience: Audience,
    pub(super) publishers: Publishers,
    /// What was published before this run.
    pub(super) sent_before: Vec<u32>,
    /// Deliveries up to the end of the run before. An agent that is late finds the first ones of its run
    /// delivered already, and they are that run's.
    pub(super) delivered_before: u64,
    /// Whatever went wrong before this run.
    pub(super) faults_before: u64,
    lines: u32,
    probe_due: Nanos,
}

/// How many streams of numbers are checked, one for each subscriber and publisher and one for each publisher
/// and topic: a gigabyte.
const STREAMS_MAX: u64 = 1 << 28;

/// How often unconfirmed topics get another probe.
const PROBE_EVERY: Nanos = SECOND / 5;

/// How long nothing may happen while connecting.
pub(crate) const PATIENCE: Nanos = 30 * SECOND;

impl Cast {
    /// Nobody yet, on one topic of a server in its plain dialect.
    pub fn new(target: Target) -> Self {
        Self {
            publishing: target.clone(),
            target,
            protocol: Protocol::Plain,
            losses: None,
            server: None,
            beside: Vec::new(),
            topics: Topics::of_relay("load", 1),
            peers: 0,
            publishers: 0,
            size: 128,
            concurrency: 64,
            answers: Answers::Ok,
            asks: false,
            rest: Rest::Sleep,
            part: None,
        }
    }

    /// What is done, in a line.
    pub fn title(&self) -> String {
        let Self { peers, publishers, size, protocol, .. } = self;
        let topics = self.topics.count;
        format!(
            "publishers: {publishers}, peers: {peers}, topics: {topics}, bytes: {size}, protocol: {}",
            protocol.name()
        )
    }

    /// This process' part.
    pub fn part(&self) -> Part {
        self.part.unwrap_or(Part { first: 0, peers: self.peers, publishes: true })
    }

    fn may_be_checked(&self) -> Result<()> {
        let streams = u64::from(self.publishers) * u64::from(self.part().peers.max(self.topics.count));
        ensure!(
            streams <= STREAMS_MAX,
            "{} publishers for so many subscribers or topics make {streams} streams of publications to check, \
             at most {STREAMS_MAX} are possible",
            self.publishers
        );
        Ok(())
    }

    fn roll(&self) -> Roll {
        let Part { first, peers, .. } = self.part();
        let (publishers, binding) = (self.publishers, self.protocol.binding());
        Roll { topics: self.topics.clone(), first, peers, publishers, binding }
    }
}

impl Stage {
    /// Connects everybody, subscribes, and waits until every subscription has taken effect.
    pub fn open(cast: Cast, follower: &mut dyn Follower) -> Result<Self> {
        let mut stage = Self::new(cast)?;
        stage.settle(follower)?;
        Ok(stage)
    }

    /// Prepares everything but connects nobody.
    pub fn new(cast: Cast) -> Result<Self> {
        ensure!(
            cast.topics.count > 0 && cast.concurrency > 0,
            "there must be a topic and a connection at a time"
        );
        ensure!(
            cast.topics.count <= TOPICS_MAX,
            "{} topics are too many: their names have {DIGITS} digits",
            cast.topics.count
        );
        ensure!(
            cast.topics.mode == Mode::Relay || cast.protocol.knows_modes(),
            "topics that remember are Dunlin's: the adapter {} knows none",
            cast.protocol.name()
        );
        ensure!(cast.publishers > 0 || cast.answers == Answers::Ok, "without answers a publisher must probe");
        let roll = cast.roll();
        let lines = if cast.part().publishes { roll.lines() } else { 0 };
        limits::make_room_for(u64::from(roll.peers) + lines)?;
        cast.may_be_checked()?;
        let lines = lines as u32;
        let mut fleet = Fleet::new(cast.concurrency, cast.rest)?;
        for peer in 0..roll.peers + lines {
            let target = if roll.publishes(peer) { &cast.publishing } else { &cast.target };
            let target = target.at(cast.protocol.path(&target.path, &roll, peer));
            fleet.add(&Target { peers_elsewhere: roll.first, ..target }, 1);
        }
        let adapter = Adapter::new(cast.protocol, cast.losses).reading(cast.topics.mode);
        let receives = cast.protocol.receives_publishers();
        let audience = Audience::new(roll.clone(), lines, cast.answers, adapter, receives);
        let template = cast.protocol.template(&roll, cast.size, cast.asks)?;
        let publishers = Publishers::new(roll.clone(), template);
        let sent_before = publishers.sent().to_vec();
        Ok(Self {
            cast,
            roll,
            fleet,
            audience,
            publishers,
            sent_before,
            delivered_before: 0,
            faults_before: 0,
            lines,
            probe_due: 0,
        })
    }

    /// Lets the peers live on until then, answering pings.
    pub fn hold(&mut self, until: Nanos) -> Result<()> {
        while clock::now() < until {
            self.fleet.turn(until, &mut self.audience)?;
        }
        Ok(())
    }

    /// How far this process' clock is ahead of the publishers'.
    pub fn set_skew(&mut self, skew: i64) {
        self.audience.judge.skew = skew;
    }

    /// Waits until every subscription of this process has taken effect.
    pub fn settle(&mut self, follower: &mut dyn Follower) -> Result<()> {
        let mut patience = Patience::new(clock::now());
        follower.phase("connecting", Stretch::Peers(self.roll.peers + self.lines));
        while !self.is_settled() {
            let now = clock::now();
            let progress = (self.fleet.tally().opened, self.audience.judge.confirmed_count);
            if !self.waits_for_others() && patience.ends(now, progress) {
                bail!(self.stuck());
            }
            if let Some(complaint) = &self.audience.judge.complaint {
                bail!("the server objected while peers subscribed: {complaint}");
            }
            if now >= follower.due() {
                let _ = follower.look(now, self.connected(), None)?;
            }
            self.probe_if_due(now)?;
            self.fleet.turn(now + PROBE_EVERY, &mut self.audience)?;
        }
        Ok(())
    }

    /// Probes for the subscribers of all processes, for whom this one can't know when it is enough.
    pub fn probe_if_due(&mut self, now: Nanos) -> Result<()> {
        if self.cast.answers == Answers::Ok
            || !self.publishes()
            || !self.may_publish()
            || now < self.probe_due
        {
            return Ok(());
        }
        self.probe_due = now + PROBE_EVERY;
        if self.cast.part.is_some() {
            self.publishers.probe(&mut self.fleet, 0..self.roll.topics.count)
        } else {
            self.publishers.probe(&mut self.fleet, self.audience.unconfirmed().into_iter())
        }
    }

    /// Whether the publishers are in this process.
    pub fn publishes(&self) -> bool {
        self.cast.part().publishes
    }

    fn is_settled(&self) -> bool {
        self.everybody_is_open() && self.audience.judge.confirmed_count == self.roll.peers + self.lines
    }

    fn everybody_is_open(&self) -> bool {
        self.fleet.tally().opened == self.roll.peers + self.lines
    }

    fn may_publish(&self) -> bool {
        self.everybody_is_open() && self.audience.publishers_are_received()
    }

    /// Whether only another process' publishers can bring this one forward.
    fn waits_for_others(&self) -> bool {
        self.cast.answers == Answers::Nothing && !self.publishes() && self.everybody_is_open()
    }

    fn connected(&self) -> Counts {
        let tally = self.fleet.tally();
        Counts { peers: tally.opened - tally.closed, ..Counts::default() }
    }

    fn stuck(&self) -> String {
        let hint = self.cast.answers.hint();
        format!(
            "nothing happened for {} s: {} of {} peers are connected, {} are ready{hint}",
            PATIENCE / SECOND,
            self.fleet.tally().opened,
            self.roll.peers + self.lines,
            self.audience.judge.confirmed_count,
        )
    }
}

/// Notices that something has stopped moving.
#[derive(Debug)]
pub(crate) struct Patience<T> {
    since: Nanos,
    last: Option<T>,
    most: Nanos,
}

impl<T: PartialEq> Patience<T> {
    pub(crate) fn new(now: Nanos) -> Self {
        Self::of(PATIENCE, now)
    }

    /// Another than the usual.
    pub(crate) fn of(most: Nanos, now: Nanos) -> Self {
        Self { since: now, last: None, most }
    }

    /// Whether `progress` has been the same for too long.
    pub(crate) fn ends(&mut self, now: Nanos, progress: T) -> bool {
        if self.last.as_ref() != Some(&progress) {
            self.last = Some(progress);
            self.since = now;
        }
        now.saturating_sub(self.since) > self.most
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patience_ends_when_nothing_has_moved_for_long_enough() {
        let mut patience = Patience::of(60 * SECOND, 0);
        assert!(!patience.ends(SECOND, (1, 0)));
        assert!(!patience.ends(60 * SECOND, (1, 1)));
        assert!(!patience.ends(120 * SECOND, (1, 1)));
        assert!(patience.ends(121 * SECOND, (1, 1)));
    }
}
