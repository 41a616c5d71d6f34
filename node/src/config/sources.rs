//! Where values come from: flags over environment over file, merged into one
//! tree whose leaves remember their place.

use std::io;
use std::path::{Path, PathBuf};

use ::config::builder::DefaultState;
use ::config::{ConfigBuilder, ConfigError as MergeError, File, FileFormat, Map, Value, ValueKind};

use super::Read;
use super::report::{ConfigError, Place, Report};
use super::secret::Secret;

/// What the command line says about the configuration, as text: it is parsed
/// and judged like the same value of the file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Flags {
    /// `--config`: the file, which then has to be there.
    pub config: Option<PathBuf>,
    /// `--listen`.
    pub listen: Option<String>,
    /// `--internal`.
    pub internal: Option<String>,
    /// `--redis`; a secret because it may hold a password.
    pub redis: Option<Secret>,
    /// `--prefix`, of the commands that look at a cluster.
    pub prefix: Option<String>,
    /// `--log`.
    pub log: Option<String>,
    /// `--log-level`.
    pub log_level: Option<String>,
    /// `--insecure`: listen beyond loopback although nothing is configured.
    pub insecure: bool,
}

impl Flags {
    fn values(&self) -> impl Iterator<Item = (&'static str, &'static str, &str)> {
        let flags = [
            ("--listen", "listen", self.listen.as_deref()),
            ("--internal", "internal", self.internal.as_deref()),
            ("--redis", "redis.url", self.redis.as_ref().map(Secret::reveal)),
            ("--prefix", "redis.prefix", self.prefix.as_deref()),
            ("--log", "log.format", self.log.as_deref()),
            ("--log-level", "log.level", self.log_level.as_deref()),
        ];
        flags.into_iter().filter_map(|(flag, key, text)| text.map(|text| (flag, key, text)))
    }
}

/// The file that is read when no flag names one, if it is there.
const FILE: &str = "dunlin.toml";

/// Only the double underscore counts: Kubernetes injects `DUNLIN_PORT=…`.
const PREFIX: &str = "DUNLIN__";

/// The merged tree and the report that its problems go to.
pub(super) fn merge(
    flags: &Flags,
    environment: impl IntoIterator<Item = (String, String)>,
    read: Read<'_>,
) -> Result<(Map<String, Value>, Report), ConfigError> {
    let (name, text) = file(flags, read)?;
    let report = Report::new(name.clone());
    let mut builder = ::config::Config::builder().add_source(File::from_str(&text, FileFormat::Toml));
    for (variable, text) in environment.into_iter().filter(|(variable, _)| variable.starts_with(PREFIX)) {
        match key_of(&variable) {
            Ok(key) => builder = set(builder, &key, &variable, &text),
            Err(problem) => report.push_line(&Place::Environment(variable), problem),
        }
    }
    for (flag, key, text) in flags.values() {
        builder = set(builder, key, flag, text);
    }
    let merged =
        builder.build().map_err(|problem| ConfigError::of(&format!("{name}: {}", cause(&problem))))?;
    let ValueKind::Table(mut values) = merged.cache.kind else {
        unreachable!("a built configuration is a table")
    };
    drop_outranked(&mut values);
    Ok((values, report))
}

/// A secret and the `…_file` that holds it are one setting under two keys: the
/// one of the stronger source stays. Two of one source both stay, to be refused.
fn drop_outranked(values: &mut Map<String, Value>) {
    for (section, text, file) in SECRETS {
        let Some(Value { kind: ValueKind::Table(table), .. }) = values.get_mut(section) else { continue };
        let (Some(of_text), Some(of_file)) = (table.get(text), table.get(file)) else { continue };
        let (of_text, of_file) = (Place::of(of_text), Place::of(of_file));
        if of_text.is_above(&of_file) {
            table.shift_remove(file);
        } else if of_file.is_above(&of_text) {
            table.shift_remove(text);
        }
    }
}

/// The section of each secret, its key, and that of its file.
const SECRETS: [(&str, &str, &str); 1] = [("redis", "url", "url_file")];

/// The file's name for messages, and its text.
fn file(flags: &Flags, read: Read<'_>) -> Result<(String, String), ConfigError> {
    let path = flags.config.as_deref().unwrap_or(Path::new(FILE));
    let name = path.display().to_string();
    match read(path) {
        Ok(text) => Ok((name, text)),
        Err(problem) if problem.kind() == io::ErrorKind::NotFound && flags.config.is_none() => {
            Ok((name, String::new()))
        }
        Err(problem) => {
            Err(ConfigError::of(&format!("{name}: {problem}; name a readable TOML file with --config")))
        }
    }
}

/// `DUNLIN__LIMITS__MESSAGE` is `limits.message`.
fn key_of(variable: &str) -> Result<String, String> {
    let parts: Vec<_> = variable[PREFIX.len()..].split("__").map(str::to_ascii_lowercase).collect();
    let fits = |part: &String| {
        part.starts_with(|letter: char| letter.is_ascii_lowercase())
            && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
    };
    if ["endpoint", "topic"].contains(&parts[0].as_str()) {
        return Err(format!("`{}` is an array of tables, which only the file can have", parts[0]));
    }
    if !parts.iter().all(fits) {
        return Err("names no key; use for example DUNLIN__LIMITS__MESSAGE for `limits.message`".to_owned());
    }
    Ok(parts.join("."))
}

fn set(
    builder: ConfigBuilder<DefaultState>,
    key: &str,
    place: &str,
    text: &str,
) -> ConfigBuilder<DefaultState> {
    let value = Value::new(Some(&place.to_owned()), text);
    builder.set_override(key, value).expect("keys are words between dots")
}

/// The parser's own words, with line and column.
fn cause(problem: &MergeError) -> String {
    match problem {
        MergeError::FileParse { cause, .. } => cause.to_string().trim_end().to_owned(),
        other => other.to_string(),
    }
}
