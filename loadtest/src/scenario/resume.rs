//! `resume`: all peers of a log lose their connections at once and come back with their cursors, to another
//! node or the same, while publishing goes on.

mod bill;
mod outcome;
mod plan;
mod returners;
mod wording;

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Signal, kill_process};

use self::{
    bill::{Bill, Spent},
    returners::{Returners, Role},
};
pub use self::{outcome::Resumed, plan::Resume, wording::SUBPROTOCOL};
use super::{Mode, stage::Patience, storm::Back, voice::Voice};
use crate::{
    adapter::Protocol,
    chance::Chance,
    clock::{self, Nanos, SECOND},
    fleet::{Cut, Fleet, Rest},
    limits,
    pacer::Pacer,
    progress::{Progress, glance},
    record::Record,
    redis::Redis,
    roll::{Binding, Roll},
    sampler::{Counts, Sampler},
    statistics::Latencies,
    target::Target,
};

/// How long nothing may happen.
const PATIENCE: Nanos = 60 * SECOND;

/// How long nothing may come at the end, before what is missing is lost.
const QUIET: Nanos = 3 * SECOND;

/// How often a resume is sampled: it is over within seconds.
const INTERVAL: Nanos = SECOND / 4;

/// When a peer that was not let in, or was thrown out, tries again at the latest.
const AGAIN: Nanos = SECOND;

/// Runs it. The first Redis is sampled, the second asked what the break cost; they are one server.
pub fn run(
    resume: Resume,
    redis: [Option<Redis>; 2],
    progress: &mut dyn Progress,
) -> Result<(Resumed, Record)> {
    ensure!(resume.peers > 0 && resume.concurrency > 0, "there must be a peer and a connection at a time");
    ensure!(resume.rate > 0.0, "only publications show that a peer is current: --rate is 0");
    ensure!(resume.topics.mode == Mode::Log && resume.topics.count == 1, "peers resume on one log");
    limits::make_room_for(u64::from(resume.peers) + 1)?;
    let [sampled, asked] = redis;
    let record = Record::begin("resume", resume.title());
    let mut scene = Scene::open(resume, asked, progress)?;
    let start = clock::now();
    let sampler = Sampler::new(start, INTERVAL, scene.resume.server, scene.resume.beside.clone());
    let mut sampler = sampler.with_redis(start, sampled)?;
    progress.phase("publishing", Some(scene.resume.publications.into()));
    scene.publish_the_first(start, &mut sampler, progress)?;
    progress.line("measuring");
    scene.break_off(&mut sampler)?;
    progress.phase("coming back", Some(scene.resume.peers.into()));
    let spent = scene.gather(&mut sampler, progress)?;
    progress.line("measured");
    sampler.mark(clock::now(), "all are back and current");
    progress.phase("going on", Some(scene.resume.calm.as_secs()));
    scene.go_on(&mut sampler)?;
    scene.fall_silent(&mut sampler)?;
    let outcome = scene.judge(&spent);
    Ok((outcome.clone(), outcome.into_record(record.with_samples(sampler))))
}

/// The stage of a resume.
struct Scene {
    resume: Resume,
    fleet: Fleet,
    returners: Returners,
    chance: Chance,
    voice: Voice,
    pacer: Option<Pacer>,
    bill: Bill,
    /// When the break was.
    began: Nanos,
    back: Back,
    current: Back,
    /// Publications that had left at the break.
    sent_before: u32,
    behind_max: Nanos,
    /// Of live deliveries in all of the run.
    latencies: Latencies,
}

impl Scene {
    /// Connects everybody and waits until all have subscribed.
    fn open(resume: Resume, redis: Option<Redis>, progress: &mut dyn Progress) -> Result<Self> {
        let speaking =
            |target: &Target| Target { subprotocol: Some(SUBPROTOCOL.to_owned()), ..target.clone() };
        let (from, to) = (speaking(&resume.from), speaking(&resume.to));
        let mut fleet = Fleet::new(resume.concurrency, Rest::Sleep)?;
        fleet.add(&from, resume.peers);
        fleet.add(&to, 1);
        fleet.add_absent(&to, resume.peers);
        let topics = resume.topics.clone();
        let topic = topics.name(0);
        let roll = Roll { topics, first: 0, peers: resume.peers, publishers: 1, binding: Binding::Free };
        let mut scene = Self {
            returners: Returners::new(topic, resume.peers),
            chance: Chance::new(resume.seed),
            voice: Voice::new(Protocol::Plain, &roll, resume.size)?,
            pacer: None,
            bill: Bill::new(redis),
            began: 0,
            back: Back::default(),
            current: Back::default(),
            sent_before: 0,
            behind_max: 0,
            latencies: Latencies::new(),
            fleet,
            resume,
        };
        scene.await_everybody(progress)?;
        Ok(scene)
    }

    fn await_everybody(&mut self, progress: &mut dyn Progress) -> Result<()> {
        progress.phase("connecting", Some(self.resume.peers.into()));
        let mut patience = Patience::of(PATIENCE, clock::now());
        while self.returners.here < self.resume.peers || self.fleet.tally().opened <= self.resume.peers {
            let now = clock::now();
            self.fleet.turn(now + SECOND / 10, &mut self.returners)?;
            self.must_be_calm()?;
            if patience.ends(now, (self.returners.here, self.fleet.tally().opened)) {
                bail!(
                    "nothing happened for {} s: {} of {} are subscribed (the server must speak {SUBPROTOCOL})",
                    PATIENCE / SECOND,
                    self.returners.here,
                    self.resume.peers,
                );
            }
            progress.at(self.returners.here.into(), "");
        }
        Ok(())
    }

