//! Which commands there are, and what is wrong with a call before it runs.

use std::borrow::Cow;

use super::resp::{Reply, Word};
use super::scripts::Scripts;
use super::server::Server;
use super::{Connection, Keyspace, clients, hashes, keys, lists, pubsub, scripts, server, sets, sorted};

/// One command, or one subcommand with a name like `client|info`.
pub struct Command {
    pub name: &'static str,
    /// How many words a call has; if negative, at least so many.
    arity: isize,
    pub kind: Kind,
    pub run: Run,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Read,
    /// Refused by a replica and in scripts that don't write.
    Write,
    /// Refused in scripts.
    Session,
}

/// What a command works on.
#[derive(Clone, Copy)]
pub enum Run {
    Keys(fn(&mut Keyspace, &[Word]) -> Outcome),
    Server(fn(&mut Server, Connection, &[Word]) -> Outcome),
    Scripts(fn(&mut Scripts, &mut Server, Connection, &[Word]) -> Outcome),
}

pub type Outcome = Result<Reply, Failure>;

/// An error reply: its code, a space, and what Redis says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure(pub Cow<'static, [u8]>);

impl Failure {
    pub const SYNTAX: Self = Self::fixed("ERR syntax error");
    pub const WRONG_TYPE: Self =
        Self::fixed("WRONGTYPE Operation against a key holding the wrong kind of value");
    pub const NOT_INTEGER: Self = Self::fixed("ERR value is not an integer or out of range");
    pub const NOT_FLOAT: Self = Self::fixed("ERR value is not a valid float");
    pub const READ_ONLY: Self = Self::fixed("READONLY You can't write against a read only replica.");

    pub const fn fixed(text: &'static str) -> Self {
        Self(Cow::Borrowed(text.as_bytes()))
    }

    pub fn said(text: impl Into<Vec<u8>>) -> Self {
        Self(Cow::Owned(text.into()))
    }
}

impl Command {
    pub fn check_arity(&self, words: &[Word]) -> Result<(), Failure> {
        if self.takes(words.len()) {
            return Ok(());
        }
        Err(Failure::said(format!("ERR wrong number of arguments for '{}' command", self.name)))
    }

    pub fn takes(&self, words: usize) -> bool {
        let least = self.arity.unsigned_abs();
        if self.arity < 0 { words >= least } else { words == least }
    }
}

/// The command that is called.
pub fn find(words: &[Word]) -> Result<&'static Command, Failure> {
    let name = words[0].to_ascii_lowercase();
    if let Some(command) = named(&name).filter(|command| !command.name.contains('|')) {
        return Ok(command);
    }
    let is_family = FAMILIES.iter().any(|family| family.as_bytes() == name);
    match words.get(1) {
        Some(sub) if is_family => {
            let full = [&name[..], b"|", &sub.to_ascii_lowercase()].concat();
            named(&full).ok_or_else(|| unknown_subcommand(&name, sub))
        }
        None if is_family => {
            let name = String::from_utf8_lossy(&name);
            Err(Failure::said(format!("ERR wrong number of arguments for '{name}' command")))
        }
        _ => Err(unknown_command(words)),
    }
}

/// The names of all commands.
pub fn names() -> impl Iterator<Item = &'static str> {
    COMMANDS.iter().map(|command| command.name)
}

/// Whether a call that [`find`] refuses has a name that exists, so that only its words are too few.
pub fn is_family(words: &[Word]) -> bool {
    words.len() == 1 && FAMILIES.iter().any(|family| words[0].eq_ignore_ascii_case(family.as_bytes()))
}

/// A command by its whole name, as in the table.
fn named(name: &[u8]) -> Option<&'static Command> {
    COMMANDS.iter().find(|command| command.name.as_bytes() == name)
}

fn unknown_subcommand(name: &[u8], sub: &[u8]) -> Failure {
    let (sub, name) = (printed(sub, 128), name.to_ascii_uppercase());
    Failure::said([b"ERR unknown subcommand '", sub, b"'. Try ", &name, b" HELP."].concat())
}

fn unknown_command(words: &[Word]) -> Failure {
    let mut shown = Vec::new();
    for word in &words[1..] {
        if shown.len() >= 128 {
            break;
        }
        let word = printed(word, 128 - shown.len());
        shown.extend([b"'", word, b"' "].concat());
    }
    let name = printed(&words[0], 128);
    Failure::said([b"ERR unknown command '", name, b"', with args beginning with: ", &shown].concat())
}

/// What C prints of a word in an error: up to a NUL, and no more than fits.
pub fn printed(word: &[u8], max: usize) -> &[u8] {
    let end = word.iter().position(|byte| *byte == 0).unwrap_or(word.len());
    &word[..end.min(max)]
}

/// The commands whose second word says what they do.
const FAMILIES: [&str; 3] = ["client", "config", "script"];

