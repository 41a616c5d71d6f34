//! The only place that asks what time it is; everything else is told.

use rustix::time::{ClockId, Timespec, clock_gettime};

/// Nanoseconds of `CLOCK_MONOTONIC`: a moment or a span. Publisher and subscriber share one process,
/// so both ends of a latency come from this clock.
pub type Nanos = u64;

/// One second.
pub const SECOND: Nanos = 1_000_000_000;

/// Reads the clock.
pub fn now() -> Nanos {
    let time = clock_gettime(ClockId::Monotonic);
    time.tv_sec.cast_unsigned() * SECOND + time.tv_nsec.cast_unsigned()
}

/// Seconds since 1970, for the date of a record. Nothing is measured with it.
pub fn unix_seconds() -> u64 {
    clock_gettime(ClockId::Realtime).tv_sec.cast_unsigned()
}

/// The span as the kernel wants it for a wait.
pub(crate) fn timespec(span: Nanos) -> Timespec {
    Timespec { tv_sec: (span / SECOND).cast_signed(), tv_nsec: (span % SECOND).cast_signed() }
}
