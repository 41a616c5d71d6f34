//! Every history that Redis ever held, as somebody writes it down who listens at Redis itself.
//!
//! A mark is drawn for each attempt, so an item is one place in one history, and whoever was given it right behind another
//! must find it there.

use std::collections::HashMap;

use dunlin_protocol::{Epoch, Heard, Item, ItemError, Mark, Namespace, Position, Topic, mark_of};

use super::super::fake::{Connection, Fake};
use super::super::resp::{self, Decoder, Said};

/// What was put behind what, and what it said; by topic.
pub struct Chronicle {
    topics: usize,
    pub before: HashMap<(usize, Position), Position>,
    pub said: HashMap<(usize, Position), String>,
    spy: Option<(Connection, Decoder)>,
}

pub fn namespace() -> Namespace {
    Namespace::parse("/m").expect("good")
}

pub fn topic(index: usize) -> Topic {
    Topic::parse(&format!("t{index}")).expect("good")
}

pub fn key(topic: usize, kind: &str) -> String {
    format!("sim:1:{{t|/m|t{topic}}}:{kind}")
}

/// A head as Redis holds it.
pub fn head(bytes: &[u8]) -> Position {
    let offset = std::str::from_utf8(&bytes[14..]).expect("digits").parse().expect("a number");
    let epoch = Epoch(bytes[2..10].try_into().expect("eight"));
    let mark = Mark(u32::from_be_bytes(bytes[10..14].try_into().expect("four")));
    Position { epoch, offset, mark }
}

impl Chronicle {
    /// Of so many topics.
    pub fn new(topics: usize) -> Self {
        Self { topics, before: HashMap::new(), said: HashMap::new(), spy: None }
    }

    /// Listens at Redis itself, where nothing is lost.
    pub fn watch(&mut self, fake: &mut Fake) {
        let (connection, decoder) =
            self.spy.get_or_insert_with(|| (spy(fake, self.topics), Decoder::default()));
        let mut bytes = Vec::new();
        fake.take(*connection, &mut bytes);
        decoder.receive(&bytes);
        while let Some(said) = decoder.next().expect("it is RESP") {
            let Said::Message { channel, payload } = said else { continue };
            let index = (0..self.topics).find(|index| key(*index, "l").as_bytes() == channel);
            let index = index.expect("it is one of ours");
            if let Some(Heard::Commit { before, items }) = Heard::decode(&payload) {
                note(&mut self.before, &mut self.said, index, before, items);
            }
        }
        if !fake.is_open(*connection) {
            self.spy = None;
            self.watch(fake);
        }
        self.check_lists(fake);
    }

    /// The last item is the head's (redis 9.6).
    fn check_lists(&self, fake: &Fake) {
        for index in 0..self.topics {
            let Some(bytes) = fake.string(key(index, "h")) else { continue };
            let last = fake.list(key(index, "s")).last().and_then(|last| mark_of(last));
            assert!(last.is_none_or(|last| last == head(&bytes).mark));
        }
    }

    /// The array that ends at a position, by all that is known of history.
    pub fn array_at(&self, topic: usize, position: Position, limit: u32) -> Option<String> {
        let (mut items, mut at) = (Vec::new(), position);
        while items.len() < limit as usize
            && let Some(text) = self.said.get(&(topic, at))
        {
            items.push(text.as_str());
            let Some(before) = self.before.get(&(topic, at)) else { break };
            at = *before;
        }
        items.reverse();
        (!items.is_empty()).then(|| format!("[{}]", items.join(",")))
    }
}

/// Subscribes to everything.
fn spy(fake: &mut Fake, topics: usize) -> Connection {
    let connection = fake.connect();
    let channels: Vec<String> = (0..topics).map(|index| key(index, "l")).collect();
    let mut out = Vec::new();
    resp::command(&mut out, &[b"HELLO", b"3"]);
    let words: Vec<&[u8]> =
        std::iter::once(&b"SUBSCRIBE"[..]).chain(channels.iter().map(String::as_bytes)).collect();
    resp::command(&mut out, &words);
    fake.receive(connection, &out);
    connection
}

/// Notes which items were put behind which, and what they said.
fn note(
    befores: &mut HashMap<(usize, Position), Position>,
    said: &mut HashMap<(usize, Position), String>,
    index: usize,
    mut before: Position,
    items: Vec<Result<Item, ItemError>>,
) {
    for item in items {
        let item = item.expect("nobody else writes here");
        let position = Position { epoch: before.epoch, offset: before.offset + 1, mark: item.mark };
        befores.insert((index, position), before);
        let payload = item.payload.map(|payload| payload.bytes).unwrap_or_default();
        said.insert((index, position), String::from_utf8_lossy(&payload).into_owned());
        before = position;
    }
}
