//! `most`: raises the rate step by step until the server no longer keeps up; the knee is the last good step.

use std::time::Duration;

use anyhow::{Result, ensure};
use serde::Serialize;

use super::{
    fanout::{Outcome, Pace, Plan},
    stage::{Cast, Stage},
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
    /// Something was lost, doubled, swapped, misdirected or closed.
    Unclean,
    /// p99 reached [`P99_MS_MAX`].
    Slow,
    /// Less than [`ACHIEVED_MIN`] of the intended deliveries came in time.
    Behind,
}

/// The p99 from which a step is bad, in milliseconds.
pub const P99_MS_MAX: f64 = 100.0;

/// The part of the intended rate below which a step is bad.
pub const ACHIEVED_MIN: f64 = 0.95;

/// A climb ends here, however good the server is.
const STEPS_MAX: usize = 60;

/// Climbs until a step is bad; `told` hears of each.
pub fn run(cast: Cast, climb: Climb, mut told: impl FnMut(&Step)) -> Result<Ascent> {
    ensure!(climb.factor > 1.0 && climb.from > 0.0, "a climb starts above 0 and goes up by a factor above 1");
    ensure!(cast.publishers > 0 && cast.peers > 0, "somebody must publish, and somebody subscribe");
    let mut stage = Stage::open(cast)?;
    let mut ascent = Ascent { steps: Vec::new(), knee: None };
    let mut rate = climb.from;
    for index in 0..STEPS_MAX {
        let plan = Plan { pace: Pace::Deliveries(rate), warmup: climb.warmup, duration: climb.duration };
        let outcome = stage.run(plan, |_| {})?;
        let step = Step { fault: fault_of(&outcome), outcome };
        told(&step);
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

fn fault_of(outcome: &Outcome) -> Option<Fault> {
    let intended = outcome.intended_per_second.unwrap_or_default();
    if !outcome.is_clean() {
        Some(Fault::Unclean)
    } else if outcome.achieved_per_second < intended * ACHIEVED_MIN {
        Some(Fault::Behind)
    } else if outcome.latency.p99_ms >= P99_MS_MAX {
        Some(Fault::Slow)
    } else {
        None
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
            lost: 0,
            duplicated: 0,
            reordered: 0,
            stray: 0,
            closed: 0,
            errors: 0,
            unanswered: 0,
            local: 0,
            complaint: None,
            stall_ms: 0.0,
            behind_ms: 0.0,
        }
    }

    #[test]
    fn a_step_is_good_up_to_its_limits() {
        assert_eq!(fault_of(&good()), None);
    }

    #[test]
    fn a_step_is_bad_once_it_is_slow_behind_or_unclean() {
        let slow = Outcome { latency: Summary { p99_ms: 100.0, ..good().latency }, ..good() };
        assert_eq!(fault_of(&slow), Some(Fault::Slow));
        assert_eq!(fault_of(&Outcome { achieved_per_second: 949.0, ..good() }), Some(Fault::Behind));
        assert_eq!(fault_of(&Outcome { lost: 1, ..good() }), Some(Fault::Unclean));
        assert_eq!(fault_of(&Outcome { closed: 1, ..good() }), Some(Fault::Unclean));
    }
}
