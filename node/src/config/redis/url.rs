//! `redis://user:password@host:6379/0`: where a Redis is and how to be let in.
//!
//! **Invariant:** no message about a url quotes what could be a part of its
//! password (behaviour E11), not even when a piece of it is in a wrong place.

use std::fmt;
use std::net::Ipv6Addr;

use crate::config::secret::{MASK, Secret};
use crate::config::setting::{Setting, quoted};

/// The address of one Redis. It shows with its password masked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RedisUrl {
    /// Whether it is `rediss://`, TLS from the first byte on.
    pub tls: bool,
    /// A name or an IP address; an IPv6 address without its brackets.
    pub host: String,
    /// Never 0.
    pub port: u16,
    /// `None` is Redis's user `default`.
    pub username: Option<String>,
    /// `None` where Redis asks for none.
    pub password: Option<Secret>,
    /// The number of the database, 0 unless said.
    pub database: u32,
}

impl RedisUrl {
    /// Reads `redis[s]://[user[:password]@]host[:port][/database]`, user and
    /// password percent-decoded.
    pub fn parse(text: &str) -> Result<Self, RedisUrlError> {
        let (scheme, rest) = text.split_once("://").ok_or(RedisUrlError::NoScheme)?;
        let tls = parse_scheme(scheme)?;
        // The last @: whatever is before it belongs to the password, even
        // where its writer forgot to encode it.
        let (user, address) = rest.rsplit_once('@').unwrap_or(("", rest));
        let (username, password) = parse_user(user)?;
        if let Some(start) = address.find(['?', '#']) {
            let name = address[start..].split(['=', '&']).next().unwrap_or_default();
            return Err(RedisUrlError::Extra(name.into()));
        }
        let (authority, database) = address.split_once('/').unwrap_or((address, ""));
        let (host, port) = parse_authority(authority)?;
        let database =
            if database.is_empty() { Some(0) } else { digits(database) }.ok_or(RedisUrlError::Database)?;
        Ok(Self { tls, host, port, username, password, database })
    }
}

fn parse_scheme(scheme: &str) -> Result<bool, RedisUrlError> {
    let scheme = scheme.to_ascii_lowercase();
    match &*scheme {
        "redis" => Ok(false),
        "rediss" => Ok(true),
        "redis-sentinel" | "rediss-sentinel" | "redis-cluster" | "rediss-cluster" => {
            Err(RedisUrlError::NotYet(scheme.into()))
        }
        other
            if !other.is_empty()
                && other.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b)) =>
        {
            Err(RedisUrlError::Scheme(other.into()))
        }
        _ => Err(RedisUrlError::NoScheme),
    }
}

/// The user and the password, none where they are empty.
fn parse_user(text: &str) -> Result<(Option<String>, Option<Secret>), RedisUrlError> {
    if text.contains(['/', '?', '#', '@']) {
        return Err(RedisUrlError::NotEncoded);
    }
    let (user, password) = text.split_once(':').unwrap_or((text, ""));
    if password == MASK {
        return Err(RedisUrlError::Masked);
    }
    let decode = |part: &str| percent_decode(part).ok_or(RedisUrlError::BadlyEncoded);
    let some = |part: String| (!part.is_empty()).then_some(part);
    Ok((some(decode(user)?), some(decode(password)?).map(Secret::from)))
}

/// The host without brackets, and the port.
fn parse_authority(text: &str) -> Result<(String, u16), RedisUrlError> {
    let (host, port) = match text.strip_prefix('[') {
        Some(inside) => {
            let (host, after) = inside.split_once(']').ok_or(RedisUrlError::Host)?;
            host.parse::<Ipv6Addr>().map_err(|_| RedisUrlError::Host)?;
            let port = if after.is_empty() { None } else { Some(after.strip_prefix(':')) };
            (host, port.map(|port| port.ok_or(RedisUrlError::Port)).transpose()?)
        }
        None => text.rsplit_once(':').map_or((text, None), |(host, port)| (host, Some(port))),
    };
    let fits = |b: u8| b.is_ascii_alphanumeric() || b"-._".contains(&b);
    let is_name = !host.is_empty() && host.len() <= HOST_BYTES_MAX && host.bytes().all(fits);
    if !is_name && !text.starts_with('[') {
        return Err(RedisUrlError::Host);
    }
    let port = port.map_or(Some(PORT), digits).filter(|port| *port != 0).ok_or(RedisUrlError::Port)?;
    Ok((host.to_owned(), port))
}

