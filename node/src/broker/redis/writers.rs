//! What this node has to write on topics that remember: one queue for each topic, one batch of it on its way at a
//! time (redis.md 0.6, 0.7, 1.3).
//!
//! Two batches of one topic under way could change places: the first is refused because Redis forgot the script,
//! another node teaches it again, the second succeeds. So what comes while a batch is out is the next batch.
//!
//! **Invariant:** a batch whose answer was lost is repeated as it was, but for its marks, and only when its first
//! attempt can't run any more; it is looked for before it is written.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use dunlin_protocol::{Incarnation, Mark, Position, PublicationId};
use slab::Slab;
use smallvec::SmallVec;

use crate::broker::inbox;
use crate::config::Retention;
use crate::history::{Change, Commit, Place};
use crate::hub::Moment;

/// Commits in one batch, and what their payloads may come to, in bytes; one alone may be more.
pub const BATCH_MAX: usize = 64;
const BATCH_BYTES: usize = 256 * 1024;
/// What may wait for one topic, in bytes.
const QUEUE_BYTES: usize = 4 * 1024 * 1024;
/// A commit that is older is not begun, and not repeated.
pub const COMMIT_TIME: Duration = Duration::from_secs(5);
/// How long a topic that was written to is remembered: where it was then helps to find a batch again.
const LINGER: Duration = Duration::from_mins(1);
/// The lane in the ids of these publications; shards have the others.
pub const LANE: u16 = u16::MAX;

/// One commit that waits, or is on its way.
#[derive(Debug)]
pub struct Pending {
    /// Which shard wants to know what became of it, and its ticket; none once it knows.
    pub asker: Option<(usize, u32)>,
    /// What is to be done.
    pub commit: Box<Commit>,
    /// The name of the publication.
    pub id: PublicationId,
    /// When it was accepted.
    pub accepted_at: Moment,
}

/// Where a topic's batch is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// There is none.
    Idle,
    /// Its answer is awaited.
    Sent,
    /// Redis had no time for it, but will.
    PutOff(Moment),
    /// Its answer was lost: whether it happened is unknown.
    Unknown,
    /// The same, and it can't happen any more without being repeated.
    Fenced,
}

/// One topic that is written to.
#[derive(Debug)]
pub struct Writer {
    /// Which topic.
    pub place: Place,
    /// How it remembers.
    retention: Arc<Retention>,
    /// Its channel.
    pub channel: Bytes,
    /// Tells apart writers that had the same place.
    pub serial: u32,
    /// What waits for the next batch.
    queue: VecDeque<Pending>,
    /// The batch that is on its way.
    pub batch: Vec<Pending>,
    /// The marks of its last attempt.
    pub marks: SmallVec<[Mark; 1]>,
    /// Who sends it, and its number; for a map.
    pub sender: (Incarnation, u64),
    /// Where the batch is.
    pub stage: Stage,
    /// Whether the answer of an attempt was lost: until it is found or written, it may be there already.
    pub in_doubt: bool,
    /// Where the topic was before the batch's first attempt, if that is known.
    pub base: Option<Position>,
    /// Where the topic was when this node last knew.
    pub tip: Option<Position>,
    /// When this node's last commit is to be told again.
    pub echo_at: Option<Moment>,
    /// When the keys were given their lifetime.
    pub renewed_at: Option<Moment>,
    /// Whether this incarnation has written here; for a map.
    pub known_as: Option<Incarnation>,
    bytes: usize,
    used_at: Moment,
    /// When it is looked at next to see whether it is still used.
    lingers_until: Moment,
    queued: bool,
}

/// All topics this node writes to.
#[derive(Debug, Default)]
pub struct Writers {
    by_channel: HashMap<Bytes, usize>,
    all: Slab<Writer>,
    ready: VecDeque<usize>,
    due: BTreeSet<(Moment, usize)>,
    bytes: usize,
    serial: u32,
    sequence: u64,
}

