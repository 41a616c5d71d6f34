//! `[[endpoint]]`: a path peers connect to, and what they may do there.

use std::borrow::Cow;
use std::time::Duration;

use dunlin_protocol::{Namespace, Pattern, Scope, Template, Topic, Variable};

use super::limits::Limits;
use super::origins::{OriginRule, Origins};
use super::path::PathPattern;
use super::section::Section;
use super::session::Session;
use super::setting::{Setting, TopicOrNone, choose, listed, quoted};

/// One `[[endpoint]]`; of several the first whose path matches takes the request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// The paths it takes.
    pub path: PathPattern,
    /// Which namespace a peer lives in.
    pub namespace: NamespaceRule,
    /// What peers and node say to each other.
    pub dialect: Dialect,
    /// Whether a publisher gets its own publications (the key `self`).
    pub echo: bool,
    /// The pages that may connect.
    pub origins: Origins,
    /// Subprotocols of the application, served beside our own (behaviour E10).
    pub subprotocols: Vec<String>,
    /// Topics that every peer is on and may neither leave nor name (behaviour T5).
    pub internals: Vec<Topic>,
    /// Topics that every peer starts on.
    pub defaults: Vec<Topic>,
    /// Topics a client may subscribe to.
    pub subscribe: Vec<Pattern>,
    /// Topics a client may publish to.
    pub publish: Vec<Pattern>,
    /// Whether a client may publish to its whole namespace.
    pub broadcast: bool,
    /// What a frame gets that nobody handles.
    pub on_unknown: OnUnknown,
    /// Whether a text `ping` is answered with `ping` (behaviour W2).
    pub text_ping: bool,
    /// Between two native pings; zero sends none.
    pub heartbeat: Duration,
    /// How many pings may go unanswered, at least 1.
    pub misses: u32,
    /// After how long without a message a peer is closed; zero never. Pongs are no messages.
    pub inactivity: Duration,
}

/// How a peer's namespace is found (behaviour E2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NamespaceRule {
    /// The path exactly as it was sent.
    Path,
    /// A text with variables of the path and the query.
    Template(Template),
}

/// What peers and node say to each other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Dialect {
    /// Frames that name topics.
    Topics,
    /// Every message is published as it is, and delivered as it is (behaviour W6).
    Raw {
        /// Where to.
        topic: Topic,
    },
}

/// What a frame gets that nobody handles (behaviour W1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnUnknown {
    /// An error frame.
    Error,
    /// Nothing.
    Silent,
}

/// The contract's keys that need tokens, hooks, compression or memory.
const NOT_BUILT: [&str; 5] = ["auth", "ask", "compression", "resume", "webhook"];

impl Endpoint {
    /// What a node has that nothing was configured for: every path, every topic.
    pub(super) fn built_in(session: &Session, origins: Origins) -> Self {
        let any = || vec![Pattern::parse("*").expect("a star is a pattern")];
        Self {
            path: PathPattern::parse("/**").expect("it takes every path"),
            namespace: NamespaceRule::Path,
            dialect: Dialect::Topics,
            echo: false,
            origins,
            subprotocols: Vec::new(),
            internals: Vec::new(),
            defaults: session.topic.iter().cloned().collect(),
            subscribe: any(),
            publish: any(),
            broadcast: false,
            on_unknown: OnUnknown::Error,
            text_ping: true,
            heartbeat: HEARTBEAT,
            misses: MISSES,
            inactivity: Duration::ZERO,
        }
    }

    /// Reads one; `None` without a path, which is reported.
    pub(super) fn read(section: Section<'_>, session: &Session, limits: &Limits) -> Option<Self> {
        let advice = "name the path it takes, for example path = \"/_ws\"";
        let path = section.required::<PathPattern>("path", advice)?;
        let (dialect, defaults) = read_dialect(&section, session);
        let text_ping = matches!(dialect, Dialect::Topics);
        let same_origin = || vec![OriginRule::same_origin()];
        let endpoint = Self {
            path,
            namespace: section.value::<NamespaceRule>("namespace", NamespaceRule::Path),
            dialect,
            echo: section.value::<bool>("self", false),
            origins: Origins::Listed(section.list::<OriginRule>("origins").unwrap_or_else(same_origin)),
            subprotocols: section.list::<Subprotocol>("subprotocols").unwrap_or_default(),
            internals: section.list::<Topic>("internals").unwrap_or_default(),
            defaults,
            subscribe: section.list::<Pattern>("subscribe").unwrap_or_default(),
            publish: section.list::<Pattern>("publish").unwrap_or_default(),
            broadcast: section.value::<bool>("broadcast", false),
            on_unknown: section.value::<OnUnknown>("on_unknown", OnUnknown::Error),
            text_ping: section.value::<bool>("text_ping", text_ping),
            heartbeat: section.value::<Duration>("heartbeat", HEARTBEAT),
            misses: section.value::<u32>("misses", MISSES),
            inactivity: section.value::<Duration>("inactivity", Duration::ZERO),
        };
        endpoint.check(&section, limits);
        section.finish(&NOT_BUILT);
        Some(endpoint)
    }

