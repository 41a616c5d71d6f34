//! Scripts: the real ones, in the Lua that Redis embeds.
//!
//! They get the base functions, `string`, `table`, `math` without chance, of `redis` what touches data, and of
//! `struct` what packs an offset. `cjson`, `cmsgpack` and `bit` are not here.

mod convert;
mod header;
mod pack;

use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt::Write;

use mlua::{Function, Lua, LuaOptions, StdLib, Table, Value, Variadic};
use sha1::{Digest, Sha1};

use self::convert::{Complaint, from_reply, strings, text_of, to_reply, words_of};
use self::header::Header;
use super::commands::{Failure, Outcome};
use super::number;
use super::resp::{Reply, Word};
use super::server::{Server, Writes};
use super::{Connection, Role};

/// The interpreter and the scripts it knows.
pub struct Scripts {
    lua: Lua,
    /// Where a script's globals are read.
    globals: Table,
    /// What a script has for globals: it sees through to [`Self::globals`].
    environment: Table,
    /// Runs a function and says whether it went well.
    guard: Function,
    known: HashMap<String, Script>,
}

#[derive(Clone)]
struct Script {
    function: Function,
    header: Header,
}

/// One call of a script.
struct Call<'a> {
    digest: String,
    script: Script,
    keys: &'a [Word],
    arguments: &'a [Word],
}

/// The name that Redis gives every script, and so it is in its errors.
const CHUNK: &str = "@user_script";
const FRAME: &str = include_str!("scripts/frame.lua");
const SOUND: &str = "the interpreter does what its manual says";

impl Scripts {
    pub fn new() -> Self {
        let libraries = StdLib::TABLE | StdLib::STRING | StdLib::MATH;
        let lua = Lua::new_with(libraries, LuaOptions::new()).expect(SOUND);
        let globals = globals(&lua).expect(SOUND);
        let explain = lua.create_function(|lua, error: Value| explain(lua, &error)).expect(SOUND);
        let text = lua.create_function(|lua, error: Value| lua.create_string(text_of(&error))).expect(SOUND);
        let frame = lua.load(FRAME).set_name("=frame");
        let (environment, guard) = frame.call((&globals, explain, text)).expect(SOUND);
        Self { lua, globals, environment, guard, known: HashMap::new() }
    }

    pub fn forget(&mut self) {
        self.known.clear();
    }

    /// Compiles a script, unless it is known, and says its digest.
    fn learn(&mut self, body: &[u8]) -> Result<String, Failure> {
        let digest = digest(body);
        if !self.known.contains_key(&digest) {
            let (header, code) = Header::split(body)?;
            let chunk = self.lua.load(code).set_name(CHUNK).set_environment(self.environment.clone());
            let function = chunk.into_function();
            let function = function.map_err(|error| Failure::said(refusal(&error)))?;
            self.known.insert(digest.clone(), Script { function, header });
        }
        Ok(digest)
    }

    /// Calls a script that [`Self::learn`] has compiled.
    fn run(&self, server: &mut Server, connection: Connection, call: &Call<'_>) -> Outcome {
        if server.role == Role::Replica && call.script.header.is_for_master() {
            return Err(Failure::READ_ONLY);
        }
        let reply = self.try_run(server, connection, call).expect(SOUND);
        Ok(reply.unwrap_or_else(|complaint| complaint.reply(&call.digest)))
    }

    /// Fails only where the interpreter itself does.
    fn try_run(
        &self,
        server: &mut Server,
        connection: Connection,
        call: &Call<'_>,
    ) -> mlua::Result<Result<Reply, Complaint>> {
        let Self { lua, globals, guard, .. } = self;
        globals.raw_set("KEYS", strings(lua, call.keys)?)?;
        globals.raw_set("ARGV", strings(lua, call.arguments)?)?;
        let (server, writes) = (RefCell::new(server), call.script.header.writes());
        let execute = |words: &[Value]| match words_of(words) {
            Ok(words) => server.borrow_mut().call(connection, &words, writes),
            Err(failure) => Err(failure),
        };
        lua.scope(|scope| {
            let redis: Table = globals.raw_get("redis")?;
            let raising = |lua: &Lua, words: Variadic<Value>| match execute(&words) {
                Ok(reply) => from_reply(lua, &reply),
                Err(failure) => Err(convert::raise(&failure)),
            };
            let telling = |lua: &Lua, words: Variadic<Value>| {
                from_reply(lua, &execute(&words).unwrap_or_else(Reply::from))
            };
            redis.raw_set("call", scope.create_function(raising)?)?;
            redis.raw_set("pcall", scope.create_function(telling)?)?;
            let (went_well, value): (bool, Value) = guard.call(&call.script.function)?;
            if went_well { Ok(Ok(to_reply(&value)?)) } else { Ok(Err(Complaint::of(&value)?)) }
        })
    }
}

