//! Consecutive entries, and what they prove.

use std::collections::VecDeque;
use std::sync::Arc;

use dunlin_protocol::{Act, Position, Unrecovered};

use super::{Entry, PAGE_BYTES_MAX, Page, Range, Since};
use crate::publication::Publication;

/// Consecutive entries of one life of a topic, oldest first.
#[derive(Debug, Clone, Default)]
pub struct Span {
    entries: VecDeque<Entry>,
    bytes: usize,
    /// How many of the entries bring one.
    publications: usize,
}

/// What entries say about a position that somebody claims to have reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Proof {
    /// It is in this history, and all after it is at hand: the entries from this index on.
    Holds(usize),
    /// Something after it is not to be had.
    Fails(Unrecovered),
    /// It is older than the entries at hand.
    Older,
}

/// Entries that [`Span::keep`] keeps beyond the number of publications, if they bring none.
const BARE_MAX: usize = 64;

impl Span {
    /// These entries; where one does not follow the one before it, only what comes after.
    pub fn of(entries: Vec<Entry>) -> Self {
        let mut span = Self::default();
        for entry in entries {
            span.push(entry);
        }
        span
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The oldest.
    pub fn first(&self) -> Option<&Entry> {
        self.entries.front()
    }

    /// The newest.
    pub fn last(&self) -> Option<&Entry> {
        self.entries.back()
    }

    /// All of them.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &Entry> + Clone {
        self.entries.iter()
    }

    /// Those from an index on.
    pub fn from(&self, index: usize) -> impl DoubleEndedIterator<Item = &Entry> + Clone {
        self.entries.range(index.min(self.entries.len())..)
    }

    /// What they cost, in bytes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Puts an entry behind the last one, and obeys what it does to those before it. One that does not follow the last
    /// begins a new span.
    pub fn push(&mut self, entry: Entry) {
        let follows = |last: &Entry| {
            last.position.epoch == entry.position.epoch && last.position.offset + 1 == entry.position.offset
        };
        if !self.last().is_none_or(follows) || entry.act == Act::Clear {
            self.clear();
        }
        if let Act::Forget { before } = entry.act {
            self.forget(before);
        }
        self.bytes += entry.cost();
        self.publications += usize::from(entry.publication.is_some());
        self.entries.push_back(entry);
    }

    /// Lets go of all entries.
    pub fn clear(&mut self) {
        self.entries.clear();
        self.bytes = 0;
        self.publications = 0;
    }

    /// Lets go of those before an offset.
    pub fn forget(&mut self, before: u64) {
        while self.first().is_some_and(|entry| entry.position.offset < before) {
            self.drop_first();
        }
    }

    /// Lets go of those after an offset.
    pub fn forget_after(&mut self, offset: u64) {
        while self.last().is_some_and(|entry| entry.position.offset > offset) {
            let Some(entry) = self.entries.pop_back() else { return };
            self.bytes -= entry.cost();
            self.publications -= usize::from(entry.publication.is_some());
        }
    }

    /// Lets go of the oldest until there are at most so many, of at most so many bytes; the last stays.
    pub fn trim(&mut self, entries: usize, bytes: usize) {
        while self.len() > 1 && (self.len() > entries || self.bytes > bytes) {
            self.drop_first();
        }
    }

    /// Lets go of the oldest until there are at most so many publications. Entries that only took away don't count,
    /// but there are not many of them, either.
    pub fn keep(&mut self, publications: usize) {
        let most_bare = publications.saturating_add(BARE_MAX);
        while self.publications > publications || self.len() - self.publications > most_bare {
            self.drop_first();
        }
    }

    fn drop_first(&mut self) {
        if let Some(entry) = self.entries.pop_front() {
            self.bytes -= entry.cost();
            self.publications -= usize::from(entry.publication.is_some());
        }
    }

    /// The entry at an offset.
    pub fn at(&self, offset: u64) -> Option<&Entry> {
        self.index(offset).map(|index| &self.entries[index])
    }

    fn index(&self, offset: u64) -> Option<usize> {
        let index = usize::try_from(offset.checked_sub(self.first()?.position.offset)?).ok()?;
        (index < self.len()).then_some(index)
    }

    /// What is known of a position, given that the entries end at the head (redis.md 2.6). They may be none.
    pub fn prove(&self, head: Position, since: Position) -> Proof {
        if since.epoch != head.epoch {
            return Proof::Fails(Unrecovered::Reset);
        }
        if since == head {
            return Proof::Holds(self.len());
        }
        if since.offset >= head.offset || (since.offset == 0 && since != Position::origin(since.epoch)) {
            return Proof::Fails(Unrecovered::Forked);
        }
        let next = match self.index(since.offset) {
            Some(index) if self.entries[index].position == since => index + 1,
            Some(_) => return Proof::Fails(Unrecovered::Forked),
            None if since.offset == 0 && self.first().is_some_and(|first| first.position.offset == 1) => 0,
            None => return Proof::Older,
        };
        let is_whole = self.from(next).all(|entry| entry.id.is_some());
        if is_whole { Proof::Holds(next) } else { Proof::Fails(Unrecovered::Expired) }
    }

    /// The last publications, oldest first: at most so many, and of at most so many bytes.
    pub fn last_publications(&self, count: usize, bytes: usize) -> Vec<Arc<Publication>> {
        let mut last = publications(self.iter().rev(), count, bytes);
        last.reverse();
        last
    }

    /// The publications from an index on.
    pub fn publications_from(&self, index: usize) -> Vec<Arc<Publication>> {
        self.from(index).filter_map(|entry| entry.publication.clone()).collect()
    }

    /// A page of what is here, given that it ends at the head and is all there is. From a proven position it goes
    /// forwards, else it is what is newest.
    pub fn page(&self, head: Position, range: Range) -> Page {
        let end = match range.before {
            Since::Nothing => self.len(),
            Since::Position(before) if before.epoch == head.epoch => {
                self.iter().take_while(|entry| entry.position.offset < before.offset).count()
            }
            Since::Position(_) | Since::Garbage => 0,
        };
        let count = range.limit as usize;
        let newest = || {
            let mut newest = publications(self.entries.range(..end).rev(), count, PAGE_BYTES_MAX);
            newest.reverse();
            newest
        };
        let (recovered, publications) = match range.since {
            Since::Nothing => (None, newest()),
            Since::Garbage => (Some(Err(Unrecovered::Reset)), newest()),
            Since::Position(since) => match self.prove(head, since) {
                Proof::Holds(begin) => {
                    let after = self.entries.range(begin.min(end)..end);
                    (Some(Ok(())), publications(after, count, PAGE_BYTES_MAX))
                }
                Proof::Fails(why) => (Some(Err(why)), newest()),
                Proof::Older => (Some(Err(Unrecovered::Expired)), newest()),
            },
        };
        Page { position: head, recovered, publications }
    }
}

/// The first publications among entries: at most so many, and of at most so many bytes, but for the first.
fn publications<'a>(
    entries: impl Iterator<Item = &'a Entry>,
    count: usize,
    bytes: usize,
) -> Vec<Arc<Publication>> {
    let mut room = bytes;
    let fits = |publication: &Arc<Publication>| {
        let cost = publication.envelope.payload.bytes.len();
        let fits = cost <= room || room == bytes;
        room = room.saturating_sub(cost.max(1));
        fits
    };
    entries.filter_map(|entry| entry.publication.clone()).take(count).take_while(fits).collect()
}
