//! What the command prints: a table and findings for people, or one JSON object.

use std::fmt::{self, Write as _};

use serde_json::{Value, json};

use super::census::{Census, Found, Row};
use super::class::Class;
use super::examination::{Depth, Finding};
use super::shown::{size, span};

/// What was found, and where.
#[derive(Debug)]
pub struct Report {
    /// The Redis, its password masked.
    pub redis: String,
    /// The cluster's prefix.
    pub prefix: String,
    /// How much was looked at.
    pub depth: Depth,
    /// Whether Redis told what keys take.
    pub knows_bytes: bool,
    /// All that was seen.
    pub census: Census,
}

impl Report {
    /// Whether nothing wrong was found.
    pub fn is_clean(&self) -> bool {
        self.census.is_clean()
    }

    /// For programs; docs/OPERATIONS.md says what each member is.
    pub fn to_json(&self) -> Value {
        let census = &self.census;
        json!({
            "redis": self.redis,
            "prefix": self.prefix,
            "layout": crate::broker::LAYOUT,
            "checked": self.depth == Depth::Deep,
            "keys": census.keys(),
            "bytes": self.knows_bytes.then(|| census.bytes()),
            "classes": census.rows().map(|(class, row)| self.json_of_row(class, row)).collect::<Vec<_>>(),
            "findings": census.findings().map(json_of_finding).collect::<Vec<_>>(),
            "unsettled": census.unsettled,
            "unchecked": census.unchecked,
        })
    }

    fn json_of_row(&self, class: Class, row: &Row) -> Value {
        let largest = row.largest.as_ref();
        json!({
            "class": class.word(),
            "keys": row.keys,
            "bytes": self.knows_bytes.then_some(row.bytes),
            "largest": largest.map(|one| json!({ "key": one.key, "owner": one.owner, "bytes": one.bytes })),
            "ttl_ms": row.ttl.map(|(min, max)| json!({ "min": min, "max": max })),
        })
    }

    fn table(&self) -> Vec<[String; 5]> {
        let mut lines = vec![["", "keys", "bytes", "lifetime", "largest"].map(str::to_owned)];
        let bytes = |bytes: u64| if self.knows_bytes { size(bytes) } else { "?".to_owned() };
        for (class, row) in self.census.rows().filter(|(_, row)| row.keys > 0) {
            let largest = row.largest.as_ref();
            lines.push([
                class.title().to_owned(),
                row.keys.to_string(),
                bytes(row.bytes),
                lifetimes(row),
                largest.map_or(String::new(), |one| format!("{}, {}", size(one.bytes), one.owner)),
            ]);
        }
        let (keys, sum) = (self.census.keys().to_string(), bytes(self.census.bytes()));
        lines.push(["together".to_owned(), keys, sum, String::new(), String::new()]);
        lines
    }

    fn remarks(&self) -> impl Iterator<Item = String> {
        let Census { unsettled, unchecked, .. } = &self.census;
        let refused = "redis does not let this user ask MEMORY USAGE: bytes are not known".to_owned();
        let unsettled_text = format!("{unsettled} histories were written each time they were looked at");
        let unchecked_text = format!("{unchecked} hashes are too big to be checked");
        let remarks = [
            (!self.knows_bytes, refused),
            (*unsettled > 0, unsettled_text),
            (*unchecked > 0, unchecked_text),
        ];
        remarks.into_iter().filter_map(|(holds, text)| holds.then_some(text))
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}, prefix {}, layout {}\n", self.redis, self.prefix, crate::broker::LAYOUT)?;
        if self.census.keys() == 0 {
            writeln!(f, "no keys of a cluster")?;
        } else {
            write_aligned(f, &self.table())?;
        }
        f.write_char('\n')?;
        for remark in self.remarks() {
            writeln!(f, "note: {remark}")?;
        }
        if self.census.is_clean() {
            let how = if self.depth == Depth::Deep { ", invariants included" } else { "" };
            return writeln!(f, "nothing wrong was found{how}");
        }
        self.census.findings().try_for_each(|(finding, found)| write_finding(f, finding, found))
    }
}

fn write_finding(f: &mut fmt::Formatter<'_>, finding: Finding, found: &Found) -> fmt::Result {
    let keys = if found.keys == 1 { "key" } else { "keys" };
    writeln!(f, "{} {keys} {}", found.keys, finding.title())?;
    for example in &found.examples {
        write!(f, "  {}", example.key)?;
        for more in example.owner.iter().chain(&example.detail) {
            write!(f, "  {more}")?;
        }
        f.write_char('\n')?;
    }
    let rest = found.keys - found.examples.len() as u64;
    if rest > 0 { writeln!(f, "  and {rest} more") } else { Ok(()) }
}

/// Numbers to the right, words to the left.
fn write_aligned(f: &mut fmt::Formatter<'_>, lines: &[[String; 5]]) -> fmt::Result {
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
    let widths = [width(0), width(1), width(2), width(3)];
    for [title, keys, bytes, lifetime, largest] in lines {
        let [first, second, third, fourth] = widths;
        let line = format!("{title:first$}  {keys:>second$}  {bytes:>third$}  {lifetime:fourth$}  {largest}");
        writeln!(f, "{}", line.trim_end())?;
    }
    Ok(())
}

fn lifetimes(row: &Row) -> String {
    match row.ttl.map(|(min, max)| (span(min), span(max))) {
        None => "none".to_owned(),
        Some((min, max)) if min == max => min,
        Some((min, max)) => format!("{min} to {max}"),
    }
}

fn json_of_finding((finding, found): (Finding, &Found)) -> Value {
    let examples = found.examples.iter();
    let examples = examples.map(|one| json!({ "key": one.key, "owner": one.owner, "detail": one.detail }));
    json!({ "finding": finding.word(), "keys": found.keys, "examples": examples.collect::<Vec<_>>() })
}
