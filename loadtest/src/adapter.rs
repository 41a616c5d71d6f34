//! How a server is spoken to: which path, what is said first, what a message means, how a publication is
//! framed. One module per protocol, none with a socket.
//!
//! **Invariant:** neither a publication nor a delivery allocates, except for what a stream of NATS leaves
//! unfinished at the end of a message.

mod lossy;
mod msgpack;
mod nats;
mod nchan;
mod plain;
mod raw;
mod socket_io;
mod template;

use anyhow::{Result, bail};
use serde::{Deserialize, Serialize};

pub use self::{lossy::Losses, template::Template};
use self::{lossy::Lossy, nats::Nats};
use crate::{
    fleet::Peer,
    roll::{Binding, Roll},
    scenario::Mode,
    stamp::{Finder, Stamp},
};

/// The protocols there are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Protocol {
    /// Dunlin's plain dialect: `{"type":"subscribe","topic":T}` as text.
    #[default]
    Plain,
    /// Dunlin's `dunlin.msgpack.v1`.
    DunlinMsgpack,
    /// None: what one peer of a path sends, the others there get.
    Raw,
    /// NATS' client protocol in binary messages.
    Nats,
    /// nchan's paths `/sub/TOPIC` and `/pub/TOPIC`.
    Nchan,
    /// Socket.IO on Engine.IO 4, with events `subscribe`, `publish` and `message`.
    SocketIo,
}

/// What a message, or a part of one, was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heard<'a> {
    /// A stamped publication.
    Delivery(Stamp),
    /// What the peer asked for at its opening is done: its subscription has taken effect, or it may publish.
    Ready,
    /// A publication was accepted, by one node only if `local`.
    Answer {
        /// Whether a cluster says that it isn't one.
        local: bool,
    },
    /// The server objects, in these words.
    Objection(&'a [u8]),
}

impl Protocol {
    /// Every protocol with its name on the command line.
    pub const ALL: [(&str, Self); 6] = [
        ("plain", Self::Plain),
        ("dunlin-msgpack", Self::DunlinMsgpack),
        ("raw", Self::Raw),
        ("nats", Self::Nats),
        ("nchan", Self::Nchan),
        ("socket-io", Self::SocketIo),
    ];

    /// The protocol of this name.
    pub fn parse(name: &str) -> Result<Self> {
        if let Some((_, protocol)) = Self::ALL.iter().find(|(known, _)| *known == name) {
            return Ok(*protocol);
        }
        bail!("no adapter is called {name:?}; there are {}", Self::ALL.map(|(name, _)| name).join(", "))
    }

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(_, protocol)| *protocol == self).map_or("", |(name, _)| name)
    }

    /// The subprotocol to offer if nobody names one.
    pub fn subprotocol(self) -> Option<&'static str> {
        (self == Self::DunlinMsgpack).then_some("dunlin.msgpack.v1")
    }

    /// How publishers reach their topics.
    pub fn binding(self) -> Binding {
        match self {
            Self::Raw | Self::Nchan => Binding::Bound,
            Self::Plain | Self::DunlinMsgpack | Self::Nats | Self::SocketIo => Binding::Free,
        }
    }

    /// Whether topics that remember can be measured through it: they are Dunlin's own.
    pub fn knows_modes(self) -> bool {
        matches!(self, Self::Plain | Self::DunlinMsgpack)
    }

    /// Whether the server says that a subscription has taken effect.
    pub fn confirms(self) -> bool {
        self.binding() == Binding::Free
    }

    /// Whether a message begins as one of Dunlin's that is no publication.
    #[inline]
    fn is_typed(self, message: &[u8]) -> bool {
        match self {
            Self::Plain => message.starts_with(br#"{"type":"#),
            Self::DunlinMsgpack => message.get(1..6) == Some(b"\xa4type"),
            Self::Raw | Self::Nats | Self::Nchan | Self::SocketIo => false,
        }
    }

    /// Whether publishers must hear [`Heard::Ready`] before they publish.
    pub fn receives_publishers(self) -> bool {
        matches!(self, Self::Nats | Self::SocketIo)
    }

    /// The path at which a peer connects, where `base` is that of the URL.
    pub fn path(self, base: &str, roll: &Roll, peer: Peer) -> String {
        match self {
            Self::Plain | Self::DunlinMsgpack | Self::Nats => base.to_owned(),
            Self::Raw => raw::path(base, &roll.topics.name(roll.place_of(peer))),
            Self::Nchan => nchan::path(roll, peer),
            Self::SocketIo => socket_io::path(base),
        }
    }

    /// Room for a publication of `size` bytes; `asks` for an answer to each.
    pub fn template(self, roll: &Roll, size: usize, asks: bool) -> Result<Template> {
        Ok(match self {
            Self::Plain => plain::template(&roll.topics, size, asks),
            Self::DunlinMsgpack => msgpack::template(&roll.topics, size, asks),
            Self::SocketIo => socket_io::template(&roll.topics, size, asks),
            Self::Raw | Self::Nats if asks => bail!("this adapter's publications have no answers"),
            Self::Raw | Self::Nchan => Template::bare(size),
            Self::Nats => nats::template(&roll.topics, size),
        })
    }
}

