//! `[limits]`: how much of everything a node takes on (behaviour H5).
//!
//! In the file 0 means no limit. Here a count, size or rate without one is its
//! type's maximum, so that `held < limits.subscriptions` needs no special case
//! (never allocate by a limit); a time without one is `None`, because a
//! deadline that never comes can't be computed.

use std::time::Duration;

use super::machine::OutboxTotal;
use super::quantity;
use super::section::Section;
use super::setting::{Setting, choose, quoted};

/// Declares every limit once: its field, kind and default in the file's words.
macro_rules! limits {
    ($($(#[$doc:meta])* $name:ident: $type:ty as $kind:ident = $default:literal,)*) => {
        /// The `[limits]` section. The contract has all of these; the ones about
        /// users and stateful topics are kept although nothing asks for them yet.
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub struct Limits {
            $($(#[$doc])* pub $name: $type,)*
        }

        impl Default for Limits {
            fn default() -> Self {
                Self { $($name: <$kind as Setting>::parse($default).expect("the defaults are tested"),)* }
            }
        }

        impl Limits {
            pub(super) fn read(section: Section<'_>) -> Self {
                let default = Self::default();
                let limits = Self { $($name: section.value::<$kind>(stringify!($name), default.$name),)* };
                limits.check(&section);
                section.finish(&[]);
                limits
            }

            /// Keys and their values as TOML, in the order of the contract.
            pub(super) fn lines(&self) -> Vec<(&'static str, String)> {
                vec![$((stringify!($name), <$kind as Setting>::print(&self.$name)),)*]
            }
        }
    };
}

limits! {
    /// Bytes of one message, its fragments together; past it 1009. Without a limit 64 MiB is the most.
    message: usize as Size = "64KiB",
    /// From a message's first byte to its last; past it 1008.
    message_time: Option<Duration> as Deadline = "30s",
    /// Frames of one peer, whatever they say.
    frames_per_second: u32 as Rate = "200",
    /// Publishes of one peer.
    publishes_per_second: u32 as Rate = "50",
    /// Subscribes of one peer.
    subscribes_per_second: u32 as Rate = "50",
    /// Topics one peer may be subscribed to.
    subscriptions: usize as Count = "100",
    /// Messages of one peer that wait for its handler (behaviour L1).
    pending_messages: usize as Count = "64",
    /// Peers on this node.
    peers: usize as Count = "100000",
    /// Peers of one namespace on this node.
    peers_per_namespace: usize as Count = "0",
    /// Peers of one user on this node.
    peers_per_user: usize as Count = "0",
    /// Peers from one remote address on this node.
    peers_per_address: usize as Count = "0",
    /// Who goes when a user has too many peers.
    per_user: PerUser as PerUser = "refuse",
    /// Namespaces alive on this node; their names come from attackers (behaviour E3).
    namespaces: usize as Count = "100000",
    /// Handshakes in flight.
    handshakes: usize as Count = "1024",
    /// Handshakes begun.
    handshakes_per_second: u32 as Rate = "2000",
    /// Bytes of a request's head; past it 431.
    header: usize as Size = "16KiB",
    /// Header lines of a request; past it 431.
    headers: usize as Count = "64",
    /// From a connection's start to the end of its request's head; past it 408.
    header_time: Option<Duration> as Deadline = "10s",
    /// Fragments of one message; past it 1009.
    fragments: usize as Count = "1024",
    /// Bytes owed to one peer before it counts as slow (behaviour H6).
    outbox: usize as Size = "1MiB",
    /// Bytes owed to all peers of this node together.
    outbox_total: OutboxTotal as OutboxTotal = "auto",
    /// Bytes of unfinished messages of all peers together.
    inbound_total: usize as Size = "256MiB",
    /// Topics with memory on this node.
    stateful_topics: usize as Count = "1000000",
    /// Topics with memory that one peer may bring into being.
    topics_created_per_minute: u32 as Rate = "60",
}

impl Limits {
    /// The keys that were changed although nothing asks for them yet.
    pub(super) fn unused(&self) -> Vec<&'static str> {
        const NOT_BUILT: [&str; 6] = [
            "pending_messages",
            "peers_per_user",
            "per_user",
            "inbound_total",
            "stateful_topics",
            "topics_created_per_minute",
        ];
        let default = Self::default().lines();
        let changed = self.lines().into_iter().filter(|line| !default.contains(line));
        changed.map(|(key, _)| key).filter(|key| NOT_BUILT.contains(key)).collect()
    }

    /// Limits that contradict each other would refuse every peer at run time.
    fn check(&self, section: &Section<'_>) {
        let total = match self.outbox_total {
            OutboxTotal::Auto => usize::MAX,
            OutboxTotal::Bytes(bytes) => bytes,
        };
        let pairs = [
            ("outbox", self.outbox, "`limits.message`", self.message),
            ("inbound_total", self.inbound_total, "`limits.message`", self.message),
            ("outbox_total", total, "`limits.outbox`", self.outbox),
        ];
        for (key, size, what, least) in pairs {
            if size < least && least != usize::MAX {
                let (size, least) = (Size::print(&size), Size::print(&least));
                section.refuse(key, format_args!("{size} is below {what}; use at least {least}"));
            }
        }
    }
}

/// What happens when a user reaches `peers_per_user`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PerUser {
    /// The newcomer is refused with 4008.
    Refuse,
    /// The oldest is closed with 4009.
    Replace,
}

impl Setting for PerUser {
    type Value = Self;

    fn parse(text: &str) -> Result<Self, String> {
        choose(text, &[("refuse", Self::Refuse), ("replace", Self::Replace)])
    }

    fn print(value: &Self) -> String {
        quoted(match value {
            Self::Refuse => "refuse",
            Self::Replace => "replace",
        })
    }
}

/// Bytes; 0 is no limit.
struct Size;

impl Setting for Size {
    type Value = usize;

    fn parse(text: &str) -> Result<usize, String> {
        quantity::parse_size(text).map(|bytes| if bytes == 0 { usize::MAX } else { bytes as usize })
    }

    fn print(value: &usize) -> String {
        quoted(quantity::print_size(if *value == usize::MAX { 0 } else { *value as u64 }))
    }
}

/// A number of things; 0 is no limit.
struct Count;

impl Setting for Count {
    type Value = usize;

    fn parse(text: &str) -> Result<usize, String> {
        u32::parse(text).map(|count| if count == 0 { usize::MAX } else { count as usize })
    }

    fn print(value: &usize) -> String {
        if *value == usize::MAX { "0".to_owned() } else { value.to_string() }
    }
}

/// A number of things in a time; 0 is no limit.
struct Rate;

impl Setting for Rate {
    type Value = u32;

    fn parse(text: &str) -> Result<u32, String> {
        u32::parse(text).map(|rate| if rate == 0 { u32::MAX } else { rate })
    }

    fn print(value: &u32) -> String {
        if *value == u32::MAX { "0".to_owned() } else { value.to_string() }
    }
}

/// A time to be done in; 0 is no limit.
struct Deadline;

impl Setting for Deadline {
    type Value = Option<Duration>;

    fn parse(text: &str) -> Result<Self::Value, String> {
        quantity::parse_duration(text).map(|span| (!span.is_zero()).then_some(span))
    }

    fn print(value: &Self::Value) -> String {
        Duration::print(&value.unwrap_or_default())
    }
}