impl Writers {
    /// What they hold, in bytes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The writer of a channel.
    pub fn find(&self, channel: &[u8]) -> Option<usize> {
        self.by_channel.get(channel).copied()
    }

    /// The writer at an index.
    pub fn get(&mut self, index: usize) -> Option<&mut Writer> {
        self.all.get_mut(index)
    }

    /// The writer at an index, if it still is the one of that serial.
    pub fn same(&mut self, index: usize, serial: u32) -> Option<&mut Writer> {
        self.all.get_mut(index).filter(|writer| writer.serial == serial)
    }

    /// Indices of all.
    pub fn indices(&self) -> Vec<usize> {
        self.all.iter().map(|(index, _)| index).collect()
    }

    /// Whether there is room for one more commit on a topic.
    pub fn has_room(&self, channel: &[u8], cost: usize) -> bool {
        self.find(channel).is_none_or(|index| self.all[index].bytes + cost <= QUEUE_BYTES)
    }

    /// Takes a commit in.
    pub fn accept(
        &mut self,
        now: Moment,
        channel: &[u8],
        asker: (usize, u32),
        incarnation: Incarnation,
        commit: Box<Commit>,
        place: impl FnOnce() -> Place,
    ) {
        let index = match self.find(channel) {
            Some(index) => index,
            None => self.add(now, channel, place(), commit.retention.clone()),
        };
        self.sequence += 1;
        let id = PublicationId { incarnation, lane: LANE, sequence: self.sequence };
        let pending = Pending { asker: Some(asker), commit, id, accepted_at: now };
        let cost = pending.cost();
        let writer = &mut self.all[index];
        writer.used_at = now;
        writer.bytes += cost;
        writer.queue.push_back(pending);
        self.bytes += cost;
        if writer.stage == Stage::Idle && !writer.queued {
            writer.queued = true;
            self.ready.push_back(index);
        }
        self.due.insert((now + COMMIT_TIME, index));
    }

    fn add(&mut self, now: Moment, channel: &[u8], place: Place, retention: Arc<Retention>) -> usize {
        let channel = Bytes::copy_from_slice(channel);
        self.serial = self.serial.wrapping_add(1);
        let index = self.all.insert(Writer {
            place,
            retention,
            channel: channel.clone(),
            serial: self.serial,
            queue: VecDeque::new(),
            batch: Vec::new(),
            marks: SmallVec::new(),
            sender: (Incarnation(0), 0),
            stage: Stage::Idle,
            in_doubt: false,
            base: None,
            tip: None,
            echo_at: None,
            renewed_at: None,
            known_as: None,
            bytes: 0,
            used_at: now,
            lingers_until: now + LINGER,
            queued: false,
        });
        self.by_channel.insert(channel, index);
        self.due.insert((now + LINGER, index));
        index
    }

    /// The next writer that has a batch to send.
    pub fn next_ready(&mut self) -> Option<usize> {
        while let Some(index) = self.ready.pop_front() {
            let Some(writer) = self.all.get_mut(index) else { continue };
            writer.queued = false;
            if writer.may_send() {
                return Some(index);
            }
        }
        None
    }

    /// Sees to it that a writer is looked at.
    pub fn ready(&mut self, index: usize) {
        if let Some(writer) = self.all.get_mut(index).filter(|writer| !writer.queued && writer.may_send()) {
            writer.queued = true;
            self.ready.push_back(index);
        }
    }

    /// Sees to it that a writer is looked at then.
    pub fn look_at(&mut self, at: Moment, index: usize) {
        self.due.insert((at, index));
    }

    /// When a writer is to be looked at.
    pub fn deadline(&self) -> Option<Moment> {
        self.due.first().map(|(at, _)| *at)
    }

    /// The next writer that is to be looked at by now.
    pub fn next_due(&mut self, now: Moment) -> Option<usize> {
        while let Some((at, index)) = self.due.first().copied().filter(|(at, _)| *at <= now) {
            self.due.remove(&(at, index));
            if self.all.contains(index) {
                return Some(index);
            }
        }
        None
    }

