//! What a key is, from its name alone (redis.md 0.2, 0.3).
//!
//! **Invariant:** a key has a class only if a node could have written it letter by letter. Anything else under
//! the prefix is somebody else's.

use std::fmt;

use dunlin_protocol::{Incarnation, Namespace, Topic};

use super::shown::Shown;
use crate::broker::{LAYOUT, encode_name};

/// What keys of one kind are for. The order is that of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// The position of a topic or an inbox.
    Head,
    /// The last publications of a topic or an inbox.
    History,
    /// A topic that is one object.
    Map,
    /// Who is on a topic.
    Roster,
    /// What became of a publish that must not happen twice.
    Idempotency,
    /// How many peers a namespace has.
    Counts,
    /// Which nodes live, and what they say of themselves.
    Leases,
    /// What tokens and grants are signed with.
    Secret,
    /// What a node may have written.
    Registry,
    /// The devices of a user.
    User,
    /// The topics of a plain client that may come back.
    Resume,
}

impl Class {
    /// All, in order.
    pub const ALL: [Self; 11] = [
        Self::Head,
        Self::History,
        Self::Map,
        Self::Roster,
        Self::Idempotency,
        Self::Counts,
        Self::Leases,
        Self::Secret,
        Self::Registry,
        Self::User,
        Self::Resume,
    ];

    /// For people, in the plural.
    pub fn title(self) -> &'static str {
        match self {
            Self::Head => "topic heads",
            Self::History => "topic histories",
            Self::Map => "maps",
            Self::Roster => "rosters",
            Self::Idempotency => "idempotency keys",
            Self::Counts => "counts of namespaces",
            Self::Leases => "leases",
            Self::Secret => "secret",
            Self::Registry => "registries of nodes",
            Self::User => "users",
            Self::Resume => "resume keys",
        }
    }

    /// For programs.
    pub fn word(self) -> &'static str {
        match self {
            Self::Head => "heads",
            Self::History => "histories",
            Self::Map => "maps",
            Self::Roster => "rosters",
            Self::Idempotency => "idempotency",
            Self::Counts => "counts",
            Self::Leases => "leases",
            Self::Secret => "secret",
            Self::Registry => "registries",
            Self::User => "users",
            Self::Resume => "resume",
        }
    }
}

/// Whose key it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Owner {
    /// A topic of a namespace.
    Topic(String, String),
    /// A namespace; all of them, if it is empty.
    Namespace(String),
    /// A user.
    User(String),
    /// All nodes.
    Cluster,
    /// One life of a node.
    Node(String),
    /// A client that may come back, by the hash of what it shows then.
    Client(String),
}

/// In plain words; what could disturb a terminal is escaped.
impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Topic(space, topic) => write!(f, "topic {} of {}", Shown::text(topic), Shown::text(space)),
            Self::Namespace(space) if space.is_empty() => f.write_str("all namespaces"),
            Self::Namespace(space) => write!(f, "namespace {}", Shown::text(space)),
            Self::User(user) => write!(f, "user {}", Shown::text(user)),
            Self::Cluster => f.write_str("all nodes"),
            Self::Node(incarnation) => write!(f, "node {incarnation}"),
            Self::Client(hash) => write!(f, "client {hash}"),
        }
    }
}

/// A key that a node could have written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// Its name in Redis.
    pub name: String,
    /// What it is for.
    pub class: Class,
    /// Whose it is.
    pub owner: Owner,
    /// The type that Redis must say it has.
    pub expected: &'static str,
}

impl Key {
    /// Another key with the same owner.
    pub fn sibling(&self, kind: &str) -> String {
        let stem = self.name.find("}:").map_or(&*self.name, |end| &self.name[..end + 2]);
        format!("{stem}{kind}")
    }
}

/// What a name under the prefix is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sort {
    /// Of this cluster.
    Ours(Key),
    /// Of nodes with another layout.
    OtherLayout,
    /// Made for another database.
    OtherDatabase,
    /// Of nobody we know.
    Unknown,
}

/// The names of one cluster.
#[derive(Debug, Clone)]
pub struct Layout {
    prefix: String,
    database: u32,
}

impl Layout {
    /// The names under a prefix in a database.
    pub fn new(prefix: &str, database: u32) -> Self {
        Self { prefix: format!("{prefix}:"), database }
    }

    /// What all names under the prefix match, those of other layouts too. A prefix holds no wildcard.
    pub fn pattern(&self) -> String {
        format!("{}*", self.prefix)
    }

    /// The key of all nodes with this kind.
    pub fn of_cluster(&self, kind: &str) -> String {
        let database = if self.database == 0 { String::new() } else { format!("@{}", self.database) };
        format!("{}{LAYOUT}{database}:{{n}}:{kind}", self.prefix)
    }

