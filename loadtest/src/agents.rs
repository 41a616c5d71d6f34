//! A cast spread over several processes, each with its own thread, on this machine or on others.
//!
//! The coordinator has no peers. It gives every agent its part, waits until all are settled, lets all start
//! at one moment, and adds up what they saw. The first agent publishes.
//!
//! **Invariant:** what several agents report is what one process would have: histograms are added bucket by
//! bucket, every subscriber is checked against what was published in all, and a moment on one clock is the
//! same moment on another but for half of the fastest round trip between them.

mod agent;
mod crew;
mod gathering;
mod words;

use std::time::Duration;

use anyhow::{Result, ensure};

pub use self::agent::serve;
use self::{
    crew::Crew,
    gathering::Gathering,
    words::{Order, Start, Word},
};
use crate::{
    clock::{self, Nanos, SECOND},
    sampler::Counts,
    scenario::{
        Moment,
        chronicle::Chronicle,
        fanout::{Pace, Performer, Plan},
        follower::{Follower, Stretch},
        run::DRAIN_MAX,
        share::Share,
        stage::{Cast, PATIENCE, Part, Patience},
    },
};

/// The agents of a run, all settled.
pub struct Agents {
    crew: Crew,
    cast: Cast,
    interval: Nanos,
    /// What was counted when the last run ended.
    counted: Counts,
}

/// How long after the order to run its run starts: all must have it by then.
const START_AFTER: Nanos = SECOND / 2;

/// How much later than expected an agent may say something.
const GRACE: Nanos = 15 * SECOND;

/// How often a coordinator that waits looks at the time.
const LOOK_EVERY: Duration = Duration::from_millis(20);

impl Agents {
    /// Starts so many processes of this program, then one for each command, and waits until the cast is
    /// settled.
    pub fn open(
        cast: Cast,
        local: u32,
        commands: &[String],
        interval: Nanos,
        chronicle: &mut Chronicle<'_>,
    ) -> Result<Self> {
        let mut crew = Crew::start(local, commands)?;
        let parts = parts_of(cast.peers, crew.len());
        chronicle.phase(&format!("connecting by {} agents", crew.len()), Stretch::Peers(cast.peers));
        for (index, part) in parts.into_iter().enumerate() {
            let part_of_cast = Cast { part: Some(part), ..cast.clone() };
            crew.tell(index, &Order::Open(Box::new(part_of_cast)))?;
        }
        let mut agents = Self { crew, cast, interval, counted: Counts::default() };
        agents.settle(chronicle)?;
        agents.crew.tell_all(|_| Order::Settled)?;
        Ok(agents)
    }

    fn settle(&mut self, chronicle: &mut Chronicle<'_>) -> Result<()> {
        let mut connected = vec![0; self.crew.len()];
        let mut settled = vec![false; self.crew.len()];
        let mut patience = Patience::new(clock::now());
        while settled.contains(&false) {
            let now = clock::now();
            let heard = self.crew.hear(LOOK_EVERY)?;
            match heard {
                Some((index, Word::Connected(peers))) => connected[index] = peers,
                Some((index, Word::Settled)) => settled[index] = true,
                Some((index, other)) => return Err(self.crew.astray(index, &other)),
                None => {}
            }
            let peers = connected.iter().sum();
            self.counted = Counts { peers, ..Counts::default() };
            if now >= chronicle.due() {
                let _ = chronicle.look(now, self.counted, None)?;
            }
            let progress = (peers, settled.iter().filter(|is| **is).count());
            if patience.ends(now, progress) {
                let late = settled.iter().position(|settled| !settled).unwrap_or_default();
                return Err(self.crew.silent(late, "settled", PATIENCE));
            }
        }
        Ok(())
    }

    /// Gives the order to run, each agent's by its own clock: when it starts by this process' clock.
    fn start(&mut self, plan: Plan) -> Result<Nanos> {
        let ahead = self.crew.clocks()?;
        let start = clock::now() + START_AFTER;
        let interval = self.interval;
        self.crew.tell_all(|index| {
            Order::Run(Start {
                plan,
                at: start.saturating_add_signed(ahead[index]),
                interval,
                skew: ahead[index] - ahead[0],
            })
        })?;
        Ok(start)
    }

