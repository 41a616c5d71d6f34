//! Commands on strings, and on keys of any type.

use super::commands::{Failure, Outcome, printed};
use super::keyspace::{Keyspace, Value};
use super::number;
use super::resp::{Reply, Word};

pub fn get(keys: &mut Keyspace, words: &[Word]) -> Outcome {
    Ok(Reply::bulk_or_null(keys.read::<Word>(&words[1])?))
}

/// `MGET key…`: what is no string counts as absent.
pub fn mget(keys: &mut Keyspace, words: &[Word]) -> Outcome {
    let text = |key: &Word| Reply::bulk_or_null(keys.read::<Word>(key).ok().flatten());
    Ok(Reply::Array(words[1..].iter().map(text).collect()))
}

/// `SET key value [NX] [EX s | PX ms]`
pub fn set(keys: &mut Keyspace, words: &[Word]) -> Outcome {
    let (key, mut options) = (&words[1], words[3..].iter());
    let (mut is_new_only, mut ttl) = (false, None);
    while let Some(option) = options.next() {
        match (option.to_ascii_lowercase().as_slice(), ttl) {
            (b"nx", _) => is_new_only = true,
            (b"ex", None) => ttl = Some((options.next().ok_or(Failure::SYNTAX)?, 1000)),
            (b"px", None) => ttl = Some((options.next().ok_or(Failure::SYNTAX)?, 1)),
            _ => return Err(Failure::SYNTAX),
        }
    }
    let deadline_ms = match ttl {
        Some((ttl, unit_ms)) => Some(deadline(keys, ttl, unit_ms, Past::Refused, "set")?),
        None => None,
    };
    if is_new_only && keys.value(key).is_some() {
        return Ok(Reply::Null);
    }
    keys.put(key, Value::Text(words[2].clone()));
    if let Some(deadline_ms) = deadline_ms {
        keys.expire_at(key, deadline_ms);
    }
    Ok(Reply::ok())
}

pub fn del(keys: &mut Keyspace, words: &[Word]) -> Outcome {
    Ok(Reply::count(words[1..].iter().filter(|key| keys.remove(key)).count()))
}

pub fn exists(keys: &mut Keyspace, words: &[Word]) -> Outcome {
    Ok(Reply::count(words[1..].iter().filter(|key| keys.value(key).is_some()).count()))
}

pub fn expire(keys: &mut Keyspace, words: &[Word]) -> Outcome {
    expire_in(keys, words, 1000, "expire")
}

pub fn pexpire(keys: &mut Keyspace, words: &[Word]) -> Outcome {
    expire_in(keys, words, 1, "pexpire")
}

pub fn ttl(keys: &mut Keyspace, words: &[Word]) -> Outcome {
    Ok(Reply::Integer(remaining(keys, &words[1], |ttl_ms| (ttl_ms + 500) / 1000)))
}

pub fn pttl(keys: &mut Keyspace, words: &[Word]) -> Outcome {
    Ok(Reply::Integer(remaining(keys, &words[1], |ttl_ms| ttl_ms)))
}

/// `TYPE key`
pub fn kind(keys: &mut Keyspace, words: &[Word]) -> Outcome {
    Ok(Reply::status(match keys.value(&words[1]) {
        None => "none",
        Some(Value::Text(_)) => "string",
        Some(Value::Hash(_)) => "hash",
        Some(Value::List(_)) => "list",
        Some(Value::Set(_)) => "set",
        Some(Value::Sorted(_)) => "zset",
    }))
}

pub fn dbsize(keys: &mut Keyspace, _: &[Word]) -> Outcome {
    Ok(Reply::count(keys.len()))
}

fn expire_in(keys: &mut Keyspace, words: &[Word], unit_ms: i64, command: &str) -> Outcome {
    if let Some(option) = words.get(3) {
        return Err(Failure::said([b"ERR Unsupported option ", printed(option, usize::MAX)].concat()));
    }
    let deadline_ms = deadline(keys, &words[2], unit_ms, Past::Allowed, command)?;
    if keys.value(&words[1]).is_none() {
        return Ok(Reply::Integer(0));
    }
    keys.expire_at(&words[1], deadline_ms);
    Ok(Reply::Integer(1))
}

/// What a time to live of zero or less means.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Past {
    /// The key goes at once.
    Allowed,
    Refused,
}

fn deadline(keys: &Keyspace, ttl: &[u8], unit_ms: i64, past: Past, command: &str) -> Result<i64, Failure> {
    let ttl = number::integer(ttl)?;
    let ttl_ms = if past == Past::Refused && ttl <= 0 { None } else { ttl.checked_mul(unit_ms) };
    let deadline_ms = ttl_ms.and_then(|ttl_ms| keys.now_ms().checked_add(ttl_ms));
    deadline_ms.ok_or_else(|| Failure::said(format!("ERR invalid expire time in '{command}' command")))
}

fn remaining(keys: &Keyspace, key: &[u8], unit: impl Fn(i64) -> i64) -> i64 {
    match keys.ttl_ms(key) {
        Some(ttl_ms) => unit(ttl_ms.cast_signed()),
        None if keys.value(key).is_some() => -1,
        None => -2,
    }
}
