//! Lists.

use std::collections::VecDeque;
use std::ops::Range;

use super::commands::{Failure, Outcome};
use super::keyspace::Keyspace;
use super::number;
use super::resp::{Reply, Word};

pub type Items = VecDeque<Word>;

pub fn rpush(keys: &mut Keyspace, words: &[Word]) -> Outcome {
    keys.edit(&words[1], |items: &mut Items| {
        items.extend(words[2..].iter().cloned());
        Reply::count(items.len())
    })
}

pub fn llen(keys: &mut Keyspace, words: &[Word]) -> Outcome {
    Ok(Reply::count(keys.read::<Items>(&words[1])?.map_or(0, Items::len)))
}

/// `LINDEX key place`: unlike the others it looks at the key before it reads the number.
pub fn lindex(keys: &mut Keyspace, words: &[Word]) -> Outcome {
    let Some(items) = keys.read::<Items>(&words[1])? else { return Ok(Reply::Null) };
    let place = from_start(number::integer(&words[2])?, items.len());
    let item = usize::try_from(place).ok().and_then(|place| items.get(place));
    Ok(Reply::bulk_or_null(item))
}

pub fn lrange(keys: &mut Keyspace, words: &[Word]) -> Outcome {
    let bounds = Bounds::parse(&words[2], &words[3])?;
    let Some(items) = keys.read::<Items>(&words[1])? else { return Ok(Reply::Array(Vec::new())) };
    Ok(Reply::Array(Reply::bulks(items.range(bounds.within(items.len())))))
}

/// `LTRIM key first last`: what is not between them goes.
pub fn ltrim(keys: &mut Keyspace, words: &[Word]) -> Outcome {
    let bounds = Bounds::parse(&words[2], &words[3])?;
    keys.edit(&words[1], |items: &mut Items| {
        let kept = bounds.within(items.len());
        items.truncate(kept.end);
        items.drain(..kept.start);
        Reply::ok()
    })
}

/// The first and the last place that are meant; below zero they count from the end.
struct Bounds {
    first: i64,
    last: i64,
}

impl Bounds {
    fn parse(first: &[u8], last: &[u8]) -> Result<Self, Failure> {
        Ok(Self { first: number::integer(first)?, last: number::integer(last)? })
    }

    /// The places there are.
    fn within(&self, length: usize) -> Range<usize> {
        let first = usize::try_from(from_start(self.first, length)).unwrap_or(0);
        let end = usize::try_from(from_start(self.last, length).saturating_add(1)).unwrap_or(0).min(length);
        if first < end { first..end } else { 0..0 }
    }
}

fn from_start(place: i64, length: usize) -> i64 {
    let length = i64::try_from(length).expect("no list is so long");
    if place < 0 { place + length } else { place }
}
