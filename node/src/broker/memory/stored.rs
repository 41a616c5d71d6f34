//! One topic that remembers, and how long it does.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use dunlin_protocol::{
    Act, Epoch, GapReason, Mark, Payload, Position, PublicationId, Recipients, Unrecovered,
};

use crate::config::{Mode, Retention};
use crate::history::{
    Asked, Change, Commit, CommitError, Entry, Gap, PAGE_BYTES_MAX, Page, Place, Proof, Range, Recovery,
    Since, Span, State,
};
use crate::hub::Moment;
use crate::publication::Publication;

/// How long the numbering outlives what is numbered at least, so that an old cursor is told what it missed.
const NUMBERED_MIN: Duration = Duration::from_hours(24);
/// How long a topic that was only asked for keeps its position (redis 1.6).
const UNWRITTEN: Duration = Duration::from_hours(1);
/// Publications that one recovery or page brings at most.
const PUBLICATIONS_MAX: usize = 1000;

/// One topic that remembers, by the rule it was born with: rules don't change while a node lives.
///
/// Its items go one `ttl` after the last commit. Its numbering stays for a quarter longer, at least a day, and for as
/// long as anybody listens; after that the topic begins a new life.
pub struct Stored {
    /// Which it is.
    pub place: Place,
    retention: Arc<Retention>,
    tip: Position,
    span: Span,
    state: State,
    items_until: Option<Moment>,
    numbered_until: Moment,
    /// Whether any shard has joined it.
    pub is_heard: bool,
}

/// What each commit draws anew.
#[derive(Debug, Clone, Copy)]
pub struct Drawn {
    /// Tells it from another history's item of its number.
    pub mark: Mark,
    /// The publication's id.
    pub id: PublicationId,
}

/// What shards hear of a commit.
pub enum Told {
    /// What was published, or the whole state.
    Publication(Arc<Publication>),
    /// Of a value or log something was taken away.
    Missed(Gap),
}

/// What becomes of a topic as time goes by.
#[must_use]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It stays, perhaps with its numbering only.
    Stays,
    /// Nothing of it is left.
    Gone,
}

impl Stored {
    /// A topic that nobody has written yet.
    pub fn born(now: Moment, place: Place, retention: Arc<Retention>, epoch: Epoch) -> Self {
        Self {
            place,
            state: State::new(retention.clone()),
            retention,
            tip: Position::origin(epoch),
            span: Span::default(),
            items_until: None,
            numbered_until: now + UNWRITTEN,
            is_heard: false,
        }
    }

    /// In which mode it is stored.
    pub fn mode(&self) -> Mode {
        self.retention.mode
    }

    /// Where it is.
    pub fn tip(&self) -> Position {
        self.tip
    }

    /// When time changes it next.
    pub fn deadline(&self) -> Moment {
        self.items_until.map_or(self.numbered_until, |items| items.min(self.numbered_until))
    }

    /// What the time that has passed makes of it; afterwards its deadline lies ahead.
    pub fn wither(&mut self, now: Moment) -> Fate {
        if self.items_until.is_some_and(|until| until <= now) {
            self.items_until = None;
            self.span.clear();
            self.state = State::new(self.retention.clone());
        }
        if self.numbered_until > now {
            return Fate::Stays;
        }
        if self.is_heard {
            self.numbered_until = now + self.numbered();
            return Fate::Stays;
        }
        Fate::Gone
    }

    /// How long its numbering stays.
    fn numbered(&self) -> Duration {
        (self.retention.ttl + self.retention.ttl / 4).max(NUMBERED_MIN)
    }

    /// How many bytes of payload a shard is sent if this is done, at most; or why it may not be done.
    pub fn admits(&self, commit: &Commit) -> Result<usize, CommitError> {
        let bytes = self.state.admits(commit)?;
        if let Change::Forget(before) = commit.change {
            let found = self.span.at(before.offset).map(|entry| entry.position);
            found.filter(|found| *found == before).ok_or(CommitError::Stale)?;
        }
        Ok(bytes)
    }

    /// Does what was admitted.
    pub fn commit(&mut self, now: Moment, commit: Commit, drawn: Drawn) -> Told {
        let entry = self.entry(commit, drawn);
        self.tip = entry.position;
        self.items_until = Some(now + self.retention.ttl);
        self.numbered_until = now + self.numbered();
        self.state.apply(&entry);
        let told = self.told(&entry);
        // Of a map the members are kept, not how they came about.
        if self.mode() != Mode::Map {
            self.span.push(entry);
            self.span.keep(self.kept());
        }
        told
    }

