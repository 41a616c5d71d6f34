//! A master and its replica, which change places, and what was ever committed on either.

use std::collections::{HashMap, HashSet};

use bytes::Bytes;
use dunlin_protocol::{Heard, Item, ItemError, Position};

use super::super::server::{Server, Talk};
use crate::broker::redis::resp::Reply;

/// Two servers, each listened to by a spy.
pub struct Pair {
    servers: [Server; 2],
    talks: [Talk; 2],
    master: usize,
    pub history: History,
}

/// Every item that a commit on either server put behind another: what it said, and what was before it.
///
/// A mark is drawn for each attempt, so an item's position is one place in one history, whichever server held it.
#[derive(Default)]
pub struct History {
    items: HashMap<(Bytes, Position), (Position, String)>,
}

impl Pair {
    /// The first is the master. Spies listen to these channels.
    pub fn start(channels: &[Vec<u8>]) -> Self {
        let servers = [Server::start(), Server::start()];
        let mut talks = [Talk::with(&servers[0]), Talk::with(&servers[1])];
        for talk in &mut talks {
            for channel in channels {
                talk.listen(channel);
            }
        }
        let mut pair = Self { servers, talks, master: 0, history: History::default() };
        pair.demote(1);
        pair
    }

    /// The port of the master.
    pub fn port(&self) -> u16 {
        self.servers[self.master].port()
    }

    /// Makes the replica a master of its own, and forgets the old one, whose number this is. It does not know yet.
    pub fn promote(&mut self) -> usize {
        let old = self.master;
        self.master = 1 - old;
        self.talks[self.master].ask(&[b"REPLICAOF", b"NO", b"ONE"]);
        old
    }

    /// Makes a server the replica of the other, which is the master, and waits until it has all that the master has.
    pub fn demote(&mut self, old: usize) {
        let port = self.servers[1 - old].port().to_string();
        self.talks[old].ask(&[b"REPLICAOF", b"127.0.0.1", port.as_bytes()]);
        self.await_replica();
    }

    /// Waits until the replica has all that the master has.
    pub fn await_replica(&mut self) {
        self.ask(&[b"SET", b"test:replicated", b"1", b"EX", b"60"]);
        let is_there = (0..20).any(|_| self.ask(&[b"WAIT", b"1", b"1000"]) == Reply::Number(1));
        assert!(is_there, "the replica follows its master");
    }

    /// Says something to the master.
    pub fn ask(&mut self, words: &[&[u8]]) -> Reply {
        self.talks[self.master].ask(words)
    }

    /// Notes what was committed up to now.
    pub fn catch_up(&mut self) {
        for talk in &mut self.talks {
            talk.ask(&[b"PING"]);
            for (channel, payload) in talk.heard.drain(..) {
                if let Some(Heard::Commit { before, items }) = Heard::decode(&payload) {
                    self.history.note(&channel, before, items);
                }
            }
        }
    }
}

impl History {
    fn note(&mut self, channel: &Bytes, mut before: Position, items: Vec<Result<Item, ItemError>>) {
        for item in items {
            let item = item.expect("nobody else writes here");
            let position = Position { epoch: before.epoch, offset: before.offset + 1, mark: item.mark };
            let payload = item.payload.map(|payload| payload.bytes).unwrap_or_default();
            let noted = (before, String::from_utf8_lossy(&payload).into_owned());
            let known = self.items.entry((channel.clone(), position)).or_insert_with(|| noted.clone());
            assert_eq!(*known, noted, "a position is one place in one history");
            before = position;
        }
    }

    /// What stood at a position, and the position before it.
    pub fn at(&self, channel: &[u8], position: Position) -> Option<&(Position, String)> {
        self.items.get(&(Bytes::copy_from_slice(channel), position))
    }

    /// How often something was stored.
    pub fn times(&self, payload: &str) -> usize {
        self.items.values().filter(|(_, said)| said == payload).count()
    }

    /// What leads to a position, the last first.
    pub fn back_from(&self, channel: &[u8], end: Position) -> impl Iterator<Item = (Position, &str)> {
        let channel = channel.to_vec();
        let mut next = Some(end);
        std::iter::from_fn(move || {
            let position = next.take()?;
            let (before, said) = self.at(&channel, position)?;
            next = Some(*before);
            Some((position, said.as_str()))
        })
    }

    /// Whether one position is in the history that ends at the other.
    pub fn leads(&self, channel: &[u8], from: Position, to: Position) -> bool {
        from == to
            || self
                .back_from(channel, to)
                .any(|(position, _)| self.at(channel, position).is_some_and(|(before, _)| *before == from))
    }

    /// Whether something was stored twice in the history that ends there.
    pub fn has_doubles(&self, channel: &[u8], end: Position) -> bool {
        let mut seen = HashSet::new();
        !self.back_from(channel, end).all(|(_, said)| seen.insert(said))
    }
}
