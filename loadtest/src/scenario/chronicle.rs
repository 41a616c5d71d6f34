//! Follows a run on behalf of its user: samples it, shows how far it is, reads what it costs.

use anyhow::Result;

use super::{
    Moment,
    follower::{Follower, Look, Stretch},
    stage::Cast,
};
use crate::{
    clock::{self, Nanos, SECOND},
    process::{Beside, Cpu, Server},
    progress::{Progress, glance},
    redis::Redis,
    sampler::{Counts, Sampler},
    statistics::Latencies,
};

/// A run's samples and the bill of its last measured time.
pub struct Chronicle<'a> {
    sampler: Sampler,
    progress: &'a mut dyn Progress,
    server: Option<Server>,
    beside: Vec<Beside>,
    announces: bool,
    stretch: Stretch,
    glance_due: Nanos,
    began: Option<Reading>,
    cost: Cost,
}

/// What the measured time cost.
#[derive(Debug, Clone, Default)]
pub struct Cost {
    /// The server.
    pub server: Option<Cpu>,
    /// Processes beside it, by name.
    pub beside: Vec<(String, Cpu)>,
}

#[derive(Debug)]
struct Reading {
    server: Option<Cpu>,
    beside: Vec<Cpu>,
}

/// How often a run shows how far it is.
const GLANCE_EVERY: Nanos = SECOND / 4;

impl<'a> Chronicle<'a> {
    /// Follows what this cast does, taking a sample each `interval`.
    pub fn new(cast: &Cast, interval: Nanos, progress: &'a mut dyn Progress) -> Self {
        Self {
            sampler: Sampler::new(clock::now(), interval, cast.server, cast.beside.clone()),
            progress,
            server: cast.server,
            beside: cast.beside.clone(),
            announces: false,
            stretch: Stretch::Peers(0),
            glance_due: 0,
            began: None,
            cost: Cost::default(),
        }
    }

    /// Also says when the measured time begins and ends, in a line each: whoever reads other processes'
    /// counters does so then.
    #[must_use]
    pub fn announcing(self) -> Self {
        Self { announces: true, ..self }
    }

    /// Samples a Redis as well.
    pub fn with_redis(self, redis: Option<Redis>) -> Result<Self> {
        Ok(Self { sampler: self.sampler.with_redis(clock::now(), redis)?, ..self })
    }

    /// Says a line that stays.
    pub fn line(&mut self, text: &str) {
        self.progress.line(text);
    }

    /// Puts a name to this moment.
    pub fn mark(&mut self, text: impl Into<String>) {
        self.sampler.mark(clock::now(), text);
    }

    /// Takes a sample now.
    pub fn sample(&mut self, now: Nanos, counts: Counts, latencies: Option<&Latencies>) -> Result<()> {
        self.sampler.take(now, counts, latencies)
    }

    /// Shows how far the run is, if that hasn't been shown for a while.
    pub fn glance(&mut self, now: Nanos, counts: Counts) {
        if now < self.glance_due {
            return;
        }
        self.glance_due = now + GLANCE_EVERY;
        let done = match &self.stretch {
            Stretch::Peers(_) => counts.peers.into(),
            Stretch::Time(span) => now.saturating_sub(span.start) / SECOND,
        };
        let seen = self.sampler.samples().last().map(glance).unwrap_or_default();
        self.progress.at(done, &seen);
    }

    /// Reads the bill where the measured time begins and where it ends, and says so.
    pub fn turn(&mut self, moment: Moment) -> Result<()> {
        match moment {
            Moment::Measuring => {
                self.announce("measuring");
                self.began = Some(self.read()?);
            }
            Moment::Measured => {
                let ended = self.read()?;
                self.announce("measured");
                self.cost = self.began.take().map(|began| self.cost_of(&began, &ended)).unwrap_or_default();
            }
        }
        Ok(())
    }

    /// What the last measured time cost.
    pub fn cost(&self) -> &Cost {
        &self.cost
    }

    /// What was sampled.
    pub fn into_sampler(self) -> Sampler {
        self.sampler
    }

    fn announce(&mut self, text: &str) {
        if self.announces {
            self.mark(text);
            self.progress.line(text);
        }
    }

    fn read(&self) -> Result<Reading> {
        let server = self.server.map(Server::cpu).transpose()?;
        let beside = self.beside.iter().map(|beside| beside.server.cpu()).collect::<Result<_>>()?;
        Ok(Reading { server, beside })
    }

    fn cost_of(&self, began: &Reading, ended: &Reading) -> Cost {
        let beside = began.beside.iter().zip(&ended.beside).map(|(&began, &ended)| ended - began);
        Cost {
            server: began.server.zip(ended.server).map(|(began, ended)| ended - began),
            beside: self.beside.iter().map(|Beside { name, .. }| name.clone()).zip(beside).collect(),
        }
    }
}

impl Follower for Chronicle<'_> {
    fn phase(&mut self, text: &str, stretch: Stretch) {
        let total = match &stretch {
            Stretch::Peers(count) => (*count).into(),
            Stretch::Time(span) => (span.end - span.start).div_ceil(SECOND),
        };
        self.stretch = stretch;
        self.progress.phase(text, Some(total));
    }

    fn due(&self) -> Nanos {
        self.sampler.due().min(self.glance_due)
    }

    fn look(&mut self, now: Nanos, counts: Counts, latencies: Option<&Latencies>) -> Result<Look> {
        let look = if now >= self.sampler.due() { Look::Sample } else { Look::Glance };
        if look == Look::Sample {
            self.sample(now, counts, latencies)?;
        }
        self.glance(now, counts);
        Ok(look)
    }

    fn moment(&mut self, moment: Moment, counts: Counts, latencies: &Latencies) -> Result<()> {
        match moment {
            Moment::Measuring => {
                self.sample(clock::now(), counts, Some(latencies))?;
                self.turn(moment)
            }
            Moment::Measured => {
                self.turn(moment)?;
                self.sample(clock::now(), counts, Some(latencies))
            }
        }
    }
}