    /// What each key allows alone but the whole doesn't.
    fn check(&self, section: &Section<'_>, limits: &Limits) {
        if let NamespaceRule::Template(template) = &self.namespace {
            self.check_template(section, template);
        }
        for (key, patterns) in [("subscribe", &self.subscribe), ("publish", &self.publish)] {
            for name in patterns.iter().flat_map(|pattern| variables(pattern.as_str())) {
                self.check_parameter(section, key, name);
            }
        }
        if self.misses == 0 {
            section.refuse(
                "misses",
                "0 would close every peer; use at least 1, or heartbeat = \"0s\" for no pings",
            );
        }
        if !self.heartbeat.is_zero() && self.heartbeat < HEARTBEAT_MIN {
            let found = Duration::print(&self.heartbeat);
            section.refuse(
                "heartbeat",
                format_args!("{found} is too short; use at least \"10ms\", or \"0s\" for none"),
            );
        }
        let joined = self.internals.len() + self.defaults.len();
        if joined > limits.subscriptions {
            let allowed = limits.subscriptions;
            section.refuse(
                "defaults",
                format_args!("{joined} with `internals`, but `limits.subscriptions` allows {allowed}"),
            );
        }
    }

    fn check_template(&self, section: &Section<'_>, template: &Template) {
        for name in variables(template.as_str()) {
            self.check_parameter(section, "namespace", name);
            if name == "user.id" || name.starts_with("claims.") {
                let message = "needs `auth`, which is not built yet in this version; use path.X or query.X";
                section.refuse("namespace", format_args!("{{{name}}} {message}"));
            }
        }
        let sample = template.render(&Sample).unwrap_or_default();
        if let Err(problem) = Namespace::parse(&sample) {
            section.refuse("namespace", format_args!("{:?}: {problem}", template.as_str()));
        }
    }

    fn check_parameter(&self, section: &Section<'_>, key: &'static str, variable: &str) {
        let Some(name) = variable.strip_prefix("path.") else { return };
        if !self.path.parameters().any(|known| known == name) {
            let known: Vec<_> = self.path.parameters().map(|known| format!("path.{known}")).collect();
            let known = if known.is_empty() { "no parameters".to_owned() } else { known.join(", ") };
            section.refuse(
                key,
                format_args!("{{{variable}}} is not in the path {:?}, which has {known}", self.path.as_str()),
            );
        }
    }

    pub(super) fn lines(&self) -> Vec<(&'static str, String)> {
        let mut lines = vec![
            ("path", PathPattern::print(&self.path)),
            ("namespace", NamespaceRule::print(&self.namespace)),
            ("dialect", IsRaw::print(&matches!(self.dialect, Dialect::Raw { .. }))),
        ];
        if let Dialect::Raw { topic } = &self.dialect {
            lines.push(("raw_topic", Topic::print(topic)));
        }
        lines.push(("self", bool::print(&self.echo)));
        if let Origins::Listed(rules) = &self.origins {
            lines.push(("origins", listed::<OriginRule>(rules)));
        }
        lines.extend([
            ("subprotocols", listed::<Subprotocol>(&self.subprotocols)),
            ("internals", listed::<Topic>(&self.internals)),
            ("defaults", listed::<Topic>(&self.defaults)),
            ("subscribe", listed::<Pattern>(&self.subscribe)),
            ("publish", listed::<Pattern>(&self.publish)),
            ("broadcast", bool::print(&self.broadcast)),
            ("on_unknown", OnUnknown::print(&self.on_unknown)),
            ("text_ping", bool::print(&self.text_ping)),
            ("heartbeat", Duration::print(&self.heartbeat)),
            ("misses", u32::print(&self.misses)),
            ("inactivity", Duration::print(&self.inactivity)),
        ]);
        lines
    }
}

