//! `[redis]`: the Redis that joins nodes to a cluster. Without this section a
//! node is alone and its broker is memory.

mod url;

use std::path::PathBuf;
use std::time::Duration;

pub use url::{RedisUrl, RedisUrlError};

use super::Read;
use super::section::Section;
use super::setting::{Setting, quoted};

/// The `[redis]` section.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Redis {
    /// Where Redis is. Nodes with the same Redis and prefix are one cluster.
    pub url: RedisUrl,
    /// What every key and channel starts with: 1 to 64 of `A-Za-z0-9._-`.
    pub prefix: String,
    /// How long a silent node counts as alive, from [`LEASE_MIN`] to [`LEASE_MAX`].
    pub lease: Duration,
}

/// Below this, a pause of the machine would end leases of healthy nodes.
pub const LEASE_MIN: Duration = Duration::from_secs(3);

/// Above this, the peers of a dead node would be counted for too long.
pub const LEASE_MAX: Duration = Duration::from_mins(1);

const LEASE: Duration = Duration::from_secs(6);

impl Redis {
    pub(super) fn read(section: Section<'_>, read: Read<'_>) -> Option<Self> {
        let url = read_url(&section, read);
        let prefix = section.value::<Prefix>("prefix", "dunlin".to_owned());
        let lease = section.value::<Duration>("lease", LEASE);
        check_lease(&section, lease);
        section.finish(&["route"]);
        Some(Self { url: url?, prefix, lease })
    }

    /// With a masked password, which doesn't load again: a node that went on
    /// with the mask would be refused by Redis, much later.
    pub(super) fn lines(&self) -> Vec<(&'static str, String)> {
        let mut url = RedisUrl::print(&self.url);
        if self.url.password.is_some() {
            url.push_str("  # the password is masked: put it back before loading this");
        }
        vec![("url", url), ("prefix", Prefix::print(&self.prefix)), ("lease", Duration::print(&self.lease))]
    }
}

/// The url, or what the file of `url_file` says it is.
fn read_url(section: &Section<'_>, read: Read<'_>) -> Option<RedisUrl> {
    if !section.has("url_file") {
        let advice = "use for example \"redis://127.0.0.1:6379\", or remove what else is set of `redis`";
        return section.required::<RedisUrl>("url", advice);
    }
    if section.has("url") {
        section.refuse("url_file", "stands beside `url`; keep one of them");
        return None;
    }
    let path = section.optional::<PathBuf>("url_file")?;
    let text = read(&path).map_err(|problem| format!("{problem}; name a readable file that holds the url"));
    let url = text.and_then(|text| <RedisUrl as Setting>::parse(text.trim()));
    url.map_err(|problem| section.refuse("url_file", format_args!("{}: {problem}", path.display()))).ok()
}

fn check_lease(section: &Section<'_>, lease: Duration) {
    let shown = Duration::print(&lease);
    if lease < LEASE_MIN {
        let why = "with less, a pause of the machine would kill healthy nodes";
        let least = Duration::print(&LEASE_MIN);
        section.refuse("lease", format_args!("{shown} is too short; at least {least}: {why}"));
    }
    if lease > LEASE_MAX {
        let why = "with more, the peers of a dead node would be counted for too long";
        let most = Duration::print(&LEASE_MAX);
        section.refuse("lease", format_args!("{shown} is too long; at most {most}: {why}"));
    }
}

/// What keys start with. Braces are ours: they choose a cluster's slot.
struct Prefix;

impl Setting for Prefix {
    type Value = String;

    fn parse(text: &str) -> Result<String, String> {
        let fits = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
        if !text.is_empty() && text.len() <= PREFIX_BYTES_MAX && text.bytes().all(fits) {
            return Ok(text.to_owned());
        }
        Err(format!("{text:?} is not a prefix; use 1 to {PREFIX_BYTES_MAX} letters, digits, dots, _ and -"))
    }

    fn print(value: &String) -> String {
        quoted(value)
    }
}

/// It is sent with every command.
const PREFIX_BYTES_MAX: usize = 64;
