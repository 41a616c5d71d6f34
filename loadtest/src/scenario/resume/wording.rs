//! What peers of a log and a node say to each other in `dunlin.json.v1`.
//!
//! **Invariant:** no state but where stamps and cursors stand in a frame.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::{
    frame,
    stamp::{Finder, Stamp},
};

/// What is offered at the upgrade.
pub const SUBPROTOCOL: &str = "dunlin.json.v1";

/// What a frame of the node says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Said<'a> {
    /// A publication; without a cursor the topic is no log.
    Publication(Stamp, Option<&'a [u8]>),
    /// The position moved on without a delivery.
    Moved(&'a [u8]),
    /// The subscription has taken effect.
    Answer(Answer<'a>),
    /// Publications may be missing before this frame, for this reason.
    Gap(&'a str),
    /// The node objects.
    Objection,
    /// Nothing that matters here.
    Other,
}

/// The answer to a subscription.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Answer<'a> {
    /// Where the peer stands now.
    pub(super) cursor: Option<&'a [u8]>,
    /// Whether nothing is missing since the cursor it came with; none if it came with none, or the node
    /// doesn't say.
    pub(super) recovered: Option<bool>,
    /// Why something may be missing.
    pub(super) reason: Option<&'a str>,
    /// What was published since.
    pub(super) publications: Vec<Stamp>,
}

/// Understands frames.
#[derive(Debug, Default)]
pub(super) struct Understanding {
    live: Finder,
    stored: Finder,
}

#[derive(Deserialize)]
struct Frame<'a> {
    r#type: &'a str,
    cursor: Option<&'a str>,
    recovered: Option<bool>,
    reason: Option<&'a str>,
    #[serde(borrow, default)]
    publications: Vec<Stored<'a>>,
}

#[derive(Deserialize)]
struct Stored<'a> {
    #[serde(borrow)]
    payload: &'a RawValue,
}

/// Asks for a topic, since a cursor if there is one.
pub(super) fn subscribe(outbox: &mut Vec<u8>, topic: &str, since: &[u8]) {
    let mut body = format!(r#"{{"type":"subscribe","topic":"{topic}","id":1"#).into_bytes();
    if !since.is_empty() {
        body.extend([br#","since":""#, since, b"\""].concat());
    }
    body.push(b'}');
    frame::push_text(outbox, &body);
}

impl Understanding {
    /// What a frame says. Publications come by the thousand and are not parsed: a node writes their keys in
    /// one order, the cursor last.
    pub(super) fn read<'a>(&mut self, body: &'a [u8]) -> Said<'a> {
        if !body.starts_with(br#"{"topic":"#) {
            return self.read_typed(body);
        }
        let cursor = cursor_at_the_end(body);
        match (self.live.find(body), cursor) {
            (Some(stamp), cursor) => Said::Publication(stamp, cursor),
            (None, Some(cursor)) => Said::Moved(cursor),
            (None, None) => Said::Other,
        }
    }

    fn read_typed<'a>(&mut self, body: &'a [u8]) -> Said<'a> {
        let Ok(frame) = serde_json::from_slice::<Frame<'_>>(body) else { return Said::Objection };
        match frame.r#type {
            "ok" => Said::Answer(Answer {
                cursor: frame.cursor.map(str::as_bytes),
                recovered: frame.recovered,
                reason: frame.reason,
                publications: self.stamps_of(&frame.publications),
            }),
            "gap" => Said::Gap(frame.reason.unwrap_or("unsaid")),
            "error" => Said::Objection,
            _ => Said::Other,
        }
    }

    /// Payloads without a stamp are somebody else's.
    fn stamps_of(&mut self, publications: &[Stored<'_>]) -> Vec<Stamp> {
        publications.iter().filter_map(|stored| self.stored.find(stored.payload.get().as_bytes())).collect()
    }
}

/// The cursor of a frame that ends with one.
fn cursor_at_the_end(body: &[u8]) -> Option<&[u8]> {
    let text = body.strip_suffix(br#""}"#)?;
    let start = text.iter().rposition(|byte| *byte == b'"')? + 1;
    text[..start].ends_with(br#","cursor":""#).then(|| &text[start..])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stamp::blank_payload;

    const STAMP: Stamp = Stamp { topic: 0, publisher: 0, sequence: 7, intended: 1 };

    fn payload() -> String {
        let mut payload = blank_payload(64);
        STAMP.write(&mut payload);
        String::from_utf8(payload).unwrap()
    }

    #[test]
    fn a_publication_and_its_cursor_are_read() {
        let mut understanding = Understanding::default();
        let frame = format!(r#"{{"topic":"log:a","payload":{},"cursor":"Aa-_9"}}"#, payload());
        assert_eq!(understanding.read(frame.as_bytes()), Said::Publication(STAMP, Some(b"Aa-_9")));
        let relayed = format!(r#"{{"topic":"log:a","payload":{}}}"#, payload());
        assert_eq!(understanding.read(relayed.as_bytes()), Said::Publication(STAMP, None));
        assert_eq!(understanding.read(br#"{"topic":"log:a","cursor":"Ab"}"#), Said::Moved(b"Ab"));
    }

    #[test]
    fn an_answer_says_whether_anything_is_missing_and_brings_the_rest() {
        let mut understanding = Understanding::default();
        let frame = format!(
            r#"{{"type":"ok","id":1,"topic":"log:a","cursor":"Ab","recovered":true,"publications":[
            {{"cursor":"Aa","payload":{0},"at":1}},{{"cursor":"Ab","payload":{0},"at":2}}]}}"#,
            payload()
        );
        let Said::Answer(answer) = understanding.read(frame.as_bytes()) else { panic!("{frame}") };
        assert_eq!((answer.cursor, answer.recovered), (Some(b"Ab".as_slice()), Some(true)));
        assert_eq!(answer.publications, [STAMP, STAMP]);
        let forked = br#"{"type":"ok","id":1,"cursor":"Ab","recovered":false,"reason":"forked"}"#;
        let Said::Answer(answer) = understanding.read(forked) else { panic!() };
        assert_eq!((answer.recovered, answer.reason), (Some(false), Some("forked")));
    }

    #[test]
    fn other_frames_are_told_apart() {
        let mut understanding = Understanding::default();
        for (frame, said) in [
            (r#"{"type":"welcome","peer":"p","user":null}"#, Said::Other),
            (r#"{"type":"gap","topic":"log:a","reason":"link"}"#, Said::Gap("link")),
            (r#"{"type":"error","code":"rate","error":"slower"}"#, Said::Objection),
            ("no frame", Said::Objection),
        ] {
            assert_eq!(understanding.read(frame.as_bytes()), said, "{frame}");
        }
    }

    #[test]
    fn who_has_a_cursor_asks_since() {
        let asked = |since: &[u8]| {
            let mut outbox = Vec::new();
            subscribe(&mut outbox, "log:a", since);
            let (mask, masked) = (&outbox[2..6], &outbox[6..]);
            let body = masked.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask);
            String::from_utf8(body.collect()).unwrap()
        };
        assert_eq!(asked(b""), r#"{"type":"subscribe","topic":"log:a","id":1}"#);
        assert_eq!(asked(b"Ab"), r#"{"type":"subscribe","topic":"log:a","id":1,"since":"Ab"}"#);
    }
}
