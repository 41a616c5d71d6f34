//! Checks every subscriber's deliveries: each publication once, in its publisher's order.
//!
//! A stream is one subscriber's view of one publisher on its topic. Its numbers count from zero, so one
//! `u32` says all while nothing is wrong; holes cost memory only once they exist.

use std::{collections::HashMap, ops::Range};

/// What a delivery was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The expected one.
    Next,
    /// One from the future: those between are missing until they come.
    Skipped,
    /// A missing one that came after a later one.
    Late,
    /// One that had come already.
    Duplicate,
}

/// What went wrong, over all streams.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Faults {
    /// Publications that never came.
    pub lost: u64,
    /// Deliveries beyond the first.
    pub duplicated: u64,
    /// Deliveries that came after a later one.
    pub reordered: u64,
}

/// The streams of all subscribers.
#[derive(Debug)]
pub struct Ledger {
    next: Vec<u32>,
    holes: HashMap<usize, Vec<Range<u32>>>,
    faults: Faults,
}

impl Ledger {
    /// Expects number 0 on each of `streams` streams.
    pub fn new(streams: usize) -> Self {
        Self { next: vec![0; streams], holes: HashMap::new(), faults: Faults::default() }
    }

    /// Notes a delivery.
    #[inline]
    pub fn note(&mut self, stream: usize, sequence: u32) -> Verdict {
        let next = &mut self.next[stream];
        if sequence == *next {
            *next = next.saturating_add(1);
            return Verdict::Next;
        }
        self.note_out_of_order(stream, sequence)
    }

    /// Ends a run in which stream `i` was sent `sent(i)` publications: what hasn't come is lost. The next
    /// run's faults count from zero, its numbers go on.
    pub fn settle(&mut self, sent: impl Fn(usize) -> u32) -> Faults {
        let mut faults = std::mem::take(&mut self.faults);
        for holes in self.holes.values() {
            faults.lost += holes.iter().map(|hole| hole.len() as u64).sum::<u64>();
        }
        self.holes.clear();
        for (stream, next) in self.next.iter_mut().enumerate() {
            let sent = sent(stream);
            faults.lost += u64::from(sent.saturating_sub(*next));
            *next = sent;
        }
        faults
    }

    /// The number that a stream expects: all below came, or are missing.
    pub fn next(&self, stream: usize) -> u32 {
        self.next[stream]
    }

    /// What a stream has not had below this number is no longer expected, for it was told so. The answer is
    /// how many that were.
    pub fn skip_to(&mut self, stream: usize, sequence: u32) -> u32 {
        let next = &mut self.next[stream];
        let skipped = sequence.saturating_sub(*next);
        *next += skipped;
        skipped
    }

    /// Deliveries beyond the first so far.
    pub fn duplicated(&self) -> u64 {
        self.faults.duplicated
    }

    /// What is wrong so far; what is missing may still come.
    pub fn faults(&self) -> Faults {
        let missing = self.holes.values().flatten().map(|hole| hole.len() as u64).sum();
        Faults { lost: missing, ..self.faults }
    }

    #[cold]
    fn note_out_of_order(&mut self, stream: usize, sequence: u32) -> Verdict {
        let next = &mut self.next[stream];
        if sequence > *next {
            self.holes.entry(stream).or_default().push(*next..sequence);
            *next = sequence.saturating_add(1);
            return Verdict::Skipped;
        }
        if self.holes.get_mut(&stream).is_some_and(|holes| fill(holes, sequence)) {
            self.faults.reordered += 1;
            return Verdict::Late;
        }
        self.faults.duplicated += 1;
        Verdict::Duplicate
    }
}

/// Takes one number out of the holes; false if it is in none.
fn fill(holes: &mut Vec<Range<u32>>, sequence: u32) -> bool {
    let Some(index) = holes.iter().position(|hole| hole.contains(&sequence)) else { return false };
    let hole = holes.swap_remove(index);
    holes.extend([hole.start..sequence, sequence + 1..hole.end].into_iter().filter(|part| !part.is_empty()));
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One stream that was sent 0 to 4 and received this.
    fn faults_of(received: &[u32]) -> Faults {
        let mut ledger = Ledger::new(1);
        for &sequence in received {
            ledger.note(0, sequence);
        }
        ledger.settle(|_| 5)
    }

    #[test]
    fn a_whole_stream_has_no_faults() {
        assert_eq!(faults_of(&[0, 1, 2, 3, 4]), Faults::default());
    }

    #[test]
    fn a_lost_delivery_is_red_at_the_start_in_the_middle_and_at_the_end() {
        for received in [&[1, 2, 3, 4], &[0, 1, 3, 4], &[0, 1, 2, 3]] {
            assert_eq!(faults_of(received), Faults { lost: 1, ..Faults::default() }, "{received:?}");
        }
    }

    #[test]
    fn a_doubled_delivery_is_red() {
        for received in [&[0, 0, 1, 2, 3, 4], &[0, 1, 2, 3, 4, 4], &[0, 1, 2, 3, 4, 1]] {
            assert_eq!(faults_of(received), Faults { duplicated: 1, ..Faults::default() }, "{received:?}");
        }
    }

    #[test]
    fn a_swapped_delivery_is_red_and_not_lost() {
        assert_eq!(faults_of(&[0, 2, 1, 3, 4]), Faults { reordered: 1, ..Faults::default() });
        assert_eq!(faults_of(&[4, 0, 1, 2, 3]), Faults { reordered: 4, ..Faults::default() });
    }

    #[test]
    fn what_was_told_to_be_missing_is_not_lost() {
        let mut ledger = Ledger::new(1);
        ledger.note(0, 0);
        assert_eq!((ledger.skip_to(0, 3), ledger.skip_to(0, 1), ledger.next(0)), (2, 0, 3));
        assert_eq!((ledger.note(0, 3), ledger.settle(|_| 5).lost), (Verdict::Next, 1));
    }

    #[test]
    fn a_late_delivery_that_comes_twice_is_a_duplicate_too() {
        let faults = faults_of(&[0, 4, 2, 2]);
        assert_eq!(faults, Faults { lost: 2, duplicated: 1, reordered: 1 });
    }

    #[test]
    fn a_number_that_nobody_sent_is_no_panic() {
        let mut ledger = Ledger::new(1);
        assert_eq!((ledger.note(0, u32::MAX), ledger.note(0, u32::MAX)), (Verdict::Skipped, Verdict::Next));
        assert_eq!(ledger.settle(|_| 5).lost, u64::from(u32::MAX));
    }

    #[test]
    fn streams_are_apart_and_runs_follow_each_other() {
        let mut ledger = Ledger::new(2);
        ledger.note(0, 0);
        assert_eq!(ledger.settle(|_| 1).lost, 1, "the second stream had none");
        assert_eq!((ledger.note(0, 1), ledger.note(1, 1)), (Verdict::Next, Verdict::Next));
        assert_eq!(ledger.settle(|_| 2), Faults::default());
    }
}
