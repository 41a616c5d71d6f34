//! Clients, and what they may say about themselves and each other.

use std::collections::BTreeSet;

use super::Connection;
use super::commands::{Failure, Outcome, printed};
use super::number;
use super::resp::{Protocol, Reply, Requests, Word};
use super::server::Server;

/// The server's side of one connection.
pub struct Client {
    pub id: u64,
    /// Of the address that the server sees.
    port: u16,
    name: Word,
    pub protocol: Protocol,
    pub database: usize,
    pub input: Requests,
    pub output: Vec<u8>,
    pub channels: BTreeSet<Word>,
    pub is_open: bool,
}

/// Where addresses of clients begin; the server's own is below.
const PORT_MIN: u64 = 10_000;
const PORTS: u64 = 65_536 - PORT_MIN;

impl Client {
    pub fn new(id: u64, serial: u64) -> Self {
        Self {
            id,
            port: (PORT_MIN + serial % PORTS) as u16,
            name: Word::new(),
            protocol: Protocol::Resp2,
            database: 0,
            input: Requests::default(),
            output: Vec::new(),
            channels: BTreeSet::new(),
            is_open: true,
        }
    }

    pub fn write(&mut self, reply: &Reply) {
        reply.write(self.protocol, &mut self.output);
    }

    fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// The fields of Redis's line that a client can act on.
    fn line(&self) -> Vec<u8> {
        let (id, address, database, sub) = (self.id, self.address(), self.database, self.channels.len());
        let protocol = if self.protocol == Protocol::Resp2 { 2 } else { 3 };
        let start = format!("id={id} addr={address} laddr=127.0.0.1:6379 name=").into_bytes();
        let end = format!(" db={database} sub={sub} psub=0 ssub=0 user=default resp={protocol}\n");
        [start, self.name.clone(), end.into_bytes()].concat()
    }
}

/// `HELLO [version [AUTH user password] [SETNAME name]…]`: each option counts, also before one that fails.
pub fn hello(server: &mut Server, connection: Connection, words: &[Word]) -> Outcome {
    let protocol = match words.get(1) {
        Some(version) => Some(protocol(version)?),
        None => None,
    };
    let mut options = words.get(2..).unwrap_or_default();
    while let [option, rest @ ..] = options {
        options = match (option.to_ascii_lowercase().as_slice(), rest) {
            (b"auth", [user, _password, rest @ ..]) => {
                check_user(user)?;
                rest
            }
            (b"setname", [said, rest @ ..]) => {
                server.client(connection).name.clone_from(checked_name(said)?);
                rest
            }
            _ => {
                let option = printed(option, usize::MAX);
                return Err(Failure::said([b"ERR Syntax error in HELLO option '", option, b"'"].concat()));
            }
        };
    }
    let client = server.client(connection);
    client.protocol = protocol.unwrap_or(client.protocol);
    Ok(server.greeting(connection))
}

/// `AUTH [user] password`: there is the default user, who needs none.
pub fn auth(_: &mut Server, _: Connection, words: &[Word]) -> Outcome {
    match &words[1..] {
        [_password] => Err(Failure::fixed(
            "ERR AUTH <password> called without any password configured for the default user. \
             Are you sure your configuration is correct?",
        )),
        [user, _password] => check_user(user).map(|()| Reply::ok()),
        _ => Err(Failure::SYNTAX),
    }
}

/// `PING [text]`
pub fn ping(server: &mut Server, connection: Connection, words: &[Word]) -> Outcome {
    let client = server.client(connection);
    if words.len() > 2 {
        return Err(Failure::fixed("ERR wrong number of arguments for 'ping' command"));
    }
    if client.protocol == Protocol::Resp2 && !client.channels.is_empty() {
        let text = words.get(1).cloned().unwrap_or_default();
        return Ok(Reply::Array(vec![Reply::bulk("pong"), Reply::Bulk(text)]));
    }
    Ok(words.get(1).map_or_else(|| Reply::status("PONG"), |text| Reply::Bulk(text.clone())))
}