/// A number without a sign.
fn digits<N: std::str::FromStr>(text: &str) -> Option<N> {
    text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

fn percent_decode(text: &str) -> Option<String> {
    let hex = |digit: u8| char::from(digit).to_digit(16).map(|value| value as u8);
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(if byte == b'%' { hex(rest.next()?)? << 4 | hex(rest.next()?)? } else { byte });
    }
    String::from_utf8(bytes).ok()
}

/// With `…` for the password, in the one form that every url of the same
/// meaning has: port and database are always there.
impl fmt::Display for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.tls { "rediss://" } else { "redis://" })?;
        for byte in self.username.iter().flat_map(|name| name.bytes()) {
            match byte {
                b if b.is_ascii_alphanumeric() || b"-._~".contains(&b) => write!(f, "{}", char::from(b))?,
                b => write!(f, "%{b:02X}")?,
            }
        }
        if self.password.is_some() {
            write!(f, ":{MASK}")?;
        }
        if self.username.is_some() || self.password.is_some() {
            f.write_str("@")?;
        }
        let (open, close) = if self.host.contains(':') { ("[", "]") } else { ("", "") };
        write!(f, "{open}{}{close}:{}/{}", self.host, self.port, self.database)
    }
}

impl Setting for RedisUrl {
    type Value = Self;

    fn parse(text: &str) -> Result<Self, String> {
        Self::parse(text).map_err(|problem| problem.to_string())
    }

    /// Reads back but for a password, which is refused as the mask it is.
    fn print(value: &Self) -> String {
        quoted(value)
    }
}

/// Why a text is no url of a Redis that this version can use.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RedisUrlError {
    /// It doesn't start with a word and `://`.
    #[error("is not the address of a Redis; use for example redis://127.0.0.1:6379")]
    NoScheme,
    /// A scheme of the contract that this version lacks.
    #[error("not yet: {0}:// is not built yet in this version; use redis:// or rediss://")]
    NotYet(Box<str>),
    /// Another scheme.
    #[error("{0}:// is not the address of a Redis; use redis:// or rediss://")]
    Scheme(Box<str>),
    /// A character in user or password that ends them.
    #[error("has / ? # or @ in its user or password; write %2F %3F %23 %40 instead")]
    NotEncoded,
    /// A `%` without two hex digits, or bytes that are no UTF-8.
    #[error("has a broken percent-encoding in its user or password; a % itself is %25")]
    BadlyEncoded,
    /// What `dunlin config print` and the log show.
    #[error(
        "has {MASK} for a password, as it is printed and logged; put the real one back, or use `redis.url_file`"
    )]
    Masked,
    /// No host, or none that can be one.
    #[error("names no host; use for example redis://127.0.0.1:6379, and brackets around an IPv6 address")]
    Host,
    /// No number, or one that is no port.
    #[error("has a port that is none; use 1 to 65535, or leave it out for {PORT}")]
    Port,
    /// A path that is no number.
    #[error("has a path that is no database; after the host may only follow its number, for example /0")]
    Database,
    /// A query or fragment: its first name.
    #[error("`{0}` is not understood; nothing may follow the host, port and database")]
    Extra(Box<str>),
}

/// Where Redis listens unless told otherwise.
const PORT: u16 = 6379;

