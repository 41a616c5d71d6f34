//! Who follows a run while it lasts, and what it is told.

use std::ops::Range;

use anyhow::Result;

use super::Moment;
use crate::{clock::Nanos, sampler::Counts, statistics::Latencies};

/// Follows a run.
pub trait Follower {
    /// Something begins.
    fn phase(&mut self, text: &str, stretch: Stretch);
    /// When to be told again at the latest.
    fn due(&self) -> Nanos;
    /// Is told where the run is. Latencies are those since the last sample.
    fn look(&mut self, now: Nanos, counts: Counts, latencies: Option<&Latencies>) -> Result<Look>;
    /// The measured time begins or ends; a sample is taken.
    fn moment(&mut self, moment: Moment, counts: Counts, latencies: &Latencies) -> Result<()>;
}

/// What a phase is measured by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stretch {
    /// So many peers are to come.
    Peers(u32),
    /// It lasts from here to there.
    Time(Range<Nanos>),
}

/// What a follower did with what it was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Look {
    /// It only looked.
    Glance,
    /// It took a sample: a new interval begins.
    Sample,
}

/// Follows nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Nobody;

impl Follower for Nobody {
    fn phase(&mut self, _text: &str, _stretch: Stretch) {}

    fn due(&self) -> Nanos {
        Nanos::MAX
    }

    fn look(&mut self, _now: Nanos, _counts: Counts, _latencies: Option<&Latencies>) -> Result<Look> {
        Ok(Look::Glance)
    }

    fn moment(&mut self, _moment: Moment, _counts: Counts, _latencies: &Latencies) -> Result<()> {
        Ok(())
    }
}
