//! `storm`: a node goes, and all its peers come to another one at once.

mod crowd;
mod outcome;
mod plan;

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail, ensure};
use rustix::process::kill_process;

use self::crowd::{Crowd, News, Role};
pub use self::{
    outcome::{Back, Control, Stormed},
    plan::{End, Storm},
};
use super::{Arrival, TOPICS_MAX, stage::Patience, voice::Voice};
use crate::{
    chance::Chance,
    clock::{self, Nanos, SECOND},
    fleet::{Cut, Fleet, Rest},
    limits,
    pacer::Pacer,
    process::{Cpu, Server},
    progress::{Progress, glance},
    record::Record,
    redis::Redis,
    roll::Binding,
    sampler::{Counts, Sampler},
    statistics::Latencies,
    target::Target,
};

/// How long nothing may happen.
const PATIENCE: Nanos = 60 * SECOND;

/// The control stream's publications per second.
const CONTROL_PER_SECOND: f64 = 100.0;

/// How often a storm is sampled: it is over within seconds.
const INTERVAL: Nanos = SECOND / 4;

/// When a peer that was not let in, or was thrown out again, tries again at the latest.
const AGAIN: Nanos = SECOND;

/// Runs it.
pub fn run(storm: Storm, redis: Option<Redis>, progress: &mut dyn Progress) -> Result<(Stormed, Record)> {
    ensure!(
        storm.peers > 0 && storm.topics.count > 0 && storm.concurrency > 0,
        "there must be a peer and a topic"
    );
    ensure!(storm.topics.count < TOPICS_MAX, "{} topics are too many", storm.topics.count);
    ensure!(
        storm.protocol.binding() == Binding::Free,
        "a storm has one publisher for all topics, which the adapter {} does not allow",
        storm.protocol.name()
    );
    limits::make_room_for(u64::from(storm.peers) * 2 + 3)?;
    let record = Record::begin("storm", storm.title());
    let mut scene = Scene::open(storm, progress)?;
    let start = clock::now();
    let sampler = Sampler::new(start, INTERVAL, scene.storm.server, scene.storm.beside.clone());
    let mut sampler = sampler.with_redis(start, redis)?;
    scene.begin(start);
    progress.phase("calm", Some(scene.storm.calm.as_secs()));
    scene.stay_calm(&mut sampler, progress)?;
    let calm = scene.control(start, clock::now())?;
    progress.line("measuring");
    scene.break_out(&mut sampler)?;
    progress.phase("coming back", Some(scene.storm.peers.into()));
    scene.gather(&mut sampler, progress)?;
    let stormy = scene.control(scene.began, clock::now())?;
    progress.line("measured");
    sampler.mark(clock::now(), "all are back");
    progress.phase("calm again", Some(scene.storm.calm.as_secs()));
    scene.stay_calm(&mut sampler, progress)?;
    let outcome = scene.judge(calm, stormy);
    Ok((outcome.clone(), outcome.into_record(record.with_samples(sampler))))
}

/// Whether a peer may come back after its connection ended with this code. `4003` would want a new token,
/// and these peers have none.
fn may_return(code: u16) -> bool {
    matches!(code, 1001 | 1006 | 1011 | 1012 | 1013 | 4500..=4999)
}

/// The stage of a storm.
struct Scene {
    storm: Storm,
    fleet: Fleet,
    crowd: Crowd,
    chance: Chance,
    voice: Voice,
    paces: Option<(Option<Pacer>, Pacer)>,
    /// When the storm broke out.
    began: Nanos,
    /// What the other node had used, and how many upgrades it had put off, before.
    before: (Option<Cpu>, u32),
    /// The same of the storm alone, once it is over.
    spent: Option<Cpu>,
    retried: u32,
    orphaned: u32,
    last_orphaned: Nanos,
    first_dial: Option<Nanos>,
    sent_away: BTreeMap<u16, u64>,
    thrown_out: u64,
    refused: u64,
    back: Back,
    behind: Nanos,
    behind_max: Nanos,
    /// Control latencies since the last look.
    latencies: Latencies,
}

