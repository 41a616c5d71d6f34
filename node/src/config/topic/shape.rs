//! `set`, `schema` and `strip_unknown`: from the file's words to a [`Shape`].

use std::path::{Path, PathBuf};

use ::config::{Value, ValueKind};
use serde_json::{Number, Value as Json};

use crate::config::Read;
use crate::config::section::{Section, shown};
use crate::config::setting::{Setting, quoted};
use crate::shaping::{Field, Schema, Shape, Source};

/// The shape, and the schema's file as it was written.
pub(super) fn read(section: &Section<'_>, read: Read<'_>) -> (Option<Shape>, Option<PathBuf>) {
    let set = section.members("set", field).unwrap_or_default();
    let path = section.optional::<PathBuf>("schema");
    let schema = path.as_deref().and_then(|path| schema(section, path, read));
    let strip_unknown = section.value::<bool>("strip_unknown", false);
    if strip_unknown && !section.has("schema") {
        section.refuse("strip_unknown", "needs a `schema` that names the members to keep; set one");
    }
    (Shape::new(set, schema, strip_unknown), path)
}

/// Reads and compiles a schema now: a node that finds out at the first publication has already been put into
/// service.
fn schema(section: &Section<'_>, path: &Path, read: Read<'_>) -> Option<Schema> {
    let path = section.beside_file(path);
    let advice = "name a readable file with a JSON Schema, from the configuration file's directory on";
    let text = read(&path).map_err(|problem| format!("{problem}; {advice}"));
    let schema = text.and_then(|text| Schema::parse(&text).map_err(|problem| problem.to_string()));
    schema.map_err(|problem| section.refuse("schema", format_args!("{}: {problem}", path.display()))).ok()
}

fn field(name: &str, value: &Value) -> Result<Field, String> {
    let source = match &value.kind {
        ValueKind::String(text) => return source(text).map(|source| Field::new(name, source)),
        ValueKind::Boolean(flag) => Json::from(*flag),
        ValueKind::I64(number) => Json::from(*number),
        ValueKind::U64(number) => Json::from(*number),
        ValueKind::Float(number) => Number::from_f64(*number)
            .map(Json::from)
            .ok_or_else(|| format!("{number} is no number of JSON; use a finite one"))?,
        _ => {
            let advice = "use a text, a number, true or false, or one of";
            return Err(format!("{} can't be set; {advice} {}", shown(value), variables()));
        }
    };
    Ok(Field::new(name, Source::Constant(source)))
}

/// What is not of the file but of the publication begins with a dollar; two of them stand for one.
fn source(text: &str) -> Result<Source, String> {
    let Some(rest) = text.strip_prefix('$') else { return Ok(Source::Constant(Json::from(text))) };
    if rest.starts_with('$') {
        return Ok(Source::Constant(Json::from(rest)));
    }
    let found = VARIABLES.iter().find(|(name, _)| *name == text);
    found.map(|(_, source)| source.clone()).ok_or_else(|| {
        format!("{text:?} is unknown; use {}, or \"${text}\" for the text itself", variables())
    })
}

const VARIABLES: [(&str, Source); 4] = [
    ("$peer.id", Source::PeerId),
    ("$user.id", Source::UserId),
    ("$user.info", Source::UserInfo),
    ("$now", Source::Now),
];

fn variables() -> String {
    VARIABLES.map(|(name, _)| format!("`{name}`")).join(" or ")
}

pub(super) fn lines(shape: Option<&Shape>, schema: Option<&PathBuf>) -> Vec<(&'static str, String)> {
    let fields: Vec<_> = shape.map_or(&[][..], Shape::set).iter().map(print).collect();
    let set = if fields.is_empty() { "{}".to_owned() } else { format!("{{ {} }}", fields.join(", ")) };
    let mut lines = vec![("set", set)];
    lines.extend(schema.map(|path| ("schema", PathBuf::print(path))));
    lines.push(("strip_unknown", bool::print(&shape.is_some_and(Shape::strips_unknown))));
    lines
}

/// `name = value`; a name is quoted as a value is, which TOML allows for any.
fn print(field: &Field) -> String {
    let value = match field.source() {
        Source::Constant(Json::String(text)) if text.starts_with('$') => quoted(format_args!("${text}")),
        Source::Constant(Json::String(text)) => quoted(text),
        Source::Constant(value) => value.to_string(),
        source => {
            let found = VARIABLES.iter().find(|(_, known)| known == source);
            quoted(found.map(|(name, _)| *name).expect("each source but a constant has a name"))
        }
    };
    format!("{} = {value}", quoted(field.name()))
}
