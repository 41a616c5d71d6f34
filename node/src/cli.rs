//! The command line: what was asked for, parsed.
//!
//! Values of the configuration stay text here: [`Config`] judges a flag, a
//! variable and a key of the file in the same words.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::error::ErrorKind;
use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueHint};
use dunlin_protocol::Topic;
use http::Uri;

use crate::config::{Config, ConfigError, Flags, Secret};

/// What this process is to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Run a node.
    Serve(Flags),
    /// Publish once and leave.
    Publish(Publish),
    /// Print what is published.
    Subscribe(Subscribe),
    /// Say something about the configuration.
    Config(ConfigCommand),
    /// Look at what a cluster keeps in Redis.
    Keys(Keys),
}

impl Command {
    /// Parses the arguments, the program's name first.
    pub fn parse(arguments: impl IntoIterator<Item = impl Into<OsString> + Clone>) -> Result<Self, Stop> {
        let matches = Line::command().try_get_matches_from(arguments)?;
        let line = Line::from_arg_matches(&matches)?;
        match line.verb {
            None => Ok(Self::Serve(line.serve.flags())),
            Some(Verb::Serve(serve)) => Ok(Self::Serve(serve.flags())),
            Some(Verb::Publish(publish)) => publish.checked().map(Self::Publish),
            Some(Verb::Subscribe(subscribe)) => Ok(Self::Subscribe(subscribe)),
            Some(Verb::Config(command)) => Ok(Self::Config(command)),
            Some(Verb::Keys(keys)) => Ok(Self::Keys(keys)),
        }
    }
}

/// Why there is nothing to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stop {
    /// Help or the version was asked for: print it on stdout, exit 0.
    Shown(String),
    /// The arguments make no sense: print why on stderr, exit 64.
    Usage(String),
}

impl From<clap::Error> for Stop {
    fn from(error: clap::Error) -> Self {
        let text = error.render().to_string();
        match error.kind() {
            ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => Self::Shown(text),
            _ => Self::Usage(text),
        }
    }
}

/// Dunlin carries messages between browsers, across a cluster of nodes.
#[derive(Debug, Parser)]
#[command(name = "dunlin", version, args_conflicts_with_subcommands = true, after_help = EXAMPLES)]
struct Line {
    #[command(flatten)]
    serve: Serve,
    #[command(subcommand)]
    verb: Option<Verb>,
}

const EXAMPLES: &str = "\
Examples:
  dunlin                                       run a node for this machine's browsers
  dunlin --listen 0.0.0.0:8080 --config /etc/dunlin.toml
  dunlin --redis redis://127.0.0.1:6379        run a node of a cluster
  dunlin subscribe ws://127.0.0.1:8080/room chat
  dunlin publish ws://127.0.0.1:8080/room chat '{\"hello\":\"world\"}'
  dunlin config print                          every setting with its effective value
  dunlin keys --redis redis://127.0.0.1:6379   what the cluster keeps there

Every setting can also come from the environment: DUNLIN__LIMITS__MESSAGE=128KiB.
Flags go over environment over file. Other users of the machine can read arguments:
an address with a password belongs in DUNLIN__REDIS__URL or in a file.

Exit codes: 0 drained, 1 keys found something, 64 bad usage or configuration,
69 Redis unreachable, 70 a bug, 71 address in use.";

#[derive(Debug, Subcommand)]
enum Verb {
    /// Run a node (what dunlin does without a command)
    Serve(Serve),
    /// Publish one payload to a topic
    Publish(Publish),
    /// Print a topic's publications, one to a line
    Subscribe(Subscribe),
    /// Check or print the configuration
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Show what a cluster keeps in Redis, and what of it looks wrong
    Keys(Keys),
}

#[derive(Debug, Args)]
struct Serve {
    /// Where peers connect; port 0 picks a free one [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDR")]
    listen: Option<String>,
    /// Where operators and back ends connect [default: 127.0.0.1:8081]
    #[arg(long, value_name = "ADDR")]
    internal: Option<String>,
    /// The Redis that joins nodes to a cluster, for example `redis://127.0.0.1:6379` [default: none]
    #[arg(long, value_name = "URL")]
    redis: Option<Secret>,
    /// The configuration [default: ./dunlin.toml, if it is there]
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    config: Option<PathBuf>,
    /// How log lines look: human or json [default: human]
    #[arg(long, value_name = "FORMAT")]
    log: Option<String>,
    /// What is logged: error, warn, info, debug or trace [default: info]
    #[arg(long, value_name = "LEVEL")]
    log_level: Option<String>,
    /// Listen beyond this machine although no endpoint is configured
    #[arg(long)]
    insecure: bool,
}