    fn publish_the_first(
        &mut self,
        start: Nanos,
        sampler: &mut Sampler,
        progress: &mut dyn Progress,
    ) -> Result<()> {
        self.pacer = Some(Pacer::new(start, self.resume.rate));
        while self.returners.sent < self.resume.publications {
            self.turn(Nanos::MAX, sampler)?;
            self.must_be_calm()?;
            let seen = sampler.samples().last().map(glance).unwrap_or_default();
            progress.at(self.returners.sent.into(), &seen);
        }
        ensure!(
            self.returners.without_cursor == 0,
            "publications have no cursor: the server's topics \"{}*\" are no logs",
            Mode::Log.prefix()
        );
        Ok(())
    }

    /// All connections are over at one moment, with whatever is on its way through them.
    fn break_off(&mut self, sampler: &mut Sampler) -> Result<()> {
        self.bill.begin(&self.resume)?;
        self.began = clock::now();
        self.sent_before = self.returners.sent;
        if let Some(pid) = self.resume.end {
            kill_process(pid, Signal::KILL)
                .with_context(|| format!("process {} can't be killed", pid.as_raw_nonzero()))?;
        }
        sampler.mark(self.began, "all connections cut");
        let between = self.resume.ramp.as_nanos() as f64 / f64::from(self.resume.peers);
        for index in 0..self.resume.peers {
            self.fleet.cut(self.returners.peer(Role::Home(index)), Cut::Reset)?;
            self.returners.lose(index);
            let due = self.began + (between * f64::from(index)) as Nanos;
            self.fleet.dial_again(self.returners.peer(Role::Return(index)), due);
        }
        Ok(())
    }

    /// Waits until all are back and know of all that was published meanwhile.
    fn gather(&mut self, sampler: &mut Sampler, progress: &mut dyn Progress) -> Result<Spent> {
        let mut patience = Patience::of(PATIENCE, self.began);
        while self.current.all_s.is_none() {
            self.turn(Nanos::MAX, sampler)?;
            let now = clock::now();
            self.send_back_who_must_come_again(now);
            let (back, current) = (self.returners.back, self.returners.current);
            self.back.note(now - self.began, back, self.resume.peers);
            self.current.note(now - self.began, current, self.resume.peers);
            if patience.ends(now, (back, current)) {
                bail!(
                    "nothing happened for {} s: {back} of {} peers are back, {current} are current{}",
                    PATIENCE / SECOND,
                    self.resume.peers,
                    self.returners
                        .complaint
                        .as_ref()
                        .map_or(String::new(), |first| format!("; first: {first}")),
                );
            }
            let seen = sampler.samples().last().map(glance).unwrap_or_default();
            progress.at(current.into(), &seen);
        }
        self.bill.end(&self.resume)
    }

    fn go_on(&mut self, sampler: &mut Sampler) -> Result<()> {
        let until = clock::now() + self.resume.calm.as_nanos() as Nanos;
        while clock::now() < until {
            self.turn(until, sampler)?;
            self.send_back_who_must_come_again(clock::now());
        }
        Ok(())
    }

    /// Publishes nothing more and waits for what is on its way.
    fn fall_silent(&mut self, sampler: &mut Sampler) -> Result<()> {
        self.pacer = None;
        let mut patience = Patience::of(QUIET, clock::now());
        while !self.returners.have_heard_all() && !patience.ends(clock::now(), self.returners.delivered) {
            self.turn(clock::now() + SECOND / 10, sampler)?;
            self.send_back_who_must_come_again(clock::now());
        }
        self.sample(clock::now(), sampler)
    }

    /// Publishes what is due, samples, and hears what comes until then.
    fn turn(&mut self, until: Nanos, sampler: &mut Sampler) -> Result<()> {
        let now = clock::now();
        let next = self.publish(now)?;
        if now >= sampler.due() {
            self.sample(now, sampler)?;
        }
        self.fleet.turn(next.min(until).min(sampler.due()), &mut self.returners)
    }

    fn sample(&mut self, now: Nanos, sampler: &mut Sampler) -> Result<()> {
        let faults = self.returners.faults();
        let counts = Counts {
            deliveries: self.returners.delivered,
            publications: self.voice.published(),
            peers: self.returners.here,
            faults: faults.lost + faults.duplicated + faults.reordered + self.returners.thrown_out,
            intended_per_second: None,
            behind: self.pacer.as_mut().map_or(0, |pacer| {
                let behind = pacer.behind_lately();
                pacer.forget_lately();
                behind
            }),
        };
        sampler.take(now, counts, Some(&self.returners.latencies))?;
        self.latencies.merge(&self.returners.latencies);
        self.returners.latencies.clear();
        Ok(())
    }

    /// Publishes what is due; the answer is when the next is.
    fn publish(&mut self, now: Nanos) -> Result<Nanos> {
        let Some(pacer) = &mut self.pacer else { return Ok(Nanos::MAX) };
        while let Some(intended) = pacer.take(now) {
            let peer = self.returners.peer(Role::Publisher);
            self.voice
                .publish(&mut self.fleet, peer, 0, intended)
                .with_context(|| self.returners.complaint.clone().unwrap_or_default())?;
            self.returners.sent += 1;
        }
        self.behind_max = self.behind_max.max(pacer.behind());
        Ok(pacer.due())
    }

    fn send_back_who_must_come_again(&mut self, now: Nanos) {
        for index in std::mem::take(&mut self.returners.again) {
            let due = now + (self.chance.unit() * AGAIN as f64) as Nanos;
            self.fleet.dial_again(self.returners.peer(Role::Return(index)), due);
        }
    }

    /// Before the break nobody may lose anything.
    fn must_be_calm(&self) -> Result<()> {
        if let Some(complaint) = &self.returners.complaint {
            bail!("before the break: {complaint}");
        }
        Ok(())
    }
}
