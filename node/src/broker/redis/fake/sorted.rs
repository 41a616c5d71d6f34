//! Sorted sets.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

use super::commands::{Failure, Outcome};
use super::keyspace::Keyspace;
use super::number;
use super::resp::{Reply, Word};

/// Members by score, and by name where scores are equal.
#[derive(Debug, Clone, Default)]
pub struct Sorted {
    scores: BTreeMap<Word, Score>,
    order: BTreeSet<(Score, Word)>,
}

/// A number that is not NaN.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Score(f64);

/// Which scores are asked for: a bound may itself be excluded.
struct Range {
    min: (f64, Edge),
    max: (f64, Edge),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Edge {
    Within,
    Outside,
}

/// What may stand behind the bounds.
#[derive(Default)]
struct Options {
    with_scores: bool,
    by_score: bool,
    limit: Option<(i64, i64)>,
}

impl Eq for Score {}

impl PartialOrd for Score {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Score {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.total_cmp(&other.0)
    }
}

impl Score {
    /// Zero has no sign here, as in Redis's order.
    fn new(number: f64) -> Self {
        Self(number + 0.0)
    }
}

impl Sorted {
    pub fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    pub fn to_vec(&self) -> Vec<(Word, f64)> {
        self.order.iter().map(|(score, member)| (member.clone(), score.0)).collect()
    }

    /// Writes a member's score, and says whether the member is new.
    fn set(&mut self, member: &Word, score: Score) -> bool {
        let former = self.scores.insert(member.clone(), score);
        if let Some(former) = former {
            self.order.remove(&(former, member.clone()));
        }
        self.order.insert((score, member.clone()));
        former.is_none()
    }

    fn remove(&mut self, member: &Word) -> bool {
        let former = self.scores.remove(member);
        former.is_some_and(|score| self.order.remove(&(score, member.clone())))
    }
}

impl Range {
    fn parse(min: &[u8], max: &[u8]) -> Result<Self, Failure> {
        Ok(Self { min: bound(min)?, max: bound(max)? })
    }

