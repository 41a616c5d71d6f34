//! What a server is beside its keys: its clients, channels, role and clock.

use std::collections::{BTreeMap, BTreeSet};

use super::clients::Client;
use super::commands::{self, Command, Failure, Kind, Outcome, Run};
use super::keyspace::Keyspace;
use super::resp::{Protocol, Reply, Word};
use super::{Connection, Role};

pub struct Server {
    pub databases: Vec<Keyspace>,
    pub role: Role,
    pub now_us: u64,
    /// Also those that have ended, until what they got is taken.
    pub clients: BTreeMap<Connection, Client>,
    /// Who has subscribed to a channel.
    pub channels: BTreeMap<Word, BTreeSet<Connection>>,
    policy: Word,
    next_connection: u64,
    /// The next client id of this start.
    next_id: u64,
}

/// Whether the script that calls a command may write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Writes {
    Allowed,
    Refused,
}

/// As many databases as Redis has without being told.
const DATABASES: usize = 16;
const VERSION: &str = "7.0.15";
const POLICIES: [&str; 8] = [
    "volatile-lru",
    "volatile-lfu",
    "volatile-random",
    "volatile-ttl",
    "allkeys-lru",
    "allkeys-lfu",
    "allkeys-random",
    "noeviction",
];

impl Server {
    pub fn new() -> Self {
        Self {
            databases: vec![Keyspace::default(); DATABASES],
            role: Role::Master,
            now_us: 0,
            clients: BTreeMap::new(),
            channels: BTreeMap::new(),
            policy: b"noeviction".to_vec(),
            next_connection: 0,
            next_id: 1,
        }
    }

    pub fn set_now(&mut self, unix_us: u64) {
        self.now_us = unix_us;
        let now_ms = (unix_us / 1000).cast_signed();
        self.databases.iter_mut().for_each(|keys| keys.set_now(now_ms));
    }

    pub fn accept(&mut self) -> Connection {
        let connection = Connection(self.next_connection);
        self.clients.insert(connection, Client::new(self.next_id, self.next_connection));
        self.next_connection += 1;
        self.next_id += 1;
        connection
    }

    pub fn is_open(&self, connection: Connection) -> bool {
        self.clients.get(&connection).is_some_and(|client| client.is_open)
    }

    pub fn open_client(&mut self, connection: Connection) -> Option<&mut Client> {
        self.clients.get_mut(&connection).filter(|client| client.is_open)
    }

    /// The client that is speaking.
    pub fn client(&mut self, connection: Connection) -> &mut Client {
        self.clients.get_mut(&connection).expect("who speaks is there")
    }

    /// The database that a client has selected.
    pub fn keyspace(&mut self, connection: Connection) -> &mut Keyspace {
        let database = self.client(connection).database;
        &mut self.databases[database]
    }

    pub fn close(&mut self, connection: Connection) {
        let Some(client) = self.open_client(connection) else { return };
        client.is_open = false;
        for channel in std::mem::take(&mut client.channels) {
            self.forget_subscriber(connection, &channel);
        }
    }

    pub fn close_all(&mut self) {
        let open: Vec<Connection> = self.clients.keys().copied().collect();
        for connection in open {
            self.close(connection);
        }
        self.next_id = 1;
    }

    pub fn take(&mut self, connection: Connection, into: &mut Vec<u8>) {
        let Some(client) = self.clients.get_mut(&connection) else { return };
        into.append(&mut client.output);
        if !client.is_open {
            self.clients.remove(&connection);
        }
    }

    pub fn reply(&mut self, connection: Connection, reply: &Reply) {
        if let Some(client) = self.open_client(connection) {
            client.write(reply);
        }
    }

    pub fn forget_subscriber(&mut self, connection: Connection, channel: &[u8]) {
        let Some(subscribers) = self.channels.get_mut(channel) else { return };
        subscribers.remove(&connection);
        if subscribers.is_empty() {
            self.channels.remove(channel);
        }
    }

    pub fn check_role(&self, command: &Command) -> Result<(), Failure> {
        match (self.role, command.kind) {
            (Role::Replica, Kind::Write) => Err(Failure::READ_ONLY),
            _ => Ok(()),
        }
    }

    /// In RESP2 a subscriber can't tell replies from messages, and so may say little else.
    pub fn check_mode(&mut self, connection: Connection, command: &Command) -> Result<(), Failure> {
        let client = self.client(connection);
        let is_limited = client.protocol == Protocol::Resp2 && !client.channels.is_empty();
        if !is_limited || matches!(command.name, "ping" | "subscribe" | "unsubscribe") {
            return Ok(());
        }
        Err(Failure::said(format!(
            "ERR Can't execute '{}': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / \
             PING / QUIT / RESET are allowed in this context",
            command.name
        )))
    }