/// A protocol at work.
#[derive(Debug)]
pub struct Adapter {
    protocol: Protocol,
    finder: Finder,
    stream: Stream,
}

/// What an adapter must remember between messages.
#[derive(Debug)]
enum Stream {
    /// Nothing: a message with a stamp is one delivery.
    Whole,
    /// What NATS left unfinished.
    Nats(Nats),
    /// What is made of an adapter's deliveries.
    Lossy(Box<Lossy>),
}

impl Adapter {
    /// A protocol, for peers that haven't said anything.
    pub fn new(protocol: Protocol, losses: Option<Losses>) -> Self {
        let stream = match (protocol, losses) {
            (_, Some(losses)) => Stream::Lossy(Box::new(Lossy::new(Self::new(protocol, None), losses))),
            (Protocol::Nats, None) => Stream::Nats(Nats::default()),
            _ => Stream::Whole,
        };
        Self { protocol, finder: Finder::default(), stream }
    }

    /// The same protocol on topics of this mode: what a list delivers ends with the newest publication.
    #[must_use]
    pub fn reading(mut self, mode: Mode) -> Self {
        if mode == Mode::List {
            self.finder = Finder::of_the_last();
        }
        if let Stream::Lossy(lossy) = self.stream {
            self.stream = Stream::Lossy(Box::new(lossy.reading(mode)));
        }
        self
    }

    /// What a peer says once its upgrade is done.
    pub fn open(&mut self, roll: &Roll, peer: Peer, outbox: &mut Vec<u8>) {
        self.forget(peer);
        match self.protocol {
            Protocol::Plain => plain::open(roll, peer, outbox),
            Protocol::DunlinMsgpack => msgpack::open(roll, peer, outbox),
            Protocol::Nats => nats::open(roll, peer, outbox),
            Protocol::Raw | Protocol::Nchan | Protocol::SocketIo => {}
        }
    }

    /// What a peer's connection before this one left unfinished is nobody's.
    fn forget(&mut self, peer: Peer) {
        match &mut self.stream {
            Stream::Nats(nats) => nats.forget(peer),
            Stream::Lossy(lossy) => lossy.forget(peer),
            Stream::Whole => {}
        }
    }

    /// The delivery that a message is, if it is one and nothing else. All others are for [`Adapter::hear`].
    #[inline]
    pub fn delivery(&mut self, message: &[u8]) -> Option<Stamp> {
        match self.stream {
            // An answer may bring what is stored, with its stamps.
            Stream::Whole if self.protocol.is_typed(message) => None,
            Stream::Whole => self.finder.find(message),
            Stream::Nats(_) | Stream::Lossy(_) => None,
        }
    }

    /// Tells what any other message holds, and puts what must be said to it into the outbox.
    pub fn hear(
        &mut self,
        roll: &Roll,
        peer: Peer,
        message: &[u8],
        outbox: &mut Vec<u8>,
        heard: &mut dyn FnMut(Heard<'_>),
    ) {
        match (&mut self.stream, self.protocol) {
            (Stream::Lossy(lossy), _) => lossy.hear(roll, peer, message, outbox, heard),
            (Stream::Nats(nats), _) => nats.hear(peer, message, &mut self.finder, outbox, heard),
            (Stream::Whole, Protocol::Plain) => plain::hear(roll, peer, message, heard),
            (Stream::Whole, Protocol::DunlinMsgpack) => msgpack::hear(roll, peer, message, heard),
            (Stream::Whole, Protocol::Nchan) => nchan::hear(roll, peer, heard),
            (Stream::Whole, Protocol::SocketIo) => socket_io::hear(roll, peer, message, outbox, heard),
            (Stream::Whole, Protocol::Raw | Protocol::Nats) => {}
        }
    }

    /// Tells what a message holds, be it a delivery or not.
    pub fn hear_any(
        &mut self,
        roll: &Roll,
        peer: Peer,
        message: &[u8],
        outbox: &mut Vec<u8>,
        heard: &mut dyn FnMut(Heard<'_>),
    ) {
        match self.delivery(message) {
            Some(stamp) => heard(Heard::Delivery(stamp)),
            None => self.hear(roll, peer, message, outbox, heard),
        }
    }
}

/// Whether a message holds these bytes.
fn has(body: &[u8], bytes: &[u8]) -> bool {
    body.windows(bytes.len()).any(|window| window == bytes)
}

#[cfg(test)]
mod tests;