    fn holds(&self, score: f64) -> bool {
        let (min, max) = (self.min.0, self.max.0);
        let above = if self.min.1 == Edge::Within { score >= min } else { score > min };
        let below = if self.max.1 == Edge::Within { score <= max } else { score < max };
        above && below
    }
}

impl Options {
    fn parse(words: &[Word]) -> Result<Self, Failure> {
        let (mut options, mut words) = (Self::default(), words.iter());
        while let Some(word) = words.next() {
            match word.to_ascii_lowercase().as_slice() {
                b"withscores" => options.with_scores = true,
                b"byscore" => options.by_score = true,
                b"limit" => {
                    let mut number = || words.next().map(|word| number::integer(word));
                    let (Some(skipped), Some(count)) = (number(), number()) else {
                        return Err(Failure::SYNTAX);
                    };
                    options.limit = Some((skipped?, count?));
                }
                _ => return Err(Failure::SYNTAX),
            }
        }
        Ok(options)
    }
}

pub fn zadd(keys: &mut Keyspace, words: &[Word]) -> Outcome {
    let (pairs, []) = words[2..].as_chunks::<2>() else { return Err(Failure::SYNTAX) };
    let read = |[score, member]: &[Word; 2]| {
        let score = number::float(score).ok_or(Failure::NOT_FLOAT)?;
        Ok((member.clone(), Score::new(score)))
    };
    let scores: Vec<(Word, Score)> = pairs.iter().map(read).collect::<Result<_, Failure>>()?;
    keys.edit(&words[1], |sorted: &mut Sorted| {
        Reply::count(scores.iter().filter(|(member, score)| sorted.set(member, *score)).count())
    })
}

pub fn zrem(keys: &mut Keyspace, words: &[Word]) -> Outcome {
    keys.edit(&words[1], |sorted: &mut Sorted| {
        Reply::count(words[2..].iter().filter(|member| sorted.remove(member)).count())
    })
}

pub fn zscore(keys: &mut Keyspace, words: &[Word]) -> Outcome {
    let score = keys.read::<Sorted>(&words[1])?.and_then(|sorted| sorted.scores.get(&words[2]));
    Ok(score.map_or(Reply::Null, |score| Reply::Double(score.0)))
}

pub fn zcard(keys: &mut Keyspace, words: &[Word]) -> Outcome {
    Ok(Reply::count(keys.read::<Sorted>(&words[1])?.map_or(0, |sorted| sorted.order.len())))
}

/// `ZRANGE key first last [BYSCORE] [LIMIT skipped count] [WITHSCORES]`
pub fn zrange(keys: &mut Keyspace, words: &[Word]) -> Outcome {
    let options = Options::parse(&words[4..])?;
    if options.by_score {
        return by_score(keys, words, &options);
    }
    if options.limit.is_some_and(|(_, count)| count != -1) {
        return Err(Failure::fixed(
            "ERR syntax error, LIMIT is only supported in combination with either BYSCORE or BYLEX",
        ));
    }
    let (first, last) = (number::integer(&words[2])?, number::integer(&words[3])?);
    let Some(sorted) = keys.read::<Sorted>(&words[1])? else { return Ok(Reply::Array(Vec::new())) };
    let length = i64::try_from(sorted.order.len()).expect("no test has so many");
    let from_end = |place: i64| if place < 0 { place + length } else { place };
    let (first, last) = (from_end(first).max(0), from_end(last));
    let places = (first..=last).zip(sorted.order.iter().skip(first.try_into().unwrap_or(usize::MAX)));
    Ok(listed(places.map(|(_, row)| row), &options))
}

/// `ZRANGEBYSCORE key min max [WITHSCORES] [LIMIT skipped count]`
pub fn zrangebyscore(keys: &mut Keyspace, words: &[Word]) -> Outcome {
    let options = Options::parse(&words[4..])?;
    if options.by_score {
        return Err(Failure::SYNTAX);
    }
    by_score(keys, words, &options)
}

pub fn zremrangebyscore(keys: &mut Keyspace, words: &[Word]) -> Outcome {
    let range = Range::parse(&words[2], &words[3])?;
    keys.edit(&words[1], |sorted: &mut Sorted| {
        let held = sorted.order.iter().filter(|(score, _)| range.holds(score.0));
        let held: Vec<Word> = held.map(|(_, member)| member.clone()).collect();
        Reply::count(held.iter().filter(|member| sorted.remove(member)).count())
    })
}

fn by_score(keys: &mut Keyspace, words: &[Word], options: &Options) -> Outcome {
    let range = Range::parse(&words[2], &words[3])?;
    let (skipped, count) = options.limit.unwrap_or((0, -1));
    let rows = keys.read::<Sorted>(&words[1])?.into_iter().flat_map(|sorted| &sorted.order);
    let held = rows.filter(|(score, _)| range.holds(score.0));
    // Redis answers nothing where less than none is skipped, and everything up to a count below zero.
    let Ok(skipped) = usize::try_from(skipped) else { return Ok(Reply::Array(Vec::new())) };
    let count = usize::try_from(count).unwrap_or(usize::MAX);
    Ok(listed(held.skip(skipped).take(count), options))
}

fn listed<'a>(rows: impl Iterator<Item = &'a (Score, Word)>, options: &Options) -> Reply {
    if options.with_scores {
        let pair = |(score, member): &(Score, Word)| (Reply::bulk(member.clone()), Reply::Double(score.0));
        return Reply::Pairs(rows.map(pair).collect());
    }
    Reply::Array(Reply::bulks(rows.map(|(_, member)| member)))
}

fn bound(word: &[u8]) -> Result<(f64, Edge), Failure> {
    let (word, edge) = match word.strip_prefix(b"(") {
        Some(rest) => (rest, Edge::Outside),
        None => (word, Edge::Within),
    };
    // C reads nothing as zero, and Redis lets it.
    let number = if word.is_empty() { Some(0.0) } else { number::float(word) };
    let number = number.ok_or(Failure::fixed("ERR min or max is not a float"))?;
    Ok((number, edge))
}
