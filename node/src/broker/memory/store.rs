//! All topics that remember.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use dunlin_protocol::{Epoch, Incarnation, Mark, PublicationId};
use slab::Slab;

use super::repeats::{KEYS_MAX, Repeats};
use super::stored::{Drawn, Fate, Stored};
use crate::config::Retention;
use crate::history::{CommitError, Place};
use crate::hub::{Chance, Moment};

/// Topics that time changes in one go at most, so that nobody waits for it. Whoever is asked for is looked at first.
const WITHERED_AT_ONCE: usize = 32;

/// All topics that remember, and when time changes them.
pub struct Store {
    topics: Slab<Stored>,
    keys: HashMap<Place, usize>,
    /// Each topic once: whether it is heard, its deadline, its key. So the first is the one to let go of, if it is not
    /// heard.
    deadlines: BTreeSet<(bool, Moment, usize)>,
    topics_max: usize,
    chance: Chance,
    incarnation: Incarnation,
    sequence: u64,
    /// Commits that had a key.
    pub repeats: Repeats,
}

impl Store {
    /// An empty one, for so many topics.
    pub fn new(seed: u64, topics_max: usize) -> Self {
        let mut chance = Chance::new(seed);
        let repeats = Repeats::new(&mut chance, KEYS_MAX);
        Self {
            topics: Slab::new(),
            keys: HashMap::new(),
            deadlines: BTreeSet::new(),
            topics_max,
            incarnation: Incarnation(chance.draw()),
            chance,
            sequence: 0,
            repeats,
        }
    }

    /// The key of a topic, which is born if it is not there. An error if it can't be, or if it is in another mode.
    pub fn find(
        &mut self,
        now: Moment,
        place: &Place,
        retention: &Arc<Retention>,
        is_heard: bool,
    ) -> Result<usize, CommitError> {
        if let Some(key) = self.known(now, place) {
            let is_same = self.topics[key].mode() == retention.mode;
            return if is_same { Ok(key) } else { Err(CommitError::Mode) };
        }
        self.make_room()?;
        let epoch = Epoch(self.chance.draw().to_be_bytes());
        let mut stored = Stored::born(now, place.clone(), retention.clone(), epoch);
        stored.is_heard = is_heard;
        let deadline = stored.deadline();
        let key = self.topics.insert(stored);
        self.keys.insert(place.clone(), key);
        self.deadlines.insert((is_heard, deadline, key));
        Ok(key)
    }

    /// The key of a topic that is there now.
    fn known(&mut self, now: Moment, place: &Place) -> Option<usize> {
        let key = *self.keys.get(place)?;
        if self.topics[key].deadline() <= now {
            self.wither(now, key);
        }
        self.topics.contains(key).then_some(key)
    }

    /// Lets go of the topic whose time comes first among those that nobody hears, if there are too many.
    fn make_room(&mut self) -> Result<(), CommitError> {
        if self.topics.len() < self.topics_max {
            return Ok(());
        }
        let first = self.deadlines.first().filter(|(is_heard, ..)| !is_heard);
        let (.., key) = *first.ok_or(CommitError::Unavailable)?;
        self.remove(key);
        Ok(())
    }

    /// A topic, to look at.
    pub fn topic(&mut self, key: usize) -> &mut Stored {
        &mut self.topics[key]
    }

    /// Changes a topic, and with it perhaps its deadline.
    pub fn change<T>(&mut self, key: usize, change: impl FnOnce(&mut Stored) -> T) -> T {
        let stored = &mut self.topics[key];
        self.deadlines.remove(&(stored.is_heard, stored.deadline(), key));
        let outcome = change(stored);
        self.deadlines.insert((stored.is_heard, stored.deadline(), key));
        outcome
    }

    /// What the next commit draws.
    pub fn draw(&mut self) -> Drawn {
        self.sequence += 1;
        let id = PublicationId { incarnation: self.incarnation, lane: 0, sequence: self.sequence };
        Drawn { mark: Mark(self.chance.draw() as u32), id }
    }

    /// Shards began or ceased to listen to a topic.
    pub fn hear(&mut self, place: &Place, is_heard: bool) {
        if let Some(key) = self.keys.get(place) {
            self.change(*key, |stored| stored.is_heard = is_heard);
        }
    }

    /// Does some of what is due.
    pub fn turn(&mut self, now: Moment) {
        self.repeats.forget(now);
        for _ in 0..WITHERED_AT_ONCE {
            let Some(key) = self.due(now) else { return };
            self.wither(now, key);
        }
    }

    fn due(&self, now: Moment) -> Option<usize> {
        let first = |is_heard| self.deadlines.range((is_heard, Moment::default(), 0)..).next();
        let due = |is_heard| first(is_heard).filter(|(_, deadline, _)| *deadline <= now);
        due(false).or_else(|| due(true)).map(|(.., key)| *key)
    }

    fn wither(&mut self, now: Moment, key: usize) {
        if self.change(key, |stored| stored.wither(now)) == Fate::Gone {
            self.remove(key);
        }
    }

    fn remove(&mut self, key: usize) {
        let stored = self.topics.remove(key);
        self.deadlines.remove(&(stored.is_heard, stored.deadline(), key));
        self.keys.remove(&stored.place);
    }
}

#[cfg(test)]
mod tests;
