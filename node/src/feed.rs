//! A node's progress through one topic that remembers (redis.md 2.3 to 2.8).
//!
//! What is heard on the bus and what is read from Redis go in; what this node's shards are to hear, and what is to be
//! read, come out as [`Said`]. Everything is asked on the connection that also brings the publications, and Redis
//! answers and pushes there in the order in which it executed: what came before an answer is part of what it says,
//! what comes after follows it. So nothing has to be held back or merged while an answer is on its way.
//!
//! **Invariant:** what is delivered since the last gap is a consecutive piece of one history: each frame names the mark
//! before it, and is only believed if that is the tip's. An offset alone proves nothing: after a failover the same
//! number comes back with another body.

mod mending;
mod newcomers;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use dunlin_protocol::{Act, GapReason, Heard, Item, ItemError, Position, PublicationId};

pub use self::mending::MEND_PAUSE;
pub use self::newcomers::Newcomer;
use crate::config::{Mode, Retention};
use crate::history::{CommitError, Entry, Gap, Members, Place, Recovery, Span, State};
use crate::hub::Moment;
use crate::publication::Publication;

/// One topic's progress.
#[derive(Debug)]
pub struct Feed {
    place: Place,
    retention: Arc<Retention>,
    stage: Stage,
    /// How far the shards are; none until it was known once.
    tip: Option<Position>,
    /// The last entries up to the tip.
    ring: Span,
    state: State,
    /// What the ring may cost, in bytes.
    allowed: usize,
    /// How large the state was when it was delivered last, in bytes.
    whole_bytes: usize,
    newcomers: Vec<Newcomer>,
    /// What is asked for; questions are numbered.
    asked: Option<Ask>,
    questions: u64,
    /// The number of the last question that was answered.
    answers: u64,
    /// What is being read for newcomers, or has just been.
    deep: Option<Deep>,
    /// Whether shards have peers that were let in without knowing where the topic is.
    blind: bool,
    /// Of late, when mends began.
    mends: Mends,
    rules: Rules,
}

/// Which rules hold; all of them, but in tests that show what each is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// Whether marks are compared.
    pub marks: bool,
}

/// Where a feed is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Nothing is heard.
    Deaf,
    /// Subscribed to, and asked where it is: what is heard until the answer is part of it.
    Opening,
    /// Each frame follows the tip.
    Live,
    /// Frames did not follow the tip: history is being read from there on.
    Mending(Lost),
    /// The topic can't be read at all, as was found out then.
    Refused(CommitError, Moment),
}

/// What is known to be lost of a feed that is being mended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lost {
    /// Nothing, so far.
    Nothing,
    /// What came after this position.
    Since(Option<Position>, GapReason),
}

/// A question for Redis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ask {
    /// Where is the topic?
    Head,
    /// Where is it, and if it never was, let it begin.
    Birth,
    /// Its last entries, or a whole map.
    Last(usize),
    /// Its entries from this offset on.
    From(u64),
}

/// An answer.
#[derive(Debug)]
pub enum Answer {
    /// Where the topic is; none if it has never been.
    Head(Option<Position>),
    /// Entries, in order; the head is not among them if there were too many. None if the topic has never been.
    Entries(Option<Position>, Vec<Entry>),
    /// A whole map.
    Members(Option<Position>, Members),
    /// It can't be read, and asking again would not help.
    Failed(CommitError),
}

/// What a feed wants done, in order.
#[derive(Debug)]
pub enum Said {
    /// For all peers of the topic here.
    Deliver(Arc<Publication>),
    /// A publication took its place: whoever waits for it can be told.
    Passed(PublicationId, Position),
    /// For all peers of the topic here.
    Gap(Gap),
    /// For all peers of the topic here.
    Reset(Position, Option<Arc<Publication>>),
    /// For one newcomer: which one, and what it has to know.
    Answer((usize, u32), Box<Result<Recovery, CommitError>>),
    /// To be asked; the number comes back with the answer.
    Ask(u64, Ask),
    /// To be asked after [`MEND_PAUSE`].
    AskLater(u64, Ask),
    /// An entry could not be read.
    Unreadable,
}

/// Older entries, read for newcomers; once they are all there, they end at the tip.
#[derive(Debug)]
struct Deep {
    /// What was asked first.
    ask: Ask,
    span: Span,
}

/// When mends began, so that a topic that never heals does not take all of Redis' time.
#[derive(Debug, Default)]
struct Mends {
    since: Moment,
    count: u32,
}

