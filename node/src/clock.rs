//! The node's clock: the one place that reads the time.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::hub::Moment;

/// Unix time at the node's start, carried on by the monotonic clock.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    started: Instant,
    started_at: Moment,
}

impl Clock {
    /// Starts the clock.
    #[expect(clippy::disallowed_methods, reason = "everybody else asks this clock")]
    pub fn start() -> Self {
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        Self { started: Instant::now(), started_at: Moment::default() + unix }
    }

    /// The time.
    #[expect(clippy::disallowed_methods, reason = "everybody else asks this clock")]
    pub fn now(&self) -> Moment {
        self.started_at + self.started.elapsed()
    }

    /// A moment in the runtime's terms.
    pub fn instant(&self, moment: Moment) -> Instant {
        self.started + moment.since(self.started_at)
    }
}
