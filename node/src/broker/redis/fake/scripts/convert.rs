//! Values between Lua and the protocol, by the rules of Redis 7's documentation.

use mlua::{Error, IntoLua, Lua, Table, Value};

use super::super::commands::Failure;
use super::super::number;
use super::super::resp::{Reply, Word};

/// What went wrong in a script, and on which line.
pub struct Complaint {
    text: Vec<u8>,
    line: Option<i64>,
}

impl Complaint {
    /// Reads what the error handler has made.
    pub fn of(value: &Value) -> mlua::Result<Self> {
        let Value::Table(table) = value else {
            return Ok(Self { text: text_of(value), line: None });
        };
        let text: mlua::LuaString = table.raw_get("err")?;
        Ok(Self { text: text.as_bytes().to_vec(), line: table.raw_get("line")? })
    }

    /// Says it as Redis does.
    pub fn reply(&self, digest: &str) -> Reply {
        let place = self.line.map(|line| format!(" script: {digest}, on @user_script:{line}."));
        Reply::Error([&self.text[..], place.unwrap_or_default().as_bytes()].concat())
    }
}

/// A list of strings.
pub fn strings(lua: &Lua, words: &[Word]) -> mlua::Result<Table> {
    sequence(lua, words.iter().map(|word| lua.create_string(word)))
}

/// The words of a command that a script calls.
pub fn words_of(values: &[Value]) -> Result<Vec<Word>, Failure> {
    if values.is_empty() {
        return Err(Failure::fixed("ERR Please specify at least one argument for this redis lib call"));
    }
    values.iter().map(word_of).collect()
}

fn word_of(value: &Value) -> Result<Word, Failure> {
    match value {
        Value::String(text) => Ok(text.as_bytes().to_vec()),
        Value::Integer(integer) => Ok(number::text(*integer as f64).into_bytes()),
        Value::Number(number) => Ok(number::text(*number).into_bytes()),
        _ => Err(Failure::fixed("ERR Lua redis lib command arguments must be strings or integers")),
    }
}

/// What a command's reply is to a script, which speaks RESP2.
pub fn from_reply(lua: &Lua, reply: &Reply) -> mlua::Result<Value> {
    match reply {
        Reply::Status(text) => field(lua, "ok", text),
        Reply::Error(text) => field(lua, "err", text),
        Reply::Integer(integer) => Ok(Value::Number(*integer as f64)),
        Reply::Double(number) => lua.create_string(number::text(*number)).map(Value::String),
        Reply::Bulk(text) | Reply::Verbatim(text) => lua.create_string(text).map(Value::String),
        Reply::Null | Reply::Silence => Ok(Value::Boolean(false)),
        Reply::Array(items) | Reply::Set(items) | Reply::Push(items) => list(lua, items.iter()),
        Reply::Map(pairs) | Reply::Pairs(pairs) => {
            list(lua, pairs.iter().flat_map(|(one, other)| [one, other]))
        }
    }
}

/// What a script's result is to its caller.
pub fn to_reply(value: &Value) -> mlua::Result<Reply> {
    Ok(match value {
        Value::String(text) => Reply::Bulk(text.as_bytes().to_vec()),
        Value::Integer(integer) => Reply::Integer(*integer),
        Value::Number(number) => Reply::Integer(*number as i64),
        Value::Boolean(true) => Reply::Integer(1),
        Value::Table(table) => table_to_reply(table)?,
        _ => Reply::Null,
    })
}

fn table_to_reply(table: &Table) -> mlua::Result<Reply> {
    if let Value::String(text) = table.raw_get("err")? {
        return Ok(Reply::Error(text.as_bytes().to_vec()));
    }
    if let Value::String(text) = table.raw_get("ok")? {
        return Ok(Reply::Status(text.as_bytes().to_vec()));
    }
    match table.raw_get("double")? {
        Value::Number(number) => return Ok(Reply::Double(number)),
        Value::Integer(integer) => return Ok(Reply::Double(integer as f64)),
        _ => {}
    }
    let mut items = Vec::new();
    loop {
        match table.raw_get(items.len() + 1)? {
            Value::Nil => return Ok(Reply::Array(items)),
            item => items.push(to_reply(&item)?),
        }
    }
}

/// The error that ends a script unless it catches it.
pub fn raise(failure: &Failure) -> Error {
    Error::RuntimeError(String::from_utf8_lossy(&failure.0).into_owned())
}

/// The text of whatever Lua has caught.
pub fn text_of(error: &Value) -> Vec<u8> {
    match error {
        Value::String(text) => text.as_bytes().to_vec(),
        Value::Error(error) => cause(error).into_bytes(),
        Value::Table(table) => match table.raw_get("err") {
            Ok(Value::String(text)) => text.as_bytes().to_vec(),
            _ => b"table".to_vec(),
        },
        other => other.to_string().map_or_else(|error| error.to_string().into_bytes(), String::into_bytes),
    }
}

/// The text of an error that ends a script: with a code, which those of Lua itself don't have.
pub fn error_text(lua: &Lua, error: &Value) -> mlua::Result<mlua::LuaString> {
    let text = match error {
        Value::Table(_) | Value::Error(_) => text_of(error),
        other => [b"ERR ", &text_of(other)[..]].concat(),
    };
    lua.create_string(text)
}

/// `redis.error_reply(text)`: what stands before the first space is the code, if a minus or a space says so.
pub fn error_reply(lua: &Lua, texts: &[Value]) -> mlua::Result<Value> {
    let [Value::String(text)] = texts else { return field(lua, "err", WRONG_CALL) };
    let text = text.as_bytes();
    let text = text.strip_prefix(b"-").unwrap_or(&text);
    let code: &[u8] = if text.contains(&b' ') { b"" } else { b"ERR " };
    field(lua, "err", &[code, text].concat())
}

/// `redis.status_reply(text)`
pub fn status_reply(lua: &Lua, texts: &[Value]) -> mlua::Result<Value> {
    match texts {
        [Value::String(text)] => field(lua, "ok", &text.as_bytes()),
        _ => field(lua, "err", WRONG_CALL),
    }
}

const WRONG_CALL: &[u8] = b"ERR wrong number or type of arguments";

fn field(lua: &Lua, name: &str, text: &[u8]) -> mlua::Result<Value> {
    let table = lua.create_table()?;
    table.raw_set(name, lua.create_string(text)?)?;
    Ok(Value::Table(table))
}

fn list<'a>(lua: &Lua, items: impl Iterator<Item = &'a Reply>) -> mlua::Result<Value> {
    sequence(lua, items.map(|item| from_reply(lua, item))).map(Value::Table)
}

/// One after the other: few values can be held outside of a table at a time.
fn sequence<T: IntoLua>(lua: &Lua, items: impl Iterator<Item = mlua::Result<T>>) -> mlua::Result<Table> {
    let table = lua.create_table()?;
    for (at, item) in items.enumerate() {
        table.raw_set(at + 1, item?)?;
    }
    Ok(table)
}

/// What a function of ours has raised, without the trace that was put around it.
fn cause(error: &Error) -> String {
    match error {
        Error::CallbackError { cause: inner, .. } => cause(inner),
        Error::RuntimeError(text) => text.clone(),
        other => other.to_string(),
    }
}
