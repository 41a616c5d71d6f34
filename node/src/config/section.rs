//! Reading one table of the configuration, key by key.
//!
//! A section remembers which keys it was asked for, so what is left over is
//! unknown, and the list of allowed keys in that message can't go stale.
//! Nothing stops at the first problem: a bad value is reported, its default
//! stands in, and the whole [`Report`] refuses the configuration at the end.

use std::cell::RefCell;
use std::fmt;
use std::path::{Path, PathBuf};

use ::config::{Map, Value, ValueKind};

use super::report::{Place, Report};
use super::setting::Setting;

/// One table. An absent one reads as all defaults.
#[must_use = "`finish` reports the unknown keys"]
pub(super) struct Section<'a> {
    /// `limits`, `endpoint[0]`; empty for the top level.
    path: String,
    values: Option<&'a Map<String, Value>>,
    /// Where it was written, for what is missing from it.
    place: Place,
    /// The keys this version knows, in the order they were asked for.
    asked: RefCell<Vec<&'static str>>,
    report: &'a Report,
}

impl<'a> Section<'a> {
    /// The top level of the merged sources.
    pub(super) fn root(values: &'a Map<String, Value>, report: &'a Report) -> Self {
        Self {
            path: String::new(),
            values: Some(values),
            place: Place::of_all(values),
            asked: RefCell::default(),
            report,
        }
    }

    fn below(&self, path: String, values: Option<&'a Map<String, Value>>) -> Self {
        let place = values.map_or_else(|| self.place.clone(), Place::of_all);
        Self { path, values, place, asked: RefCell::default(), report: self.report }
    }

    /// The value of a key, or its default.
    pub(super) fn value<S: Setting>(&self, key: &'static str, default: S::Value) -> S::Value {
        self.optional::<S>(key).unwrap_or(default)
    }

    /// The value of a key, if it is there and good.
    pub(super) fn optional<S: Setting>(&self, key: &'static str) -> Option<S::Value> {
        let value = self.get(key)?;
        self.parse::<S>(&self.key(key), value)
    }

    /// The value of a key that has no default.
    pub(super) fn required<S: Setting>(&self, key: &'static str, advice: &str) -> Option<S::Value> {
        if self.get(key).is_none() {
            self.refuse(key, format_args!("is missing; {advice}"));
        }
        self.optional::<S>(key)
    }

    /// A list, if the key is there; the environment separates by comma.
    pub(super) fn list<S: Setting>(&self, key: &'static str) -> Option<Vec<S::Value>> {
        let value = self.get(key)?;
        let path = self.key(key);
        match &value.kind {
            ValueKind::Array(items) => {
                let parse = |(index, item)| self.parse::<S>(&format!("{path}[{index}]"), item);
                Some(items.iter().enumerate().filter_map(parse).collect())
            }
            ValueKind::String(text) if Place::of(value).is_environment() => {
                let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
                Some(items.filter_map(|item| self.parse_text::<S>(&path, value, item)).collect())
            }
            _ => {
                self.refuse(key, format_args!("{} is not a list; use for example [\"…\"]", shown(value)));
                None
            }
        }
    }

