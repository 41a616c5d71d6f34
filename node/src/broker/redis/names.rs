//! What keys and channels are called (redis.md 0.2, 0.3).
//!
//! **Invariant:** two different topics never share a name, nor a cluster slot by accident: what is between
//! the braces holds no byte that ends it, and no separator that a name could contain.

use aws_lc_rs::digest;
use dunlin_protocol::{Incarnation, Namespace, Topic};

/// The number of the layout: nodes of another one don't meet.
pub const LAYOUT: u32 = 1;

/// Makes the names under one prefix.
#[derive(Debug, Clone)]
pub struct Names {
    /// `<prefix>:<layout>`, with `@<database>` unless it is 0: pub/sub knows no databases.
    prefix: String,
}

impl Names {
    /// The names of a cluster with this prefix in this database.
    pub fn new(prefix: &str, database: u32) -> Self {
        let database = if database == 0 { String::new() } else { format!("@{database}") };
        Self { prefix: format!("{prefix}:{LAYOUT}{database}") }
    }

    /// Where publications on a topic travel.
    pub fn topic_channel(&self, out: &mut Vec<u8>, namespace: &Namespace, topic: &Topic) {
        self.begin(out, b"t|");
        encode(out, namespace.as_str());
        out.push(b'|');
        encode(out, topic.as_str());
        out.extend_from_slice(b"}:l");
    }

    /// A key of a topic that remembers: `h` its head, `s` its history, `k` a map.
    pub fn topic_key(&self, namespace: &Namespace, topic: &Topic, kind: &str) -> Vec<u8> {
        let mut out = Vec::new();
        self.topic_channel(&mut out, namespace, topic);
        out.pop();
        out.extend_from_slice(kind.as_bytes());
        out
    }

    /// Where a publication got that was published under a key.
    pub fn idempotency_key(&self, namespace: &Namespace, topic: &Topic, key: &str) -> Vec<u8> {
        let digest = digest::digest(&digest::SHA256, key.as_bytes());
        let mut out = self.topic_key(namespace, topic, "i:");
        out.extend(
            digest.as_ref()[..16]
                .iter()
                .flat_map(|byte| [HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]),
        );
        out
    }

    /// What grants are signed with.
    pub fn secret(&self) -> String {
        format!("{}:{{n}}:secret", self.prefix)
    }

    /// Where counts of a namespace and publications to all of it travel; without one, the count of everything.
    pub fn namespace_channel(&self, out: &mut Vec<u8>, namespace: Option<&Namespace>) {
        self.counts(out, namespace);
        out.extend_from_slice(b":n");
    }

    /// The hash of a namespace's counts; without one, the count of everything.
    pub fn counts_key(&self, out: &mut Vec<u8>, namespace: Option<&Namespace>) {
        self.counts(out, namespace);
        out.extend_from_slice(b":c");
    }

    /// Where a node hears itself.
    pub fn heartbeat_channel(&self, incarnation: Incarnation) -> String {
        format!("{}:{{n|{incarnation}}}:hb", self.prefix)
    }

    /// What an incarnation may have written.
    pub fn registry(&self, incarnation: Incarnation) -> String {
        format!("{}:{{n|{incarnation}}}:r", self.prefix)
    }

    /// The leases: live, gone, meta.
    pub fn leases(&self) -> [String; 3] {
        ["live", "gone", "meta"].map(|kind| format!("{}:{{n}}:{kind}", self.prefix))
    }

    fn begin(&self, out: &mut Vec<u8>, kind: &[u8]) {
        out.extend_from_slice(self.prefix.as_bytes());
        out.extend_from_slice(b":{");
        out.extend_from_slice(kind);
    }

    fn counts(&self, out: &mut Vec<u8>, namespace: Option<&Namespace>) {
        self.begin(out, b"c|");
        encode(out, namespace.map_or("", Namespace::as_str));
        out.push(b'}');
    }
}

const HEX: &[u8; 16] = b"0123456789ABCDEF";

/// Percent-encodes every byte that is not plain.
pub fn encode(out: &mut Vec<u8>, text: &str) {
    for byte in text.bytes() {
        if PLAIN[usize::from(byte)] {
            out.push(byte);
        } else {
            out.extend_from_slice(&[b'%', HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
        }
    }
}

/// Bytes that stay as they are: `A-Za-z0-9._~:@/+,;=*-`.
const PLAIN: [bool; 256] = {
    let mut plain = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        let is_word = (byte as u8).is_ascii_alphanumeric();
        plain[byte] = is_word
            || matches!(byte as u8, b'.' | b'_' | b'~' | b':' | b'@' | b'/' | b'+')
            || matches!(byte as u8, b',' | b';' | b'=' | b'*' | b'-');
        byte += 1;
    }
    plain
};

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn channel(space: &str, name: &str) -> String {
        let mut out = Vec::new();
        let (namespace, topic) = (Namespace::parse(space).expect("good"), Topic::parse(name).expect("good"));
        Names::new("dunlin", 0).topic_channel(&mut out, &namespace, &topic);
        String::from_utf8(out).expect("names are ASCII")
    }

    #[test]
    fn names_look_as_documented() {
        assert_eq!(channel("/_ws", "chat"), "dunlin:1:{t|/_ws|chat}:l");
        assert_eq!(channel("/_ws", "ä}|%"), "dunlin:1:{t|/_ws|%C3%A4%7D%7C%25}:l");
        let mut out = Vec::new();
        Names::new("p", 3).counts_key(&mut out, None);
        assert_eq!(out, b"p:1@3:{c|}:c");
    }

    // redis 0.2
    #[test]
    fn what_would_be_one_name_without_encoding_is_two() {
        let pairs =
            [("/a", "b/c"), ("/a/b", "c"), ("/a", "b}c"), ("/a", "b|c"), ("/a", "b%7Cc"), ("/a%7Cb", "c")];
        let names: HashSet<_> = pairs.iter().map(|(space, name)| channel(space, name)).collect();
        assert_eq!(names.len(), pairs.len());
        for name in names {
            assert_eq!((name.matches('{').count(), name.matches('}').count()), (1, 1), "{name}");
        }
    }
}
