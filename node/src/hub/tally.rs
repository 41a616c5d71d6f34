//! What a shard counted since it was last asked: plain numbers, no atomics.
//!
//! Every label is a variant here, so a peer's words can never become one.

use dunlin_protocol::{ErrorCode, Unrecovered};

use crate::config::Mode;

/// Declares a closed set of metric labels and their texts.
macro_rules! labels {
    ($(#[$doc:meta])* $name:ident { $($variant:ident => $label:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[allow(missing_docs, reason = "each variant is the label beside it")]
        pub enum $name { $($variant,)* }

        impl $name {
            /// Every variant, in the order of its index.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The label's text.
            pub const fn label(self) -> &'static str {
                match self { $(Self::$variant => $label,)* }
            }
        }
    };
}

labels! {
    /// Types of frames a peer sends (`dunlin_frames_received_total{type}`).
    FrameType {
        Subscribe => "subscribe",
        Unsubscribe => "unsubscribe",
        Publish => "publish",
        Hello => "hello",
        Ping => "ping",
        TextPing => "text_ping",
        History => "history",
        Presence => "presence",
        Resume => "resume",
        Auth => "auth",
        Raw => "raw",
        Control => "control",
        Invalid => "invalid",
    }
}

labels! {
    /// What was wrong with what a peer sent (`dunlin_invalid_total{reason}`).
    Invalid {
        Malformed => "malformed",
        UnknownType => "unknown_type",
        InvalidTopic => "invalid_topic",
        InvalidPayload => "invalid_payload",
        Forbidden => "forbidden",
        Protocol => "protocol",
        Utf8 => "utf8",
        Other => "other",
    }
}

labels! {
    /// The named limits (`dunlin_limited_total{limit}`, behaviours H5).
    Limit {
        Message => "message",
        MessageTime => "message_time",
        Fragments => "fragments",
        FramesPerSecond => "frames_per_second",
        PublishesPerSecond => "publishes_per_second",
        SubscribesPerSecond => "subscribes_per_second",
        TopicRate => "topic_rate",
        Subscriptions => "subscriptions",
        Recoveries => "recoveries",
        Outbox => "outbox",
        OutboxTotal => "outbox_total",
        Peers => "peers",
        PeersPerNamespace => "peers_per_namespace",
        PeersPerAddress => "peers_per_address",
        Namespaces => "namespaces",
        Handshakes => "handshakes",
        HandshakesPerSecond => "handshakes_per_second",
        Header => "header",
        HeaderTime => "header_time",
    }
}

labels! {
    /// What became of a peer that came back with a cursor (`dunlin_recoveries_total{result}`, behaviours R1).
    Recovered {
        Recovered => "recovered",
        Forked => "forked",
        Expired => "expired",
        Reset => "reset",
        Unavailable => "unavailable",
    }
}

labels! {
    /// How a topic remembers (`dunlin_publications_total{mode}`).
    Kept {
        Relay => "relay",
        Value => "value",
        Log => "log",
        List => "list",
        Map => "map",
    }
}

labels! {
    /// What was done about a slow peer (`dunlin_slow_peers_total{action}`, behaviours H6).
    Slow {
        Close => "close",
        Drop => "drop",
        Coalesce => "coalesce",
        Gap => "gap",
    }
}

impl Recovered {
    /// The result for an outcome.
    pub const fn of(outcome: Result<(), Unrecovered>) -> Self {
        match outcome {
            Ok(()) => Self::Recovered,
            Err(Unrecovered::Forked) => Self::Forked,
            Err(Unrecovered::Expired) => Self::Expired,
            Err(Unrecovered::Reset) => Self::Reset,
            Err(Unrecovered::Unavailable) => Self::Unavailable,
        }
    }
}

impl Kept {
    /// The label of a mode.
    pub const fn of(mode: Mode) -> Self {
        match mode {
            Mode::Value => Self::Value,
            Mode::Log => Self::Log,
            Mode::List => Self::List,
            Mode::Map => Self::Map,
        }
    }
}

impl Invalid {
    /// The reason counted for an error that is the sender's fault.
    pub const fn of(code: ErrorCode) -> Self {
        match code {
            ErrorCode::Malformed => Self::Malformed,
            ErrorCode::UnknownType => Self::UnknownType,
            ErrorCode::InvalidTopic => Self::InvalidTopic,
            ErrorCode::InvalidPayload => Self::InvalidPayload,
            ErrorCode::Forbidden => Self::Forbidden,
            _ => Self::Other,
        }
    }
}

/// Counts since the last time they were taken.
#[derive(Debug, Clone, Default)]
pub struct Tally {
    /// Frames by [`FrameType`].
    pub frames: [u64; FrameType::ALL.len()],
    /// Bad input by [`Invalid`].
    pub invalid: [u64; Invalid::ALL.len()],
    /// Limits met by [`Limit`].
    pub limited: [u64; Limit::ALL.len()],
    /// Slow peers by [`Slow`].
    pub slow: [u64; Slow::ALL.len()],
    /// Connections ended, by close code.
    pub closes: Vec<u16>,
    /// Publications accepted from peers, by [`Kept`].
    pub publications: [u64; Kept::ALL.len()],
    /// Peers that came back, by [`Recovered`].
    pub recoveries: [u64; Recovered::ALL.len()],
    /// Publications put into outboxes.
    pub deliveries: u64,
    /// Bytes read from the sockets.
    pub bytes_received: u64,
    /// Bytes the sockets took.
    pub bytes_sent: u64,
    /// Deliveries that have been written, by the moment they were published (µs), for the histogram.
    pub delivered: Vec<(u64, u64)>,
}

impl Tally {
    /// Counts a frame.
    pub fn frame(&mut self, kind: FrameType) {
        self.frames[kind as usize] += 1;
    }

    /// Counts bad input.
    pub fn invalid(&mut self, reason: Invalid) {
        self.invalid[reason as usize] += 1;
    }

    /// Counts a limit that was met.
    pub fn limited(&mut self, limit: Limit) {
        self.limited[limit as usize] += 1;
    }

    /// Counts what was done about a slow peer.
    pub fn slow(&mut self, action: Slow) {
        self.slow[action as usize] += 1;
    }
}
