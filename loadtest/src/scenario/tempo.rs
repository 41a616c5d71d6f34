//! Decides when to publish.

use super::fanout::Pace;
use crate::{clock::Nanos, pacer::Pacer};

/// How a run's publications follow each other.
#[derive(Debug)]
pub(super) enum Tempo {
    /// Evenly.
    Paced { pacer: Pacer, deliveries_per_second: f64 },
    /// As deliveries come back.
    Windowed { deliveries: u64 },
    /// As answers do.
    Answered { publications: u64 },
    /// Others publish.
    Silent { deliveries_per_second: Option<f64> },
}

/// What a tempo depends on.
#[derive(Debug, Clone, Copy)]
pub(super) struct Standing {
    /// Deliveries that publications so far should come to.
    pub(super) expected: u64,
    /// Deliveries so far.
    pub(super) delivered: u64,
    /// Publications so far.
    pub(super) published: u64,
    /// Those of them that were answered.
    pub(super) answered: u64,
}

impl Tempo {
    /// A tempo from `start`. A publication has `audience` subscribers everywhere, `here` in this process.
    pub(super) fn new(start: Nanos, pace: Pace, audience: f64, here: f64) -> Self {
        match pace {
            Pace::Deliveries(deliveries_per_second) => Self::Paced {
                pacer: Pacer::new(start, deliveries_per_second / audience),
                deliveries_per_second,
            },
            Pace::Window(publications) => {
                Self::Windowed { deliveries: ((publications as f64 * here) as u64).max(1) }
            }
            Pace::Answers(publications) => Self::Answered { publications },
        }
    }

    /// Nothing to publish here.
    pub(super) fn silent(pace: Pace) -> Self {
        Self::Silent { deliveries_per_second: pace.deliveries_per_second() }
    }

    /// When the next publication of the time until `end` was meant to leave, if it is time for it.
    pub(super) fn take(&mut self, now: Nanos, end: Nanos, standing: Standing) -> Option<Nanos> {
        let is_time = match self {
            Self::Paced { pacer, .. } => return pacer.take_before(now, end),
            Self::Windowed { deliveries } => standing.expected < standing.delivered + *deliveries,
            Self::Answered { publications } => standing.published < standing.answered + *publications,
            Self::Silent { .. } => false,
        };
        (is_time && now < end).then_some(now)
    }

    /// Whether publications ask for an answer.
    pub(super) fn asks(&self) -> bool {
        matches!(self, Self::Answered { .. })
    }

    /// When to look again; none if only a delivery changes anything.
    pub(super) fn due(&self) -> Option<Nanos> {
        match self {
            Self::Paced { pacer, .. } => Some(pacer.due()),
            Self::Windowed { .. } | Self::Answered { .. } | Self::Silent { .. } => None,
        }
    }

    /// The furthest this client was behind.
    pub(super) fn behind(&self) -> Nanos {
        match self {
            Self::Paced { pacer, .. } => pacer.behind(),
            Self::Windowed { .. } | Self::Answered { .. } | Self::Silent { .. } => 0,
        }
    }

    /// The same in this interval.
    pub(super) fn behind_lately(&self) -> Nanos {
        match self {
            Self::Paced { pacer, .. } => pacer.behind_lately(),
            Self::Windowed { .. } | Self::Answered { .. } | Self::Silent { .. } => 0,
        }
    }

    /// An interval is over.
    pub(super) fn forget_lately(&mut self) {
        if let Self::Paced { pacer, .. } = self {
            pacer.forget_lately();
        }
    }

    pub(super) fn intended_per_second(&self) -> Option<f64> {
        match self {
            Self::Paced { deliveries_per_second, .. } => Some(*deliveries_per_second),
            Self::Silent { deliveries_per_second } => *deliveries_per_second,
            Self::Windowed { .. } | Self::Answered { .. } => None,
        }
    }
}
