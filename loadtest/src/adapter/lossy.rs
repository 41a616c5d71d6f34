//! An adapter made faulty on purpose, to see that the sequence check turns red.
//!
//! **Invariant:** only measured deliveries are touched, and which of them depends on the seed and their
//! order alone.

use std::collections::HashMap;

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};

use super::{Adapter, Heard};
use crate::{
    chance::Chance,
    fleet::Peer,
    roll::Roll,
    scenario::Mode,
    stamp::{PROBE, Stamp},
};

/// Which part of the deliveries suffers what.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Losses {
    /// Never heard.
    pub drop: f64,
    /// Heard twice.
    pub double: f64,
    /// Heard after the next one of the same peer and publisher: between publishers there is no order.
    pub swap: f64,
    /// What the choice starts from.
    pub seed: u64,
}

impl Losses {
    /// Reads `drop=0.001,double=0.001,swap=0.001,seed=7`, any of them.
    pub fn parse(text: &str) -> Result<Self> {
        let mut losses = Self::default();
        for part in text.split(',') {
            let (name, value) = part.split_once('=').with_context(|| format!("{part:?} is not NAME=PART"))?;
            let part = || value.parse::<f64>().with_context(|| format!("{value:?} is no number"));
            match name {
                "drop" => losses.drop = part()?,
                "double" => losses.double = part()?,
                "swap" => losses.swap = part()?,
                "seed" => losses.seed = value.parse().with_context(|| format!("{value:?} is no seed"))?,
                _ => bail!("{name:?} is none of drop, double, swap, seed"),
            }
        }
        let parts = [losses.drop, losses.double, losses.swap];
        ensure!(
            parts.iter().all(|part| *part >= 0.0) && parts.iter().sum::<f64>() <= 1.0,
            "drop, double and swap are parts of 1"
        );
        Ok(losses)
    }
}

/// Stands between an adapter and whoever listens to it.
#[derive(Debug)]
pub struct Lossy {
    inner: Adapter,
    mischief: Mischief,
}

impl Lossy {
    pub(super) fn new(inner: Adapter, losses: Losses) -> Self {
        Self { inner, mischief: Mischief::new(losses) }
    }

    pub(super) fn reading(self, mode: Mode) -> Self {
        Self { inner: self.inner.reading(mode), ..self }
    }

    pub(super) fn forget(&mut self, peer: Peer) {
        self.inner.forget(peer);
    }

    pub(super) fn hear(
        &mut self,
        roll: &Roll,
        peer: Peer,
        message: &[u8],
        outbox: &mut Vec<u8>,
        heard: &mut dyn FnMut(Heard<'_>),
    ) {
        let Self { inner, mischief } = self;
        inner.hear_any(roll, peer, message, outbox, &mut |one| match one {
            Heard::Delivery(stamp) if stamp.publisher != PROBE => mischief.pass(peer, stamp, heard),
            other => heard(other),
        });
    }
}

/// Chance, and the deliveries it holds back. One that is held when the run ends is lost.
#[derive(Debug)]
struct Mischief {
    losses: Losses,
    chance: Chance,
    held: HashMap<(Peer, u32), Stamp>,
}

impl Mischief {
    fn new(losses: Losses) -> Self {
        Self { losses, chance: Chance::new(losses.seed), held: HashMap::new() }
    }

    fn pass(&mut self, peer: Peer, stamp: Stamp, heard: &mut dyn FnMut(Heard<'_>)) {
        let Losses { drop, double, swap, .. } = self.losses;
        let chance = self.chance.unit();
        let stream = (peer, stamp.publisher);
        let held = self.held.remove(&stream);
        if chance < drop {
        } else if chance < drop + double {
            heard(Heard::Delivery(stamp));
            heard(Heard::Delivery(stamp));
        } else if chance < drop + double + swap && held.is_none() {
            self.held.insert(stream, stamp);
        } else {
            heard(Heard::Delivery(stamp));
        }
        if let Some(late) = held {
            heard(Heard::Delivery(late));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The numbers that come of 0 to 999 on one peer.
    fn passed(text: &str) -> Vec<u32> {
        let losses = Losses::parse(text).unwrap();
        let mut mischief = Mischief::new(losses);
        let mut numbers = Vec::new();
        for sequence in 0..1000 {
            let stamp = Stamp { topic: 0, publisher: 0, sequence, intended: 0 };
            mischief.pass(0, stamp, &mut |heard| {
                let Heard::Delivery(stamp) = heard else { panic!("{heard:?}") };
                numbers.push(stamp.sequence);
            });
        }
        numbers
    }

    #[test]
    fn nothing_happens_unless_asked_for() {
        assert_eq!(passed("seed=1"), (0..1000).collect::<Vec<_>>());
    }

    #[test]
    fn about_as_many_suffer_as_asked_for_and_the_same_for_a_seed() {
        let near = |count: usize| assert!((60..140).contains(&count), "{count}");
        near(1000 - passed("drop=0.1").len());
        near(passed("double=0.1").len() - 1000);
        let swapped = passed("swap=0.1");
        near(swapped.windows(2).filter(|pair| pair[0] > pair[1]).count());
        assert!(swapped.len() >= 999, "at most the last is held");
        assert_eq!(passed("drop=0.1"), passed("drop=0.1"));
        assert_ne!(passed("drop=0.1"), passed("drop=0.1,seed=2"));
    }

    #[test]
    fn a_swap_is_within_a_publisher_however_publishers_take_turns() {
        let mut mischief = Mischief::new(Losses::parse("swap=1").unwrap());
        let mut heard = Vec::new();
        for (publisher, sequence) in [(0, 0), (1, 0), (0, 1), (1, 1)] {
            let stamp = Stamp { topic: 0, publisher, sequence, intended: 0 };
            mischief.pass(0, stamp, &mut |one| {
                let Heard::Delivery(stamp) = one else { panic!("{one:?}") };
                heard.push((stamp.publisher, stamp.sequence));
            });
        }
        assert_eq!(heard, [(0, 1), (0, 0), (1, 1), (1, 0)]);
    }

    #[test]
    fn parts_that_make_no_sense_are_refused() {
        for text in ["drop", "drop=x", "lose=0.1", "drop=-1", "drop=0.6,double=0.6"] {
            assert!(Losses::parse(text).is_err(), "{text}");
        }
    }
}
