//! What the agents of a run have said so far, put together.

use std::collections::BTreeMap;

use super::words::{Tick, Word};
use crate::{clock::Nanos, sampler::Counts, scenario::share::Share, statistics::Latencies};

/// One run's words.
#[derive(Debug)]
pub(super) struct Gathering {
    intended_per_second: Option<f64>,
    /// Each agent's last tick.
    last: Vec<Option<Tick>>,
    /// Latencies by the moment of their ticks, until all agents are past it.
    open: BTreeMap<Nanos, Latencies>,
    behind: Nanos,
    published: Vec<bool>,
    sent: Vec<u32>,
    shares: Vec<Option<Share>>,
}

impl Gathering {
    pub(super) fn new(agents: usize, intended_per_second: Option<f64>) -> Self {
        Self {
            intended_per_second,
            last: vec![None; agents],
            open: BTreeMap::new(),
            behind: 0,
            published: vec![false; agents],
            sent: Vec::new(),
            shares: vec![None; agents],
        }
    }

    /// Takes a word; one that has no place here comes back.
    pub(super) fn take(&mut self, index: usize, word: Word) -> Option<Word> {
        match word {
            Word::Tick(tick) => self.take_tick(index, tick),
            Word::Published(sent) => {
                self.published[index] = true;
                self.sent = sent.unwrap_or_else(|| std::mem::take(&mut self.sent));
            }
            Word::Share(share) => self.shares[index] = Some(*share),
            other => return Some(other),
        }
        None
    }

    /// A moment that all agents have told of: what they counted, and their latencies up to it.
    pub(super) fn next_sample(&mut self) -> Option<(Counts, Latencies)> {
        let all = self.last.iter().map(|tick| Some(tick.as_ref()?.at)).min().flatten()?;
        let mut latencies: Option<Latencies> = None;
        while let Some(entry) = self.open.first_entry().filter(|entry| *entry.key() <= all) {
            let its = entry.remove();
            match &mut latencies {
                Some(latencies) => latencies.merge(&its),
                None => latencies = Some(its),
            }
        }
        Some((self.counts(), latencies?))
    }

    /// An agent that has not said that its publications left.
    pub(super) fn unpublished(&self) -> Option<usize> {
        self.published.iter().position(|published| !published)
    }

    /// What was published in all.
    pub(super) fn take_sent(&mut self) -> Vec<u32> {
        std::mem::take(&mut self.sent)
    }

    /// An agent that has not reported.
    pub(super) fn unreported(&self) -> Option<usize> {
        self.shares.iter().position(Option::is_none)
    }

    /// What all reported, added up.
    pub(super) fn into_share(self) -> Share {
        let mut shares = self.shares.into_iter().flatten();
        let first = shares.next().expect("all agents have reported, and there is one");
        shares.fold(first, |mut sum, share| {
            sum.add(share);
            sum
        })
    }

    fn take_tick(&mut self, index: usize, tick: Tick) {
        self.behind = self.behind.max(tick.behind);
        match self.open.get_mut(&tick.at) {
            Some(open) => open.merge(&tick.latencies),
            None => drop(self.open.insert(tick.at, tick.latencies.clone())),
        }
        self.last[index] = Some(tick);
    }

    fn counts(&mut self) -> Counts {
        let ticks = || self.last.iter().flatten();
        Counts {
            deliveries: ticks().map(|tick| tick.deliveries).sum(),
            publications: ticks().map(|tick| tick.publications).sum(),
            peers: ticks().map(|tick| tick.peers).sum(),
            faults: ticks().map(|tick| tick.faults).sum(),
            intended_per_second: self.intended_per_second,
            behind: std::mem::take(&mut self.behind),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tick(at: Nanos, deliveries: u64, latency: Nanos) -> Word {
        let mut latencies = Latencies::new();
        latencies.record(latency);
        Word::Tick(Tick { at, deliveries, publications: 1, faults: 0, peers: 2, behind: at, latencies })
    }

    #[test]
    fn a_sample_waits_for_the_last_agent_and_has_everybodys_latencies() {
        let mut gathering = Gathering::new(2, Some(100.0));
        assert!(gathering.take(0, tick(1000, 10, 1_000_000)).is_none());
        assert!(gathering.next_sample().is_none(), "the second agent is behind");
        gathering.take(0, tick(2000, 20, 2_000_000));
        gathering.take(1, tick(1000, 5, 9_000_000));
        let (counts, latencies) = gathering.next_sample().unwrap();
        assert_eq!((counts.peers, counts.intended_per_second, counts.behind), (4, Some(100.0), 2000));
        assert_eq!(latencies.count(), 2);
        assert!(latencies.summary().max_ms >= 9.0);
        assert!(gathering.next_sample().is_none());
        gathering.take(1, tick(2000, 9, 1));
        assert_eq!(gathering.next_sample().unwrap().0.deliveries, 29);
    }

    #[test]
    fn a_word_out_of_place_comes_back() {
        let mut gathering = Gathering::new(1, None);
        assert!(matches!(gathering.take(0, Word::Settled), Some(Word::Settled)));
    }

    #[test]
    fn what_was_published_is_the_publishers_word_whoever_speaks_last() {
        let mut gathering = Gathering::new(2, None);
        gathering.take(0, Word::Published(Some(vec![7])));
        assert_eq!(gathering.unpublished(), Some(1));
        gathering.take(1, Word::Published(None));
        assert_eq!((gathering.unpublished(), gathering.take_sent()), (None, vec![7]));
    }
}
