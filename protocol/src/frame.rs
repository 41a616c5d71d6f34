//! The units on the wire, free of any codec (interfaces.md, Frames).

use std::borrow::Cow;
use std::collections::BTreeSet;

use crate::{Cursor, ErrorCode, Namespace, Payload, PeerId, Topic};

/// What a client asks for, and the id it wants the answer under.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Echoed in the answer; without it only errors are answered (W3).
    pub id: Option<RequestId>,
    /// The question.
    pub frame: ClientFrame,
}

/// A client's own name for a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RequestId {
    /// A string of at most [`REQUEST_ID_BYTES_MAX`] bytes.
    Text(Box<str>),
    /// An integer.
    Number(i64),
}

/// What a client may ask of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientFrame {
    /// Join a topic; idempotent (T1).
    Subscribe {
        /// What to join.
        topic: Topic,
        /// The cursor to recover from.
        since: Option<Box<str>>,
        /// How many stored publications to replay instead of the topic's own number.
        replay: Option<u32>,
        /// Whether the roster is wanted.
        presence: bool,
        /// A token for this one topic (L8).
        token: Option<Box<str>>,
    },
    /// Leave a topic; idempotent (T1).
    Unsubscribe {
        /// What to leave.
        topic: Topic,
    },
    /// Send a payload.
    Publish {
        /// To whom.
        to: Recipients,
        /// What.
        payload: Payload,
        /// The key `self`: whether the publisher gets it, too; without it the endpoint decides.
        echo: Option<bool>,
        /// Makes a retried publish happen once.
        key: Option<Box<str>>,
    },
    /// Read stored publications.
    History {
        /// Of which topic.
        topic: Topic,
        /// After this cursor.
        since: Option<Box<str>>,
        /// Before this cursor.
        before: Option<Box<str>>,
        /// How many at most.
        limit: u32,
    },
    /// Read a roster, or change one's own info in it.
    Presence {
        /// Of which topic.
        topic: Topic,
        /// One's new info, as JSON.
        info: Option<Payload>,
        /// The member the last page ended with.
        after: Option<Box<str>>,
        /// How many at most.
        limit: Option<u32>,
    },
    /// Take up an earlier session.
    Resume {
        /// The grant of its last `welcome`.
        grant: Box<str>,
        /// Its topics and how far it got in each.
        topics: Vec<ResumeTopic>,
    },
    /// Bring a fresh token.
    Auth {
        /// The token.
        token: Box<str>,
    },
    /// Ask who and where one is.
    Hello,
    /// Ask for a sign of life.
    Ping,
}

/// One topic of a resumed session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResumeTopic {
    /// The topic.
    pub topic: Topic,
    /// The last cursor seen there.
    pub since: Option<Box<str>>,
}

/// Whom a publication is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Recipients {
    /// Every peer of the namespace.
    Namespace,
    /// A topic's subscribers.
    Topic(Topic),
    /// The subscribers of several topics, one copy each, under the first listed topic they subscribe to (T4).
    ///
    /// At most [`RECIPIENTS_MAX`], no topic twice; none is nobody.
    Topics(Vec<Topic>),
}

/// Why a frame can't be obeyed, with all that could still be read of it, so that the answer finds its question.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct FrameError {
    /// What kind of mistake it is.
    pub code: ErrorCode,
    /// The mistake in words.
    pub message: Cow<'static, str>,
    /// The request's id, if that was good.
    pub id: Option<RequestId>,
    /// The request's topic, if that was good.
    pub topic: Option<Topic>,
}

