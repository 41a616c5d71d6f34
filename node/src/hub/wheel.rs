//! One timer wheel per shard: thousands of deadlines, no task and no allocation for any of them.
//!
//! A wheel only hands keys back when their time has come; what was due, and when to come again, its
//! owner knows. Keys are never removed: a key that fires for nothing costs less than finding it.
//!
//! **Invariant:** a key never fires early, and at most one slot's width late.

use super::Moment;

/// Width of a slot: 2¹⁴ µs, 16.4 ms.
const SLOT_SHIFT: u32 = 14;
/// Slots of a turn; later deadlines come around and are put in again (16.8 s).
const SLOTS: usize = 1024;

/// Deadlines by time.
#[derive(Debug)]
pub struct Wheel<K> {
    slots: Box<[Vec<(Moment, K)>]>,
    /// The slot number, counted from the beginning of time, up to which all has fired.
    fired: u64,
    waiting: usize,
}

impl<K: Copy> Wheel<K> {
    /// An empty wheel that starts at `now`.
    pub fn new(now: Moment) -> Self {
        let slots = (0..SLOTS).map(|_| Vec::new()).collect();
        Self { slots, fired: now.micros() >> SLOT_SHIFT, waiting: 0 }
    }

    /// Lets `key` fire at `at`, or with the next slot if that is past.
    pub fn schedule(&mut self, at: Moment, key: K) {
        let slot = slot_after(at).max(self.fired + 1);
        let slot = slot.min(self.fired + SLOTS as u64);
        self.slots[slot as usize % SLOTS].push((at, key));
        self.waiting += 1;
    }

    /// When to call [`Wheel::expire`] next; none while nothing waits.
    pub fn next(&self) -> Option<Moment> {
        if self.waiting == 0 {
            return None;
        }
        let ahead =
            (1..=SLOTS as u64).find(|ahead| !self.slots[(self.fired + ahead) as usize % SLOTS].is_empty());
        ahead.map(|ahead| Moment::from_micros((self.fired + ahead) << SLOT_SHIFT))
    }

    /// Moves every key whose time has come into `due`.
    pub fn expire(&mut self, now: Moment, due: &mut Vec<K>) {
        let until = now.micros() >> SLOT_SHIFT;
        let from = (self.fired + 1).max(until.saturating_sub(SLOTS as u64 - 1));
        self.fired = self.fired.max(until);
        for slot in from..=until {
            let entries = std::mem::take(&mut self.slots[slot as usize % SLOTS]);
            self.waiting -= entries.len();
            for (at, key) in entries {
                if at <= now { due.push(key) } else { self.schedule(at, key) }
            }
        }
    }
}

/// The first slot that begins at or after `at`.
fn slot_after(at: Moment) -> u64 {
    at.micros().div_ceil(1 << SLOT_SHIFT)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fired(wheel: &mut Wheel<u32>, now_ms: u64) -> Vec<u32> {
        let mut due = Vec::new();
        wheel.expire(Moment::from_millis(now_ms), &mut due);
        due
    }

    #[test]
    fn a_key_fires_once_never_early_and_within_a_slot() {
        let mut wheel = Wheel::new(Moment::from_millis(1_000));
        wheel.schedule(Moment::from_millis(1_500), 7);
        assert!(fired(&mut wheel, 1_499).is_empty());
        assert_eq!(fired(&mut wheel, 1_517), [7]);
        assert!(fired(&mut wheel, 9_000).is_empty());
        assert_eq!(wheel.next(), None);
    }

    #[test]
    fn a_deadline_beyond_the_wheel_s_turn_waits_its_time() {
        let mut wheel = Wheel::new(Moment::from_millis(0));
        wheel.schedule(Moment::from_millis(60_000), 1);
        for second in 1..60 {
            assert!(fired(&mut wheel, second * 1_000).is_empty(), "after {second} s");
        }
        assert_eq!(fired(&mut wheel, 60_020), [1]);
    }

    #[test]
    fn a_long_pause_fires_all_that_was_due() {
        let mut wheel = Wheel::new(Moment::from_millis(0));
        for key in 0..100 {
            wheel.schedule(Moment::from_millis(u64::from(key) * 700), key);
        }
        let mut due = fired(&mut wheel, 3_600_000);
        due.sort_unstable();
        assert_eq!(due, (0..100).collect::<Vec<_>>());
    }

    #[test]
    fn following_next_fires_every_key_at_its_time() {
        let mut wheel = Wheel::new(Moment::from_millis(500));
        let deadlines = [510, 600, 601, 5_000, 17_000, 40_000];
        for (key, at) in deadlines.iter().enumerate() {
            wheel.schedule(Moment::from_millis(*at), key as u32);
        }
        let mut seen = Vec::new();
        while let Some(next) = wheel.next() {
            let mut due = Vec::new();
            wheel.expire(next, &mut due);
            for key in due {
                let late = next.micros() / 1000 - deadlines[key as usize];
                assert!(late <= 17, "key {key} was {late} ms late");
                seen.push(key);
            }
        }
        assert_eq!(seen, [0, 1, 2, 3, 4, 5]);
    }
}
