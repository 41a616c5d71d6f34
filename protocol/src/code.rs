//! The codes peers and callers act on: those of error answers and those of closed connections.

/// Why a frame or call was refused. The texts and statuses are a contract with clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorCode {
    /// Not a frame: no JSON, or a key of the wrong type.
    Malformed,
    /// A frame without a type we know.
    UnknownType,
    /// No valid topic, or one of the wrong mode.
    InvalidTopic,
    /// A payload the topic does not take.
    InvalidPayload,
    /// More bytes than allowed.
    TooLarge,
    /// A token is needed.
    Unauthenticated,
    /// The policy says no.
    Forbidden,
    /// What was named is not there any more.
    Gone,
    /// A bound on how many is reached.
    Limit,
    /// A bound on how often is reached; later it works.
    Rate,
    /// The broker is away; retry.
    Unavailable,
    /// No answer in time.
    Timeout,
    /// A bug of ours.
    Internal,
}

impl ErrorCode {
    /// Every code, in the order of the documentation.
    pub const ALL: [Self; 13] = [
        Self::Malformed,
        Self::UnknownType,
        Self::InvalidTopic,
        Self::InvalidPayload,
        Self::TooLarge,
        Self::Unauthenticated,
        Self::Forbidden,
        Self::Gone,
        Self::Limit,
        Self::Rate,
        Self::Unavailable,
        Self::Timeout,
        Self::Internal,
    ];

    /// The word in frames and problems.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::UnknownType => "unknown_type",
            Self::InvalidTopic => "invalid_topic",
            Self::InvalidPayload => "invalid_payload",
            Self::TooLarge => "too_large",
            Self::Unauthenticated => "unauthenticated",
            Self::Forbidden => "forbidden",
            Self::Gone => "gone",
            Self::Limit => "limit",
            Self::Rate => "rate",
            Self::Unavailable => "unavailable",
            Self::Timeout => "timeout",
            Self::Internal => "internal",
        }
    }

    /// The HTTP status of a problem with this code.
    pub const fn status(self) -> u16 {
        match self {
            Self::Malformed | Self::UnknownType | Self::InvalidTopic => 400,
            Self::Unauthenticated => 401,
            Self::Forbidden => 403,
            Self::Gone => 404,
            Self::TooLarge => 413,
            Self::InvalidPayload => 422,
            Self::Limit | Self::Rate => 429,
            Self::Internal => 500,
            Self::Unavailable => 503,
            Self::Timeout => 504,
        }
    }
}

impl std::fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why a connection ended: the code of a WebSocket Close frame (RFC 6455 section 7.4, behaviours H3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CloseCode(pub u16);

impl CloseCode {
    /// Done, or timed out by H1.
    pub const NORMAL: Self = Self(1000);
    /// The node drains.
    pub const GOING_AWAY: Self = Self(1001);
    /// The peer broke the WebSocket protocol.
    pub const PROTOCOL: Self = Self(1002);
    /// The peer sent a kind of data we don't take.
    pub const UNSUPPORTED: Self = Self(1003);
    /// The peer's Close frame had no code; never sent.
    pub const NO_STATUS: Self = Self(1005);
    /// The connection broke without a Close frame; never sent.
    pub const ABNORMAL: Self = Self(1006);
    /// Text that is not UTF-8, or a bad deflate stream.
    pub const INVALID_DATA: Self = Self(1007);
    /// A policy or limit was broken.
    pub const POLICY: Self = Self(1008);
    /// A message was too large.
    pub const TOO_BIG: Self = Self(1009);
    /// A hook or we failed.
    pub const INTERNAL: Self = Self(1011);
    /// The service restarts.
    pub const RESTART: Self = Self(1012);
    /// The peer is too slow, or we are too busy; try again later.
    pub const OVERLOADED: Self = Self(1013);
    /// A hook refused the connection.
    pub const REFUSED: Self = Self(4000);
    /// A token was needed.
    pub const NO_TOKEN: Self = Self(4001);
    /// The token was not good.
    pub const BAD_TOKEN: Self = Self(4002);
    /// The token ran out.
    pub const EXPIRED: Self = Self(4003);
    /// No token came in time.
    pub const DEADLINE: Self = Self(4004);
    /// A bound on the number of peers is reached.
    pub const LIMIT: Self = Self(4008);
    /// A newer connection took this one's place.
    pub const REPLACED: Self = Self(4009);
    /// The API disconnected the peer.
    pub const DISCONNECTED: Self = Self(4010);

    /// Whether a peer may close with this code; with another one it broke the protocol (1002).
    pub const fn may_be_received(self) -> bool {
        matches!(self.0, 1000..=1003 | 1007..=1014 | 3000..=4999)
    }

    /// Whether the application may close a peer with this code; another one is refused.
    pub const fn may_be_sent_by_hook(self) -> bool {
        matches!(self.0, 1000 | 1001 | 1008 | 1011..=1013 | 3000..=4999)
    }

    /// The value of the metric label `code`: a closed set, so codes an application or peer makes up are `other`.
    pub const fn label(self) -> &'static str {
        match self.0 {
            1000 => "1000",
            1001 => "1001",
            1002 => "1002",
            1003 => "1003",
            1005 => "1005",
            1006 => "1006",
            1007 => "1007",
            1008 => "1008",
            1009 => "1009",
            1011 => "1011",
            1012 => "1012",
            1013 => "1013",
            4000 => "4000",
            4001 => "4001",
            4002 => "4002",
            4003 => "4003",
            4004 => "4004",
            4008 => "4008",
            4009 => "4009",
            4010 => "4010",
            _ => "other",
        }
    }
}