    /// Listens until then, keeping the chronicle.
    fn listen_until(
        &mut self,
        until: Nanos,
        gathering: &mut Gathering,
        chronicle: &mut Chronicle<'_>,
    ) -> Result<()> {
        loop {
            let now = clock::now();
            let Some(left) = until.checked_sub(now).filter(|left| *left > 0) else { return Ok(()) };
            self.listen(LOOK_EVERY.min(Duration::from_nanos(left)), gathering, chronicle)?;
        }
    }

    fn listen(
        &mut self,
        wait: Duration,
        gathering: &mut Gathering,
        chronicle: &mut Chronicle<'_>,
    ) -> Result<()> {
        if let Some((index, word)) = self.crew.hear(wait)?
            && let Some(stray) = gathering.take(index, word)
        {
            return Err(self.crew.astray(index, &stray));
        }
        let now = clock::now();
        while let Some((counts, latencies)) = gathering.next_sample() {
            self.counted = counts;
            chronicle.sample(now, counts, Some(&latencies))?;
        }
        chronicle.glance(now, self.counted);
        Ok(())
    }

    /// Listens until all agents are that far.
    fn wait_for(
        &mut self,
        what: &str,
        patience: Nanos,
        gathering: &mut Gathering,
        chronicle: &mut Chronicle<'_>,
        missing: fn(&Gathering) -> Option<usize>,
    ) -> Result<()> {
        let deadline = clock::now() + patience;
        while let Some(late) = missing(gathering) {
            if clock::now() > deadline {
                return Err(self.crew.silent(late, what, patience));
            }
            self.listen(LOOK_EVERY, gathering, chronicle)?;
        }
        Ok(())
    }
}

impl Performer for Agents {
    fn perform(&mut self, plan: Plan, chronicle: &mut Chronicle<'_>) -> Result<Share> {
        ensure!(
            !matches!(plan.pace, Pace::Window(_)) || self.cast.peers > 0,
            "without subscribers only answers say how fast to publish"
        );
        let start = self.start(plan)?;
        let from = start + plan.warmup.as_nanos() as Nanos;
        let until = from + plan.duration.as_nanos() as Nanos;
        let mut gathering = Gathering::new(self.crew.len(), plan.pace.deliveries_per_second());
        chronicle.phase("warming up", Stretch::Time(start..from));
        self.listen_until(from, &mut gathering, chronicle)?;
        chronicle.turn(Moment::Measuring)?;
        chronicle.phase("under load", Stretch::Time(from..until));
        self.listen_until(until, &mut gathering, chronicle)?;
        chronicle.turn(Moment::Measured)?;
        self.wait_for("said what it published", GRACE, &mut gathering, chronicle, Gathering::unpublished)?;
        let sent = gathering.take_sent();
        self.crew.tell_all(|_| Order::Conclude(sent.clone()))?;
        let patience = DRAIN_MAX + GRACE;
        self.wait_for("reported", patience, &mut gathering, chronicle, Gathering::unreported)?;
        Ok(gathering.into_share())
    }
}

/// Spreads subscribers evenly.
fn parts_of(peers: u32, agents: usize) -> Vec<Part> {
    let agents = agents as u32;
    let first = |index: u32| (u64::from(peers) * u64::from(index) / u64::from(agents)) as u32;
    (0..agents)
        .map(|index| Part {
            first: first(index),
            peers: first(index + 1) - first(index),
            publishes: index == 0,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_subscriber_is_in_one_part_and_the_first_publishes() {
        let parts = parts_of(10, 3);
        let ranges: Vec<_> = parts.iter().map(|part| part.first..part.first + part.peers).collect();
        assert_eq!(ranges, [0..3, 3..6, 6..10]);
        assert_eq!(parts.iter().map(|part| part.publishes).collect::<Vec<_>>(), [true, false, false]);
        assert_eq!(parts_of(u32::MAX, 2)[1].peers, u32::MAX / 2 + 1);
    }
}