const HEARTBEAT: Duration = Duration::from_secs(25);

/// Below it a node with many peers would do little but ping.
const HEARTBEAT_MIN: Duration = Duration::from_millis(10);

const MISSES: u32 = 3;

/// The dialect and the topics that peers start on, which depend on each other:
/// raw publishes to its first default, and without defaults starts peers on
/// what it publishes to, since raw peers can't subscribe.
fn read_dialect(section: &Section<'_>, session: &Session) -> (Dialect, Vec<Topic>) {
    let raw = section.value::<IsRaw>("dialect", false);
    let raw_topic = section.value::<TopicOrNone>("raw_topic", None);
    let defaults = section.list::<Topic>("defaults");
    if !raw {
        if raw_topic.is_some() {
            section.refuse("raw_topic", "is only for dialect = \"raw\"");
        }
        return (Dialect::Topics, defaults.unwrap_or_else(|| session.topic.iter().cloned().collect()));
    }
    let first = defaults.iter().flatten().find(|topic| Some(*topic) != session.topic.as_ref());
    let Some(topic) = raw_topic.or_else(|| first.cloned()) else {
        let advice = "set raw_topic, or a topic in defaults";
        section.refuse("raw_topic", format_args!("a raw endpoint has nowhere to publish; {advice}"));
        return (Dialect::Topics, Vec::new());
    };
    if Some(&topic) == session.topic.as_ref() {
        section.refuse("raw_topic", "peers can't publish to the session topic; use another");
    }
    let defaults = defaults.unwrap_or_else(|| vec![topic.clone()]);
    (Dialect::Raw { topic }, defaults)
}

/// The names in braces of a text that has been parsed.
fn variables(text: &str) -> impl Iterator<Item = &str> {
    text.split('{').skip(1).filter_map(|rest| rest.split(['}', '|']).next())
}

/// A value for every variable, to see what a template makes.
struct Sample;

impl Scope for Sample {
    fn value(&self, _: &Variable) -> Option<Cow<'_, str>> {
        Some(Cow::Borrowed("x"))
    }
}

impl Setting for PathPattern {
    type Value = Self;

    fn parse(text: &str) -> Result<Self, String> {
        let advice = "use for example /_ws, /rooms/{room} or /api/**";
        Self::parse(text).map_err(|problem| format!("{text:?} is not a path: {problem}; {advice}"))
    }

    fn print(value: &Self) -> String {
        quoted(value)
    }
}

impl Setting for NamespaceRule {
    type Value = Self;

    fn parse(text: &str) -> Result<Self, String> {
        if text == "path" {
            return Ok(Self::Path);
        }
        let advice = "use `path` or for example chat:{query.channel|general}";
        let template = Template::parse(text);
        template
            .map(Self::Template)
            .map_err(|problem| format!("{text:?} is not a namespace: {problem}; {advice}"))
    }

    fn print(value: &Self) -> String {
        match value {
            Self::Path => quoted("path"),
            Self::Template(template) => quoted(template),
        }
    }
}

impl Setting for OnUnknown {
    type Value = Self;

    fn parse(text: &str) -> Result<Self, String> {
        choose(text, &[("error", Self::Error), ("silent", Self::Silent)])
    }

    fn print(value: &Self) -> String {
        quoted(match value {
            Self::Error => "error",
            Self::Silent => "silent",
        })
    }
}

/// The word of `dialect`; the topic of a raw one comes from other keys.
struct IsRaw;

impl Setting for IsRaw {
    type Value = bool;

    fn parse(text: &str) -> Result<bool, String> {
        choose(text, &[("topics", false), ("raw", true)])
    }

    fn print(value: &bool) -> String {
        quoted(if *value { "raw" } else { "topics" })
    }
}

/// A token of RFC 9110, section 5.6.2; those of our own are always served.
struct Subprotocol;

impl Setting for Subprotocol {
    type Value = String;

    fn parse(text: &str) -> Result<String, String> {
        let fits = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
        if text.is_empty() || !text.bytes().all(fits) {
            return Err(format!("{text:?} is not a subprotocol; use letters, digits and !#$%&'*+-.^_`|~"));
        }
        if text.starts_with("dunlin.") {
            return Err(format!(
                "{text:?} is reserved; dunlin's own subprotocols are served without being listed"
            ));
        }
        Ok(text.to_owned())
    }

    fn print(value: &String) -> String {
        quoted(value)
    }
}
