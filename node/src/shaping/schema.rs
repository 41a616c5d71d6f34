//! A topic's JSON Schema: compiled at the start, judging payloads in bounded time.
//!
//! Draft 2020-12 unless `$schema` names another. Nothing is ever fetched; `format` is a note for readers, not a
//! rule. Patterns run in linear time, so those that need backtracking are refused.

use std::collections::HashMap;
use std::fmt::{self, Write};

use jsonschema::error::ValidationErrorKind;
use jsonschema::{PatternOptions, ValidationError, Validator};
use serde_json::Value;

use super::words::{Words, shortened};
use super::{Flaw, MESSAGE_BYTES_MAX, Unfit};

/// A compiled schema. Two are equal if their texts mean the same JSON.
pub struct Schema {
    document: Value,
    validator: Validator,
    /// Whether telling what is wrong costs about as much as finding that something is.
    explains: bool,
}

/// Why a schema can't be used, worded for whoever wrote it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SchemaError {
    /// Not JSON at all.
    #[error("not JSON: {0}")]
    Json(String),
    /// A reference to what isn't there, or isn't in this document.
    #[error("{0}; a schema may only refer to what is inside it, for example \"#/$defs/name\"")]
    Reference(String),
    /// A pattern that is wrong, or needs backtracking, or is too large.
    #[error(
        "{0} can't be used as a pattern; patterns are matched in linear time, so there is no looking ahead or \
         behind and no back reference, and a compiled one has at most {PATTERN_BYTES_MAX} bytes"
    )]
    Pattern(String),
    /// JSON, but no schema of its draft.
    #[error("no JSON Schema: {0}")]
    Schema(String),
}

/// How large one compiled pattern may be. Matching takes at most its size times the text's length, and in all but
/// contrived cases the text's length.
pub const PATTERN_BYTES_MAX: usize = 256 << 10;

/// Up to this many bytes a payload's publisher is told what is wrong with it. Collecting what is wrong copies parts
/// of the payload, for each alternative again.
const EXPLAINED_BYTES_MAX: usize = 4 << 10;

/// How many things that are wrong are told.
const TOLD_MAX: usize = 3;

impl Schema {
    /// Reads and compiles the text of a schema.
    pub fn parse(text: &str) -> Result<Self, SchemaError> {
        let document: Value =
            serde_json::from_str(text).map_err(|problem| SchemaError::Json(problem.to_string()))?;
        let patterns =
            PatternOptions::regex().size_limit(PATTERN_BYTES_MAX).dfa_size_limit(PATTERN_BYTES_MAX);
        let options = jsonschema::options().offline().should_validate_formats(false);
        let validator =
            options.with_pattern_options(patterns).build(&document).map_err(|error| refusal(&error))?;
        let explains = !refers_in_circles(&document);
        Ok(Self { document, validator, explains })
    }

    /// The schema as it was written.
    pub fn document(&self) -> &Value {
        &self.document
    }

    /// Whether JSON text is what the schema describes.
    pub(super) fn judge(&self, text: &[u8]) -> Result<(), Unfit> {
        let value: Value = serde_json::from_slice(text).map_err(|problem| unfit(&problem))?;
        if self.validator.is_valid(&value) {
            return Ok(());
        }
        let message = if self.explains && text.len() <= EXPLAINED_BYTES_MAX {
            self.explain(&value)
        } else {
            "payload does not fit the topic's schema".to_owned()
        };
        Err(Unfit::new(Flaw::Schema, message))
    }

    /// The first few things that are wrong.
    fn explain(&self, value: &Value) -> String {
        let mut words = Words::up_to(MESSAGE_BYTES_MAX);
        for (index, error) in self.validator.iter_errors(value).take(TOLD_MAX).enumerate() {
            let separator = if index == 0 { "" } else { "; " };
            let place = error.instance_path().as_str();
            let place = if place.is_empty() { String::new() } else { format!(" at {place}") };
            // An error here says that the words are full.
            let _ = write!(words, "{separator}payload{place}: {}", error.masked());
        }
        words.into_text()
    }
}

/// JSON that has no tree: a number beyond any float, or half a surrogate pair.
fn unfit(problem: &impl fmt::Display) -> Unfit {
    Unfit::new(Flaw::Schema, format_args!("payload can't be judged by the topic's schema: {problem}"))
}

fn refusal(error: &ValidationError<'_>) -> SchemaError {
    let words = shortened(error, MESSAGE_BYTES_MAX);
    let place = error.instance_path().as_str();
    let place = if place.is_empty() { String::new() } else { format!(" at {place}") };
    match error.kind() {
        ValidationErrorKind::Referencing(_) => SchemaError::Reference(format!("{words}{place}")),
        ValidationErrorKind::Format { format } if format == "regex" => {
            SchemaError::Pattern(format!("{}{place}", shortened(error.instance(), MESSAGE_BYTES_MAX)))
        }
        _ => SchemaError::Schema(format!("{words}{place}")),
    }
}

/// Whether some part of the schema leads back to itself, or may. Then payloads of a few bytes may have more ways to
/// be wrong than can be told.
fn refers_in_circles(document: &Value) -> bool {
    Circles { document, seen: HashMap::new() }.are_at(document)
}

struct Circles<'a> {
    document: &'a Value,
    /// The places that were come by, and whether all below them is known to have no circle.
    seen: HashMap<*const Value, bool>,
}

impl<'a> Circles<'a> {
    fn are_at(&mut self, place: &'a Value) -> bool {
        if let Some(finished) = self.seen.insert(place, false) {
            self.seen.insert(place, finished);
            return !finished;
        }
        let found = match place {
            Value::Object(members) => members.iter().any(|(key, value)| self.are_behind(key, value)),
            Value::Array(list) => list.iter().any(|value| self.are_at(value)),
            _ => false,
        };
        self.seen.insert(place, !found);
        found
    }

    fn are_behind(&mut self, key: &str, value: &'a Value) -> bool {
        match (key, value) {
            ("$ref", Value::String(reference)) => {
                target(self.document, reference).is_none_or(|target| self.are_at(target))
            }
            ("$dynamicRef" | "$recursiveRef", _) => true,
            _ => self.are_at(value),
        }
    }
}

/// What a reference by JSON Pointer (RFC 6901) leads to; `None` for one by another name, such as an anchor.
pub(super) fn target<'a>(document: &'a Value, reference: &str) -> Option<&'a Value> {
    let pointer = reference.strip_prefix('#')?;
    if pointer.contains('%') { None } else { document.pointer(pointer) }
}

impl PartialEq for Schema {
    fn eq(&self, other: &Self) -> bool {
        self.document == other.document
    }
}

impl Eq for Schema {}

impl fmt::Debug for Schema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.document)
    }
}
