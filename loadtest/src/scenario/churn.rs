//! `churn`: the same number of peers stays connected while each lives for a while and another takes its
//! place. What a node doesn't give back shows as memory or descriptors that grow.

mod guests;
mod outcome;

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap},
    time::Duration,
};

use anyhow::{Result, bail, ensure};

use self::guests::{Guests, News, Stay};
pub use self::outcome::{Churned, Growth, Ways};
use super::{
    Answers, Arrival, Topics,
    voice::{Ear, Voice},
};
use crate::{
    adapter::Protocol,
    chance::Chance,
    clock::{self, Nanos, SECOND},
    fleet::{Cut, Fleet, Peer, Rest, Tally},
    limits,
    pacer::Pacer,
    process::{Beside, Cpu, Server},
    progress::{Progress, glance},
    record::Record,
    redis::Redis,
    roll::Roll,
    sampler::{Counts, Sampler, interval_of},
    statistics::Latencies,
    target::Target,
};

/// Who comes and goes.
#[derive(Debug, Clone)]
pub struct Churn {
    /// The measured server's address.
    pub target: Target,
    /// How it is spoken to.
    pub protocol: Protocol,
    /// Its process: without it nothing is said about memory.
    pub server: Option<Server>,
    /// Other processes whose CPU is wanted.
    pub beside: Vec<Beside>,
    /// What the peers subscribe to, each to one.
    pub topics: Topics,
    /// Connected at any time.
    pub peers: u32,
    /// How many leave, and come, per second on average.
    pub per_second: f64,
    /// How long.
    pub duration: Duration,
    /// Deliveries per second of what they publish; 0 publishes nothing.
    pub rate: f64,
    /// The part that leaves without a goodbye.
    pub abrupt: f64,
    /// Bytes of a whole payload.
    pub size: usize,
    /// Upgrades under way at a time.
    pub concurrency: u32,
    /// How to find out that a subscription has taken effect.
    pub answers: Answers,
    /// What lives and choices are drawn from.
    pub seed: u64,
}

/// How long a goodbye may be unanswered.
const GOODBYE_MAX: Nanos = 5 * SECOND;

/// How long connecting and subscribing may take before the run is given up.
const COMING_MAX: Nanos = 60 * SECOND;

/// When a peer that was not let in tries again.
const REFUSED_PAUSE: Nanos = SECOND;

/// Runs it: connects everybody, then lets them come and go.
pub fn run(churn: Churn, redis: Option<Redis>, progress: &mut dyn Progress) -> Result<(Churned, Record)> {
    ensure!(
        churn.peers > 0 && churn.topics.count > 0 && churn.concurrency > 0,
        "there must be a peer and a topic"
    );
    ensure!(churn.per_second > 0.0, "nobody leaves at {} peers a second", churn.per_second);
    ensure!((0.0..=1.0).contains(&churn.abrupt), "the abrupt part of all is between 0 and 1");
    ensure!(
        churn.rate <= 0.0 || churn.audience() > 0.0,
        "{} peers on {} topics have nobody to deliver to but themselves: give more peers, or --rate 0",
        churn.peers,
        churn.topics.count
    );
    ensure!(
        churn.rate <= 0.0 || churn.protocol != Protocol::Nchan,
        "nchan's subscribers can't publish: churn them with --rate 0"
    );
    limits::make_room_for(churn.peers.into())?;
    let record = Record::begin("churn", churn.title());
    let mut scene = Scene::open(churn, progress)?;
    let start = clock::now();
    let (churn, interval) = (&scene.churn, interval_of(scene.churn.duration));
    let sampler = Sampler::new(start, interval, churn.server, churn.beside.clone());
    let mut sampler = sampler.with_redis(start, redis)?;
    let before = scene.ends(start)?;
    progress.line("measuring");
    scene.play(&mut sampler, progress)?;
    let after = scene.ends(clock::now())?;
    progress.line("measured");
    let outcome = scene.judge(&before, &after, &sampler);
    Ok((outcome.clone(), outcome.into_record(record.with_samples(sampler))))
}

impl Churn {
    /// Who gets a publication: a topic's peers but the publisher.
    fn audience(&self) -> f64 {
        f64::from(self.peers) / f64::from(self.topics.count) - 1.0
    }

    /// Who comes and goes. Whoever is here publishes, so nobody is there for that alone.
    fn roll(&self) -> Roll {
        let binding = self.protocol.binding();
        Roll { topics: self.topics.clone(), first: 0, peers: self.peers, publishers: 0, binding }
    }

