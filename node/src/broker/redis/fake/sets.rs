//! Sets. Redis keeps no order of their members, and so nobody may rely on the one they have here.

use std::collections::BTreeSet;

use super::commands::{Failure, Outcome};
use super::keyspace::Keyspace;
use super::number;
use super::resp::{Reply, Word};

type Members = BTreeSet<Word>;

pub fn sadd(keys: &mut Keyspace, words: &[Word]) -> Outcome {
    keys.edit(&words[1], |members: &mut Members| {
        Reply::count(words[2..].iter().filter(|member| members.insert((*member).clone())).count())
    })
}

pub fn srem(keys: &mut Keyspace, words: &[Word]) -> Outcome {
    keys.edit(&words[1], |members: &mut Members| {
        Reply::count(words[2..].iter().filter(|member| members.remove(*member)).count())
    })
}

pub fn smembers(keys: &mut Keyspace, words: &[Word]) -> Outcome {
    Ok(Reply::Set(Reply::bulks(keys.read::<Members>(&words[1])?.into_iter().flatten())))
}

pub fn sismember(keys: &mut Keyspace, words: &[Word]) -> Outcome {
    let members = keys.read::<Members>(&words[1])?;
    Ok(Reply::count(usize::from(members.is_some_and(|members| members.contains(&words[2])))))
}

pub fn scard(keys: &mut Keyspace, words: &[Word]) -> Outcome {
    Ok(Reply::count(keys.read::<Members>(&words[1])?.map_or(0, BTreeSet::len)))
}

/// `SRANDMEMBER key [count]`: members that differ, or, with a count below zero, so many draws.
pub fn srandmember(keys: &mut Keyspace, words: &[Word]) -> Outcome {
    let count = match &words[2..] {
        [] => None,
        [count] => Some(number::integer(count)?),
        _ => return Err(Failure::SYNTAX),
    };
    let members: Vec<Word> = keys.read::<Members>(&words[1])?.into_iter().flatten().cloned().collect();
    if members.is_empty() {
        return Ok(count.map_or(Reply::Null, |_| Reply::Array(Vec::new())));
    }
    let first = keys.draw(members.len());
    let Some(count) = count else { return Ok(Reply::Bulk(members[first].clone())) };
    let length = usize::try_from(count.unsigned_abs()).unwrap_or(usize::MAX);
    if count < 0 {
        let drawn: Vec<&Word> = (0..length).map(|_| &members[keys.draw(members.len())]).collect();
        return Ok(Reply::Array(Reply::bulks(drawn)));
    }
    Ok(Reply::Array(Reply::bulks(members[first..].iter().chain(&members[..first]).take(length))))
}

/// `SSCAN key cursor [COUNT n]`. Members are walked in the order of a hash, and the cursor is the next one's:
/// so a member that is there all the time is seen, whatever else comes and goes.
pub fn sscan(keys: &mut Keyspace, words: &[Word]) -> Outcome {
    let cursor = std::str::from_utf8(&words[2]).ok().and_then(|cursor| cursor.parse::<u64>().ok());
    let cursor = cursor.ok_or(Failure::fixed("ERR invalid cursor"))?;
    let Some(members) = keys.read::<Members>(&words[1])? else {
        return Ok(page(0, Vec::new()));
    };
    let count = scan_count(&words[3..])?;
    let mut ahead: Vec<(u64, &Word)> =
        members.iter().map(|member| (place(member), member)).filter(|(place, _)| *place >= cursor).collect();
    ahead.sort_unstable();
    // Members of one place go together: the cursor could not name the second.
    let mut end = count.min(ahead.len());
    while end < ahead.len() && ahead[end].0 == ahead[end - 1].0 {
        end += 1;
    }
    let next = ahead.get(end).map_or(0, |(place, _)| *place);
    Ok(page(next, Reply::bulks(ahead[..end].iter().map(|(_, member)| *member))))
}

fn page(cursor: u64, members: Vec<Reply>) -> Reply {
    Reply::Array(vec![Reply::bulk(cursor.to_string()), Reply::Array(members)])
}

fn scan_count(options: &[Word]) -> Result<usize, Failure> {
    match options {
        [] => Ok(SCAN_COUNT),
        [name, count] if name.eq_ignore_ascii_case(b"count") => match number::integer(count)? {
            count if count >= 1 => Ok(usize::try_from(count).unwrap_or(usize::MAX)),
            _ => Err(Failure::SYNTAX),
        },
        _ => Err(Failure::SYNTAX),
    }
}

/// Where a member is in the walk: never 0, with which a walk begins and ends.
fn place(member: &[u8]) -> u64 {
    let fnv = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    member.iter().fold(0xcbf2_9ce4_8422_2325, fnv) >> 16 | 1
}

/// How many members Redis looks at when nobody says.
const SCAN_COUNT: usize = 10;
