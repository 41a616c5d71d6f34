//! What is read for feeds, all on the connection that brings their publications (redis.md 1.6, 2.3, 3.5).

use std::time::Duration;

use bytes::Bytes;
use dunlin_protocol::{Epoch, Item, ItemError, Mark, Position};

use super::channels::BATCH;
use super::committing::{Trouble, head_seconds, list_seconds};
use super::link::Expect;
use super::machine::Machine;
use super::resp::Reply;
use super::script::Script;
use crate::config::{Mode, Retention};
use crate::feed::{Answer, Ask};
use crate::history::{CommitError, Entry, Members, Place};
use crate::hub::Moment;

/// Entries in one page, and what it holds at most, in bytes: between two pages publications go on.
const PAGE_ENTRIES: usize = 256;
const PAGE_BYTES: usize = 1024 * 1024;
/// What an item has beside its payload at most, in bytes.
const ITEM_BYTES: usize = 64;
/// Pages that are on their way together.
const READING_MAX: usize = 32;
/// After a failure.
const RETRY: Duration = Duration::from_millis(200);
/// A topic that was never written to keeps its numbering so long, in seconds.
const UNBORN_SECONDS: &[u8] = b"3600";
/// What the last entries of all topics may cost together, in bytes; each has its equal part.
const RINGS_BYTES: usize = 256 * 1024 * 1024;
/// All feeds are compared with Redis once in so many seconds.
const SWEEP_SECONDS: usize = 600;

/// A question on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Question {
    /// The feed's channel, and what tells it from others at the same place.
    channel: usize,
    serial: u32,
    /// Its number at the feed; none if it is a sweep's.
    number: Option<u64>,
    ask: Ask,
}

impl Machine {
    /// A feed asks something.
    pub(super) fn put_question(&mut self, now: Moment, channel: usize, number: u64, ask: Ask) {
        let Some(listening) = self.listening(channel) else { return };
        let question = Question { channel, serial: listening.serial, number: Some(number), ask };
        self.questions.push_back(question);
        self.ask_questions(now);
    }

    /// Sends the questions that may be sent. Heads go together.
    pub(super) fn ask_questions(&mut self, now: Moment) {
        if !self.may_subscribe() {
            return;
        }
        let mut heads = Vec::new();
        while self.reading < READING_MAX
            && let Some(question @ Question { channel, serial, ask, .. }) = self.questions.pop_front()
        {
            let Some(listening) = self.listening(channel).filter(|listening| listening.serial == serial)
            else {
                continue;
            };
            let is_map = listening.feed.retention().mode == Mode::Map;
            if ask == Ask::Head && !is_map {
                heads.push(question);
                if heads.len() == BATCH {
                    self.ask_heads(now, std::mem::take(&mut heads));
                }
            } else {
                self.reading += 1;
                self.ask_one(now, question);
            }
        }
        self.ask_heads(now, heads);
    }

    fn ask_heads(&mut self, now: Moment, heads: Vec<Question>) {
        if heads.is_empty() {
            return;
        }
        let keys: Vec<Vec<u8>> = heads.iter().filter_map(|head| self.key(head.channel, "h")).collect();
        let mut call: Vec<&[u8]> = vec![b"MGET"];
        call.extend(keys.iter().map(Vec::as_slice));
        self.bus.call(now, Expect::Heads(heads), &call);
    }

    fn key(&mut self, channel: usize, kind: &str) -> Option<Vec<u8>> {
        let Place { namespace, topic } = self.listening(channel)?.feed.place().clone();
        Some(self.settings.names.topic_key(&namespace, &topic, kind))
    }

    fn ask_one(&mut self, now: Moment, question: Question) {
        let Question { channel, ask, .. } = question;
        let Some(listening) = self.listening(channel) else { return };
        let mode = listening.feed.retention().mode;
        let bytes = page_bytes(listening.feed.retention(), ask);
        let keys = |machine: &mut Self, kinds: &[&str]| -> Vec<Vec<u8>> {
            kinds.iter().filter_map(|kind| machine.key(channel, kind)).collect()
        };
        let is_map = mode == Mode::Map;
        let keys = keys(self, if is_map { &["k"] } else { &["h", "s"] });
        let birth = self.chance.draw().to_be_bytes();
        let (count, bytes) = (PAGE_ENTRIES.to_string(), bytes.to_string());
        let mut call: Vec<&[u8]> = Vec::new();
        let number;
        match ask {
            Ask::Head => call.extend([&b"HGET"[..], &keys[0], b"#h"]),
            Ask::Last(_) if is_map => call.extend([&b"HGETALL"[..], &keys[0]]),
            Ask::Birth => {
                call.extend([&b"EVALSHA"[..], self.scripts[Script::Birth as usize].as_bytes()]);
                call.push(if is_map { b"1" } else { b"2" });
                call.extend(keys.iter().map(Vec::as_slice));
                call.extend([mode_byte(mode), &birth, UNBORN_SECONDS]);
            }
            Ask::Last(entries) => {
                number = entries.to_string();
                call.extend([&b"EVALSHA"[..], self.scripts[Script::Read as usize].as_bytes(), b"2"]);
                call.extend([&keys[0][..], &keys[1], b"last", number.as_bytes(), bytes.as_bytes()]);
            }
            Ask::From(offset) => {
                number = offset.to_string();
                call.extend([&b"EVALSHA"[..], self.scripts[Script::Read as usize].as_bytes(), b"2"]);
                call.extend([&keys[0][..], &keys[1], b"from", number.as_bytes()]);
                call.extend([count.as_bytes(), bytes.as_bytes()]);
            }
        }
        self.bus.call(now, Expect::Asked(question), &call);
    }