    /// What a name is.
    pub fn classify(&self, name: &[u8]) -> Sort {
        let text = str::from_utf8(name).ok();
        let Some((version, rest)) = text.and_then(|text| text.strip_prefix(&self.prefix)?.split_once(':'))
        else {
            return Sort::Unknown;
        };
        let (layout, database) = version.split_once('@').unwrap_or((version, "0"));
        match (number(layout), number(database)) {
            (Some(layout), Some(_)) if layout != LAYOUT => Sort::OtherLayout,
            (Some(_), Some(database)) if database != self.database => Sort::OtherDatabase,
            (Some(_), Some(_)) => parse(rest).map_or(Sort::Unknown, |(class, owner, expected)| {
                Sort::Ours(Key { name: text.unwrap_or_default().to_owned(), class, owner, expected })
            }),
            _ => Sort::Unknown,
        }
    }
}

/// A number as a node writes it.
fn number(text: &str) -> Option<u32> {
    text.parse().ok().filter(|number: &u32| number.to_string() == text)
}

/// Reads what follows the layout: `{…}:kind`.
fn parse(rest: &str) -> Option<(Class, Owner, &'static str)> {
    let (tag, kind) = rest.strip_prefix('{')?.split_once("}:")?;
    let tag: Vec<_> = tag.split('|').collect();
    Some(match (&*tag, kind) {
        (["t", space, topic], kind) => {
            let (class, expected) = kind_of_topic(kind)?;
            (
                class,
                Owner::Topic(namespace(space)?, decode(topic).filter(|topic| Topic::parse(topic).is_ok())?),
                expected,
            )
        }
        (["c", ""], "c") => (Class::Counts, Owner::Namespace(String::new()), "hash"),
        (["c", space], "c") => (Class::Counts, Owner::Namespace(namespace(space)?), "hash"),
        (["u", user], kind) => {
            let (class, expected) = kind_of_user(kind)?;
            (class, Owner::User(decode(user).filter(|user| !user.is_empty())?), expected)
        }
        (["n"], kind) => {
            let (class, expected) = kind_of_cluster(kind)?;
            (class, Owner::Cluster, expected)
        }
        (["n", incarnation], "r") => {
            let parsed = Incarnation::parse(incarnation).ok()?.to_string();
            (Class::Registry, Owner::Node(Some(parsed).filter(|parsed| parsed == incarnation)?), "set")
        }
        (["s", hash], "s") if is_hash(hash) => (Class::Resume, Owner::Client((*hash).to_owned()), "string"),
        _ => return None,
    })
}

fn kind_of_topic(kind: &str) -> Option<(Class, &'static str)> {
    match kind {
        "h" => Some((Class::Head, "string")),
        "s" => Some((Class::History, "list")),
        "k" => Some((Class::Map, "hash")),
        "p" => Some((Class::Roster, "hash")),
        _ => is_hash(kind.strip_prefix("i:")?).then_some((Class::Idempotency, "string")),
    }
}

fn kind_of_user(kind: &str) -> Option<(Class, &'static str)> {
    match kind {
        "u" => Some((Class::User, "hash")),
        "h" => Some((Class::Head, "string")),
        "s" => Some((Class::History, "list")),
        _ => None,
    }
}

fn kind_of_cluster(kind: &str) -> Option<(Class, &'static str)> {
    match kind {
        "live" | "gone" => Some((Class::Leases, "zset")),
        "meta" | "info" => Some((Class::Leases, "hash")),
        "secret" => Some((Class::Secret, "string")),
        _ => None,
    }
}

/// Whether it may be a hash, in hexadecimal or in base64url.
fn is_hash(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
}

fn namespace(encoded: &str) -> Option<String> {
    decode(encoded).filter(|space| Namespace::parse(space).is_ok())
}