/// The longest name that DNS has (RFC 1035, section 2.3.4).
const HOST_BYTES_MAX: usize = 253;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_says_where_and_how() {
        // Text, its masked form, and the password.
        let table = [
            ("redis://127.0.0.1:6379", "redis://127.0.0.1:6379/0", None),
            ("redis://a.example", "redis://a.example:6379/0", None),
            ("REDIS://my_redis/", "redis://my_redis:6379/0", None),
            ("rediss://a:1/15", "rediss://a:1/15", None),
            ("redis://[::1]", "redis://[::1]:6379/0", None),
            ("redis://[2001:db8::1]:7000/2", "redis://[2001:db8::1]:7000/2", None),
            ("redis://user:hush@host:6379/0", "redis://user:…@host:6379/0", Some("hush")),
            ("redis://:hush@host", "redis://:…@host:6379/0", Some("hush")),
            ("redis://user@host", "redis://user@host:6379/0", None),
            ("redis://user:@host", "redis://user@host:6379/0", None),
            ("redis://:@host", "redis://host:6379/0", None),
            ("redis://@host", "redis://host:6379/0", None),
            ("redis://a%40b:p%3a%2F%25ü@host", "redis://a%40b:…@host:6379/0", Some("p:/%ü")),
            ("redis://u:a:b+c@[::1]:1", "redis://u:…@[::1]:1/0", Some("a:b+c")),
            ("redis://u:%E2%80%A6@host", "redis://u:…@host:6379/0", Some("…")),
        ];
        for (text, shown, password) in table {
            let url = RedisUrl::parse(text).expect(text);
            assert_eq!(url.to_string(), shown, "{text}");
            assert_eq!(url.password.as_ref().map(Secret::reveal), password, "{text}");
        }
    }

    #[test]
    fn the_parts_are_decoded_and_without_brackets() {
        let url = RedisUrl::parse("rediss://a%40b:hush@[::1]:7000/3").unwrap();
        assert_eq!((url.tls, &*url.host, url.port, url.database), (true, "::1", 7000, 3));
        assert_eq!(url.username.as_deref(), Some("a@b"));
        let debug = format!("{url:?}");
        assert!(debug.contains("password: Some(…)") && !debug.contains("hush"), "{debug}");
    }

    #[test]
    fn what_is_shown_reads_back_but_for_the_password() {
        for text in ["redis://a", "rediss://a%40%2Fü@[::1]:1/2"] {
            let url = RedisUrl::parse(text).unwrap();
            assert_eq!(RedisUrl::parse(&url.to_string()), Ok(url), "{text}");
        }
        let shown = RedisUrl::parse("redis://u:hush@a").unwrap().to_string();
        assert_eq!(RedisUrl::parse(&shown), Err(RedisUrlError::Masked));
    }

    #[test]
    fn what_is_no_url_says_why() {
        use RedisUrlError::{
            BadlyEncoded, Database, Extra, Host, NoScheme, NotEncoded, NotYet, Port, Scheme,
        };
        let table = [
            ("", NoScheme),
            ("127.0.0.1:6379", NoScheme),
            ("redis:127.0.0.1", NoScheme),
            ("://a", NoScheme),
            ("re dis://a", NoScheme),
            ("http://a", Scheme("http".into())),
            ("redis+unix:///run/redis.sock", Scheme("redis+unix".into())),
            ("redis-sentinel://a", NotYet("redis-sentinel".into())),
            ("Redis-Cluster://a", NotYet("redis-cluster".into())),
            ("redis://", Host),
            ("redis://:6379", Host),
            ("redis://u:p@", Host),
            ("redis:///0", Host),
            ("redis://a b", Host),
            ("redis://::1", Host),
            ("redis://2001:db8::1:6379", Host),
            ("redis://[::1", Host),
            ("redis://[localhost]", Host),
            ("redis://[]:1", Host),
            ("redis://a:0", Port),
            ("redis://a:", Port),
            ("redis://a:65536", Port),
            ("redis://a:+1", Port),
            ("redis://[::1]1", Port),
            ("redis://a/x", Database),
            ("redis://a/-1", Database),
            ("redis://a/0/", Database),
            ("redis://a/4294967296", Database),
            ("redis://a?timeout=1s&x", Extra("?timeout".into())),
            ("redis://a/0#insecure", Extra("#insecure".into())),
            ("redis://u:a/b@host", NotEncoded),
            ("redis://u:a@b@host", NotEncoded),
            ("redis://u:a#b@host", NotEncoded),
            ("redis://u:50%@host", BadlyEncoded),
            ("redis://u:%ff@host", BadlyEncoded),
        ];
        for (text, problem) in table {
            assert_eq!(RedisUrl::parse(text), Err(problem), "{text}");
        }
        let long = "a".repeat(HOST_BYTES_MAX + 1);
        assert_eq!(RedisUrl::parse(&format!("redis://{long}")), Err(Host));
        assert!(RedisUrl::parse(&format!("redis://{}", &long[1..])).is_ok());
    }

    #[test]
    fn no_message_quotes_a_misplaced_password() {
        // E11
        let urls = [
            "redis://:hush",
            "redis://user:hush",
            "redis://:hush/x@host",
            "redis://:50%hush@host",
            "redis://:x#hush@host",
            "redis://user:hush@host:x",
            "redis://user:hush@host?password=hush",
        ];
        for text in urls {
            let problem = RedisUrl::parse(text).expect_err(text).to_string();
            assert!(!problem.contains("hush"), "{text}: {problem}");
        }
    }
}
