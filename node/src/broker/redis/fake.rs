//! A Redis in the test's own thread, with a clock that the test moves: what the simulated cluster runs on.
//!
//! Nodes speak RESP to it as to a server, in as many pieces as the test likes, and the scripts it runs are
//! the node's own `.lua` files. It knows the commands that the node sends, databases, expiry, pub/sub and
//! roles; no inline commands, transactions, patterns or persistence.
//!
//! **Invariant:** what it answers, Redis 7.0 answers. The differential test sends both the same commands and
//! compares every byte, except what is a server's own (ids, addresses, the clock) and where Redis gives no
//! order (sets) or draws lots.

#![expect(clippy::unnecessary_wraps, reason = "all commands have one signature, and some never fail")]

mod clients;
mod commands;
mod hashes;
mod keys;
mod keyspace;
mod lists;
mod number;
mod pubsub;
mod resp;
mod scripts;
mod server;
mod sets;
mod sorted;
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use self::commands::{Failure, Outcome, Run};
use self::hashes::Fields;
use self::keyspace::{Content, Keyspace};
use self::lists::Items;
use self::resp::{Reply, Word};
use self::scripts::Scripts;
use self::server::Server;
use self::sorted::Sorted;

/// One end of a connection to one fake; never used again after it has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Connection(u64);

/// What a restarted server still knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Memory {
    /// Every key, as with an append-only file.
    Kept,
    /// Nothing.
    Empty,
}

/// What the server is in its replication group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    Master,
    /// Reads and publishes; writes are refused.
    Replica,
}

/// All keys of a server at one moment.
#[derive(Clone)]
pub struct Snapshot(Vec<Keyspace>);

/// One server.
pub struct Fake {
    scripts: Scripts,
    server: Server,
}

impl Fake {
    pub fn new() -> Self {
        Self { scripts: Scripts::new(), server: Server::new() }
    }

    /// Accepts a connection. It has a client id, and an address that comes again only after 55,536 others.
    pub fn connect(&mut self) -> Connection {
        self.server.accept()
    }

    /// Says what time it is, in µs since 1970; it may go back. What has expired is gone at once.
    pub fn set_now(&mut self, unix_us: u64) {
        self.server.set_now(unix_us);
    }

    /// Takes bytes from a client and obeys, in order, the commands that are complete.
    pub fn receive(&mut self, connection: Connection, bytes: &[u8]) {
        let Some(client) = self.server.open_client(connection) else { return };
        client.input.extend(bytes);
        while let Some(client) = self.server.open_client(connection) {
            match client.input.next() {
                Ok(Some(words)) => self.obey(connection, &words),
                Ok(None) => return,
                Err(failure) => {
                    self.server.reply(connection, &Reply::Error(failure.0.into_owned()));
                    self.server.close(connection);
                }
            }
        }
    }

    /// Appends what the server has written: replies and pushes, in the order in which things happened. What
    /// it wrote before a connection ended can still be taken.
    pub fn take(&mut self, connection: Connection, into: &mut Vec<u8>) {
        self.server.take(connection, into);
    }

    /// Whether the server still has the connection: it ends by [`Self::disconnect`], [`Self::restart`],
    /// `CLIENT KILL` and a protocol error.
    pub fn is_open(&self, connection: Connection) -> bool {
        self.server.is_open(connection)
    }

    /// The client is gone, and what it sent in part is forgotten.
    pub fn disconnect(&mut self, connection: Connection) {
        self.server.close(connection);
    }

    /// Ends all connections and forgets all scripts. Client ids begin anew, as Redis's do, so an old id may
    /// be a stranger's.
    pub fn restart(&mut self, memory: Memory) {
        self.server.close_all();
        self.scripts.forget();
        match memory {
            Memory::Kept => {}
            Memory::Empty => self.flush_all(),
        }
    }

    pub fn snapshot(&self) -> Snapshot {
        Snapshot(self.server.databases.clone())
    }

    /// Puts all keys back as they were, as a failover to an older replica would; connections don't notice.
    /// What has expired since is gone.
    pub fn restore(&mut self, snapshot: &Snapshot) {
        self.server.databases.clone_from(&snapshot.0);
        self.server.set_now(self.server.now_us);
    }

    pub fn set_role(&mut self, role: Role) {
        self.server.role = role;
    }

    pub fn flush_all(&mut self) {
        self.server.databases.iter_mut().for_each(Keyspace::clear);
    }

    /// The keys of database 0, in order.
    pub fn keys(&self) -> Vec<Word> {
        self.first_database().names()
    }

    /// What a string holds; `None` without the key.
    pub fn string(&self, key: impl AsRef<[u8]>) -> Option<Word> {
        self.content::<Word>(key.as_ref()).cloned()
    }

    /// The fields of a hash; none without the key.
    pub fn hash(&self, key: impl AsRef<[u8]>) -> BTreeMap<Word, Word> {
        self.content::<Fields>(key.as_ref()).map(Fields::to_map).unwrap_or_default()
    }

    /// The items of a list; none without the key.
    pub fn list(&self, key: impl AsRef<[u8]>) -> Vec<Word> {
        self.content::<Items>(key.as_ref()).map(|items| items.iter().cloned().collect()).unwrap_or_default()
    }

    /// The members of a sorted set, lowest score first; none without the key.
    pub fn zset(&self, key: impl AsRef<[u8]>) -> Vec<(Word, f64)> {
        self.content::<Sorted>(key.as_ref()).map(Sorted::to_vec).unwrap_or_default()
    }

    /// The members of a set; none without the key.
    pub fn set(&self, key: impl AsRef<[u8]>) -> BTreeSet<Word> {
        self.content::<BTreeSet<Word>>(key.as_ref()).cloned().unwrap_or_default()
    }

    /// In how many ms a key expires; `None` without the key or if it never does.
    pub fn ttl(&self, key: impl AsRef<[u8]>) -> Option<u64> {
        self.first_database().ttl_ms(key.as_ref())
    }

    fn first_database(&self) -> &Keyspace {
        &self.server.databases[0]
    }

    fn content<T: Content>(&self, key: &[u8]) -> Option<&T> {
        self.first_database().read(key).expect("the key is of the type that is asked for")
    }

    fn obey(&mut self, connection: Connection, words: &[Word]) {
        let reply = self.execute(connection, words).unwrap_or_else(Reply::from);
        self.server.reply(connection, &reply);
    }

    fn execute(&mut self, connection: Connection, words: &[Word]) -> Outcome {
        let command = commands::find(words)?;
        command.check_arity(words)?;
        self.server.check_role(command)?;
        self.server.check_mode(connection, command)?;
        match command.run {
            Run::Keys(run) => run(self.server.keyspace(connection), words),
            Run::Server(run) => run(&mut self.server, connection, words),
            Run::Scripts(run) => run(&mut self.scripts, &mut self.server, connection, words),
        }
    }
}

impl From<Failure> for Reply {
    fn from(failure: Failure) -> Self {
        Self::Error(failure.0.into_owned())
    }
}
