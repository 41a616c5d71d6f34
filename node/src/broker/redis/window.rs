//! What was seen already: resent publications arrive once (redis.md 4.3).

use std::collections::HashMap;
use std::time::Duration;

use dunlin_protocol::{Incarnation, PublicationId};

use crate::hub::Moment;

/// So many publications of a lane are under way at most, so a repetition is never older.
pub const WINDOW: u64 = 4096;
const WORDS: usize = (WINDOW / 64) as usize;
/// A lane that was silent for so long repeats nothing any more: publications are resent for 5 s at most.
const FORGET_AFTER: Duration = Duration::from_mins(1);

/// One window for each lane of each other node that was heard of late.
#[derive(Debug, Default)]
pub struct Windows {
    lanes: HashMap<(Incarnation, u16), Window>,
}

#[derive(Debug)]
struct Window {
    /// The highest sequence seen.
    highest: u64,
    /// Bit `s % WINDOW` is set if `s` was seen, for the last `WINDOW` sequences.
    seen: [u64; WORDS],
    heard_at: Moment,
}

impl Windows {
    /// Whether this is the first time that the id is seen.
    pub fn admit(&mut self, now: Moment, id: PublicationId) -> bool {
        let window = self.lanes.entry((id.incarnation, id.lane)).or_insert_with(|| Window {
            highest: id.sequence,
            seen: [0; WORDS],
            heard_at: now,
        });
        window.heard_at = now;
        window.admit(id.sequence)
    }

    /// Forgets the lanes that have been silent.
    pub fn forget_silent(&mut self, now: Moment) {
        self.lanes.retain(|_, window| now.since(window.heard_at) < FORGET_AFTER);
    }
}

impl Window {
    fn admit(&mut self, sequence: u64) -> bool {
        if sequence + WINDOW <= self.highest {
            return false;
        }
        if sequence > self.highest {
            self.advance(sequence);
        }
        let (word, bit) = (sequence % WINDOW / 64, sequence % 64);
        let word = &mut self.seen[word as usize];
        let new = *word >> bit & 1 == 0;
        *word |= 1 << bit;
        new
    }

    fn advance(&mut self, sequence: u64) {
        if sequence - self.highest >= WINDOW {
            self.seen = [0; WORDS];
        } else {
            for passed in self.highest + 1..=sequence {
                self.seen[(passed % WINDOW / 64) as usize] &= !(1 << (passed % 64));
            }
        }
        self.highest = sequence;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn id(sequence: u64) -> PublicationId {
        PublicationId { incarnation: Incarnation(1), lane: 0, sequence }
    }

    // redis 4.3
    #[test]
    fn each_is_admitted_once_however_it_repeats() {
        let mut windows = Windows::default();
        let (mut seen, mut chance, mut highest) = (HashSet::new(), 1_u64, 10_000);
        for _ in 0..200_000 {
            chance = chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let jump = chance >> 33;
            let sequence = if jump % 3 == 0 { highest + jump % 7 } else { highest - jump % (WINDOW - 1) };
            highest = highest.max(sequence);
            assert_eq!(windows.admit(Moment::default(), id(sequence)), seen.insert(sequence), "{sequence}");
        }
        assert!(!windows.admit(Moment::default(), id(highest - WINDOW)), "too old to be new");
        assert!(windows.admit(Moment::default(), id(highest + 10 * WINDOW)));
        assert!(!windows.admit(Moment::default(), id(highest + 10 * WINDOW)));
    }

    #[test]
    fn lanes_are_apart_and_silent_ones_are_forgotten() {
        let mut windows = Windows::default();
        let other = PublicationId { lane: 1, ..id(5) };
        assert!(windows.admit(Moment::default(), id(5)) && windows.admit(Moment::default(), other));
        windows.forget_silent(Moment::from_millis(59_000));
        assert_eq!(windows.lanes.len(), 2);
        windows.forget_silent(Moment::from_millis(61_000));
        assert!(windows.lanes.is_empty());
    }
}
