//! The configuration: parsed and judged whole, before any port is bound.
//!
//! Flags go over environment over file over defaults. Below this module there
//! are no texts: an [`Endpoint`] holds compiled patterns, parsed topics and
//! spans of time.
//!
//! **Invariant:** a [`Config`] exists only if every value in it is good and
//! they agree with each other; what is wrong is told all at once.

mod endpoint;
mod limits;
mod log;
mod machine;
mod origins;
mod path;
mod print;
mod quantity;
mod redis;
mod report;
mod resume;
mod secret;
mod section;
mod session;
mod setting;
mod sources;
#[cfg(test)]
mod tests;
mod tls;
mod topic;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;
use std::{env, fs, io};

pub use endpoint::{Dialect, Endpoint, NamespaceRule, OnUnknown};
pub use limits::{Limits, PerUser};
pub use log::{Log, LogFormat};
pub use machine::{OutboxTotal, SHARDS_MAX, Shards};
pub use origins::{OriginError, OriginRule, Origins};
pub use path::{PathError, PathParams, PathPattern};
pub use redis::{LEASE_MAX, LEASE_MIN, Redis, RedisUrl, RedisUrlError};
pub use report::ConfigError;
pub use resume::Resume;
pub use secret::Secret;
pub use session::{Metrics, Session};
pub use sources::Flags;
pub use tls::Tls;
pub use topic::{Mode, OnInvalid, Retention, Slow, TopicRule};

use section::Section;
use setting::Setting;

/// How files are read, so that tests need none.
pub type Read<'a> = &'a dyn Fn(&Path) -> io::Result<String>;

/// What one node runs with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Where peers connect. Port 0 picks a free one.
    pub listen: SocketAddr,
    /// Where operators and back ends connect.
    pub internal: SocketAddr,
    /// How long leaving may take, at most [`DRAIN_MAX`].
    pub drain: Duration,
    /// How many threads carry peers.
    pub shards: Shards,
    /// What joins nodes to a cluster; without it the broker is memory.
    pub redis: Option<Redis>,
    /// What standard error gets.
    pub log: Log,
    /// Whether the demo's pages are served, which is only without configured endpoints.
    pub demo: bool,
    /// How much of everything the node takes on.
    pub limits: Limits,
    /// Where peers connect to; the first whose path matches wins. Never empty.
    pub endpoints: Vec<Endpoint>,
    /// What topics are like; the first that fits wins. The last ones are built in where no endpoint is configured.
    pub topics: Vec<TopicRule>,
    /// The topic that carries the number of peers.
    pub session: Session,
    /// Sessions that go on after their connection.
    pub resume: Resume,
    /// What metrics name.
    pub metrics: Metrics,
    /// The public listener's certificate; without one it speaks plain HTTP.
    pub tls: Option<Tls>,
    /// Whether `--insecure` was given.
    pub insecure: bool,
    /// Whether no endpoint was configured.
    zero: bool,
}

impl Config {
    /// Reads the configuration of this process: its flags, its environment, its files.
    pub fn of_process(flags: &Flags) -> Result<Self, ConfigError> {
        let text = |text: std::ffi::OsString| text.to_string_lossy().into_owned();
        let environment = env::vars_os().map(|(name, value)| (text(name), text(value)));
        Self::load(flags, environment, &|path| fs::read_to_string(path))
    }

    /// Reads a configuration from given sources.
    ///
    /// An empty variable is an empty value, not an absent one: it turns
    /// `session.topic` off, empties a list, and is refused anywhere else.
    pub fn load(
        flags: &Flags,
        environment: impl IntoIterator<Item = (String, String)>,
        read: Read<'_>,
    ) -> Result<Self, ConfigError> {
        let (values, report) = sources::merge(flags, environment, read)?;
        let config = Self::read(Section::root(&values, &report), flags.insecure, read);
        report.accept(config)
    }

