//! One connection to Redis as a value: commands go out in order, answers come back in the same order.

use std::collections::VecDeque;

use dunlin_protocol::{Incarnation, Namespace};

use super::reading::Question;
use super::resp::{self, Decoder, RespError, Said};
use super::script::Script;
use crate::hub::Moment;

/// Which of a node's two connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    /// Subscriptions.
    Bus,
    /// Everything that is written.
    Work,
}

/// What an answer is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expect {
    /// A greeting's answer: only an error matters.
    Greeting,
    /// Who we are and whether this is a master.
    Role,
    /// Our own connection, as Redis sees it.
    Identity,
    /// The name of a script that was loaded.
    Loaded(Script),
    /// Whether the old connection's commands can't run any more.
    Fence,
    /// So many confirmations of subscriptions, each a push of its own.
    Subscribe(Vec<usize>),
    /// So many confirmations that they ended.
    Unsubscribe(Vec<usize>),
    /// How many subscriptions Redis knows.
    Audit,
    /// One copy of a publication.
    Publish(u16),
    /// A batch of a writer, by index and serial.
    Committed(usize, u32),
    /// Nothing that matters.
    Echoed,
    /// Where many topics are.
    Heads(Vec<Question>),
    /// What one feed asked.
    Asked(Question),
    /// What grants are signed with.
    Secret,
    /// The heartbeat was taken.
    Heartbeat,
    /// The lease.
    Tick(Incarnation),
    /// A namespace's count; the space it belongs to, if it is one of ours, by index and serial.
    Count(Incarnation, usize, u32),
    /// Namespaces that were registered, by index and serial.
    Registered(Incarnation, Vec<(usize, u32)>),
    /// An item that is not ours any more.
    Dropped,
    /// A dead node's registry was closed, or items of it were dropped.
    Closed(Incarnation),
    /// What a dead node may have written.
    Items(Incarnation),
    /// A dead node's count was taken away.
    Reaped(Incarnation, Option<Namespace>),
    /// A dead node is done with.
    Buried,
    /// What was owed to a namespace was told.
    Flushed(Option<Namespace>),
    /// This node left.
    Left,
}

impl Expect {
    /// The label in `dunlin_redis_command_seconds`; none for what is not measured.
    pub const fn label(&self) -> Option<Measured> {
        match self {
            Self::Subscribe(_) | Self::Unsubscribe(_) => Some(Measured::Subscribe),
            Self::Publish(_) => Some(Measured::Publish),
            Self::Committed(..) => Some(Measured::Commit),
            Self::Heads(_) | Self::Asked(_) => Some(Measured::Read),
            Self::Heartbeat => Some(Measured::Heartbeat),
            Self::Role | Self::Audit => Some(Measured::Audit),
            Self::Tick(_) => Some(Measured::Tick),
            Self::Count(..) | Self::Reaped(..) | Self::Flushed(_) => Some(Measured::Count),
            Self::Registered(..) | Self::Dropped | Self::Closed(_) | Self::Items(_) => {
                Some(Measured::Registry)
            }
            _ => None,
        }
    }
}

/// Commands whose time is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Measured {
    /// A publication.
    Publish,
    /// Publications that are stored.
    Commit,
    /// What topics remember.
    Read,
    /// Subscriptions, begun or ended.
    Subscribe,
    /// A lease.
    Tick,
    /// A count.
    Count,
    /// A registry.
    Registry,
    /// A heartbeat, until Redis took it.
    Heartbeat,
    /// A look at the link itself.
    Audit,
}

impl Measured {
    /// All, in the order of their index.
    pub const ALL: [Self; 9] = [
        Self::Publish,
        Self::Commit,
        Self::Read,
        Self::Subscribe,
        Self::Tick,
        Self::Count,
        Self::Registry,
        Self::Heartbeat,
        Self::Audit,
    ];

    /// The label's text.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Publish => "publish",
            Self::Commit => "commit",
            Self::Read => "read",
            Self::Subscribe => "subscribe",
            Self::Tick => "tick",
            Self::Count => "count",
            Self::Registry => "registry",
            Self::Heartbeat => "heartbeat",
            Self::Audit => "audit",
        }
    }
}

/// One connection.
#[derive(Debug, Default)]
pub struct Link {
    /// Bytes to be written.
    pub out: Vec<u8>,
    decoder: Decoder,
    expected: VecDeque<(Moment, Expect)>,
}

impl Link {
    /// Sends a command.
    pub fn call(&mut self, now: Moment, expect: Expect, arguments: &[&[u8]]) {
        resp::command(&mut self.out, arguments);
        self.expected.push_back((now, expect));
    }

    /// Notes what the next bytes, which the caller appends to `out`, will be answered with.
    pub fn expect(&mut self, now: Moment, expect: Expect) -> &mut Vec<u8> {
        self.expected.push_back((now, expect));
        &mut self.out
    }

    /// How many commands have no answer.
    pub fn unanswered(&self) -> usize {
        self.expected.len()
    }

    /// Takes in what was read.
    pub fn receive(&mut self, bytes: &[u8]) {
        self.decoder.receive(bytes);
    }

    /// The next thing that Redis said.
    pub fn next(&mut self) -> Result<Option<Said>, RespError> {
        self.decoder.next()
    }

    /// What the oldest unanswered command waits for, to be answered in parts.
    pub fn oldest(&mut self) -> Option<&mut Expect> {
        self.expected.front_mut().map(|(_, expect)| expect)
    }

    /// The oldest unanswered command has its answer: what it was about and when it was sent.
    pub fn answered(&mut self) -> Option<(Moment, Expect)> {
        self.expected.pop_front()
    }
}