    /// The batch is done with.
    pub fn finish(&mut self, now: Moment, index: usize) -> Vec<Pending> {
        let Some(writer) = self.all.get_mut(index) else { return Vec::new() };
        let batch = std::mem::take(&mut writer.batch);
        let cost: usize = batch.iter().map(Pending::cost).sum();
        writer.bytes -= cost;
        self.bytes -= cost;
        writer.stage = Stage::Idle;
        writer.in_doubt = false;
        writer.used_at = now;
        self.ready(index);
        batch
    }

    /// What has waited too long and was never sent.
    pub fn give_up_queued(&mut self, now: Moment, index: usize) -> Vec<Pending> {
        let Some(writer) = self.all.get_mut(index) else { return Vec::new() };
        let is_late = |pending: &Pending| pending.accepted_at + COMMIT_TIME <= now;
        let late = writer.queue.iter().take_while(|pending| is_late(pending)).count();
        let late: Vec<Pending> = writer.queue.drain(..late).collect();
        let cost: usize = late.iter().map(Pending::cost).sum();
        writer.bytes -= cost;
        self.bytes -= cost;
        late
    }

    /// Forgets a writer that was not used for long.
    pub fn forget_idle(&mut self, now: Moment, index: usize) {
        let Some(writer) = self.all.get(index) else { return };
        if !writer.queue.is_empty() || writer.stage != Stage::Idle || writer.echo_at.is_some() {
            return;
        }
        if writer.used_at + LINGER > now {
            let writer = &mut self.all[index];
            if writer.lingers_until <= now {
                writer.lingers_until = writer.used_at + LINGER;
                self.due.insert((writer.lingers_until, index));
            }
            return;
        }
        let writer = self.all.remove(index);
        self.by_channel.remove(&writer.channel);
    }

    /// Splits a batch that was refused as a whole: its commits are tried one by one.
    pub fn split(&mut self, index: usize) {
        let Some(writer) = self.all.get_mut(index) else { return };
        while writer.batch.len() > 1 {
            let Some(last) = writer.batch.pop() else { break };
            writer.queue.push_front(last);
        }
        writer.stage = Stage::PutOff(Moment::default());
        self.ready(index);
    }
}

impl Writer {
    /// Whether a batch may be sent as far as this writer is concerned.
    fn may_send(&self) -> bool {
        match self.stage {
            Stage::Idle => !self.queue.is_empty(),
            Stage::PutOff(until) => until == Moment::default(),
            Stage::Fenced => true,
            Stage::Sent | Stage::Unknown => false,
        }
    }

    /// Puts the next batch together, unless there is one.
    pub fn fill(&mut self) {
        let mut bytes = 0;
        while self.batch.len() < BATCH_MAX
            && let Some(next) = self.queue.front()
        {
            bytes += next.commit.envelope.payload.bytes.len();
            let is_first = self.batch.is_empty();
            let is_other = self.batch.first().is_some_and(|first| first.retention() != next.retention());
            if !is_first
                && (is_other || next.stands_alone() || bytes > BATCH_BYTES || self.batch[0].stands_alone())
            {
                return;
            }
            self.batch.extend(self.queue.pop_front());
        }
    }

    /// How the topic remembers, as the batch has it.
    pub fn retention(&self) -> &Arc<Retention> {
        self.batch.first().map_or(&self.retention, |first| &first.commit.retention)
    }

    /// When the oldest of the batch was accepted.
    pub fn accepted_at(&self) -> Option<Moment> {
        self.batch.iter().map(|pending| pending.accepted_at).min()
    }
}

impl Pending {
    fn retention(&self) -> &Retention {
        &self.commit.retention
    }

    fn cost(&self) -> usize {
        inbox::cost(self.commit.envelope.payload.bytes.len())
    }

    /// Whether it can't share a batch: one call has one key, and one thing that goes first.
    fn stands_alone(&self) -> bool {
        self.commit.key.is_some() || self.commit.change != Change::Publish
    }
}
