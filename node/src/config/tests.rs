//! Whole configurations, good and bad, without a file, a variable or a flag
//! of the process that runs the tests.

use std::io;
use std::path::Path;
use std::time::Duration;

use super::{
    Config, ConfigError, Dialect, Flags, Limits, LogFormat, Mode, NamespaceRule, OnInvalid, Origins,
    OutboxTotal, Retention, Slow, TopicRule,
};

mod bad;
mod good;
mod precedence;
mod redis;
mod topic;

/// What `dunlin.toml` says; `cert.pem` and `key.pem` are PEM, `text.pem` isn't;
/// `redis.url` holds a url, `bad.url` none; the schemas are what their names say.
fn load(text: &str, environment: &[(&str, &str)], flags: &Flags) -> Result<Config, ConfigError> {
    let read = |path: &Path| match path.to_str() {
        Some("dunlin.toml" | "other.toml" | "etc/dunlin.toml") => Ok(text.to_owned()),
        Some("cert.pem" | "key.pem") => Ok("-----BEGIN SOMETHING-----\n".to_owned()),
        Some("text.pem") => Ok("something".to_owned()),
        Some("redis.url") => Ok("redis://:hush@from.file:1/2\n".to_owned()),
        Some("bad.url") => Ok("redis://:hush@from.file:x\n".to_owned()),
        Some("chat.schema.json" | "etc/sub/chat.schema.json" | "/abs/chat.schema.json") => {
            Ok(r#"{"properties":{"text":{"type":"string"}}}"#.to_owned())
        }
        Some("remote.schema.json") => Ok(r#"{"$ref":"https://a.example/b.json"}"#.to_owned()),
        Some("pattern.schema.json") => Ok(r#"{"pattern":"(?=a)b"}"#.to_owned()),
        Some("wrong.schema.json") => Ok(r#"{"type":"text"}"#.to_owned()),
        _ => Err(io::Error::from(io::ErrorKind::NotFound)),
    };
    let environment = environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    Config::load(flags, environment, &read)
}

fn from_file(text: &str) -> Result<Config, ConfigError> {
    load(text, &[], &Flags::default())
}
