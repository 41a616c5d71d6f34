//! What a node says, key by key, whichever codec writes it: the same maps in each.

use crate::{Payload, RequestId, ServerFrame, Topic};

/// A map being written at the end of a buffer. Keys come in the order of the calls.
///
/// Texts are UTF-8; keys are ours, few and short.
pub(crate) trait Map<'a>: Sized {
    /// Begins one whose first key is its type, a word of ours.
    fn of_type(out: &'a mut Vec<u8>, name: &str) -> Self;
    /// A key with a string.
    fn text(&mut self, key: &str, text: &[u8]);
    /// A key with an integer from 0 up.
    fn count(&mut self, key: &str, count: u64);
    /// A key with any integer.
    fn integer(&mut self, key: &str, number: i64);
    /// A key with nothing behind it.
    fn null(&mut self, key: &str);
    /// A key that holds.
    fn holds(&mut self, key: &str);
    /// A key with a list of names.
    fn topics(&mut self, key: &str, topics: &[Topic]);
    /// A payload under the key that its kind has.
    fn payload(&mut self, payload: &Payload);
    /// Ends it.
    fn end(self);

    /// A key with a string, if there is one.
    fn text_if(&mut self, key: &str, text: Option<&str>) {
        if let Some(text) = text {
            self.text(key, text.as_bytes());
        }
    }

    /// A key with a string, or with nothing.
    fn text_or_null(&mut self, key: &str, text: Option<&str>) {
        match text {
            Some(text) => self.text(key, text.as_bytes()),
            None => self.null(key),
        }
    }

    /// A key that is there only if it holds.
    fn holds_if(&mut self, key: &str, holds: bool) {
        if holds {
            self.holds(key);
        }
    }

    /// The id of the request that is answered.
    fn id(&mut self, id: &RequestId) {
        match id {
            RequestId::Text(text) => self.text("id", text.as_bytes()),
            RequestId::Number(number) => self.integer("id", *number),
        }
    }
}

/// Appends what has no topic: `{"type":"message","payload":P}`.
pub(crate) fn message<'a, M: Map<'a>>(out: &'a mut Vec<u8>, payload: &Payload) {
    let mut map = M::of_type(out, "message");
    map.payload(payload);
    map.end();
}

/// Appends a frame that is no publication:
///
/// - `{"type":"welcome","peer","node","ping_ms","user"}`
/// - `{"type":"ok","id","topic"?,payload?,"local"?}`
/// - `{"type":"ok","id","peer","user","node","namespace","topics","local"?}` for a hello
/// - `{"type":"error","code","error","id"?,"topic"?}`
/// - `{"type":"gap","topic","reason"}`
pub(crate) fn frame<'a, M: Map<'a>>(out: &'a mut Vec<u8>, frame: &ServerFrame<'_>) {
    match *frame {
        ServerFrame::Welcome { peer, node, ping_ms, user } => {
            let mut map = M::of_type(out, "welcome");
            map.text("peer", &peer.text());
            map.text("node", node.as_bytes());
            map.count("ping_ms", ping_ms);
            map.text_or_null("user", user);
            map.end();
        }
        ServerFrame::Ok { id, topic, payload, local } => {
            let mut map = M::of_type(out, "ok");
            map.id(id);
            map.text_if("topic", topic.map(Topic::as_str));
            if let Some(payload) = payload {
                map.payload(payload);
            }
            map.holds_if("local", local);
            map.end();
        }
        ServerFrame::Hello { id, peer, user, node, namespace, topics, local } => {
            let mut map = M::of_type(out, "ok");
            map.id(id);
            map.text("peer", &peer.text());
            map.text_or_null("user", user);
            map.text("node", node.as_bytes());
            map.text("namespace", namespace.as_str().as_bytes());
            map.topics("topics", topics);
            map.holds_if("local", local);
            map.end();
        }
        ServerFrame::Error { code, error, id, topic } => {
            let mut map = M::of_type(out, "error");
            map.text("code", code.as_str().as_bytes());
            map.text("error", error.as_bytes());
            if let Some(id) = id {
                map.id(id);
            }
            map.text_if("topic", topic.map(Topic::as_str));
            map.end();
        }
        ServerFrame::Gap { topic, reason } => {
            let mut map = M::of_type(out, "gap");
            map.text("topic", topic.as_str().as_bytes());
            map.text("reason", reason.as_str().as_bytes());
            map.end();
        }
    }
}