    /// Runs a command for a script of a client.
    pub fn call(&mut self, connection: Connection, words: &[Word], writes: Writes) -> Outcome {
        let Ok(command) = commands::find(words) else {
            let known = commands::is_family(words);
            return Err(if known { WRONG_NUMBER } else { UNKNOWN });
        };
        if !command.takes(words.len()) {
            return Err(WRONG_NUMBER);
        }
        match command.kind {
            Kind::Session => return Err(NOT_IN_SCRIPTS),
            Kind::Write if writes == Writes::Refused => return Err(NO_WRITES),
            Kind::Write | Kind::Read => self.check_role(command)?,
        }
        match command.run {
            Run::Keys(run) => run(self.keyspace(connection), words),
            Run::Server(run) => run(self, connection, words),
            Run::Scripts(_) => Err(NOT_IN_SCRIPTS),
        }
    }

    /// What `HELLO` answers.
    pub fn greeting(&mut self, connection: Connection) -> Reply {
        let Client { id, protocol, .. } = *self.client(connection);
        let protocol = match protocol {
            Protocol::Resp2 => 2,
            Protocol::Resp3 => 3,
        };
        let role = match self.role {
            Role::Master => "master",
            Role::Replica => "replica",
        };
        let pairs = [
            ("server", Reply::bulk("redis")),
            ("version", Reply::bulk(VERSION)),
            ("proto", Reply::Integer(protocol)),
            ("id", Reply::Integer(id.cast_signed())),
            ("mode", Reply::bulk("standalone")),
            ("role", Reply::bulk(role)),
            ("modules", Reply::Array(Vec::new())),
        ];
        Reply::Map(pairs.map(|(name, value)| (Reply::bulk(name), value)).into())
    }
}

const UNKNOWN: Failure = Failure::fixed("ERR Unknown Redis command called from script");
const WRONG_NUMBER: Failure = Failure::fixed("ERR Wrong number of args calling Redis command from script");
const NOT_IN_SCRIPTS: Failure = Failure::fixed("ERR This Redis command is not allowed from script");
const NO_WRITES: Failure = Failure::fixed("ERR Write commands are not allowed from read-only scripts.");

pub fn time(server: &mut Server, _: Connection, _: &[Word]) -> Outcome {
    let parts = [server.now_us / 1_000_000, server.now_us % 1_000_000];
    Ok(Reply::Array(parts.map(|part| Reply::bulk(part.to_string())).into()))
}

/// `INFO [section…]`: only the server section, and of that what never differs.
pub fn info(_: &mut Server, _: Connection, words: &[Word]) -> Outcome {
    let names: [&[u8]; 4] = [b"server", b"all", b"default", b"everything"];
    let is_meant = |word: &Word| names.contains(&word.to_ascii_lowercase().as_slice());
    if words.len() > 1 && !words[1..].iter().any(is_meant) {
        return Ok(Reply::Verbatim(Vec::new()));
    }
    let text = format!("# Server\r\nredis_version:{VERSION}\r\nredis_mode:standalone\r\n");
    Ok(Reply::Verbatim(text.into_bytes()))
}

/// `ROLE`; a replica's master is never there.
pub fn role(server: &mut Server, _: Connection, _: &[Word]) -> Outcome {
    Ok(Reply::Array(match server.role {
        Role::Master => vec![Reply::bulk("master"), Reply::Integer(0), Reply::Array(Vec::new())],
        Role::Replica => vec![
            Reply::bulk("slave"),
            Reply::bulk("127.0.0.1"),
            Reply::Integer(1),
            Reply::bulk("connect"),
            Reply::Integer(-1),
        ],
    }))
}

/// `CONFIG GET name…`: there is only one name.
pub fn config_get(server: &mut Server, _: Connection, words: &[Word]) -> Outcome {
    let is_asked = words[2..].iter().any(|name| name.eq_ignore_ascii_case(b"maxmemory-policy"));
    let pair = || (Reply::bulk("maxmemory-policy"), Reply::Bulk(server.policy.clone()));
    Ok(Reply::Map(is_asked.then(pair).into_iter().collect()))
}

/// `CONFIG SET maxmemory-policy policy`, so that a test can choose a bad one. Nothing is ever evicted.
pub fn config_set(server: &mut Server, _: Connection, words: &[Word]) -> Outcome {
    let [name, policy] = &words[2..] else { return Err(Failure::SYNTAX) };
    if !name.eq_ignore_ascii_case(b"maxmemory-policy") {
        let name = String::from_utf8_lossy(name).into_owned();
        return Err(Failure::said(format!(
            "ERR Unknown option or number of arguments for CONFIG SET - '{name}'"
        )));
    }
    let known = POLICIES.iter().find(|known| policy.eq_ignore_ascii_case(known.as_bytes()));
    let Some(known) = known else {
        return Err(Failure::said(format!(
            "ERR CONFIG SET failed (possibly related to argument 'maxmemory-policy') - \
             argument(s) must be one of the following: {}",
            POLICIES.join(", ")
        )));
    };
    server.policy = known.as_bytes().to_vec();
    Ok(Reply::ok())
}

/// `FLUSHALL [SYNC | ASYNC]`
pub fn flush_all(server: &mut Server, _: Connection, words: &[Word]) -> Outcome {
    match &words[1..] {
        [] => {}
        [how] if how.eq_ignore_ascii_case(b"sync") || how.eq_ignore_ascii_case(b"async") => {}
        _ => return Err(Failure::SYNTAX),
    }
    server.databases.iter_mut().for_each(Keyspace::clear);
    Ok(Reply::ok())
}