impl Serve {
    fn flags(self) -> Flags {
        let Self { listen, internal, redis, config, log, log_level, insecure } = self;
        Flags { config, listen, internal, redis, prefix: None, log, log_level, insecure }
    }
}

/// Publish one payload to a topic.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct Publish {
    /// The endpoint, for example `ws://127.0.0.1:8080/room`
    #[arg(value_parser = parse_url)]
    pub url: Uri,
    /// The topic
    #[arg(value_parser = Topic::parse)]
    pub topic: Topic,
    /// JSON, or - to read it from standard input
    #[arg(default_value = "null", allow_hyphen_values = true)]
    pub payload: String,
    /// Publish the payload as text instead of JSON
    #[arg(long)]
    pub text: bool,
    /// The page to claim to be
    #[arg(long)]
    pub origin: Option<String>,
}

impl Publish {
    /// Whether the payload is to be read from standard input.
    pub fn reads_stdin(&self) -> bool {
        self.payload == "-"
    }

    fn checked(self) -> Result<Self, Stop> {
        let is_json = || serde_json::from_str::<&serde_json::value::RawValue>(&self.payload).is_ok();
        if self.text || self.reads_stdin() || is_json() {
            return Ok(self);
        }
        let advice = "quote it as JSON, or pass --text";
        Err(Stop::Usage(format!("error: payload {:?} is not JSON; {advice}\n", self.payload)))
    }
}

/// Print a topic's publications.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct Subscribe {
    /// The endpoint, for example `ws://127.0.0.1:8080/room`
    #[arg(value_parser = parse_url)]
    pub url: Uri,
    /// The topic
    #[arg(value_parser = Topic::parse)]
    pub topic: Topic,
    /// Leave after this many publications
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub count: Option<u64>,
    /// The page to claim to be
    #[arg(long)]
    pub origin: Option<String>,
}

/// Look at what a cluster keeps in Redis.
///
/// It only reads, page by page, so it may be run on a Redis in use. Exits 0 if nothing looks wrong, 1 if
/// something does, 69 if Redis can't be reached within 5 s or refuses to be read.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct Keys {
    /// The Redis, for example `redis://127.0.0.1:6379/0` [default: `[redis] url`]
    #[arg(long, value_name = "URL")]
    pub redis: Option<Secret>,
    /// The configuration [default: ./dunlin.toml, if it is there]
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub config: Option<PathBuf>,
    /// What the cluster's keys begin with [default: `[redis] prefix`, or dunlin]
    #[arg(long, value_name = "NAME")]
    pub prefix: Option<String>,
    /// Also read histories, maps and counts, and check that each agrees with itself
    #[arg(long)]
    pub check: bool,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// What to say about the configuration.
#[derive(Debug, Clone, PartialEq, Eq, Subcommand)]
pub enum ConfigCommand {
    /// Say `ok`, or everything that is wrong (exit 64)
    Check(ConfigFile),
    /// Print the effective configuration with every default, as TOML
    Print(ConfigFile),
}

/// Which configuration is meant.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct ConfigFile {
    /// The configuration [default: ./dunlin.toml, if it is there]
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub config: Option<PathBuf>,
}

impl ConfigCommand {
    /// The text for stdout, lines ended.
    pub fn answer(&self) -> Result<String, ConfigError> {
        let (Self::Check(file) | Self::Print(file)) = self;
        let config = Config::of_process(&Flags { config: file.config.clone(), ..Flags::default() })?;
        Ok(match self {
            Self::Check(_) => config.summary() + "\n",
            Self::Print(_) => config.to_toml(),
        })
    }
}

