//! A token bucket in eight bytes.

use super::Moment;

/// Allows `rate` things a second, and as many at once after a quiet second.
///
/// Time is kept in milliseconds modulo 2³²: a bucket that was not asked for 49 days may refuse one second's
/// worth too early, never too late.
#[derive(Debug, Clone, Copy, Default)]
pub struct Bucket {
    /// Thousandths of a token that are used up.
    used: u32,
    seen_ms: u32,
}

/// How much earlier than another's the time of a caller may be, in milliseconds.
const LATE_MS_MAX: u32 = 10_000;

impl Bucket {
    /// Takes one token, if there is one. `rate` is per second; `u32::MAX` means no limit.
    pub fn take(&mut self, now: Moment, rate: u32) -> bool {
        if rate == u32::MAX {
            return true;
        }
        let now_ms = (now.micros() / 1000) as u32;
        // Whoever looked at the clock a little before another who came here first is not 49 days late.
        let is_late = self.seen_ms.wrapping_sub(now_ms) < LATE_MS_MAX;
        let elapsed = if is_late { 0 } else { u64::from(now_ms.wrapping_sub(self.seen_ms)) };
        let refilled = elapsed.saturating_mul(u64::from(rate)).min(u64::from(u32::MAX)) as u32;
        self.used = self.used.saturating_sub(refilled);
        self.seen_ms = self.seen_ms.wrapping_add(elapsed as u32);
        let allowed = u64::from(self.used) + 1000 <= u64::from(rate) * 1000;
        if allowed {
            self.used += 1000;
        }
        allowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(bucket: &mut Bucket, now_ms: u64, rate: u32, tries: u32) -> usize {
        (0..tries).filter(|_| bucket.take(Moment::from_millis(now_ms), rate)).count()
    }

    #[test]
    fn a_second_s_worth_passes_at_once_and_no_more() {
        assert_eq!(taken(&mut Bucket::default(), 5_000, 50, 200), 50);
    }

    #[test]
    fn tokens_come_back_at_the_rate() {
        let mut bucket = Bucket::default();
        taken(&mut bucket, 5_000, 50, 50);
        assert_eq!(taken(&mut bucket, 5_100, 50, 50), 5);
        assert_eq!(taken(&mut bucket, 65_000, 50, 500), 50);
    }

    #[test]
    fn a_new_bucket_is_full_at_any_time() {
        for now_ms in [0, 1, 4_000_000_000, 4_294_967_295, 4_294_967_296, 1_790_000_000_000] {
            let mut bucket = Bucket::default();
            assert_eq!(taken(&mut bucket, now_ms, 50, 200), 50, "at {now_ms}");
            assert_eq!(taken(&mut bucket, now_ms + 60_000, 50, 200), 50, "a minute after {now_ms}");
        }
    }

    #[test]
    fn who_comes_late_with_an_earlier_time_refills_nothing() {
        let mut bucket = Bucket::default();
        taken(&mut bucket, 5_000, 50, 50);
        assert_eq!(taken(&mut bucket, 4_999, 50, 50), 0);
        assert_eq!(taken(&mut bucket, 5_100, 50, 50), 5);
    }

    #[test]
    fn no_rate_is_no_limit() {
        let mut bucket = Bucket::default();
        assert!((0..10_000).all(|_| bucket.take(Moment::from_millis(1), u32::MAX)));
    }
}