impl Scene {
    /// Connects everybody and waits until all subscriptions have taken effect.
    fn open(storm: Storm, progress: &mut dyn Progress) -> Result<Self> {
        let (roll, protocol) = (storm.roll(), storm.protocol);
        let at = |target: &Target| target.at(protocol.path(&target.path, &roll, 0));
        let (from, to) = (at(&storm.from), at(&storm.to));
        let mut fleet = Fleet::new(storm.concurrency, Rest::Sleep)?;
        fleet.add(&from, storm.peers);
        fleet.add(&to, 3);
        fleet.add_absent(&to, storm.peers);
        let voice = Voice::new(protocol, &roll, storm.size)?;
        let arrival = Arrival::of(protocol, storm.answers);
        let mut scene = Self {
            crowd: Crowd::new(protocol, arrival, roll, storm.control_roll()),
            chance: Chance::new(storm.seed),
            voice,
            paces: None,
            began: 0,
            before: (None, 0),
            spent: None,
            retried: 0,
            orphaned: 0,
            last_orphaned: 0,
            first_dial: None,
            sent_away: BTreeMap::new(),
            thrown_out: 0,
            refused: 0,
            back: Back::default(),
            behind: 0,
            behind_max: 0,
            latencies: Latencies::new(),
            fleet,
            storm,
        };
        scene.await_everybody(progress)?;
        Ok(scene)
    }

    fn await_everybody(&mut self, progress: &mut dyn Progress) -> Result<()> {
        progress.phase("connecting", Some(self.storm.peers.into()));
        let mut patience = Patience::of(PATIENCE, clock::now());
        let everybody = self.storm.peers + 3;
        while !(self.crowd.is_complete() && self.fleet.tally().opened == everybody) {
            let now = clock::now();
            self.fleet.turn(now + SECOND / 10, &mut self.crowd)?;
            self.must_be_calm()?;
            if patience.ends(now, (self.crowd.here, self.fleet.tally().opened)) {
                bail!(
                    "nothing happened for {} s: {} of {} are subscribed{}",
                    PATIENCE / SECOND,
                    self.crowd.here,
                    self.storm.peers,
                    self.storm.answers.hint(),
                );
            }
            progress.at(self.crowd.here.into(), "");
        }
        Ok(())
    }

    /// From here on is published.
    fn begin(&mut self, now: Nanos) {
        let rate = self.storm.rate / self.storm.audience();
        let storm = (self.storm.rate > 0.0).then(|| Pacer::new(now, rate));
        self.paces = Some((storm, Pacer::new(now, CONTROL_PER_SECOND)));
        self.crowd.heard_at = now;
    }

    fn stay_calm(&mut self, sampler: &mut Sampler, progress: &mut dyn Progress) -> Result<()> {
        let start = clock::now();
        let until = start + self.storm.calm.as_nanos() as Nanos;
        while clock::now() < until {
            let now = self.turn(until, sampler)?;
            let seen = sampler.samples().last().map(glance).unwrap_or_default();
            progress.at((now - start) / SECOND, &seen);
            if self.began == 0 {
                self.must_be_calm()?;
            } else {
                self.take_news(now);
            }
        }
        Ok(())
    }

    /// The node goes.
    fn break_out(&mut self, sampler: &mut Sampler) -> Result<()> {
        let cpu = self.storm.server.map(Server::cpu).transpose()?;
        let now = clock::now();
        (self.began, self.last_orphaned) = (now, now);
        self.before = (cpu, self.fleet.tally().retried);
        match self.storm.end {
            End::Cut => {
                sampler.mark(now, "all connections cut");
                for index in 0..self.storm.peers {
                    self.fleet.cut(self.crowd.peer(Role::Home(index)), Cut::Reset)?;
                    self.crowd.lose(index);
                    self.orphan(index, 1006, now);
                }
            }
            End::Signal(pid, signal) => {
                sampler.mark(now, format!("signal {} to the node", signal.as_raw()));
                kill_process(pid, signal).with_context(|| format!("process {pid} can't be signalled"))?;
            }
        }
        Ok(())
    }

    /// Waits until all who may have come back.
    fn gather(&mut self, sampler: &mut Sampler, progress: &mut dyn Progress) -> Result<()> {
        let mut patience = Patience::of(PATIENCE, self.began);
        loop {
            let expected = self.storm.peers - self.sent_away.values().sum::<u64>() as u32;
            if self.orphaned == self.storm.peers && self.crowd.here == expected {
                self.back.note(clock::now() - self.began, self.crowd.here, expected);
                let cpu = self.storm.server.map(Server::cpu).transpose()?;
                self.spent = cpu.zip(self.before.0).map(|(after, before)| after - before);
                self.retried = self.fleet.tally().retried - self.before.1;
                return Ok(());
            }
            let now = self.turn(clock::now() + SECOND / 10, sampler)?;
            self.take_news(now);
            let returned = self.returned();
            self.back.note(now - self.began, returned, expected);
            if patience.ends(now, (self.orphaned, returned)) {
                bail!(
                    "nothing happened for {} s: {} of {} peers lost their node, {returned} of them are back{}",
                    PATIENCE / SECOND,
                    self.orphaned,
                    self.storm.peers,
                    self.crowd.complaint.as_ref().map_or(String::new(), |first| format!("; first: {first}")),
                );
            }
            let seen = sampler.samples().last().map(glance).unwrap_or_default();
            progress.at(returned.into(), &seen);
        }
    }