const fn on_keys(
    name: &'static str,
    arity: isize,
    kind: Kind,
    run: fn(&mut Keyspace, &[Word]) -> Outcome,
) -> Command {
    Command { name, arity, kind, run: Run::Keys(run) }
}

const fn on_server(
    name: &'static str,
    arity: isize,
    kind: Kind,
    run: fn(&mut Server, Connection, &[Word]) -> Outcome,
) -> Command {
    Command { name, arity, kind, run: Run::Server(run) }
}

const fn on_scripts(
    name: &'static str,
    arity: isize,
    run: fn(&mut Scripts, &mut Server, Connection, &[Word]) -> Outcome,
) -> Command {
    Command { name, arity, kind: Kind::Session, run: Run::Scripts(run) }
}

static COMMANDS: &[Command] = &[
    on_keys("get", 2, Kind::Read, keys::get),
    on_keys("mget", -2, Kind::Read, keys::mget),
    on_keys("set", -3, Kind::Write, keys::set),
    on_keys("del", -2, Kind::Write, keys::del),
    on_keys("exists", -2, Kind::Read, keys::exists),
    on_keys("expire", -3, Kind::Write, keys::expire),
    on_keys("pexpire", -3, Kind::Write, keys::pexpire),
    on_keys("ttl", 2, Kind::Read, keys::ttl),
    on_keys("pttl", 2, Kind::Read, keys::pttl),
    on_keys("type", 2, Kind::Read, keys::kind),
    on_keys("dbsize", 1, Kind::Read, keys::dbsize),
    on_keys("hget", 3, Kind::Read, hashes::hget),
    on_keys("hmget", -3, Kind::Read, hashes::hmget),
    on_keys("hset", -4, Kind::Write, hashes::hset),
    on_keys("hdel", -3, Kind::Write, hashes::hdel),
    on_keys("hlen", 2, Kind::Read, hashes::hlen),
    on_keys("hgetall", 2, Kind::Read, hashes::hgetall),
    on_keys("hkeys", 2, Kind::Read, hashes::hkeys),
    on_keys("hexists", 3, Kind::Read, hashes::hexists),
    on_keys("rpush", -3, Kind::Write, lists::rpush),
    on_keys("llen", 2, Kind::Read, lists::llen),
    on_keys("lindex", 3, Kind::Read, lists::lindex),
    on_keys("lrange", 4, Kind::Read, lists::lrange),
    on_keys("ltrim", 4, Kind::Write, lists::ltrim),
    on_keys("zadd", -4, Kind::Write, sorted::zadd),
    on_keys("zrem", -3, Kind::Write, sorted::zrem),
    on_keys("zscore", 3, Kind::Read, sorted::zscore),
    on_keys("zrange", -4, Kind::Read, sorted::zrange),
    on_keys("zrangebyscore", -4, Kind::Read, sorted::zrangebyscore),
    on_keys("zremrangebyscore", 4, Kind::Write, sorted::zremrangebyscore),
    on_keys("zcard", 2, Kind::Read, sorted::zcard),
    on_keys("sadd", -3, Kind::Write, sets::sadd),
    on_keys("srem", -3, Kind::Write, sets::srem),
    on_keys("smembers", 2, Kind::Read, sets::smembers),
    on_keys("sismember", 3, Kind::Read, sets::sismember),
    on_keys("scard", 2, Kind::Read, sets::scard),
    on_keys("srandmember", -2, Kind::Read, sets::srandmember),
    on_keys("sscan", -3, Kind::Read, sets::sscan),
    on_server("hello", -1, Kind::Session, clients::hello),
    on_server("auth", -2, Kind::Session, clients::auth),
    on_server("ping", -1, Kind::Read, clients::ping),
    on_server("select", 2, Kind::Session, clients::select),
    on_server("client|id", 2, Kind::Session, clients::id),
    on_server("client|info", 2, Kind::Session, clients::info),
    on_server("client|setname", 3, Kind::Session, clients::set_name),
    on_server("client|getname", 2, Kind::Session, clients::get_name),
    on_server("client|kill", -3, Kind::Session, clients::kill),
    on_server("client|no-evict", 3, Kind::Session, clients::no_evict),
    on_server("subscribe", -2, Kind::Session, pubsub::subscribe),
    on_server("unsubscribe", -1, Kind::Session, pubsub::unsubscribe),
    on_server("publish", 3, Kind::Read, pubsub::publish),
    on_server("time", 1, Kind::Read, server::time),
    on_server("info", -1, Kind::Read, server::info),
    on_server("role", 1, Kind::Session, server::role),
    on_server("config|get", -3, Kind::Session, server::config_get),
    on_server("config|set", -4, Kind::Session, server::config_set),
    on_server("flushall", -1, Kind::Write, server::flush_all),
    on_scripts("eval", -3, scripts::eval),
    on_scripts("evalsha", -3, scripts::evalsha),
    on_scripts("script|load", 3, scripts::load),
    on_scripts("script|exists", -3, scripts::exist),
    on_scripts("script|flush", -2, scripts::flush),
];