/// What a session says beside publications; [`crate::json::frame`] writes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServerFrame<'a> {
    /// The first frame of a v1 session.
    Welcome {
        /// Who the peer is.
        peer: PeerId,
        /// The node it is connected to.
        node: &'a str,
        /// How often it may expect a ping.
        ping_ms: u64,
        /// What it may resume its session with elsewhere.
        grant: Option<&'a str>,
        /// Its user, if it has one.
        user: Option<&'a str>,
    },
    /// A request was obeyed.
    Ok {
        /// Which one.
        id: &'a RequestId,
        /// The topic it was about.
        topic: Option<&'a Topic>,
        /// Where a publication got, on a topic that remembers.
        cursor: Option<Cursor>,
        /// What the handler returned.
        payload: Option<&'a Payload>,
        /// Whether only this node's peers got the publication, because the broker is away (T12).
        local: bool,
    },
    /// A request was obeyed that brings what a topic remembers: an `ok`, too.
    Remembered {
        /// Which one.
        id: &'a RequestId,
        /// The topic.
        topic: &'a Topic,
        /// Where it is; what comes next follows this.
        cursor: Option<Cursor>,
        /// Whether all since the cursor that was asked for is here, and why not; none if none was asked for.
        recovered: Option<Result<(), Unrecovered>>,
        /// What a state topic holds.
        state: Option<&'a Payload>,
        /// What was stored, oldest first; none if that was not the question.
        publications: Option<&'a [StoredPublication<'a>]>,
    },
    /// The answer to a `hello`: an `ok` with these keys at its top level (W3).
    Hello {
        /// The `hello`'s id.
        id: &'a RequestId,
        /// Who the peer is.
        peer: PeerId,
        /// Its user; `null` if it has none.
        user: Option<&'a str>,
        /// The node it is connected to.
        node: &'a str,
        /// Its namespace.
        namespace: &'a Namespace,
        /// What it is subscribed to.
        topics: &'a [Topic],
        /// Whether only this node's peers are reached now, because the broker is away (T12).
        local: bool,
    },
    /// A request was refused, or a hook failed.
    Error {
        /// What kind of refusal.
        code: ErrorCode,
        /// The reason in words.
        error: &'a str,
        /// Which request, if it had an id.
        id: Option<&'a RequestId>,
        /// Its topic, if it had one.
        topic: Option<&'a Topic>,
    },
    /// Publications of a topic were missed.
    Gap {
        /// Of which topic.
        topic: &'a Topic,
        /// The last position that still holds, if it is known.
        from: Option<Cursor>,
        /// Where the topic goes on.
        to: Option<Cursor>,
        /// Why.
        reason: GapReason,
    },
    /// What a state topic holds, in place of all that was heard before.
    Reset {
        /// Which topic.
        topic: &'a Topic,
        /// Where it is.
        cursor: Option<Cursor>,
        /// What it holds; null if nothing.
        state: Option<&'a Payload>,
    },
    /// The topic moved on without a publication for this peer, which is the publisher itself.
    Moved {
        /// Which topic.
        topic: &'a Topic,
        /// Where it is.
        cursor: Cursor,
    },
    /// A newer grant than that of the `welcome`.
    Grant {
        /// The grant.
        grant: &'a str,
    },
}

/// A publication that was stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoredPublication<'a> {
    /// Where it is.
    pub cursor: Cursor,
    /// What it brought.
    pub payload: &'a Payload,
    /// When it was accepted, in milliseconds since 1970.
    pub at_ms: u64,
}

/// Why not everything since a cursor can be had (R1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Unrecovered {
    /// The cursor's publication never became history.
    Forked,
    /// History no longer reaches back so far.
    Expired,
    /// Another life of the topic, or no cursor of it.
    Reset,
    /// It can't be found out now.
    Unavailable,
}

/// Why publications were missed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum GapReason {
    /// What was seen never became history.
    Forked,
    /// History has nothing in common with what was seen.
    Lost,
    /// A link of the cluster was down (T2).
    Link,
    /// The peer was too slow (H6).
    Slow,
    /// The topic was emptied.
    Reset,
}

/// How many topics one publish may name.
pub const RECIPIENTS_MAX: usize = 100;

/// The longest textual request id, in bytes (W3).
pub const REQUEST_ID_BYTES_MAX: usize = 64;

/// More than [`RECIPIENTS_MAX`] topics for one publication.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{topics} topics are named, at most {RECIPIENTS_MAX} are allowed")]
pub struct TooManyRecipients {
    /// How many.
    pub topics: usize,
}

impl Recipients {
    /// Several topics, each kept where it comes first.
    pub fn several(mut topics: Vec<Topic>) -> Result<Self, TooManyRecipients> {
        if topics.len() > RECIPIENTS_MAX {
            return Err(TooManyRecipients { topics: topics.len() });
        }
        let mut seen = BTreeSet::new();
        topics.retain(|topic| seen.insert(topic.clone()));
        Ok(Self::Topics(topics))
    }
}

impl Unrecovered {
    /// The word on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Forked => "forked",
            Self::Expired => "expired",
            Self::Reset => "reset",
            Self::Unavailable => "unavailable",
        }
    }
}

impl GapReason {
    /// The word on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Forked => "forked",
            Self::Lost => "lost",
            Self::Link => "link",
            Self::Slow => "slow",
            Self::Reset => "reset",
        }
    }
}

impl FrameError {
    /// The frame that tells the client.
    pub fn answer(&self) -> ServerFrame<'_> {
        ServerFrame::Error {
            code: self.code,
            error: &self.message,
            id: self.id.as_ref(),
            topic: self.topic.as_ref(),
        }
    }
}
