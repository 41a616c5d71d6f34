//! The keys of one database: what each holds, and when it expires.
//!
//! **Invariant:** a key that has expired, or holds nothing any more, does not exist.

use std::collections::{BTreeMap, BTreeSet};

use super::commands::Failure;
use super::hashes::Fields;
use super::lists::Items;
use super::resp::Word;
use super::sorted::Sorted;

#[derive(Clone, Default)]
pub struct Keyspace {
    entries: BTreeMap<Word, Entry>,
    /// When keys expire, soonest first.
    deadlines: BTreeSet<(i64, Word)>,
    /// In ms since 1970.
    now_ms: i64,
    /// How often lots were drawn.
    draws: usize,
}

#[derive(Clone)]
struct Entry {
    value: Value,
    deadline_ms: Option<i64>,
}

/// What a key holds.
#[derive(Clone)]
pub enum Value {
    Text(Word),
    Hash(Fields),
    List(Items),
    Set(BTreeSet<Word>),
    Sorted(Sorted),
}

/// One of the types a key may hold.
pub trait Content: Sized {
    fn of(value: &Value) -> Option<&Self>;
    fn of_mut(value: &mut Value) -> Option<&mut Self>;
    fn into_value(self) -> Value;
    /// Whether a key that holds this ceases to exist.
    fn is_nothing(&self) -> bool;
}

/// Implements [`Content`] for a type and its variant.
macro_rules! content {
    ($type:ty, $variant:ident, $is_nothing:expr) => {
        impl Content for $type {
            fn of(value: &Value) -> Option<&Self> {
                if let Value::$variant(content) = value { Some(content) } else { None }
            }

            fn of_mut(value: &mut Value) -> Option<&mut Self> {
                if let Value::$variant(content) = value { Some(content) } else { None }
            }

            fn into_value(self) -> Value {
                Value::$variant(self)
            }

            fn is_nothing(&self) -> bool {
                $is_nothing(self)
            }
        }
    };
}

content!(Word, Text, |_: &Word| false);
content!(Fields, Hash, Fields::is_empty);
content!(Items, List, Items::is_empty);
content!(BTreeSet<Word>, Set, BTreeSet::is_empty);
content!(Sorted, Sorted, Sorted::is_empty);

impl Keyspace {
    /// Moves the clock; what has expired is gone. A key lives through the millisecond of its deadline.
    pub fn set_now(&mut self, now_ms: i64) {
        self.now_ms = now_ms;
        while self.deadlines.first().is_some_and(|(deadline_ms, _)| *deadline_ms < now_ms) {
            let (_, key) = self.deadlines.pop_first().expect("there is a first");
            self.entries.remove(&key);
        }
    }

    pub fn now_ms(&self) -> i64 {
        self.now_ms
    }

    pub fn clear(&mut self) {
        self.entries.clear();
        self.deadlines.clear();
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn names(&self) -> Vec<Word> {
        self.entries.keys().cloned().collect()
    }

    pub fn value(&self, key: &[u8]) -> Option<&Value> {
        self.entries.get(key).map(|entry| &entry.value)
    }

    /// What a key holds, if it exists.
    pub fn read<T: Content>(&self, key: &[u8]) -> Result<Option<&T>, Failure> {
        let Some(value) = self.value(key) else { return Ok(None) };
        T::of(value).map(Some).ok_or(Failure::WRONG_TYPE)
    }

    /// Changes what a key holds; a key that does not exist starts with nothing.
    pub fn edit<T: Content + Default, R>(
        &mut self,
        key: &[u8],
        change: impl FnOnce(&mut T) -> R,
    ) -> Result<R, Failure> {
        let fresh = || Entry { value: T::default().into_value(), deadline_ms: None };
        let entry = self.entries.entry(key.to_vec()).or_insert_with(fresh);
        let content = T::of_mut(&mut entry.value).ok_or(Failure::WRONG_TYPE)?;
        let answer = change(content);
        if content.is_nothing() {
            self.remove(key);
        }
        Ok(answer)
    }

    /// Writes a key, whatever it held; it no longer expires.
    pub fn put(&mut self, key: &[u8], value: Value) {
        self.remove(key);
        self.entries.insert(key.to_vec(), Entry { value, deadline_ms: None });
    }

    /// Removes a key, and says whether it existed.
    pub fn remove(&mut self, key: &[u8]) -> bool {
        let Some(entry) = self.entries.remove(key) else { return false };
        if let Some(deadline_ms) = entry.deadline_ms {
            self.deadlines.remove(&(deadline_ms, key.to_vec()));
        }
        true
    }

    /// Lets a key that exists expire; at once if the deadline has come.
    pub fn expire_at(&mut self, key: &[u8], deadline_ms: i64) {
        if deadline_ms <= self.now_ms {
            self.remove(key);
            return;
        }
        let Some(entry) = self.entries.get_mut(key) else { return };
        if let Some(former_ms) = entry.deadline_ms.replace(deadline_ms) {
            self.deadlines.remove(&(former_ms, key.to_vec()));
        }
        self.deadlines.insert((deadline_ms, key.to_vec()));
    }

    /// In how many ms a key expires, if it exists and does.
    pub fn ttl_ms(&self, key: &[u8]) -> Option<u64> {
        let deadline_ms = self.entries.get(key)?.deadline_ms?;
        Some((deadline_ms - self.now_ms).max(0).cast_unsigned())
    }

    /// Draws a number below the bound: not by chance, so that a simulation can be repeated, but another one
    /// each time.
    pub fn draw(&mut self, bound: usize) -> usize {
        self.draws += 1;
        self.draws.wrapping_mul(7) % bound
    }
}
