//! One run on a stage: warms up, measures, waits for the rest, judges.

use anyhow::{Error, Result};

use super::{
    Moment,
    chronicle::Chronicle,
    fanout::{Performer, Plan},
    follower::{Follower, Look, Stretch},
    share::Share,
    stage::Stage,
    tempo::{Standing, Tempo},
};
use crate::{
    clock::{self, Nanos, SECOND},
    sampler::Counts,
    sequence::Faults,
};

/// How long after the last publication nothing may come before the rest counts as lost.
pub(crate) const DRAIN_QUIET: Nanos = 3 * SECOND;

/// How long the rest may take in all.
pub(crate) const DRAIN_MAX: Nanos = 60 * SECOND;

/// A run whose publications have left.
#[derive(Debug)]
pub struct Run {
    tempo: Tempo,
    /// Deliveries that this process' publications should come to here.
    expected: u64,
    published: u64,
    /// How long is measured at the least. A client that stood still begins late.
    measured_min: Nanos,
    began: Mark,
    ended: Mark,
}

/// What is read at both ends of the measured time.
#[derive(Debug, Clone, Copy, Default)]
struct Mark {
    at: Nanos,
    delivered: u64,
    published: u64,
}

impl Performer for Stage {
    fn perform(&mut self, plan: Plan, chronicle: &mut Chronicle<'_>) -> Result<Share> {
        let run = self.publish(plan, clock::now(), chronicle)?;
        let sent = self.sent().to_vec();
        self.conclude(run, &sent, chronicle)
    }
}

impl Stage {
    /// Publishes from `start` on until the measured time is over.
    pub fn publish(&mut self, plan: Plan, start: Nanos, follower: &mut dyn Follower) -> Result<Run> {
        let from = start + plan.warmup.as_nanos() as Nanos;
        let until = from + plan.duration.as_nanos() as Nanos;
        let mut run = self.begin(plan, start);
        self.fleet.forget_stall();
        self.audience.judge.measure(start..from);
        self.hold(start)?;
        follower.phase("warming up", Stretch::Time(start..from));
        self.publish_until(&mut run, from, follower)?;
        follower.moment(Moment::Measuring, self.counts(&run), &self.audience.judge.latencies)?;
        self.audience.judge.measure(from..until);
        run.tempo.forget_lately();
        run.began = self.mark(&run);
        follower.phase("under load", Stretch::Time(from..until));
        self.publish_until(&mut run, until, follower)?;
        run.ended = self.mark(&run);
        follower.moment(Moment::Measured, self.counts(&run), &self.audience.judge.latencies)?;
        self.audience.judge.turn_over();
        Ok(run)
    }

    /// How many publications each publisher has put on each topic so far: publisher after publisher.
    pub fn sent(&self) -> &[u32] {
        self.publishers.sent()
    }

    /// Waits for what was `sent` in all and hasn't come, and judges.
    pub fn conclude(&mut self, mut run: Run, sent: &[u32], follower: &mut dyn Follower) -> Result<Share> {
        let expected = self.delivered_before + self.expected_since_before(sent);
        let start = clock::now();
        let (mut arrived, mut quiet_since) = ((0, 0), start);
        // A doubled delivery is none of those that are waited for.
        while self.audience.judge.delivered < expected + self.audience.judge.ledger.duplicated()
            || self.unanswered(&run) > 0
        {
            let now = clock::now();
            let so_far = (self.audience.judge.delivered, self.audience.judge.answered);
            if so_far != arrived {
                (arrived, quiet_since) = (so_far, now);
            }
            if now - quiet_since > DRAIN_QUIET || now - start > DRAIN_MAX {
                break;
            }
            self.follow(&mut run, now, follower)?;
            self.fleet.turn(now + SECOND / 10, &mut self.audience)?;
        }
        Ok(self.judge(&run, sent))
    }

    fn begin(&self, plan: Plan, start: Nanos) -> Run {
        let topics = f64::from(self.cast.topics.count);
        let (all, here) = (f64::from(self.cast.peers), f64::from(self.roll.peers));
        let tempo = if self.publishes() {
            Tempo::new(start, plan.pace, all / topics, here / topics)
        } else {
            Tempo::silent(plan.pace)
        };
        let judge = &self.audience.judge;
        Run {
            tempo,
            expected: judge.delivered,
            published: judge.answered,
            measured_min: plan.duration.as_nanos() as Nanos,
            began: Mark::default(),
            ended: Mark::default(),
        }
    }

