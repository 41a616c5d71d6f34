//! What a node says, key by key, whichever codec writes it: the same maps in each.

use crate::{Cursor, Payload, RequestId, ServerFrame, StoredPublication, Topic, Unrecovered};

/// A map being written at the end of a buffer. Keys come in the order of the calls.
///
/// Texts are UTF-8; keys are ours, few and short.
pub(crate) trait Map<'a>: Sized {
    /// Begins one whose first key is its type, a word of ours.
    fn of_type(out: &'a mut Vec<u8>, name: &str) -> Self;
    /// Begins one without a type, whose first key is its topic.
    fn of_topic(out: &'a mut Vec<u8>, topic: &str) -> Self;
    /// A key with a string.
    fn text(&mut self, key: &str, text: &[u8]);
    /// A key with an integer from 0 up.
    fn count(&mut self, key: &str, count: u64);
    /// A key with any integer.
    fn integer(&mut self, key: &str, number: i64);
    /// A key with nothing behind it.
    fn null(&mut self, key: &str);
    /// A key that holds, or does not.
    fn flag(&mut self, key: &str, holds: bool);
    /// A key with a list of names.
    fn topics(&mut self, key: &str, topics: &[Topic]);
    /// A payload under this key, unless its kind has one of its own.
    fn payload_as(&mut self, key: &str, payload: &Payload);
    /// A key with a list of stored publications.
    fn stored(&mut self, key: &str, publications: &[StoredPublication<'_>]);
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
            self.flag(key, true);
        }
    }

    /// A payload under the key that its kind has.
    fn payload(&mut self, payload: &Payload) {
        self.payload_as("payload", payload);
    }

    /// A key with a cursor, if there is one.
    fn cursor_if(&mut self, key: &str, cursor: Option<Cursor>) {
        self.text_if(key, cursor.as_ref().map(Cursor::as_str));
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
/// - `{"type":"welcome","peer","node","ping_ms","grant"?,"user"}`
/// - `{"type":"ok","id","topic"?,"cursor"?,payload?,"local"?}`
/// - `{"type":"ok","id","topic","cursor"?,"recovered"?,"reason"?,state?,"publications"?}`
/// - `{"type":"ok","id","peer","user","node","namespace","topics","local"?}` for a hello
/// - `{"type":"error","code","error","id"?,"topic"?}`
/// - `{"type":"gap","topic","from"?,"to"?,"reason"}`
/// - `{"type":"reset","topic","recovered":false,"cursor"?,state}`
/// - `{"topic","cursor"}`
/// - `{"type":"grant","grant"}`
pub(crate) fn frame<'a, M: Map<'a>>(out: &'a mut Vec<u8>, frame: &ServerFrame<'_>) {
    match *frame {
        ServerFrame::Welcome { peer, node, ping_ms, grant, user } => {
            let mut map = M::of_type(out, "welcome");
            map.text("peer", &peer.text());
            map.text("node", node.as_bytes());
            map.count("ping_ms", ping_ms);
            map.text_if("grant", grant);
            map.text_or_null("user", user);
            map.end();
        }
        ServerFrame::Ok { id, topic, cursor, payload, local } => {
            let mut map = M::of_type(out, "ok");
            map.id(id);
            map.text_if("topic", topic.map(Topic::as_str));
            map.cursor_if("cursor", cursor);
            if let Some(payload) = payload {
                map.payload(payload);
            }
            map.holds_if("local", local);
            map.end();
        }
        ServerFrame::Remembered { id, topic, cursor, recovered, state, publications } => {
            let mut map = M::of_type(out, "ok");
            map.id(id);
            map.text("topic", topic.as_str().as_bytes());
            map.cursor_if("cursor", cursor);
            if let Some(recovered) = recovered {
                map.flag("recovered", recovered.is_ok());
                map.text_if("reason", recovered.err().map(Unrecovered::as_str));
            }
            if let Some(state) = state {
                map.payload_as("state", state);
            }
            if let Some(publications) = publications {
                map.stored("publications", publications);
            }
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
        ServerFrame::Gap { topic, from, to, reason } => {
            let mut map = M::of_type(out, "gap");
            map.text("topic", topic.as_str().as_bytes());
            map.cursor_if("from", from);
            map.cursor_if("to", to);
            map.text("reason", reason.as_str().as_bytes());
            map.end();
        }
        ServerFrame::Reset { topic, cursor, state } => {
            let mut map = M::of_type(out, "reset");
            map.text("topic", topic.as_str().as_bytes());
            map.flag("recovered", false);
            map.cursor_if("cursor", cursor);
            match state {
                Some(state) => map.payload_as("state", state),
                None => map.null("state"),
            }
            map.end();
        }
        ServerFrame::Moved { topic, cursor } => {
            let mut map = M::of_topic(out, topic.as_str());
            map.text("cursor", cursor.as_str().as_bytes());
            map.end();
        }
        ServerFrame::Grant { grant } => {
            let mut map = M::of_type(out, "grant");
            map.text("grant", grant.as_bytes());
            map.end();
        }
    }
}