    fn entry(&self, commit: Commit, drawn: Drawn) -> Entry {
        let Drawn { mark, id } = drawn;
        let position = Position { epoch: self.tip.epoch, offset: self.tip.offset + 1, mark };
        let at_us = commit.envelope.at_us;
        let act = match commit.change {
            Change::Replace if self.mode() == Mode::Map => Act::Clear,
            Change::Publish | Change::Replace => Act::Add,
            Change::Clear => Act::Clear,
            Change::Forget(before) => Act::Forget { before: before.offset },
        };
        let brings = matches!(commit.change, Change::Publish | Change::Replace);
        let publication = brings.then(|| {
            let mut envelope = commit.envelope;
            envelope.to = Recipients::Topic(self.place.topic.clone());
            // A copy: what is kept would keep all that was read together with it.
            let bytes = Bytes::copy_from_slice(&envelope.payload.bytes);
            envelope.payload = Payload { bytes, ..envelope.payload };
            Arc::new(Publication::stored(envelope, position))
        });
        Entry { position, id: Some(id), at_us, act, publication }
    }

    fn told(&mut self, entry: &Entry) -> Told {
        let whole = matches!(self.mode(), Mode::List | Mode::Map);
        let whole = if whole { self.state.publication(&self.place, self.tip) } else { None };
        match whole.or_else(|| entry.publication.clone()) {
            Some(publication) => Told::Publication(publication),
            None => Told::Missed(Gap { to: Some(self.tip), ..Gap::of(GapReason::Reset) }),
        }
    }

    /// How many publications it keeps.
    fn kept(&self) -> usize {
        if self.mode() == Mode::Value { 1 } else { self.retention.limit as usize }
    }

    /// What a newcomer has to know.
    pub fn recover(&mut self, asked: Asked) -> Recovery {
        let proof = self.proof(asked.since);
        let mut recovery = Recovery { position: Some(self.tip), ..Recovery::default() };
        if self.state.is_kept() {
            recovery.recovered = proof.map(verdict);
            if asked.since != Since::Position(self.tip) {
                recovery.state = self.state.publication(&self.place, self.tip);
            }
        } else {
            (recovery.recovered, recovery.publications) = self.replay(asked, proof);
        }
        recovery
    }

    fn proof(&self, since: Since) -> Option<Proof> {
        match since {
            Since::Nothing => None,
            Since::Garbage => Some(Proof::Fails(Unrecovered::Reset)),
            Since::Position(since) => Some(self.span.prove(self.tip, since)),
        }
    }

    /// What a newcomer to a log gets: all since the position it has. If it has none, or if that is not in the
    /// history, as many of the last as it or the topic asks for; if all since then is more than may be sent at once,
    /// the last of it.
    fn replay(
        &self,
        asked: Asked,
        proof: Option<Proof>,
    ) -> (Option<Result<(), Unrecovered>>, Vec<Arc<Publication>>) {
        if let Some(Proof::Holds(begin)) = proof {
            let missed = self.span.from(begin).filter(|entry| entry.publication.is_some()).count();
            let last = self.span.last_publications(missed.min(PUBLICATIONS_MAX), PAGE_BYTES_MAX);
            let is_all = last.len() == missed;
            return (Some(if is_all { Ok(()) } else { Err(Unrecovered::Expired) }), last);
        }
        let count = asked.replay.unwrap_or(self.retention.replay) as usize;
        let last = self.span.last_publications(count.min(PUBLICATIONS_MAX), PAGE_BYTES_MAX);
        (proof.map(verdict), last)
    }

    /// Stored publications; of a map the whole is the only one.
    pub fn page(&mut self, range: Range) -> Page {
        if self.mode() == Mode::Map {
            let recovery = self.recover(Asked { since: range.since, replay: None });
            let publications = recovery.state.into_iter().collect();
            return Page { position: self.tip, recovered: recovery.recovered, publications };
        }
        let limit = range.limit.min(PUBLICATIONS_MAX as u32);
        self.span.page(self.tip, Range { limit, ..range })
    }
}

/// What a proof comes to for whoever claimed the position.
fn verdict(proof: Proof) -> Result<(), Unrecovered> {
    match proof {
        Proof::Holds(_) => Ok(()),
        Proof::Fails(why) => Err(why),
        Proof::Older => Err(Unrecovered::Expired),
    }
}