pub fn select(server: &mut Server, connection: Connection, words: &[Word]) -> Outcome {
    let database = number::integer(&words[1])?;
    let database = usize::try_from(database).ok().filter(|database| *database < server.databases.len());
    server.client(connection).database = database.ok_or(Failure::fixed("ERR DB index is out of range"))?;
    Ok(Reply::ok())
}

/// `CLIENT ID`
pub fn id(server: &mut Server, connection: Connection, _: &[Word]) -> Outcome {
    Ok(Reply::Integer(server.client(connection).id.cast_signed()))
}

/// `CLIENT INFO`
pub fn info(server: &mut Server, connection: Connection, _: &[Word]) -> Outcome {
    Ok(Reply::Verbatim(server.client(connection).line()))
}

/// `CLIENT SETNAME name`
pub fn set_name(server: &mut Server, connection: Connection, words: &[Word]) -> Outcome {
    server.client(connection).name.clone_from(checked_name(&words[2])?);
    Ok(Reply::ok())
}

/// `CLIENT GETNAME`
pub fn get_name(server: &mut Server, connection: Connection, _: &[Word]) -> Outcome {
    let name = &server.client(connection).name;
    Ok(Reply::bulk_or_null((!name.is_empty()).then_some(name)))
}

/// `CLIENT KILL [ID id] [ADDR address]`: ends the clients that match all that is said, but never who asks.
pub fn kill(server: &mut Server, connection: Connection, words: &[Word]) -> Outcome {
    let (filters, rest) = words[2..].as_chunks::<2>();
    if let ([], [_address]) = (filters, rest) {
        return Err(Failure::fixed("ERR No such client"));
    }
    let (mut id, mut address) = (None, None);
    for [name, value] in filters {
        match name.to_ascii_lowercase().as_slice() {
            b"id" => id = Some(checked_id(value)?),
            b"addr" => address = Some(value.as_slice()),
            _ => return Err(Failure::SYNTAX),
        }
    }
    if !rest.is_empty() {
        return Err(Failure::SYNTAX);
    }
    let is_meant = |client: &Client| {
        id.is_none_or(|id| client.id == id)
            && address.is_none_or(|address| client.address().as_bytes() == address)
    };
    let others = server.clients.iter().filter(|(other, client)| **other != connection && client.is_open);
    let meant = others.filter(|(_, client)| is_meant(client)).map(|(other, _)| *other);
    let meant: Vec<Connection> = meant.collect();
    for other in &meant {
        server.close(*other);
    }
    Ok(Reply::count(meant.len()))
}

/// `CLIENT NO-EVICT ON | OFF`: nobody is evicted anyway.
pub fn no_evict(_: &mut Server, _: Connection, words: &[Word]) -> Outcome {
    let is_known = words[2].eq_ignore_ascii_case(b"on") || words[2].eq_ignore_ascii_case(b"off");
    if is_known { Ok(Reply::ok()) } else { Err(Failure::SYNTAX) }
}

fn protocol(version: &[u8]) -> Result<Protocol, Failure> {
    match number::integer(version) {
        Ok(2) => Ok(Protocol::Resp2),
        Ok(3) => Ok(Protocol::Resp3),
        Ok(_) => Err(Failure::fixed("NOPROTO unsupported protocol version")),
        Err(_) => Err(Failure::fixed("ERR Protocol version is not an integer or out of range")),
    }
}

fn check_user(user: &[u8]) -> Result<(), Failure> {
    if user == b"default" {
        return Ok(());
    }
    Err(Failure::fixed("WRONGPASS invalid username-password pair or user is disabled."))
}

fn checked_name(name: &Word) -> Result<&Word, Failure> {
    if name.iter().all(u8::is_ascii_graphic) {
        return Ok(name);
    }
    Err(Failure::fixed("ERR Client names cannot contain spaces, newlines or special characters."))
}

fn checked_id(word: &[u8]) -> Result<u64, Failure> {
    let id = number::integer(word).ok().and_then(|id| u64::try_from(id).ok()).filter(|id| *id > 0);
    id.ok_or(Failure::fixed("ERR client-id should be greater than 0"))
}