    /// Publishes all that is due before then, the last of it late if need be.
    fn publish_until(&mut self, run: &mut Run, until: Nanos, follower: &mut dyn Follower) -> Result<()> {
        loop {
            let now = clock::now();
            self.publish_due(run, now, until).map_err(|error| self.with_complaint(error))?;
            if now >= until {
                return Ok(());
            }
            self.follow(run, now, follower)?;
            let due = run.tempo.due().map_or(until, |due| due.min(until));
            self.fleet.turn(due.min(follower.due()), &mut self.audience)?;
        }
    }

    fn publish_due(&mut self, run: &mut Run, now: Nanos, until: Nanos) -> Result<()> {
        while let Some(intended) = run.tempo.take(now, until, self.standing(run)) {
            let topic = self.publishers.publish(&mut self.fleet, intended)?;
            run.published += 1;
            run.expected += u64::from(self.roll.audience(topic));
        }
        self.publishers.flush(&mut self.fleet)
    }

    /// Why a publisher can't publish is what the server said before.
    fn with_complaint(&self, error: Error) -> Error {
        match &self.audience.judge.complaint {
            Some(complaint) => error.context(complaint.clone()),
            None => error,
        }
    }

    fn standing(&self, run: &Run) -> Standing {
        let judge = &self.audience.judge;
        Standing {
            expected: run.expected,
            delivered: judge.delivered,
            published: run.published,
            answered: judge.answered,
        }
    }

    /// Lets the follower look when it wants to.
    fn follow(&mut self, run: &mut Run, now: Nanos, follower: &mut dyn Follower) -> Result<()> {
        if now >= follower.due() {
            let look = follower.look(now, self.counts(run), Some(&self.audience.judge.latencies))?;
            if look == Look::Sample {
                self.audience.judge.turn_over();
                run.tempo.forget_lately();
            }
        }
        Ok(())
    }

    fn counts(&self, run: &Run) -> Counts {
        let tally = self.fleet.tally();
        Counts {
            deliveries: self.audience.judge.delivered,
            publications: self.publishers.published(),
            peers: tally.opened - tally.closed,
            faults: self.faults_before + self.audience.judge.faults(),
            intended_per_second: run.tempo.intended_per_second(),
            behind: run.tempo.behind_lately(),
        }
    }

    fn mark(&self, run: &Run) -> Mark {
        let judge = &self.audience.judge;
        let published = if run.tempo.asks() { judge.answered } else { run.published };
        Mark { at: clock::now(), delivered: judge.delivered, published }
    }

    /// Publications without an answer, of those that asked for one.
    fn unanswered(&self, run: &Run) -> u64 {
        if run.tempo.asks() { run.published.saturating_sub(self.audience.judge.answered) } else { 0 }
    }

    /// The deliveries that should come here of what was sent since the run before.
    fn expected_since_before(&self, sent: &[u32]) -> u64 {
        let topics = self.roll.topics.count as usize;
        let counted = sent.iter().zip(&self.sent_before).enumerate();
        counted
            .map(|(index, (now, before))| {
                u64::from(now - before) * u64::from(self.roll.audience((index % topics) as u32))
            })
            .sum()
    }

    fn judge(&mut self, run: &Run, sent: &[u32]) -> Share {
        let unanswered = self.unanswered(run);
        let (roll, publishers) = (&self.roll, self.roll.publishers as usize);
        let judge = &mut self.audience.judge;
        let Faults { lost, duplicated, reordered } = judge.ledger.settle(|stream| {
            let topic = roll.topic_of((stream / publishers) as u32) as usize;
            sent[stream % publishers * roll.topics.count as usize + topic]
        });
        self.sent_before.copy_from_slice(sent);
        judge.turn_over();
        let (deliveries, publications) = run.measured();
        let share = Share {
            deliveries,
            deliveries_per_second: run.per_second(deliveries),
            publications,
            publications_per_second: run.per_second(publications),
            delivered: judge.delivered - self.delivered_before,
            lost,
            duplicated,
            reordered,
            stray: std::mem::take(&mut judge.stray),
            closed: std::mem::take(&mut judge.closed),
            errors: std::mem::take(&mut judge.errors),
            unanswered,
            local: std::mem::take(&mut judge.local),
            complaint: judge.complaint.take(),
            stall: self.fleet.tally().stall,
            behind: run.tempo.behind(),
            latencies: judge.total.clone(),
        };
        self.delivered_before = judge.delivered;
        self.faults_before += share.faults();
        share
    }
}

impl Run {
    /// Deliveries and publications of the measured time.
    fn measured(&self) -> (u64, u64) {
        (self.ended.delivered - self.began.delivered, self.ended.published - self.began.published)
    }

    fn per_second(&self, count: u64) -> f64 {
        let measured = (self.ended.at - self.began.at).max(self.measured_min);
        count as f64 * SECOND as f64 / measured.max(1) as f64
    }
}
