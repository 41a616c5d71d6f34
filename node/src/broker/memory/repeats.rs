//! Commits that came with a key: what a repetition is answered (promise B-16).

use std::collections::hash_map::DefaultHasher;
use std::collections::{HashMap, VecDeque};
use std::hash::{Hash, Hasher};
use std::time::Duration;

use dunlin_protocol::Position;

use crate::history::Place;
use crate::hub::{Chance, Moment};

/// How long a key is remembered.
const REMEMBERED: Duration = Duration::from_mins(5);
/// Keys that a node remembers at most, about 100 MB; beyond, commits with a key are refused.
pub const KEYS_MAX: usize = 1_000_000;
/// Keys that are forgotten in one go at most, so that nobody waits for it.
const FORGOTTEN_AT_ONCE: usize = 64;

/// Where the commits of the last five minutes that had a key were put.
///
/// Keys are as long as clients like, so only their digests are kept.
pub struct Repeats {
    positions: HashMap<Digest, (Moment, Position)>,
    /// All of them, oldest first.
    order: VecDeque<(Moment, Digest)>,
    /// Makes digests that nobody can foresee.
    secrets: [u64; 2],
    keys_max: usize,
}

/// What a topic and a key come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Digest([u64; 2]);

/// No more keys can be remembered now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Full;

impl Repeats {
    /// None yet, and at most so many.
    pub fn new(chance: &mut Chance, keys_max: usize) -> Self {
        let secrets = [chance.draw(), chance.draw()];
        Self { positions: HashMap::new(), order: VecDeque::new(), secrets, keys_max }
    }

    /// The digest of a topic's key.
    pub fn digest(&self, place: &Place, key: &str) -> Digest {
        Digest(self.secrets.map(|secret| {
            let mut hasher = DefaultHasher::new();
            (secret, place, key).hash(&mut hasher);
            hasher.finish()
        }))
    }

    /// Where the commit of this key was put, if there was one.
    pub fn position(&self, now: Moment, digest: Digest) -> Option<Position> {
        let (at, position) = self.positions.get(&digest)?;
        (now.since(*at) < REMEMBERED).then_some(*position)
    }

    /// Whether one more can be remembered.
    pub fn admit(&self) -> Result<(), Full> {
        if self.order.len() < self.keys_max { Ok(()) } else { Err(Full) }
    }

    /// Remembers where a commit was put.
    pub fn note(&mut self, now: Moment, digest: Digest, position: Position) {
        self.positions.insert(digest, (now, position));
        self.order.push_back((now, digest));
    }

    /// Forgets some of those whose time is over.
    pub fn forget(&mut self, now: Moment) {
        for _ in 0..FORGOTTEN_AT_ONCE {
            let Some((at, digest)) = self.order.pop_front_if(|(at, _)| now.since(*at) >= REMEMBERED) else {
                return;
            };
            // It may have been noted anew since.
            if self.positions.get(&digest).is_some_and(|(noted, _)| *noted == at) {
                self.positions.remove(&digest);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use dunlin_protocol::{Epoch, Namespace, Topic};

    use super::*;

    fn place(topic: &str) -> Place {
        Place { namespace: Namespace::parse("/a").expect("good"), topic: Topic::parse(topic).expect("good") }
    }

    fn at(seconds: u64) -> Moment {
        Moment::from_millis(seconds * 1000)
    }

    // B-16
    #[test]
    fn a_key_is_remembered_for_five_minutes_and_costs_nothing_afterwards() {
        let mut repeats = Repeats::new(&mut Chance::new(1), 10);
        let (digest, position) = (repeats.digest(&place("t"), "k"), Position::origin(Epoch([1; 8])));
        repeats.note(at(0), digest, position);
        repeats.forget(at(299));
        assert_eq!(repeats.position(at(299), digest), Some(position));
        assert_eq!(repeats.position(at(300), digest), None);
        repeats.note(at(300), digest, position);
        repeats.forget(at(300));
        assert_eq!(repeats.position(at(300), digest), Some(position), "the newer note stays");
        repeats.forget(at(600));
        assert_eq!((repeats.positions.len(), repeats.order.len()), (0, 0));
    }

    #[test]
    fn a_key_is_the_topics_own() {
        let repeats = Repeats::new(&mut Chance::new(1), 10);
        assert_ne!(repeats.digest(&place("t"), "k"), repeats.digest(&place("u"), "k"));
        assert_ne!(repeats.digest(&place("t"), "uk"), repeats.digest(&place("tu"), "k"));
    }

    #[test]
    fn more_keys_than_can_be_remembered_are_refused_until_the_oldest_are_forgotten() {
        let mut repeats = Repeats::new(&mut Chance::new(1), 10);
        for key in 0..10 {
            assert_eq!(repeats.admit(), Ok(()));
            repeats.note(at(0), Digest([key, 0]), Position::origin(Epoch([1; 8])));
        }
        assert_eq!(repeats.admit(), Err(Full));
        repeats.forget(at(300));
        assert_eq!(repeats.admit(), Ok(()));
    }
}