    /// A table below this one.
    pub(super) fn table(&self, key: &'static str) -> Section<'a> {
        let path = self.key(key);
        let values = self.get(key).and_then(|value| self.as_table(&path, value, &format!("[{path}]")));
        self.below(path, values)
    }

    /// An array of tables such as `[[endpoint]]`.
    pub(super) fn tables(&self, key: &'static str) -> Vec<Section<'a>> {
        let Some(value) = self.get(key) else { return Vec::new() };
        let ValueKind::Array(items) = &value.kind else {
            self.refuse(key, format_args!("{} is not an array of tables; use [[{key}]]", shown(value)));
            return Vec::new();
        };
        let below = |(index, item)| {
            let path = format!("{}[{index}]", self.key(key));
            let values = self.as_table(&path, item, &format!("[[{key}]]"))?;
            Some(self.below(path, Some(values)))
        };
        items.iter().enumerate().filter_map(below).collect()
    }

    /// The members of a table that may have any keys, in the order they were written, as `read` makes them of key
    /// and value.
    pub(super) fn members<T>(
        &self,
        key: &'static str,
        read: impl Fn(&str, &Value) -> Result<T, String>,
    ) -> Option<Vec<T>> {
        let path = self.key(key);
        let members = self.as_table(&path, self.get(key)?, "a table such as { name = \"value\" }")?;
        let member = |(name, value): (&String, &Value)| {
            let told = |problem| self.report.push(&Place::of(value), &format!("{path}.{name}"), problem);
            read(name, value).map_err(told).ok()
        };
        Some(members.iter().filter_map(member).collect())
    }

    /// A path that was written in the file, which counts from where the file is.
    pub(super) fn beside_file(&self, path: &Path) -> PathBuf {
        self.report.beside_file(path)
    }

    /// Whether a key is set at all, by any source.
    pub(super) fn has(&self, key: &'static str) -> bool {
        self.get(key).is_some()
    }

    /// Reports a value that is well formed but can't be.
    pub(super) fn refuse(&self, key: &'static str, message: impl fmt::Display) {
        let value = self.values.and_then(|values| values.get(key));
        let place = value.map_or_else(|| self.place.clone(), Place::of);
        self.report.push(&place, &self.key(key), message);
    }

    /// Reports the keys nobody asked for: unknown, or in `not_built`, the ones
    /// of the contract that this version lacks.
    pub(super) fn finish(self, not_built: &[&str]) {
        let asked = self.asked.borrow();
        let mut left: Vec<_> = self.values.into_iter().flatten().collect();
        left.retain(|(key, _)| !asked.contains(&key.as_str()));
        left.sort_by_key(|(key, _)| key.as_str());
        for (key, value) in left {
            let path = self.key(key);
            if not_built.contains(&key.as_str()) {
                self.report
                    .push_line(&Place::of(value), format_args!("`{path}` is not built yet in this version"));
            } else {
                self.report.push_line(&Place::of(value), unknown(&path, key, &asked));
            }
        }
    }

    fn get(&self, key: &'static str) -> Option<&'a Value> {
        let mut asked = self.asked.borrow_mut();
        if !asked.contains(&key) {
            asked.push(key);
        }
        self.values?.get(key)
    }

    fn key(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    /// Reads a scalar through its text, so that `200`, `"200"` and a variable
    /// of the environment, which only has text, say the same.
    fn parse<S: Setting>(&self, path: &str, value: &Value) -> Option<S::Value> {
        match &value.kind {
            ValueKind::String(text) => self.parse_text::<S>(path, value, text),
            ValueKind::Table(_) | ValueKind::Array(_) | ValueKind::Nil => {
                let message = format_args!("{} stands where one value belongs", shown(value));
                self.report.push(&Place::of(value), path, message);
                None
            }
            scalar => self.parse_text::<S>(path, value, &scalar.to_string()),
        }
    }

    fn parse_text<S: Setting>(&self, path: &str, value: &Value, text: &str) -> Option<S::Value> {
        S::parse(text).map_err(|problem| self.report.push(&Place::of(value), path, problem)).ok()
    }

    fn as_table(&self, path: &str, value: &'a Value, header: &str) -> Option<&'a Map<String, Value>> {
        if let ValueKind::Table(values) = &value.kind {
            return Some(values);
        }
        self.report.push(
            &Place::of(value),
            path,
            format_args!("{} is not a table; use {header}", shown(value)),
        );
        None
    }
}

/// A value as a message shows it.
pub(super) fn shown(value: &Value) -> String {
    match &value.kind {
        ValueKind::String(text) => format!("{text:?}"),
        ValueKind::Table(_) => "a table".to_owned(),
        ValueKind::Array(_) => "a list".to_owned(),
        other => other.to_string(),
    }
}

fn unknown(path: &str, key: &str, allowed: &[&'static str]) -> String {
    let mut allowed = allowed.to_vec();
    allowed.sort_unstable();
    let closest = allowed.iter().min_by_key(|candidate| distance(key, candidate));
    let meant = closest.filter(|candidate| distance(key, candidate) <= 1 + key.len() / 4);
    let meant = meant.map_or(";".to_owned(), |candidate| format!("; did you mean `{candidate}`?"));
    format!("unknown key `{path}`{meant} allowed are {}", allowed.join(", "))
}

/// The number of letters to insert, delete or replace (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, letter) in a.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, other) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(letter != *other);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}
