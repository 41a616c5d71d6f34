//! `--climb`: raises the rate step by step until the server no longer keeps up; the knee is the last good
//! step.

use std::time::Duration;

use anyhow::{Result, ensure};
use serde::Serialize;

use super::{
    chronicle::Chronicle,
    fanout::{self, Outcome, Pace, Performer, Plan},
};
use crate::{
    record::{Record, StepRow, Verdict},
    sampler::Sampler,
};

/// How to climb.
#[derive(Debug, Clone, Copy)]
pub struct Climb {
    /// Deliveries per second of the first step.
    pub from: f64,
    /// What each step's rate is multiplied with for the next.
    pub factor: f64,
    /// How long each step runs before it is measured.
    pub warmup: Duration,
    /// How long each step is measured.
    pub duration: Duration,
    /// The p99 from which a step is bad.
    pub p99_limit: Duration,
    /// The part of the deliveries that may be lost, doubled or swapped in a good step.
    pub loss_limit: f64,
}

/// Every step and the highest good one.
#[derive(Debug, Serialize)]
pub struct Ascent {
    /// In order, the last of them the first bad one.
    pub steps: Vec<Step>,
    /// The index of the last good step; none if the first was bad.
    pub knee: Option<usize>,
}

/// One rate.
#[derive(Debug, Serialize)]
pub struct Step {
    /// Why it is bad; none if it is good.
    pub fault: Option<Fault>,
    /// What was measured.
    pub outcome: Outcome,
}

/// Why a step is bad.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// More was lost, doubled or swapped than [`Climb::loss_limit`], or something misdirected or closed.
    Unclean,
    /// p99 reached [`Climb::p99_limit`].
    Slow,
    /// Less than [`ACHIEVED_MIN`] of the intended deliveries came in time.
    Behind,
}

/// The part of the intended rate below which a step is bad.
pub const ACHIEVED_MIN: f64 = 0.95;

/// A climb ends here, however good the server is.
const STEPS_MAX: usize = 60;

/// Climbs until a step is bad; `describe` puts each into a line.
pub fn run<P: Performer + ?Sized>(
    performer: &mut P,
    climb: Climb,
    chronicle: &mut Chronicle<'_>,
    describe: impl Fn(&Step) -> String,
) -> Result<Ascent> {
    ensure!(climb.factor > 1.0 && climb.from > 0.0, "a climb starts above 0 and goes up by a factor above 1");
    let mut ascent = Ascent { steps: Vec::new(), knee: None };
    let mut rate = climb.from;
    for index in 0..STEPS_MAX {
        chronicle.mark(format!("{rate:.0}/s"));
        let plan = Plan { pace: Pace::Deliveries(rate), warmup: climb.warmup, duration: climb.duration };
        let outcome = fanout::run(performer, plan, chronicle)?;
        let step = Step { fault: climb.fault_of(&outcome), outcome };
        chronicle.line(&describe(&step));
        let is_good = step.fault.is_none();
        ascent.steps.push(step);
        if !is_good {
            break;
        }
        ascent.knee = Some(index);
        rate *= climb.factor;
    }
    Ok(ascent)
}

impl Climb {
    fn fault_of(&self, outcome: &Outcome) -> Option<Fault> {
        let intended = outcome.intended_per_second.unwrap_or_default();
        if !outcome.is_clean_but_for(self.loss_limit) {
            Some(Fault::Unclean)
        } else if outcome.achieved_per_second < intended * ACHIEVED_MIN {
            Some(Fault::Behind)
        } else if outcome.latency.p99_ms >= self.p99_limit.as_secs_f64() * 1000.0 {
            Some(Fault::Slow)
        } else {
            None
        }
    }
}

impl Ascent {
    /// The record of this climb; its figures are those of the knee.
    pub fn record(&self, scenario: &str, title: String, sampler: Sampler) -> Record {
        let knee = self.knee.map(|index| self.steps[index].outcome.figures());
        Record {
            verdict: self.verdict(),
            figures: knee.unwrap_or_default(),
            steps: self.steps.iter().map(Step::row).collect(),
            ..Record::begin(scenario, title).with_samples(sampler)
        }
    }

    /// A climb without a good step says nothing about the server but that it began too high.
    fn verdict(&self) -> Verdict {
        match (self.knee, self.steps.first()) {
            (None, Some(Step { fault: Some(fault), .. })) => {
                Verdict::Bad { why: format!("the first step was bad: {}", fault.name()) }
            }
            _ => Verdict::Good,
        }
    }
}

impl Step {
    fn row(&self) -> StepRow {
        let Self { fault, outcome } = self;
        StepRow {
            intended: outcome.intended_per_second.unwrap_or_default(),
            achieved: outcome.achieved_per_second,
            latency: outcome.latency,
            cpu_us: outcome.cpu.map(|cpu| cpu.total_us),
            fault: fault.map(|fault| fault.name().to_owned()),
        }
    }
}

impl Fault {
    /// In a word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Unclean => "unclean",
            Self::Slow => "slow",
            Self::Behind => "behind",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::statistics::Summary;

    fn good() -> Outcome {
        Outcome {
            intended_per_second: Some(1000.0),
            achieved_per_second: 950.0,
            deliveries: 1000,
            publications: 1000,
            publications_per_second: 950.0,
            latency: Summary { p50_ms: 1.0, p99_ms: 99.9, p999_ms: 200.0, max_ms: 300.0 },
            cpu: None,
            cpu_per_publication: None,
            beside: std::collections::BTreeMap::new(),
            delivered: 1000,
            lost: 0,
            duplicated: 0,
            reordered: 0,
            stray: 0,
            closed: 0,
            errors: 0,
            unanswered: 0,
            local: 0,
            silent: false,
            complaint: None,
            stall_ms: 0.0,
            behind_ms: 0.0,
        }
    }

    const CLIMB: Climb = Climb {
        from: 1000.0,
        factor: 2.0,
        warmup: Duration::ZERO,
        duration: Duration::from_secs(1),
        p99_limit: Duration::from_millis(100),
        loss_limit: 0.0,
    };

    #[test]
    fn a_step_is_good_up_to_its_limits() {
        assert_eq!(CLIMB.fault_of(&good()), None);
        let lossy = Climb { loss_limit: 0.01, ..CLIMB };
        assert_eq!(lossy.fault_of(&Outcome { delivered: 990, lost: 10, ..good() }), None);
        assert_eq!(
            lossy.fault_of(&Outcome { delivered: 989, lost: 10, duplicated: 1, ..good() }),
            Some(Fault::Unclean)
        );
    }

    #[test]
    fn a_step_is_bad_once_it_is_slow_behind_or_unclean() {
        let slow = Outcome { latency: Summary { p99_ms: 100.0, ..good().latency }, ..good() };
        assert_eq!(CLIMB.fault_of(&slow), Some(Fault::Slow));
        assert_eq!(Climb { p99_limit: Duration::from_millis(101), ..CLIMB }.fault_of(&slow), None);
        assert_eq!(CLIMB.fault_of(&Outcome { achieved_per_second: 949.0, ..good() }), Some(Fault::Behind));
        assert_eq!(CLIMB.fault_of(&Outcome { lost: 1, ..good() }), Some(Fault::Unclean));
    }

    #[test]
    fn a_loss_limit_excuses_nobody_who_was_thrown_out() {
        let lossy = Climb { loss_limit: 0.5, ..CLIMB };
        assert_eq!(lossy.fault_of(&Outcome { closed: 1, ..good() }), Some(Fault::Unclean));
        assert_eq!(lossy.fault_of(&Outcome { stray: 1, ..good() }), Some(Fault::Unclean));
    }
}
