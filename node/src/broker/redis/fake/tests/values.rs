//! Replies and pushes as a client reads them, and where Redis leaves open what they are.

use std::collections::{BTreeMap, BTreeSet};

use super::super::resp::Word;

/// One value of the protocol.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Value {
    /// What is on one line, with the byte that says what it is.
    Line(u8, Word),
    /// Text with its length before it.
    Text(u8, Word),
    /// Values with their count before them; a map's keys and values in turn.
    List(u8, Vec<Value>),
}

/// Reads all values that are complete.
pub fn parse_all(mut bytes: &[u8]) -> Vec<Value> {
    let mut values = Vec::new();
    while let Some((value, rest)) = parse(bytes) {
        values.push(value);
        bytes = rest;
    }
    values
}

fn parse(bytes: &[u8]) -> Option<(Value, &[u8])> {
    let (kind, rest) = bytes.split_first()?;
    let end = rest.windows(2).position(|pair| pair == b"\r\n")?;
    let (line, rest) = (&rest[..end], &rest[end + 2..]);
    let length = || std::str::from_utf8(line).ok().and_then(|text| text.parse::<usize>().ok());
    match (kind, length()) {
        (b'$' | b'=', Some(length)) => {
            let text = rest.get(..length)?.to_vec();
            Some((Value::Text(*kind, text), rest.get(length + 2..)?))
        }
        (b'*' | b'~' | b'>', Some(count)) => parse_list(*kind, count, rest),
        (b'%', Some(count)) => parse_list(*kind, 2 * count, rest),
        _ => Some((Value::Line(*kind, line.to_vec()), rest)),
    }
}

fn parse_list(kind: u8, count: usize, mut bytes: &[u8]) -> Option<(Value, &[u8])> {
    let mut values = Vec::new();
    for _ in 0..count {
        let (value, rest) = parse(bytes)?;
        values.push(value);
        bytes = rest;
    }
    Some((Value::List(kind, values), bytes))
}

impl Value {
    pub fn text(&self) -> Option<&[u8]> {
        match self {
            Self::Text(_, text) => Some(text),
            _ => None,
        }
    }

    pub fn items(&self) -> &[Self] {
        match self {
            Self::List(_, items) => items,
            _ => &[],
        }
    }

    /// As an assertion reads it: text as it is, all else with what it is.
    pub fn shown(&self) -> String {
        match self {
            Self::Text(_, text) => text.escape_ascii().to_string(),
            Self::Line(kind, text) => format!("{}{}", char::from(*kind), text.escape_ascii()),
            Self::List(_, items) => format!("{:?}", items.iter().map(Self::shown).collect::<Vec<_>>()),
        }
    }

    fn integer(&self) -> Option<i64> {
        match self {
            Self::Line(b':', text) => std::str::from_utf8(text).ok()?.parse().ok(),
            _ => None,
        }
    }

    fn sorted(&self) -> Self {
        let Self::List(kind, items) = self else { return self.clone() };
        let mut items = items.clone();
        items.sort_unstable();
        Self::List(*kind, items)
    }

    /// What a map holds, with its kind.
    fn pairs(&self) -> Option<(u8, BTreeMap<&Self, &Self>)> {
        let Self::List(kind, items) = self else { return None };
        let (pairs, []) = items.as_chunks::<2>() else { return None };
        Some((*kind, pairs.iter().map(|[key, value]| (key, value)).collect()))
    }

    fn is_time(&self) -> bool {
        let is_number = |part: &Self| part.text().is_some_and(|text| text.iter().all(u8::is_ascii_digit));
        self.items().len() == 2 && self.items().iter().all(is_number)
    }
}

/// Whether the answers to a command agree as far as Redis promises what they are.
pub fn agree(words: &[Word], real: &[Value], fake: &[Value]) -> bool {
    let name = words[0].to_ascii_lowercase();
    let pair = if let ([real], [fake]) = (real, fake) { Some((real, fake)) } else { None };
    match (name.as_slice(), pair) {
        _ if real == fake => true,
        (b"unsubscribe", _) => same_endings(real, fake),
        // A large hash has no order.
        (b"hgetall", Some((real, fake))) => real.pairs() == fake.pairs(),
        (b"hkeys" | b"smembers", Some((real, fake))) => real.sorted() == fake.sorted(),
        (b"srandmember", Some((real, fake))) => same_lots(words, real, fake),
        (b"ttl", Some(pair)) => is_near(pair, 5),
        (b"pttl", Some(pair)) => is_near(pair, 5_000),
        (b"time", Some((real, fake))) => real.is_time() && fake.is_time(),
        (b"role", Some((real, fake))) => same_role(real, fake),
        (b"info", Some((real, fake))) => same_version(real, fake),
        _ => false,
    }
}

/// All channels end, in any order, and the counts go down alike.
fn same_endings(real: &[Value], fake: &[Value]) -> bool {
    let parts = |values: &[Value]| -> Option<(BTreeSet<Value>, Vec<Value>)> {
        let parts = values.iter().map(|value| match value.items() {
            [_, channel, count] => Some((channel.clone(), count.clone())),
            _ => None,
        });
        parts.collect::<Option<Vec<_>>>().map(|parts| parts.into_iter().unzip())
    };
    parts(real).is_some() && parts(real) == parts(fake)
}

/// Lots are drawn: only how many there are can be the same, and that those without repetition have none.
fn same_lots(words: &[Word], real: &Value, fake: &Value) -> bool {
    let may_repeat = words.get(2).is_some_and(|count| count.starts_with(b"-"));
    match (real, fake) {
        (Value::Text(..), Value::Text(..)) => true,
        (Value::List(_, real), Value::List(_, fake)) => {
            let distinct: BTreeSet<&Value> = fake.iter().collect();
            real.len() == fake.len() && (may_repeat || distinct.len() == fake.len())
        }
        _ => false,
    }
}

fn is_near((real, fake): (&Value, &Value), tolerance: u64) -> bool {
    match (real.integer(), fake.integer()) {
        (Some(real), Some(fake)) => real > 0 && fake > 0 && real.abs_diff(fake) <= tolerance,
        _ => false,
    }
}

/// A replica without a master may just be trying to reach it.
fn same_role(real: &Value, fake: &Value) -> bool {
    match (real.items(), fake.items()) {
        ([real @ .., _, real_offset], [fake @ .., _, fake_offset]) if real.len() == 3 => {
            real == fake && real_offset == fake_offset
        }
        _ => false,
    }
}

/// A real server says much more about itself.
fn same_version(real: &Value, fake: &Value) -> bool {
    let version = |value: &Value| {
        let text = String::from_utf8_lossy(value.text().unwrap_or_default()).into_owned();
        text.lines().find(|line| line.starts_with("redis_version:7.0.")).is_some()
    };
    let kind = |value: &Value| matches!(value, Value::Text(b'=', _));
    version(real) && version(fake) && kind(real) == kind(fake)
}
