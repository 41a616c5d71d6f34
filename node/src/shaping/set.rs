//! Fields that the node sets, so that nobody can forge them (behaviour T10).

use dunlin_protocol::json;
use serde_json::Value;

use super::Facts;

/// A member of every payload whose value is the node's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field {
    name: Box<str>,
    /// The name as JSON with the colon behind it.
    prefix: Box<[u8]>,
    source: Source,
    /// A constant as JSON; empty for what differs between publications.
    constant: Box<[u8]>,
}

/// Where a field's value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// The publisher's id.
    PeerId,
    /// The publisher's user; `null` if it is none.
    UserId,
    /// What is known of the user; `null` if nothing is.
    UserInfo,
    /// When the node took the publication, in milliseconds since 1970.
    Now,
    /// Always the same.
    Constant(Value),
}

impl Field {
    /// A field of that name, which may be any text.
    pub fn new(name: &str, source: Source) -> Self {
        let prefix = format!("{}:", Value::from(name)).into_bytes().into();
        let constant = match &source {
            Source::Constant(value) => value.to_string().into_bytes().into(),
            _ => Box::default(),
        };
        Self { name: name.into(), prefix, source, constant }
    }

    /// The member's key.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where its value comes from.
    pub fn source(&self) -> &Source {
        &self.source
    }

    /// Enough bytes for all but long texts about users.
    pub(super) fn bytes_about(&self) -> usize {
        self.prefix.len() + self.constant.len() + UUID_BYTES + 4
    }

    /// Appends the member.
    pub(super) fn write(&self, facts: &Facts<'_>, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.prefix);
        match &self.source {
            Source::PeerId => out.extend_from_slice(format!("\"{}\"", facts.peer).as_bytes()),
            Source::UserId => out.extend_from_slice(Value::from(facts.user).to_string().as_bytes()),
            Source::UserInfo => out.extend_from_slice(info(facts)),
            Source::Now => out.extend_from_slice(facts.now_ms.to_string().as_bytes()),
            Source::Constant(_) => out.extend_from_slice(&self.constant),
        }
    }
}

const UUID_BYTES: usize = 36;

fn info<'a>(facts: &Facts<'a>) -> &'a [u8] {
    let info = facts.info.unwrap_or(b"null");
    debug_assert!(json::check_depth(info, dunlin_protocol::DEPTH_MAX - 1), "it goes one level deeper");
    info
}