    /// Redis answered one question.
    pub(super) fn question_answered(&mut self, now: Moment, question: Question, reply: &Reply) {
        let Question { channel, serial, number, ask } = question;
        self.reading = self.reading.saturating_sub(1);
        if let Some(listening) = self.listening(channel).filter(|listening| listening.serial == serial) {
            let (mode, place) = (listening.feed.retention().mode, listening.feed.place().clone());
            let answer = match reply {
                Reply::Error(error) => self.trouble(now, question, &error.clone()),
                reply => Some(read(mode, ask, &place, reply)),
            };
            match (answer, number) {
                (Some(answer), Some(number)) => {
                    self.drive(now, channel, |feed, said| feed.answered(now, number, answer, said));
                }
                (Some(Answer::Head(head)), None) => {
                    self.drive(now, channel, |feed, said| feed.swept(now, Ok(head), said));
                }
                _ => {}
            }
        }
        self.ask_questions(now);
    }

    /// What a failed question comes to; none if it is asked again.
    fn trouble(&mut self, now: Moment, question: Question, error: &str) -> Option<Answer> {
        match Trouble::of(error) {
            Trouble::Elsewhere => {
                self.lost(now, &format!("redis is not the master any more: {error}"));
                None
            }
            Trouble::Passing | Trouble::Full => {
                // What was asked since then may wait, too: it comes first.
                if let Question { channel, number: Some(number), ask, .. } = question
                    && self.listening(channel).is_some_and(|listening| listening.feed.awaits(number))
                {
                    self.ask_later(now + RETRY, channel, number, ask);
                }
                None
            }
            Trouble::Forbidden => {
                self.refused = Some(format!("redis refuses to read: {error}"));
                Some(Answer::Failed(CommitError::Refused))
            }
            Trouble::Broken => Some(Answer::Failed(CommitError::Broken)),
        }
    }

    /// Redis said where many topics are.
    pub(super) fn heads_answered(&mut self, now: Moment, heads: &[Question], reply: &Reply) {
        for (place, question) in heads.iter().enumerate() {
            let Question { channel, serial, number, .. } = *question;
            let Some(listening) = self.listening(channel).filter(|it| it.serial == serial) else { continue };
            let mode = listening.feed.retention().mode;
            let head = match reply {
                Reply::Error(error) => match self.trouble(now, *question, error) {
                    Some(Answer::Failed(error)) => Err(error),
                    _ => continue,
                },
                reply => head_in(mode, reply.parts().get(place).unwrap_or(&Reply::Null)),
            };
            match number {
                Some(number) => {
                    let answer = head.map_or_else(Answer::Failed, Answer::Head);
                    self.drive(now, channel, |feed, said| feed.answered(now, number, answer, said));
                }
                None => self.drive(now, channel, |feed, said| feed.swept(now, head, said)),
            }
        }
    }

    /// Compares some feeds with Redis, and keeps their numbering alive (redis 3.5).
    pub(super) fn sweep(&mut self, now: Moment) {
        if !self.is_up() || self.sweep_at > now {
            return;
        }
        self.sweep_at = now + Duration::from_secs(1);
        let count = self.listeners.len().div_ceil(SWEEP_SECONDS);
        let allowed = self.ring_allowance();
        let next = self.listeners.range(self.swept..).copied();
        let channels: Vec<usize> = next.take(count).collect();
        self.swept = channels.last().map_or(0, |last| last + 1);
        let mut heads = Vec::new();
        for channel in channels {
            let Some(listening) = self.listening(channel) else {
                self.listeners.remove(&channel);
                continue;
            };
            listening.feed.allow(allowed);
            let question = Question { channel, serial: listening.serial, number: None, ask: Ask::Head };
            if listening.feed.retention().mode == Mode::Map {
                self.reading += 1;
                self.ask_one(now, question);
            } else {
                heads.push(question);
            }
            self.renew(now, channel);
        }
        for heads in heads.chunks(BATCH) {
            self.ask_heads(now, heads.to_vec());
        }
    }

    /// What the last entries of one topic may cost.
    pub(super) fn ring_allowance(&self) -> usize {
        RINGS_BYTES / self.listeners.len().max(1)
    }

    fn renew(&mut self, now: Moment, channel: usize) {
        let Some(listening) = self.listening(channel) else { return };
        let retention = listening.feed.retention().clone();
        // Nobody knows how much of its life was left when this node began to listen.
        if listening.renewed_at.is_some_and(|at| now.since(at) < retention.ttl / 5) {
            return;
        }
        listening.renewed_at = Some(now);
        let (kind, seconds) = match retention.mode {
            Mode::Map => ("k", list_seconds(&retention)),
            _ => ("h", head_seconds(&retention)),
        };
        if let Some(key) = self.key(channel, kind) {
            let seconds = seconds.to_string();
            self.work.call(now, Expect::Echoed, &[b"EXPIRE", &key, seconds.as_bytes()]);
        }
    }
}