/// What a script finds in its globals beside `KEYS` and `ARGV`.
fn globals(lua: &Lua) -> mlua::Result<Table> {
    let (all, globals) = (lua.globals(), lua.create_table()?);
    for name in GLOBALS {
        globals.raw_set(name, all.raw_get::<Value>(name)?)?;
    }
    let math: Table = globals.raw_get("math")?;
    for chance in ["random", "randomseed"] {
        math.raw_set(chance, Value::Nil)?;
    }
    let redis = lua.create_table()?;
    let error_reply = |lua: &Lua, texts: Variadic<Value>| convert::error_reply(lua, &texts);
    let status_reply = |lua: &Lua, texts: Variadic<Value>| convert::status_reply(lua, &texts);
    let sha1hex = |lua: &Lua, texts: Variadic<Value>| sha1hex(lua, &texts);
    redis.raw_set("error_reply", lua.create_function(error_reply)?)?;
    redis.raw_set("status_reply", lua.create_function(status_reply)?)?;
    redis.raw_set("sha1hex", lua.create_function(sha1hex)?)?;
    globals.raw_set("redis", redis)?;
    globals.raw_set("struct", pack::library(lua)?)?;
    Ok(globals)
}

const GLOBALS: [&str; 18] = [
    "assert",
    "error",
    "getmetatable",
    "ipairs",
    "math",
    "next",
    "pairs",
    "rawequal",
    "rawget",
    "rawset",
    "select",
    "setmetatable",
    "string",
    "table",
    "tonumber",
    "tostring",
    "type",
    "unpack",
];

/// Makes `{ err, line }` of an error, where it happened: the innermost line of a script.
fn explain(lua: &Lua, error: &Value) -> mlua::Result<Table> {
    let complaint = lua.create_table()?;
    complaint.raw_set("err", convert::error_text(lua, error)?)?;
    let line = (0..).map_while(|level| {
        lua.inspect_stack(level, |frame| {
            let is_script = frame.source().source.as_deref() == Some(CHUNK);
            is_script.then(|| frame.current_line()).flatten()
        })
    });
    complaint.raw_set("line", line.flatten().next())?;
    Ok(complaint)
}

/// `redis.sha1hex(text)`; what is no text counts as empty.
fn sha1hex(lua: &Lua, texts: &[Value]) -> mlua::Result<String> {
    let [text] = texts else {
        return Err(convert::raise(&Failure::fixed("ERR wrong number of arguments")));
    };
    let text = lua.coerce_string(text.clone())?;
    Ok(text.map_or_else(|| digest(b""), |text| digest(&text.as_bytes())))
}

pub fn digest(text: &[u8]) -> String {
    Sha1::digest(text).iter().fold(String::new(), |mut hex, byte| {
        write!(hex, "{byte:02x}").expect("a string takes all");
        hex
    })
}

fn refusal(error: &mlua::Error) -> String {
    let reason = match error {
        mlua::Error::SyntaxError { message, .. } => message.clone(),
        other => other.to_string(),
    };
    format!("ERR Error compiling script (new function): {reason}")
}

/// `EVAL script keys key… argument…`
pub fn eval(scripts: &mut Scripts, server: &mut Server, connection: Connection, words: &[Word]) -> Outcome {
    let (keys, arguments) = parted(words)?;
    let digest = scripts.learn(&words[1])?;
    let script = scripts.known[&digest].clone();
    scripts.run(server, connection, &Call { digest, script, keys, arguments })
}

/// `EVALSHA digest keys key… argument…`
pub fn evalsha(
    scripts: &mut Scripts,
    server: &mut Server,
    connection: Connection,
    words: &[Word],
) -> Outcome {
    let digest = String::from_utf8_lossy(&words[1]).to_ascii_lowercase();
    if digest.len() != DIGEST {
        return Err(NO_SCRIPT);
    }
    let (keys, arguments) = parted(words)?;
    let script = scripts.known.get(&digest).cloned().ok_or(NO_SCRIPT)?;
    scripts.run(server, connection, &Call { digest, script, keys, arguments })
}

/// `SCRIPT LOAD script`
pub fn load(scripts: &mut Scripts, _: &mut Server, _: Connection, words: &[Word]) -> Outcome {
    scripts.learn(&words[2]).map(Reply::bulk)
}

/// `SCRIPT EXISTS digest…`
pub fn exist(scripts: &mut Scripts, _: &mut Server, _: Connection, words: &[Word]) -> Outcome {
    let is_known =
        |digest: &Word| scripts.known.contains_key(&String::from_utf8_lossy(digest).to_ascii_lowercase());
    let known = words[2..].iter().map(|digest| Reply::count(usize::from(is_known(digest))));
    Ok(Reply::Array(known.collect()))
}

/// `SCRIPT FLUSH [SYNC | ASYNC]`
pub fn flush(scripts: &mut Scripts, _: &mut Server, _: Connection, words: &[Word]) -> Outcome {
    match &words[2..] {
        [] => {}
        [how] if how.eq_ignore_ascii_case(b"sync") || how.eq_ignore_ascii_case(b"async") => {}
        _ => return Err(Failure::fixed("ERR SCRIPT FLUSH only support SYNC|ASYNC option")),
    }
    scripts.forget();
    Ok(Reply::ok())
}

/// The keys and the arguments of a call.
fn parted(words: &[Word]) -> Result<(&[Word], &[Word]), Failure> {
    let keys = usize::try_from(number::integer(&words[2])?)
        .map_err(|_| Failure::fixed("ERR Number of keys can't be negative"))?;
    let parts = words[3..].split_at_checked(keys);
    parts.ok_or(Failure::fixed("ERR Number of keys can't be greater than number of args"))
}

/// How long a digest is in hexadecimal.
const DIGEST: usize = 40;
const NO_SCRIPT: Failure = Failure::fixed("NOSCRIPT No matching script. Please use EVAL.");