/// Takes the percent-encoding away, if it is one that a node writes.
fn decode(encoded: &str) -> Option<String> {
    let hex = |digit: u8| char::from(digit).to_digit(16).map(|value| value as u8);
    let mut bytes = Vec::with_capacity(encoded.len());
    let mut rest = encoded.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(if byte == b'%' { hex(rest.next()?)? << 4 | hex(rest.next()?)? } else { byte });
    }
    let text = String::from_utf8(bytes).ok()?;
    let mut again = Vec::with_capacity(encoded.len());
    encode_name(&mut again, &text);
    (again == encoded.as_bytes()).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ours(name: &str) -> Key {
        match Layout::new("p", 0).classify(name.as_bytes()) {
            Sort::Ours(key) => key,
            other => panic!("{name}: {other:?}"),
        }
    }

    // redis 0.3
    #[test]
    fn every_key_of_the_layout_has_its_class_and_type() {
        let table = [
            ("p:1:{t|/_ws|chat}:h", Class::Head, "string", "topic chat of /_ws"),
            ("p:1:{t|/_ws|chat}:s", Class::History, "list", "topic chat of /_ws"),
            ("p:1:{t|/_ws|chat}:k", Class::Map, "hash", "topic chat of /_ws"),
            ("p:1:{t|/_ws|chat}:p", Class::Roster, "hash", "topic chat of /_ws"),
            ("p:1:{t|/_ws|chat}:i:00ff", Class::Idempotency, "string", "topic chat of /_ws"),
            ("p:1:{c|/_ws}:c", Class::Counts, "hash", "namespace /_ws"),
            ("p:1:{c|}:c", Class::Counts, "hash", "all namespaces"),
            ("p:1:{u|alice}:u", Class::User, "hash", "user alice"),
            ("p:1:{u|alice}:h", Class::Head, "string", "user alice"),
            ("p:1:{u|alice}:s", Class::History, "list", "user alice"),
            ("p:1:{n}:live", Class::Leases, "zset", "all nodes"),
            ("p:1:{n}:gone", Class::Leases, "zset", "all nodes"),
            ("p:1:{n}:meta", Class::Leases, "hash", "all nodes"),
            ("p:1:{n}:info", Class::Leases, "hash", "all nodes"),
            ("p:1:{n}:secret", Class::Secret, "string", "all nodes"),
            ("p:1:{n|00112233445566ff}:r", Class::Registry, "set", "node 00112233445566ff"),
            ("p:1:{s|00ff}:s", Class::Resume, "string", "client 00ff"),
        ];
        for (name, class, expected, owner) in table {
            let key = ours(name);
            assert_eq!(
                (key.class, key.expected, &*key.owner.to_string()),
                (class, expected, owner),
                "{name}"
            );
        }
        assert!(Class::ALL.iter().all(|class| table.iter().any(|row| row.1 == *class)));
    }

    #[test]
    fn what_no_node_writes_is_unknown() {
        let names: [&[u8]; 22] = [
            b"p:1:",
            b"p:notes",
            b"p:1:chat",
            b"p:01:{n}:live",
            b"p:1@0x:{n}:live",
            b"p:1:{n}:dead",
            b"p:1:{n}",
            b"p:1:{n|1}:r",
            b"p:1:{n|00112233445566FF}:r",
            b"p:1:{t|/a}:h",
            b"p:1:{t|/a|b|c}:h",
            b"p:1:{t|/a|}:h",
            b"p:1:{t|/a|b c}:h",
            b"p:1:{t|/a|%62}:h",
            b"p:1:{t|/a|%7c}:h",
            b"p:1:{t|/a|%7}:h",
            b"p:1:{t|/a|%FF}:h",
            b"p:1:{t|/a|b}:x",
            b"p:1:{t|/a|b}:i:",
            b"p:1:{t|/a|b}:h:h",
            b"p:1:{u|}:u",
            b"p:1:{t|/a|\xff}:h",
        ];
        for name in names {
            let sort = Layout::new("p", 0).classify(name);
            assert_eq!(sort, Sort::Unknown, "{}", String::from_utf8_lossy(name));
        }
    }

    // redis 0.2
    #[test]
    fn other_layouts_and_databases_are_told_apart() {
        let (first, third) = (Layout::new("p", 0), Layout::new("p", 3));
        assert_eq!(first.classify(b"p:2:{n}:live"), Sort::OtherLayout);
        assert_eq!(first.classify(b"p:2@3:{n}:live"), Sort::OtherLayout);
        assert_eq!(first.classify(b"p:1@3:{n}:live"), Sort::OtherDatabase);
        assert_eq!(third.classify(b"p:1:{n}:live"), Sort::OtherDatabase);
        assert!(matches!(third.classify(b"p:1@3:{n}:live"), Sort::Ours(_)));
        assert_eq!(third.of_cluster("live"), "p:1@3:{n}:live");
        assert_eq!(first.of_cluster("gone"), "p:1:{n}:gone");
    }

    #[test]
    fn names_are_shown_decoded_and_cannot_disturb_a_terminal() {
        let key = ours("p:1:{t|/a|%C3%A4%7D%7C%25}:h");
        assert_eq!(key.owner.to_string(), "topic ä}|% of /a");
        let owner = Owner::User("\u{1b}[2Jbob\n\u{202e}".to_owned());
        assert_eq!(owner.to_string(), "user \\u{1b}[2Jbob\\n\\u{202e}");
    }

    #[test]
    fn siblings_share_the_braces() {
        assert_eq!(ours("p:1:{t|/a|b:c}:i:00ff").sibling("h"), "p:1:{t|/a|b:c}:h");
    }
}