/// What one answer holds at most, in bytes: of a list at least all that its array may hold.
fn page_bytes(retention: &Retention, ask: Ask) -> usize {
    match ask {
        Ask::Last(entries) if retention.mode == Mode::List => {
            let beside = entries.saturating_mul(ITEM_BYTES);
            // Beyond that Lua's numbers are not exact.
            retention.max_bytes.saturating_add(beside).clamp(PAGE_BYTES, 1 << 40)
        }
        _ => PAGE_BYTES,
    }
}

fn mode_byte(mode: Mode) -> &'static [u8] {
    match mode {
        Mode::Value => b"v",
        Mode::Log => b"l",
        Mode::List => b"a",
        Mode::Map => b"m",
    }
}

/// Where a topic is, from what Redis holds; none if it holds nothing.
fn head_in(mode: Mode, reply: &Reply) -> Result<Option<Position>, CommitError> {
    match reply {
        Reply::Null => Ok(None),
        Reply::Text(head) => parse_head(mode, head).map(Some),
        _ => Err(CommitError::Broken),
    }
}

/// A head: version, mode, epoch, mark, offset (redis 0.3).
pub(super) fn parse_head(mode: Mode, head: &[u8]) -> Result<Position, CommitError> {
    let (fixed, offset) = head.split_at_checked(14).ok_or(CommitError::Broken)?;
    let offset = std::str::from_utf8(offset).ok().and_then(|offset| offset.parse().ok());
    let offset = offset.filter(|_| fixed[0] == b'1').ok_or(CommitError::Broken)?;
    if fixed[1..2] != *mode_byte(mode) {
        return Err(CommitError::Mode);
    }
    let (mut epoch, mut mark) = ([0; 8], [0; 4]);
    epoch.copy_from_slice(&fixed[2..10]);
    mark.copy_from_slice(&fixed[10..]);
    Ok(Position { epoch: Epoch(epoch), offset, mark: Mark(u32::from_be_bytes(mark)) })
}

/// What an answer says.
fn read(mode: Mode, ask: Ask, place: &Place, reply: &Reply) -> Answer {
    let answer = match (ask, mode) {
        (Ask::Head, _) => head_in(mode, reply).map(Answer::Head),
        (Ask::Birth, _) => born(mode, reply).map(|head| Answer::Head(Some(head))),
        (_, Mode::Map) => members(reply),
        _ => entries(mode, place, reply),
    };
    answer.unwrap_or_else(Answer::Failed)
}

fn born(mode: Mode, reply: &Reply) -> Result<Position, CommitError> {
    match reply.parts() {
        [status, Reply::Text(head)] if status.text() == Some("OK") => parse_head(mode, head),
        [status, _] if status.text() == Some("MODE") => Err(CommitError::Mode),
        _ => Err(CommitError::Broken),
    }
}

/// The answer of the script that reads.
pub(super) fn entries(mode: Mode, place: &Place, reply: &Reply) -> Result<Answer, CommitError> {
    let (head, first, items) = match reply.parts() {
        [head, first, items @ ..] => (head, first.number().ok_or(CommitError::Broken)?, items),
        _ => return Err(CommitError::Broken),
    };
    let Some(head) = head_in(mode, head)? else { return Ok(Answer::Entries(None, Vec::new())) };
    let entry = |(item, offset): (&Reply, u64)| {
        let Reply::Text(bytes) = item else { return None };
        Some(entry_of(place, head.epoch, offset, bytes))
    };
    let entries = items.iter().zip(first..).filter_map(entry).collect();
    Ok(Answer::Entries(Some(head), entries))
}

fn entry_of(place: &Place, epoch: Epoch, offset: u64, bytes: &Bytes) -> Entry {
    match Item::decode(bytes) {
        Ok(item) => Entry::new(place, offset, epoch, item),
        Err(ItemError { mark }) => Entry::unreadable(Position { epoch, offset, mark }),
    }
}

pub(super) fn members(reply: &Reply) -> Result<Answer, CommitError> {
    let mut head = None;
    let mut members = Members::new();
    for pair in reply.parts().chunks_exact(2) {
        let [Reply::Text(field), Reply::Text(value)] = pair else { return Err(CommitError::Broken) };
        match field.split_first() {
            Some((b'#', b"h")) => head = Some(parse_head(Mode::Map, value)?),
            Some((b'f', name)) => {
                let name = std::str::from_utf8(name).map_err(|_| CommitError::Broken)?;
                let is_json = dunlin_protocol::Payload::parse_json(value).is_ok();
                if is_json {
                    members.insert(name.into(), value.clone());
                }
            }
            _ => {}
        }
    }
    match (head, members.is_empty()) {
        (None, false) => Err(CommitError::Broken),
        _ => Ok(Answer::Members(head, members)),
    }
}