    fn mean_life_s(&self) -> f64 {
        f64::from(self.peers) / self.per_second
    }

    fn title(&self) -> String {
        format!(
            "{} peers on {} topics, {:.0} of them replaced per second, {:.0} deliveries/s meanwhile",
            self.peers, self.topics.count, self.per_second, self.rate
        )
    }
}

/// What is read at both ends of the measured time.
#[derive(Debug)]
struct Ends {
    at: Nanos,
    cpu: Option<Cpu>,
    tally: Tally,
}

/// When a peer leaves. The number of its life tells a plan that was overtaken.
type Departure = Reverse<(Nanos, Peer, u32)>;

/// The stage of a churn.
struct Scene {
    churn: Churn,
    fleet: Fleet,
    guests: Guests,
    chance: Chance,
    lives: Vec<u32>,
    departures: BinaryHeap<Departure>,
    voice: Voice,
    ways: Ways,
    cycles: u64,
    thrown_out: BTreeMap<u16, u64>,
    refused: u64,
    unanswered: u64,
    latencies: Latencies,
    behind: Nanos,
    behind_max: Nanos,
}

impl Scene {
    /// Connects everybody. Lives begin at once, but nobody leaves yet.
    fn open(churn: Churn, progress: &mut dyn Progress) -> Result<Self> {
        let roll = churn.roll();
        let mut fleet = Fleet::new(churn.concurrency, Rest::Sleep)?;
        for peer in 0..churn.peers {
            let path = churn.protocol.path(&churn.target.path, &roll, peer);
            fleet.add(&churn.target.at(path), 1);
        }
        let arrival = Arrival::of(churn.protocol, churn.answers);
        let voice = Voice::new(churn.protocol, &roll, churn.size)?;
        let ear = Ear::new(churn.protocol, roll);
        let mut scene = Self {
            guests: Guests::new(churn.topics.clone(), churn.peers, arrival, ear, clock::now()),
            chance: Chance::new(churn.seed),
            lives: vec![0; churn.peers as usize],
            departures: BinaryHeap::new(),
            voice,
            ways: Ways::default(),
            cycles: 0,
            thrown_out: BTreeMap::new(),
            refused: 0,
            unanswered: 0,
            latencies: Latencies::new(),
            behind: 0,
            behind_max: 0,
            fleet,
            churn,
        };
        progress.phase("connecting", Some(scene.churn.peers.into()));
        while scene.guests.here < scene.churn.peers {
            let now = clock::now();
            scene.fleet.turn(now + SECOND / 10, &mut scene.guests)?;
            scene.take_news(now);
            if let Some(why) = scene.guests.complaint.as_ref().filter(|_| scene.refused > 0) {
                bail!("before anybody left: {why}");
            }
            scene.mind_the_waiting(now)?;
            progress.at(scene.guests.here.into(), "");
        }
        scene.cycles = 0;
        Ok(scene)
    }

    /// Lets peers come and go until the time is over.
    fn play(&mut self, sampler: &mut Sampler, progress: &mut dyn Progress) -> Result<()> {
        let start = clock::now();
        let until = start + self.churn.duration.as_nanos() as Nanos;
        let mut pacer =
            (self.churn.rate > 0.0).then(|| Pacer::new(start, self.churn.rate / self.churn.audience()));
        progress.phase("churning", Some(self.churn.duration.as_secs()));
        loop {
            let now = clock::now();
            // What was due is published, however late: a load that stood still at the end is behind, too.
            while let Some(intended) = pacer.as_mut().and_then(|pacer| pacer.take_before(now, until)) {
                self.publish(now, intended)?;
            }
            if now >= until {
                return Ok(());
            }
            self.see_off(now)?;
            if now >= sampler.due() {
                self.sample(now, sampler)?;
                self.mind_the_waiting(now)?;
                let cycles = self.cycles as f64 * SECOND as f64 / (now - start) as f64;
                let seen = sampler.samples().last().map(glance).unwrap_or_default();
                progress.at((now - start) / SECOND, &format!("{cycles:.0} replaced/s  {seen}"));
            }
            let next = self.departures.peek().map_or(until, |Reverse((due, ..))| *due);
            let next = next.min(pacer.as_ref().map_or(until, Pacer::due)).min(sampler.due()).min(until);
            self.fleet.turn(next, &mut self.guests)?;
            self.take_news(clock::now());
        }
    }

