//! A prepared message that each publication is written into.

use crate::{
    frame::Format,
    scenario::{DIGITS, Topics},
    stamp::{Stamp, blank_payload},
};

/// The bytes of a publication, all but its topic's number and its stamp.
#[derive(Debug)]
pub struct Template {
    format: Format,
    body: Vec<u8>,
    number_at: Option<usize>,
    payload_at: usize,
}

impl Template {
    /// A whole payload and nothing else: the connection says which topic.
    pub fn bare(size: usize) -> Self {
        Self { format: Format::Text, body: blank_payload(size), number_at: None, payload_at: 0 }
    }

    /// Starts with what comes before the topic's number, which is the topics' prefix at its end.
    pub(super) fn begin(format: Format, head: &[u8], topics: &Topics) -> Self {
        let mut body = head.to_vec();
        body.extend_from_slice(topics.prefix.as_bytes());
        let number_at = Some(body.len());
        body.extend([b'0'; DIGITS]);
        Self { format, body, number_at, payload_at: 0 }
    }

    /// Adds bytes that never change.
    pub(super) fn then(mut self, bytes: &[u8]) -> Self {
        self.body.extend_from_slice(bytes);
        self
    }

    /// Adds a payload of so many bytes in its quotes.
    pub(super) fn quoted(mut self, size: usize) -> Self {
        self.payload_at = self.body.len();
        self.then(&blank_payload(size))
    }

    /// Adds the same without its quotes.
    pub(super) fn unquoted(mut self, size: usize) -> Self {
        // A stamp is written one byte behind where a payload starts, its opening quote.
        self.payload_at = self.body.len() - 1;
        let payload = blank_payload(size);
        self.then(&payload[1..payload.len() - 1])
    }

    /// The message with this stamp.
    pub fn fill(&mut self, stamp: &Stamp) -> (Format, &[u8]) {
        if let Some(at) = self.number_at {
            Topics::write_number(&mut self.body[at..at + DIGITS], stamp.topic);
        }
        stamp.write(&mut self.body[self.payload_at..]);
        (self.format, &self.body)
    }
}