fn parse_url(text: &str) -> Result<Uri, String> {
    let advice = "use for example ws://127.0.0.1:8080/room";
    let url: Uri = text.parse().map_err(|problem| format!("{problem}; {advice}"))?;
    match (url.scheme_str(), url.host()) {
        (Some("ws" | "wss"), Some(_)) => Ok(url),
        _ => Err(format!("it needs a scheme of ws or wss and a host; {advice}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Command, Stop> {
        Command::parse(std::iter::once("dunlin").chain(line.split_whitespace()))
    }

    fn usage(line: &str) -> String {
        match parse(line) {
            Err(Stop::Usage(text)) => text,
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn without_a_command_a_node_is_run() {
        assert_eq!(parse(""), Ok(Command::Serve(Flags::default())));
        assert_eq!(parse("serve"), parse(""));
        let line = "--listen [::1]:1 --internal 127.0.0.1:0 --redis redis://:hush@a --config a.toml \
                    --log json --log-level debug --insecure";
        let flags = Flags {
            config: Some("a.toml".into()),
            listen: Some("[::1]:1".to_owned()),
            internal: Some("127.0.0.1:0".to_owned()),
            redis: Some("redis://:hush@a".into()),
            prefix: None,
            log: Some("json".to_owned()),
            log_level: Some("debug".to_owned()),
            insecure: true,
        };
        assert_eq!(parse(line), Ok(Command::Serve(flags)));
        assert_eq!(parse(&format!("serve {line}")), parse(line));
    }

    #[test]
    fn the_address_of_redis_shows_in_no_format() {
        // E11
        let command = parse("--redis redis://:hush@a").unwrap();
        let debug = format!("{command:?}");
        assert!(debug.contains("redis: Some(…)") && !debug.contains("hush"), "{debug}");
    }

    #[test]
    fn publish_and_subscribe_take_a_url_and_a_topic() {
        let Ok(Command::Publish(publish)) = parse("publish ws://a:1/room chat {\"a\":1} --origin http://a")
        else {
            panic!("not a publish");
        };
        assert_eq!((publish.topic.as_str(), &*publish.payload, publish.text), ("chat", "{\"a\":1}", false));
        assert_eq!((publish.url.path(), publish.origin.as_deref()), ("/room", Some("http://a")));
        let Ok(Command::Publish(publish)) = parse("publish ws://a:1/room chat") else {
            panic!("not a publish")
        };
        assert_eq!(publish.payload, "null");
        let Ok(Command::Publish(publish)) = parse("publish ws://a:1/room chat -") else {
            panic!("not a publish")
        };
        assert!(publish.reads_stdin());
        assert!(matches!(parse("publish ws://a/ chat -5"), Ok(Command::Publish(p)) if p.payload == "-5"));
        assert!(matches!(parse("publish ws://a/ chat hello --text"), Ok(Command::Publish(p)) if p.text));
        assert!(
            matches!(parse("subscribe wss://a/ chat --count 3"), Ok(Command::Subscribe(s)) if s.count == Some(3))
        );
    }

    #[test]
    fn keys_takes_what_names_a_cluster() {
        let line = "keys --redis redis://:hush@a --config a.toml --prefix b --check --json";
        let keys = Keys {
            redis: Some("redis://:hush@a".into()),
            config: Some("a.toml".into()),
            prefix: Some("b".to_owned()),
            check: true,
            json: true,
        };
        assert_eq!(parse(line), Ok(Command::Keys(keys)));
        assert!(matches!(parse("keys"), Ok(Command::Keys(keys)) if keys.redis.is_none() && !keys.check));
    }

    #[test]
    fn bad_usage_says_what_is_wrong_and_what_would_be_right() {
        let table = [
            ("--lisen 127.0.0.1:1", "'--listen'"),
            ("serf", "unrecognized subcommand 'serf'"),
            ("--redis", "--redis <URL>"),
            ("publish", "<URL>"),
            ("publish http://a/ chat", "ws or wss"),
            ("publish /room chat", "ws://127.0.0.1:8080/room"),
            ("publish ws://a/ chat hello", "pass --text"),
            ("subscribe ws://a/ chat --count 0", "1.."),
            ("config", "Usage: dunlin config"),
            ("config chek", "'check'"),
            ("--listen 127.0.0.1:1 publish ws://a/ chat", "cannot be used with"),
            ("keys --redis", "--redis <URL>"),
            ("keys chat", "unexpected argument 'chat'"),
        ];
        for (line, expected) in table {
            let text = usage(line);
            assert!(text.contains(expected), "{line}: {text}");
        }
        let long = "x".repeat(300);
        assert!(usage(&format!("subscribe ws://a/ {long}")).contains("topic is 300 bytes, at most 255"));
    }

    #[test]
    fn help_and_version_are_answers_not_errors() {
        for line in [
            "--help",
            "-h",
            "publish --help",
            "config --help",
            "config check --help",
            "keys --help",
            "help",
            "--version",
        ] {
            assert!(matches!(parse(line), Err(Stop::Shown(_))), "{line}: {:?}", parse(line));
        }
        let Err(Stop::Shown(help)) = parse("--help") else { panic!("no help") };
        assert!(help.contains("DUNLIN__LIMITS__MESSAGE") && help.contains("--internal <ADDR>"), "{help}");
        assert!(help.contains("--redis <URL>") && help.contains("redis://127.0.0.1:6379"), "{help}");
    }
}