    /// Ends the lives that are over.
    fn see_off(&mut self, now: Nanos) -> Result<()> {
        while let Some(&Reverse((due, peer, life))) = self.departures.peek() {
            if due > now {
                break;
            }
            self.departures.pop();
            if self.lives[peer as usize] != life || self.guests.stay(peer) != Stay::Here {
                continue;
            }
            self.guests.depart(peer, now);
            if !self.chance.falls(self.churn.abrupt) {
                self.ways.goodbye += 1;
                self.fleet.leave(peer)?;
            } else if self.chance.falls(0.5) {
                self.ways.reset += 1;
                self.cut(peer, Cut::Reset, now)?;
            } else {
                self.ways.half_frame += 1;
                self.cut(peer, Cut::HalfFrame, now)?;
            }
        }
        Ok(())
    }

    fn cut(&mut self, peer: Peer, cut: Cut, now: Nanos) -> Result<()> {
        if self.fleet.cut(peer, cut)? {
            self.replace(peer, now, now);
        }
        Ok(())
    }

    /// Another peer takes the place.
    fn replace(&mut self, peer: Peer, now: Nanos, due: Nanos) {
        self.guests.come(peer, now);
        self.fleet.dial_again(peer, due);
    }

    fn take_news(&mut self, now: Nanos) {
        for news in std::mem::take(&mut self.guests.news) {
            match news {
                News::Settled(peer) => self.begin_life(peer, now),
                News::Left(peer) => self.replace(peer, now, now),
                News::ThrownOut(peer, code) => {
                    *self.thrown_out.entry(code).or_default() += 1;
                    self.guests.complain(|| format!("peer {peer} was closed with {code}"));
                    self.replace(peer, now, now);
                }
                News::Refused(peer, why) => {
                    self.refused += 1;
                    self.guests.complain(|| why);
                    self.fleet.dial_again(peer, now + REFUSED_PAUSE);
                }
            }
        }
    }

    fn begin_life(&mut self, peer: Peer, now: Nanos) {
        let life_s = self.chance.life(self.churn.mean_life_s());
        let number = &mut self.lives[peer as usize];
        *number += 1;
        self.departures.push(Reverse((now + (life_s * SECOND as f64) as Nanos, peer, *number)));
        self.cycles += 1;
    }

    /// Who waits for too long: a goodbye without an answer is counted and cut, an arrival that doesn't
    /// succeed ends the run.
    fn mind_the_waiting(&mut self, now: Nanos) -> Result<()> {
        let waiting: Vec<_> = self.guests.waiting_since(now.saturating_sub(GOODBYE_MAX)).collect();
        for (peer, stay) in waiting {
            match stay {
                Stay::Leaving(_) => {
                    self.unanswered += 1;
                    self.cut(peer, Cut::Reset, now)?;
                }
                Stay::Coming(since) if now - since > COMING_MAX => bail!(
                    "a peer has been trying to connect and subscribe for {} s; {} of {} are here{}{}",
                    COMING_MAX / SECOND,
                    self.guests.here,
                    self.churn.peers,
                    self.churn.answers.hint(),
                    self.guests.complaint.as_ref().map_or(String::new(), |first| format!("; first: {first}")),
                ),
                Stay::Coming(_) | Stay::Here => {}
            }
        }
        Ok(())
    }

    /// Somebody who is here says something to its topic.
    fn publish(&mut self, now: Nanos, intended: Nanos) -> Result<()> {
        self.behind = self.behind.max(now - intended);
        self.behind_max = self.behind_max.max(self.behind);
        let Some(peer) = self.guests.anybody(self.chance.below(self.churn.peers)) else { return Ok(()) };
        self.voice.publish(&mut self.fleet, peer, self.churn.topics.of(peer), intended)
    }

    fn sample(&mut self, now: Nanos, sampler: &mut Sampler) -> Result<()> {
        let counts = Counts {
            deliveries: self.guests.delivered,
            publications: self.voice.published(),
            peers: self.guests.here,
            faults: self.faults(),
            intended_per_second: Some(self.churn.rate).filter(|rate| *rate > 0.0),
            behind: std::mem::take(&mut self.behind),
        };
        sampler.take(now, counts, Some(&self.guests.latencies))?;
        self.latencies.merge(&self.guests.latencies);
        self.guests.latencies.clear();
        Ok(())
    }

    fn faults(&self) -> u64 {
        let thrown_out: u64 = self.thrown_out.values().sum();
        thrown_out + self.refused + self.unanswered + self.guests.errors + self.guests.stray
    }

    fn ends(&self, at: Nanos) -> Result<Ends> {
        let cpu = self.churn.server.map(Server::cpu).transpose()?;
        Ok(Ends { at, cpu, tally: self.fleet.tally() })
    }
}
