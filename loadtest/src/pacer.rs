//! Says when each publication is due, and how far behind the client is.
//!
//! **Invariant:** due times depend on the start and the rate alone. A late publication keeps the time it
//! was meant for and the next ones are not moved, so lateness shows up as latency (no coordinated
//! omission). That holds for the last ones, too: who publishes until an end takes all that were due before
//! it, even if the end has passed.

use crate::clock::{Nanos, SECOND};

/// How far behind a pacer may fall before the run's figures are in doubt.
pub const BEHIND_MAX: Nanos = 10_000_000;

/// An even pace from a start.
#[derive(Debug, Clone)]
pub struct Pacer {
    start: Nanos,
    per_second: f64,
    taken: u64,
    behind: Nanos,
    behind_lately: Nanos,
}

impl Pacer {
    /// A pace whose first publication is due at once.
    pub fn new(start: Nanos, per_second: f64) -> Self {
        Self { start, per_second, taken: 0, behind: 0, behind_lately: 0 }
    }

    /// When the next publication is due.
    pub fn due(&self) -> Nanos {
        self.start.saturating_add((self.taken as f64 * SECOND as f64 / self.per_second) as Nanos)
    }

    /// Takes the next publication if it is due; the answer is when it was.
    pub fn take(&mut self, now: Nanos) -> Option<Nanos> {
        self.take_before(now, Nanos::MAX)
    }

    /// The same, unless it is due at `end` or later.
    pub fn take_before(&mut self, now: Nanos, end: Nanos) -> Option<Nanos> {
        let due = self.due();
        let behind = now.checked_sub(due).filter(|_| due < end)?;
        self.behind = self.behind.max(behind);
        self.behind_lately = self.behind_lately.max(behind);
        self.taken += 1;
        Some(due)
    }

    /// The furthest the client has been behind; above [`BEHIND_MAX`] it is told.
    pub fn behind(&self) -> Nanos {
        self.behind
    }

    /// The furthest since [`Pacer::forget_lately`].
    pub fn behind_lately(&self) -> Nanos {
        self.behind_lately
    }

    /// An interval is over.
    pub fn forget_lately(&mut self) {
        self.behind_lately = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn publications_are_due_evenly_and_none_is_skipped() {
        let mut pacer = Pacer::new(100, 1_000_000.0);
        assert_eq!(pacer.take(99), None);
        assert_eq!(pacer.take(100), Some(100));
        assert_eq!(pacer.take(1099), None);
        let late: Vec<_> = std::iter::from_fn(|| pacer.take(4100)).collect();
        assert_eq!(late, [1100, 2100, 3100, 4100], "intended times are not moved by lateness");
    }

    #[test]
    fn what_was_due_before_an_end_is_taken_however_late_and_counts_as_behind() {
        let mut pacer = Pacer::new(0, 1000.0);
        let late: Vec<_> = std::iter::from_fn(|| pacer.take_before(9_000_000, 3_000_000)).collect();
        assert_eq!(late, [0, 1_000_000, 2_000_000]);
        assert_eq!((pacer.behind(), pacer.due()), (9_000_000, 3_000_000));
    }

    #[test]
    fn the_slowest_pace_is_due_at_the_end_of_time() {
        let mut pacer = Pacer::new(SECOND, 1e-300);
        assert_eq!((pacer.take(SECOND), pacer.due()), (Some(SECOND), Nanos::MAX));
    }

    #[test]
    fn falling_behind_is_remembered() {
        let mut pacer = Pacer::new(0, 1000.0);
        pacer.take(0);
        assert_eq!(pacer.behind(), 0);
        pacer.take(1_000_000 + 20_000_000);
        pacer.take(2_000_000 + 20_000_000);
        assert_eq!(pacer.behind(), 20_000_000);
        assert!(pacer.behind() > BEHIND_MAX);
        assert_eq!(pacer.behind_lately(), 20_000_000);
        pacer.forget_lately();
        assert_eq!((pacer.behind_lately(), pacer.behind()), (0, 20_000_000));
    }

    #[test]
    fn a_pace_does_not_drift() {
        let mut pacer = Pacer::new(0, 3.0);
        let last = (0..=3_000_000).map_while(|_| pacer.take(Nanos::MAX)).last();
        assert_eq!(last, Some(1_000_000 * SECOND));
    }
}