/// The longest reason of a Close frame: a control frame's 125 bytes without the code.
pub const REASON_BYTES_MAX: usize = 123;

/// Cuts a close reason to what a Close frame holds, at a character boundary.
pub fn truncate_reason(reason: &str) -> &str {
    prefix(reason, REASON_BYTES_MAX)
}

/// The longest beginning of a text that has at most so many bytes and ends between two characters.
pub(crate) fn prefix(text: &str, bytes_max: usize) -> &str {
    let end = (0..=bytes_max.min(text.len())).rev().find(|at| text.is_char_boundary(*at));
    &text[..end.unwrap_or(0)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_and_statuses_are_those_of_the_contract() {
        let contract = "malformed 400, unknown_type 400, invalid_topic 400, invalid_payload 422, too_large 413, \
            unauthenticated 401, forbidden 403, gone 404, limit 429, rate 429, unavailable 503, timeout 504, internal 500";
        let ours = ErrorCode::ALL.map(|code| format!("{code} {}", code.status())).join(", ");
        assert_eq!(ours, contract);
    }

    // H3
    #[test]
    fn only_codes_of_the_specification_may_be_received() {
        let received: Vec<_> = (0..=u16::MAX).filter(|code| CloseCode(*code).may_be_received()).collect();
        assert_eq!(received.len(), 4 + 8 + 2000);
        for refused in [0, 999, 1004, 1005, 1006, 1015, 2999, 5000, u16::MAX] {
            assert!(!received.contains(&refused), "{refused}");
        }
    }

    // H3
    #[test]
    fn a_hook_may_not_claim_a_code_of_the_protocol() {
        let sent: Vec<_> = (0..3000).filter(|code| CloseCode(*code).may_be_sent_by_hook()).collect();
        assert_eq!(sent, [1000, 1001, 1008, 1011, 1012, 1013]);
        assert!(CloseCode(3000).may_be_sent_by_hook() && CloseCode(4999).may_be_sent_by_hook());
        assert!(!CloseCode(5000).may_be_sent_by_hook());
    }

    #[test]
    fn a_label_is_the_number_or_other() {
        let labelled: Vec<_> = (0..=u16::MAX).filter(|code| CloseCode(*code).label() != "other").collect();
        assert!(labelled.iter().all(|code| CloseCode(*code).label() == code.to_string()));
        assert_eq!(labelled.len(), 20);
        assert_eq!(CloseCode(4242).label(), "other");
    }

    // H3
    #[test]
    fn a_reason_is_cut_between_characters() {
        assert_eq!(truncate_reason("bye"), "bye");
        assert_eq!(truncate_reason(&"a".repeat(200)).len(), 123);
        assert_eq!(truncate_reason(&"🐦".repeat(50)).len(), 120);
    }
}