    fn read(section: Section<'_>, insecure: bool, read: Read<'_>) -> Self {
        let limits = Limits::read(section.table("limits"));
        let session = Session::read(section.table("session"));
        let listen = section.value::<SocketAddr>("listen", LISTEN);
        let configured = section.tables("endpoint");
        let zero = configured.is_empty();
        let endpoints = if zero {
            vec![Endpoint::built_in(&session, Origins::built_in(listen))]
        } else {
            configured.into_iter().filter_map(|one| Endpoint::read(one, &session, &limits)).collect()
        };
        let rules = section.tables("topic").into_iter();
        let mut topics: Vec<_> = rules.filter_map(|one| TopicRule::read(one, &limits, read)).collect();
        topics.extend(zero.then(|| TopicRule::built_in(&limits)).into_iter().flatten());
        let config = Self {
            listen,
            internal: section.value::<SocketAddr>("internal", INTERNAL),
            drain: section.value::<Duration>("drain", DRAIN),
            shards: section.value::<Shards>("shards", Shards::PerCore),
            redis: section.has("redis").then(|| Redis::read(section.table("redis"), read)).flatten(),
            log: Log::read(section.table("log")),
            demo: read_demo(section.table("demo")) && zero,
            limits,
            endpoints,
            topics,
            session,
            resume: Resume::read(section.table("resume"), read),
            metrics: Metrics::read(section.table("metrics")),
            tls: section.has("tls").then(|| Tls::read(section.table("tls"), read)).flatten(),
            insecure,
            zero,
        };
        config.check(&section);
        section.finish(&NOT_BUILT);
        config
    }

    /// What each key allows alone but the whole doesn't.
    fn check(&self, section: &Section<'_>) {
        if self.zero && !self.insecure && !is_loopback(self.listen) {
            let advice = "configure an [[endpoint]], listen on 127.0.0.1, or pass --insecure";
            let why = "is open to other machines, and without an [[endpoint]] anyone may publish anything";
            section.refuse("listen", format_args!("{} {why}; {advice}", self.listen));
        }
        if collide(self.listen, self.internal) {
            let advice = "peers and operators need ports of their own";
            section.refuse("internal", format_args!("{} is taken by `listen`; {advice}", self.internal));
        }
        if self.drain > DRAIN_MAX {
            section.refuse(
                "drain",
                format_args!("{} is too long; at most \"10m\"", Duration::print(&self.drain)),
            );
        }
        for (index, endpoint) in self.endpoints.iter().enumerate() {
            if self.endpoints[..index].iter().any(|earlier| earlier.path == endpoint.path) {
                let message = "is the path of two endpoints; the second would never be reached";
                section.refuse("endpoint", format_args!("{:?} {message}", endpoint.path.as_str()));
            }
        }
    }

    /// Whether no endpoint was configured, so that the built-in one serves every path.
    pub fn is_zero_config(&self) -> bool {
        self.zero
    }
}

/// The contract's sections that this version lacks.
const NOT_BUILT: [&str; 6] = ["api", "auth", "bridge", "presence", "trust", "users"];

const LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8080);
const INTERNAL: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8081);
const DRAIN: Duration = Duration::from_secs(30);

/// Orchestrators kill a process that takes longer.
pub const DRAIN_MAX: Duration = Duration::from_mins(10);

/// `[demo]`: whether the demo is wanted where it is possible.
fn read_demo(section: Section<'_>) -> bool {
    let enabled = section.value::<bool>("enabled", true);
    section.finish(&[]);
    enabled
}

fn is_loopback(address: SocketAddr) -> bool {
    address.ip().to_canonical().is_loopback()
}

/// Whether two listeners can't both have their address.
fn collide(one: SocketAddr, other: SocketAddr) -> bool {
    let same_ip = one.ip() == other.ip() || one.ip().is_unspecified() || other.ip().is_unspecified();
    same_ip && one.port() == other.port() && one.port() != 0
}