/// So many mends within [`MENDS_TIME`] are too many.
const MENDS_MAX: u32 = 5;
const MENDS_TIME: std::time::Duration = std::time::Duration::from_secs(10);
/// Entries that a feed keeps for those who come back, and what they may cost, in bytes.
const RING_ENTRIES: usize = 256;
const RING_BYTES: usize = 128 * 1024;

impl Rules {
    /// All.
    pub const ALL: Self = Self { marks: true };
}

impl Feed {
    /// A feed that hears nothing yet.
    pub fn new(place: Place, retention: Arc<Retention>, rules: Rules) -> Self {
        Self {
            state: State::new(retention.clone()),
            place,
            retention,
            stage: Stage::Deaf,
            tip: None,
            ring: Span::default(),
            allowed: RING_BYTES,
            whole_bytes: 0,
            newcomers: Vec::new(),
            asked: None,
            questions: 0,
            answers: 0,
            deep: None,
            blind: false,
            mends: Mends::default(),
            rules,
        }
    }

    /// How the topic remembers.
    pub fn retention(&self) -> &Arc<Retention> {
        &self.retention
    }

    /// Which topic it is.
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// How far the shards are.
    pub fn tip(&self) -> Option<Position> {
        self.tip
    }

    /// Whether it is known where the topic is, or that this can't be known now.
    pub fn is_settled(&self) -> bool {
        !matches!(self.stage, Stage::Opening | Stage::Mending(_))
    }

    /// Whether what is committed now will be delivered in its place, perhaps once it is heard again.
    pub fn will_deliver(&self) -> bool {
        !matches!(self.stage, Stage::Refused(..))
    }

    /// Whether a question still matters: nothing more urgent was asked since.
    pub fn awaits(&self, question: u64) -> bool {
        self.asked.is_some() && question == self.questions
    }

    /// Whether every publication up to a position has been delivered.
    pub fn has_passed(&self, position: Position) -> bool {
        self.tip.is_some_and(|tip| tip.epoch == position.epoch && tip.offset >= position.offset)
    }

    /// The position of an offset, if it was delivered of late.
    pub fn position_at(&self, offset: u64) -> Option<Position> {
        self.ring.at(offset).map(|entry| entry.position)
    }

    /// What a shard is sent for one more publication beside it, in bytes.
    pub fn whole_bytes(&self) -> usize {
        self.whole_bytes
    }

    /// Whether newcomers get a state.
    pub fn keeps_state(&self) -> bool {
        self.state.is_kept()
    }

    /// Says how much the last entries may cost here, in bytes: all topics of a node share the room.
    pub fn allow(&mut self, bytes: usize) {
        self.allowed = bytes.min(RING_BYTES);
        self.trim_ring();
    }

    /// The whole state, as newcomers get it.
    pub fn state(&mut self) -> Option<Arc<Publication>> {
        self.state.publication(&self.place, self.tip?)
    }

    /// Its channel is being subscribed to: the question goes out behind the subscription.
    pub fn subscribing(&mut self, said: &mut Vec<Said>) {
        self.stage = Stage::Opening;
        self.asked = None;
        self.deep = None;
        let first = if self.tip.is_none() && self.state.is_kept() { self.whole() } else { Ask::Head };
        self.ask(first, said);
    }

    /// The link is gone, or the channel was refused: nothing is heard, no answer comes.
    pub fn lost(&mut self) {
        self.asked = None;
        self.deep = None;
        if !matches!(self.stage, Stage::Refused(..)) {
            self.stage = Stage::Deaf;
        }
    }

    /// Something came on its channel.
    pub fn heard(&mut self, now: Moment, heard: Heard, said: &mut Vec<Said>) {
        // What comes while a question is out that decides where the feed is, is part of its answer.
        let (Stage::Live, Some(tip)) = (self.stage, self.tip) else { return };
        match heard {
            Heard::Commit { before, items } => self.follow(now, tip, before, items, said),
            Heard::Echo(position) if position == tip => {}
            Heard::Echo(_) => self.ask_unless_asked(Ask::Head, said),
        }
    }

    /// Redis was asked where many topics are; this is where this one was. One that could not be read may be well again.
    pub fn swept(&mut self, now: Moment, head: Result<Option<Position>, CommitError>, said: &mut Vec<Said>) {
        match (self.stage, head) {
            (Stage::Live, Ok(head)) if head != self.tip => self.mend(now, said),
            (Stage::Refused(..), Ok(_)) => self.subscribing(said),
            _ => {}
        }
    }

