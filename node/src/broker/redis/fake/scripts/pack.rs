//! `struct.pack` as far as the node's scripts use it: unsigned numbers of 8 bytes, the highest byte first.

use mlua::{Error, Lua, LuaString, Number, Result, Table};

/// The library `struct`.
pub fn library(lua: &Lua) -> Result<Table> {
    let library = lua.create_table()?;
    let pack = |lua: &Lua, (format, number): (LuaString, Number)| {
        if format != FORMAT {
            return Err(Error::RuntimeError(format!("the fake packs no other format than {FORMAT}")));
        }
        lua.create_string(bits(number).to_be_bytes())
    };
    library.raw_set("pack", lua.create_function(pack)?)?;
    Ok(library)
}

const FORMAT: &str = ">I8";

/// A number below zero wraps, and none has a fraction.
fn bits(number: Number) -> u64 {
    if number < 0.0 { (number as i64).cast_unsigned() } else { number as u64 }
}