    /// Who is here although its node is gone.
    fn returned(&self) -> u32 {
        self.crowd.here.saturating_sub(self.storm.peers - self.orphaned)
    }

    /// Publishes what is due, samples, and hears what comes until then. The answer is the time afterwards.
    fn turn(&mut self, until: Nanos, sampler: &mut Sampler) -> Result<Nanos> {
        let now = clock::now();
        let next = self.publish(now)?;
        if now >= sampler.due() {
            let counts = Counts {
                deliveries: self.crowd.delivered,
                publications: self.voice.published(),
                peers: self.crowd.here,
                faults: self.thrown_out + self.refused + self.crowd.errors,
                intended_per_second: None,
                behind: std::mem::take(&mut self.behind),
            };
            sampler.take(now, counts, Some(&self.crowd.latencies))?;
            self.latencies.merge(&self.crowd.latencies);
            self.crowd.latencies.clear();
        }
        self.fleet.turn(next.min(until).min(sampler.due()), &mut self.crowd)?;
        Ok(clock::now())
    }

    /// Publishes what is due; the answer is when the next is.
    fn publish(&mut self, now: Nanos) -> Result<Nanos> {
        let Some((storm, control)) = &mut self.paces else { return Ok(Nanos::MAX) };
        while let Some(intended) = control.take(now) {
            self.behind = self.behind.max(now - intended);
            let peer = self.crowd.peer(Role::ControlPublisher);
            self.voice.publish(&mut self.fleet, peer, self.storm.control_topic(), intended)?;
        }
        let mut next = control.due();
        if let Some(storm) = storm {
            while let Some(intended) = storm.take(now) {
                self.behind = self.behind.max(now - intended);
                let topic = (self.voice.published() % u64::from(self.storm.topics.count)) as u32;
                self.voice.publish(&mut self.fleet, self.crowd.peer(Role::Publisher), topic, intended)?;
            }
            next = next.min(storm.due());
        }
        self.behind_max = self.behind_max.max(self.behind);
        Ok(next)
    }

    fn take_news(&mut self, now: Nanos) {
        for news in std::mem::take(&mut self.crowd.news) {
            match news {
                News::Orphaned(index, code) => self.orphan(index, code, now),
                News::ThrownOut(index, code) => {
                    self.thrown_out += 1;
                    let due = now + self.up_to(AGAIN);
                    self.send_back(index, code, due);
                }
                News::Refused(index) => {
                    self.refused += 1;
                    let due = now + self.up_to(AGAIN);
                    self.fleet.dial_again(self.crowd.peer(Role::Return(index)), due);
                }
            }
        }
    }

    fn orphan(&mut self, index: u32, code: u16, now: Nanos) {
        self.orphaned += 1;
        self.last_orphaned = now;
        let due = now + self.up_to(self.storm.delay.as_nanos() as Nanos);
        self.send_back(index, code, due);
    }

    fn send_back(&mut self, index: u32, code: u16, due: Nanos) {
        if may_return(code) {
            self.first_dial = Some(self.first_dial.map_or(due, |first| first.min(due)));
            self.fleet.dial_again(self.crowd.peer(Role::Return(index)), due);
        } else {
            *self.sent_away.entry(code).or_default() += 1;
        }
    }

    fn up_to(&mut self, most: Nanos) -> Nanos {
        (self.chance.unit() * most as f64) as Nanos
    }

    /// Before the storm nobody may lose anything.
    fn must_be_calm(&self) -> Result<()> {
        if let Some(complaint) = &self.crowd.complaint {
            bail!("before the storm: {complaint}");
        }
        if let Some(News::Orphaned(_, code)) = self.crowd.news.first() {
            bail!("a peer was closed with {code} before the storm");
        }
        Ok(())
    }

    /// The control peer's figures since the last look.
    fn control(&mut self, since: Nanos, now: Nanos) -> Result<Control> {
        self.latencies.merge(&self.crowd.latencies);
        let silence = self.crowd.silence.max(now.saturating_sub(self.crowd.heard_at));
        let control = Control { latency: self.latencies.summary(), silence_ms: silence as f64 / 1e6 };
        ensure!(self.latencies.count() > 0 || now - since < SECOND, "the control peer heard nothing at all");
        (self.crowd.silence, self.crowd.heard_at) = (0, self.crowd.heard_at.max(since));
        self.latencies.clear();
        Ok(control)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peers_come_back_after_what_is_not_their_fault() {
        assert!([1001, 1006, 1011, 1012, 1013, 4500, 4999].into_iter().all(may_return));
        assert!(![1000, 1008, 4000, 4003, 4008, 4010, 4499].into_iter().any(may_return));
    }
}
