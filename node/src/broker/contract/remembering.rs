//! Topics that remember, as the promises use them.

use std::sync::Arc;

use bytes::Bytes;
use dunlin_protocol::{Payload, PeerId, Position, Recipients};

use super::{Command, Event, Shard, envelope, namespace, topic};
use crate::config::{Mode, Retention};
use crate::history::{Asked, Change, Commit, CommitError, Page, Range, Reading, Recovery, Since};
use crate::hub::Tag;
use crate::publication::Publication;

/// The namespace of all of them.
const SPACE: &str = "/a";

/// A topic that remembers.
#[derive(Clone)]
pub struct Kept {
    pub topic: &'static str,
    pub retention: Arc<Retention>,
}

impl Kept {
    pub fn new(mode: Mode) -> Self {
        Self { topic: "t", retention: Arc::new(Retention { mode, ..Retention::default() }) }
    }

    pub fn called(self, topic: &'static str) -> Self {
        Self { topic, ..self }
    }

    pub fn limit(self, limit: u32) -> Self {
        Self { retention: Arc::new(Retention { limit, ..Retention::clone(&self.retention) }), ..self }
    }

    pub fn max_bytes(self, max_bytes: usize) -> Self {
        Self { retention: Arc::new(Retention { max_bytes, ..Retention::clone(&self.retention) }), ..self }
    }

    pub fn replay(self, replay: u32) -> Self {
        Self { retention: Arc::new(Retention { replay, ..Retention::clone(&self.retention) }), ..self }
    }

    /// A change that brings JSON, or a payload that is not looked at.
    pub fn change(&self, change: Change, payload: &str) -> Commit {
        let payload = Payload::json(Bytes::copy_from_slice(payload.as_bytes()));
        let envelope = envelope(SPACE, Recipients::Topic(topic(self.topic)), payload);
        Commit { envelope, retention: self.retention.clone(), key: None, change }
    }

    pub fn publish(&self, payload: &str) -> Commit {
        self.change(Change::Publish, payload)
    }

    pub fn publish_of(&self, origin: PeerId, payload: &str) -> Commit {
        let mut commit = self.publish(payload);
        commit.envelope.origin = Some(origin);
        commit
    }

    pub fn publish_once(&self, key: &str, payload: &str) -> Commit {
        Commit { key: Some(key.into()), ..self.publish(payload) }
    }
}

/// Where a commit brought the topic; it was done.
pub type Done = Result<Option<Position>, CommitError>;

impl Shard {
    /// Joins a topic that remembers, and waits for the answer.
    pub fn follow(&mut self, tag: u64, kept: &Kept) {
        let retention = Some(kept.retention.clone());
        self.submit([Command::Join(Tag(tag), namespace(SPACE), topic(kept.topic), retention)]);
        self.first(|event| matches!(event, Event::Joined(joined) if *joined == Tag(tag)).then_some(()));
    }

    /// The first event that is meant; those before it stay where they are.
    pub fn first<T>(&mut self, meant: impl Fn(&Event) -> Option<T>) -> T {
        let mut skipped = Vec::new();
        let found = loop {
            let event = self.next();
            match meant(&event) {
                Some(found) => break found,
                None => skipped.push(event),
            }
        };
        for event in skipped.into_iter().rev() {
            self.waiting.push_front(event);
        }
        found
    }

    /// Commits, and waits for the answer.
    pub fn commit(&mut self, commit: Commit) -> Done {
        self.submit([Command::Commit(77, Box::new(commit))]);
        self.first(|event| match event {
            Event::Committed(77, outcome) => Some(*outcome),
            _ => None,
        })
    }

    /// Commits what can't be refused, and says where the topic is since.
    pub fn put(&mut self, commit: Commit) -> Position {
        self.commit(commit).expect("nothing refuses it").expect("its place is known")
    }

    /// Publishes these one after the other, and says where each is.
    pub fn put_all<T: ToString>(
        &mut self,
        kept: &Kept,
        payloads: impl IntoIterator<Item = T>,
    ) -> Vec<Position> {
        payloads.into_iter().map(|payload| self.put(kept.publish(&payload.to_string()))).collect()
    }

    /// Asks as a newcomer to a topic that is followed, and waits for the answer.
    pub fn ask(&mut self, tag: u64, since: Since, replay: Option<u32>) -> Result<Recovery, CommitError> {
        self.submit([Command::Recover(78, Tag(tag), Asked { since, replay })]);
        self.first(|event| match event {
            Event::Recovered(78, answer) => Some((**answer).clone()),
            _ => None,
        })
    }

    /// What a newcomer is told that is not refused.
    pub fn recover(&mut self, tag: u64, since: Since, replay: Option<u32>) -> Recovery {
        self.ask(tag, since, replay).expect("nothing refuses it")
    }

    /// What the topic holds, for a newcomer without a position.
    pub fn state(&mut self, tag: u64) -> Option<String> {
        self.recover(tag, Since::Nothing, None).state.as_ref().map(payload)
    }

    /// Reads a page, and waits for it.
    pub fn read(&mut self, kept: &Kept, range: Range) -> Result<Page, CommitError> {
        let (namespace, topic) = (namespace(SPACE), topic(kept.topic));
        let reading = Reading { namespace, topic, retention: kept.retention.clone(), range };
        self.submit([Command::Read(79, Box::new(reading))]);
        self.first(|event| match event {
            Event::Read(79, page) => Some((**page).clone()),
            _ => None,
        })
    }

    /// The publications that are heard under a tag until the topic is at this position.
    pub fn hear_until(&mut self, tag: u64, end: Position) -> Vec<Arc<Publication>> {
        let mut heard: Vec<Arc<Publication>> = Vec::new();
        while heard.last().and_then(|publication| publication.position) != Some(end) {
            heard.push(self.first(|event| match event {
                Event::Publication(heard, publication) if *heard == Tag(tag) => Some(publication.clone()),
                _ => None,
            }));
        }
        heard
    }
}

/// What a publication brings.
pub fn payload(publication: &Arc<Publication>) -> String {
    String::from_utf8_lossy(&publication.envelope.payload.bytes).into_owned()
}

pub fn payloads(publications: &[Arc<Publication>]) -> Vec<String> {
    publications.iter().map(payload).collect()
}

pub fn offsets(publications: &[Arc<Publication>]) -> Vec<u64> {
    publications.iter().map(|publication| position(publication).offset).collect()
}

pub fn position(publication: &Arc<Publication>) -> Position {
    publication.position.expect("what is stored has a position")
}

/// Numbers as their text.
pub fn texts<T: ToString>(numbers: impl IntoIterator<Item = T>) -> Vec<String> {
    numbers.into_iter().map(|number| number.to_string()).collect()
}