    fn follow(
        &mut self,
        now: Moment,
        tip: Position,
        before: Position,
        items: Vec<Result<Item, ItemError>>,
        said: &mut Vec<Said>,
    ) {
        let last = before.offset.saturating_add(items.len() as u64);
        let entries = || items.into_iter().zip(before.offset + 1..);
        let mut entries = entries().map(|(item, offset)| self.entry(before, offset, item));
        let follows =
            before == tip || !self.rules.marks && (before.epoch, before.offset) == (tip.epoch, tip.offset);
        if follows {
            let entries = entries.collect();
            return self.deliver(entries, said);
        }
        if before.epoch != tip.epoch || before.offset >= tip.offset {
            return self.mend(now, said);
        }
        let agrees = |entry: &Entry| {
            let known = if entry.position.offset == tip.offset {
                Some(tip)
            } else {
                self.ring.at(entry.position.offset).map(|known| known.position)
            };
            !self.rules.marks || known.is_none_or(|known| known == entry.position)
        };
        let seen = (tip.offset - before.offset) as usize;
        if !entries.by_ref().take(seen).all(|entry| agrees(&entry)) {
            return self.mend(now, said);
        }
        if last > tip.offset {
            let rest = entries.collect();
            self.deliver(rest, said);
        }
    }

    fn entry(&self, before: Position, offset: u64, item: Result<Item, ItemError>) -> Entry {
        match item {
            Ok(item) => Entry::new(&self.place, offset, before.epoch, item),
            Err(ItemError { mark }) => Entry::unreadable(Position { epoch: before.epoch, offset, mark }),
        }
    }

    /// Entries that follow the tip, and move it.
    fn deliver(&mut self, entries: Vec<Entry>, said: &mut Vec<Said>) {
        let Some(last) = entries.last().map(|entry| entry.position) else { return };
        let passed: Vec<_> = entries.iter().filter_map(|entry| Some((entry.id?, entry.position))).collect();
        let is_whole = matches!(self.retention.mode, Mode::List | Mode::Map);
        for entry in entries {
            self.state.apply(&entry);
            if is_whole {
                if entry.id.is_none() {
                    said.push(Said::Unreadable);
                }
            } else {
                self.deliver_one(&entry, said);
            }
            self.tip = Some(entry.position);
            self.ring.push(entry);
        }
        if is_whole && let Some(state) = self.state.publication(&self.place, last) {
            self.whole_bytes = state.envelope.payload.bytes.len();
            said.push(Said::Deliver(state));
        }
        // Behind the whole that has them all.
        if is_whole {
            said.extend(passed.into_iter().map(|(id, position)| Said::Passed(id, position)));
        }
        self.trim_ring();
    }

    /// No more is kept than history itself keeps.
    fn trim_ring(&mut self) {
        let limit = if self.retention.mode == Mode::Value { 1 } else { self.retention.limit as usize };
        self.ring.trim((limit + limit / 4 + 4).min(RING_ENTRIES), self.allowed);
    }

    fn deliver_one(&self, entry: &Entry, said: &mut Vec<Said>) {
        let gap = |from, reason| Said::Gap(Gap { from, to: Some(entry.position), reason });
        match (&entry.publication, entry.id, entry.act) {
            (_, None, _) => said.extend([Said::Unreadable, gap(self.tip, GapReason::Lost)]),
            (None, Some(_), Act::Add) => {}
            (None, Some(_), Act::Clear | Act::Forget { .. }) => said.push(gap(None, GapReason::Reset)),
            (Some(publication), Some(_), _) => said.push(Said::Deliver(publication.clone())),
        }
        said.extend(entry.id.map(|id| Said::Passed(id, entry.position)));
    }

    /// What the state is read with.
    fn whole(&self) -> Ask {
        match self.retention.mode {
            Mode::Value | Mode::Map => Ask::Last(VALUE_ENTRIES),
            // What only takes away has a place, too.
            Mode::List => Ask::Last(self.retention.limit as usize + 8),
            Mode::Log => Ask::Last((self.retention.replay as usize).max(LOST_PAGE)),
        }
    }

    fn ask(&mut self, ask: Ask, said: &mut Vec<Said>) {
        self.questions += 1;
        self.asked = Some(ask);
        said.push(Said::Ask(self.questions, ask));
    }

    fn ask_unless_asked(&mut self, ask: Ask, said: &mut Vec<Said>) {
        if self.asked.is_none() {
            self.ask(ask, said);
        }
    }
}

/// A value's history has no more entries than this.
const VALUE_ENTRIES: usize = 5;
/// What is told of a log that lost its place: at least so many of its last publications, if it has them.
const LOST_PAGE: usize = 100;
