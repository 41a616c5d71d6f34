//! Hashes.

use std::collections::BTreeMap;

use super::commands::{Failure, Outcome};
use super::keyspace::Keyspace;
use super::resp::{Reply, Word};

/// Fields in the order in which they came, which is Redis's as long as a hash is small. A large one has no
/// order there; here it keeps this one.
#[derive(Debug, Clone, Default)]
pub struct Fields {
    rows: BTreeMap<u64, (Word, Word)>,
    /// Where in `rows` a field is.
    places: BTreeMap<Word, u64>,
    next: u64,
}

/// Whether a write made something that was not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Written {
    New,
    Changed,
}

impl Fields {
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    pub fn to_map(&self) -> BTreeMap<Word, Word> {
        self.rows.values().cloned().collect()
    }

    fn get(&self, field: &[u8]) -> Option<&Word> {
        self.places.get(field).map(|place| &self.rows[place].1)
    }

    fn set(&mut self, field: &Word, value: &Word) -> Written {
        let place = *self.places.entry(field.clone()).or_insert(self.next);
        self.rows.insert(place, (field.clone(), value.clone()));
        if place < self.next {
            return Written::Changed;
        }
        self.next += 1;
        Written::New
    }

    fn remove(&mut self, field: &[u8]) -> bool {
        let place = self.places.remove(field);
        place.is_some_and(|place| self.rows.remove(&place).is_some())
    }
}

pub fn hget(keys: &mut Keyspace, words: &[Word]) -> Outcome {
    let value = keys.read::<Fields>(&words[1])?.and_then(|fields| fields.get(&words[2]));
    Ok(Reply::bulk_or_null(value))
}

pub fn hmget(keys: &mut Keyspace, words: &[Word]) -> Outcome {
    let fields = keys.read::<Fields>(&words[1])?;
    let value = |field: &Word| Reply::bulk_or_null(fields.and_then(|fields| fields.get(field)));
    Ok(Reply::Array(words[2..].iter().map(value).collect()))
}

pub fn hset(keys: &mut Keyspace, words: &[Word]) -> Outcome {
    let (pairs, []) = words[2..].as_chunks::<2>() else {
        return Err(Failure::fixed("ERR wrong number of arguments for 'hset' command"));
    };
    keys.edit(&words[1], |fields: &mut Fields| {
        let new = pairs.iter().filter(|[field, value]| fields.set(field, value) == Written::New);
        Reply::count(new.count())
    })
}

pub fn hdel(keys: &mut Keyspace, words: &[Word]) -> Outcome {
    keys.edit(&words[1], |fields: &mut Fields| {
        Reply::count(words[2..].iter().filter(|field| fields.remove(field)).count())
    })
}

pub fn hlen(keys: &mut Keyspace, words: &[Word]) -> Outcome {
    Ok(Reply::count(keys.read::<Fields>(&words[1])?.map_or(0, |fields| fields.rows.len())))
}

pub fn hgetall(keys: &mut Keyspace, words: &[Word]) -> Outcome {
    let rows = keys.read::<Fields>(&words[1])?.into_iter().flat_map(|fields| fields.rows.values());
    let pair = |(field, value): &(Word, Word)| (Reply::bulk(field.clone()), Reply::bulk(value.clone()));
    Ok(Reply::Map(rows.map(pair).collect()))
}

pub fn hkeys(keys: &mut Keyspace, words: &[Word]) -> Outcome {
    let rows = keys.read::<Fields>(&words[1])?.into_iter().flat_map(|fields| fields.rows.values());
    Ok(Reply::Array(Reply::bulks(rows.map(|(field, _)| field))))
}

pub fn hexists(keys: &mut Keyspace, words: &[Word]) -> Outcome {
    let value = keys.read::<Fields>(&words[1])?.and_then(|fields| fields.get(&words[2]));
    Ok(Reply::count(usize::from(value.is_some())))
}
