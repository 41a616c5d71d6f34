//! Commits out, and what becomes of them (redis.md 0.6, 0.7, 1.3, 1.7, 3.4).

use std::time::Duration;

use bytes::Bytes;
use dunlin_protocol::{Act, Epoch, Heard, Item, Mark, Payload, Position, Recipients, json};

use super::link::Expect;
use super::machine::Machine;
use super::resp::{self, Reply};
use super::script::Script;
use super::writers::{COMMIT_TIME, Pending, Stage, Writer};
use crate::broker::{Event, inbox};
use crate::config::{Mode, Retention};
use crate::history::{Change, Commit, CommitError, Place, changes};
use crate::hub::Moment;

/// A node says where a topic was so long after its own last commit there, and up to so much longer.
const ECHO_AFTER: Duration = Duration::from_millis(400);
const ECHO_JITTER: Duration = Duration::from_millis(200);
/// Echoes a second at most; the sweep finds what is left.
const ECHOES_PER_SECOND: u32 = 2000;
/// When Redis has no time for a batch it is tried again after so long.
const PUT_OFF: Duration = Duration::from_millis(20);
/// How long a publication's key is remembered, in seconds (A1).
const KEY_SECONDS: &[u8] = b"300";
/// The least lifetime of a topic's numbering, in seconds.
const HEAD_SECONDS_MIN: u64 = 86_400;
/// What commits may cost that wait or are on their way, in bytes.
const COMMITS_MAX: usize = 64 * 1024 * 1024;

impl Machine {
    /// A shard wants a topic's memory changed.
    pub(super) fn commit(&mut self, now: Moment, shard: usize, ticket: u32, commit: Box<Commit>) {
        if let Err(error) = self.admit(shard, &commit) {
            return self.stage(shard, Event::Committed(ticket, Err(error)));
        }
        let incarnation = self.settings.incarnation;
        let place = || place_of(&commit).unwrap_or_else(|| unreachable!("it was admitted"));
        let place = place();
        self.writers.accept(now, &self.scratch, (shard, ticket), incarnation, commit, || place);
    }

    /// Whether a commit can be taken at all; leaves its channel's name in `scratch`.
    fn admit(&mut self, shard: usize, commit: &Commit) -> Result<(), CommitError> {
        let Some(place) = place_of(commit) else { return Err(CommitError::Payload) };
        commit.check()?;
        self.scratch.clear();
        self.settings.names.topic_channel(&mut self.scratch, &place.namespace, &place.topic);
        let cost = inbox::cost(commit.envelope.payload.bytes.len());
        let has_room = self.writers.bytes() + cost <= COMMITS_MAX
            && self.writers.has_room(&self.scratch, cost)
            && self.staged[shard].has_room(cost)
            && self.has_room_to_hear(cost);
        if has_room { Ok(()) } else { Err(CommitError::Unavailable) }
    }

    /// Whether the shards here that will hear a commit on the channel in `scratch` have room for it, and for what is
    /// on its way already. Who publishes more than they take is told at once.
    fn has_room_to_hear(&mut self, cost: usize) -> bool {
        let Some(channel) = self.channels.find(&self.scratch).and_then(|index| self.channels.get(index))
        else {
            return true;
        };
        let whole = channel.listening.as_ref().map_or(0, |listening| listening.feed.whole_bytes());
        let coming = cost + whole + self.writers.bytes();
        channel.ears.iter().all(|(shard, _)| self.staged[*shard].has_room(coming))
    }

    /// Sends the batches that may be sent.
    pub(super) fn pump_commits(&mut self, now: Moment) {
        if !self.is_up() {
            return;
        }
        while let Some(index) = self.writers.next_ready() {
            self.send_batch(now, index);
        }
    }

    fn send_batch(&mut self, now: Moment, index: usize) {
        let tip = self.tip_of(index);
        let incarnation = self.lease.incarnation;
        let Some(writer) = self.writers.get(index) else { return };
        let is_again = writer.in_doubt;
        if writer.batch.is_empty() {
            writer.fill();
            self.batches += 1;
            writer.base = tip.or(writer.tip);
            writer.sender = (incarnation, self.batches);
        }
        writer.stage = Stage::Sent;
        writer.marks = writer.batch.iter().map(|_| Mark(self.chance.draw() as u32)).collect();
        let expect = Expect::Committed(index, writer.serial);
        let birth = Epoch(self.chance.draw().to_be_bytes());
        let renew = writer.is_to_be_renewed(now);
        let names = &self.settings.names;
        let call = match writer.retention().mode {
            Mode::Map => {
                let is_first_time = writer.known_as != Some(writer.sender.0);
                let live = if is_first_time { self.lease.live() } else { Vec::new() };
                writer.merge(&mut self.encoded, names, renew, birth, &live)
            }
            _ => writer.append(&mut self.encoded, names, renew, birth, is_again),
        };
        let script = if writer.retention().mode == Mode::Map { Script::Merge } else { Script::Commit };
        let out = self.work.expect(now, expect);
        resp::header(out, b'*', call.len() + 2);
        resp::blob(out, b"EVALSHA");
        resp::blob(out, self.scripts[script as usize].as_bytes());
        for argument in &call {
            resp::blob(out, argument);
        }
    }

    /// Where this node's own feed of a topic is.
    fn tip_of(&mut self, writer: usize) -> Option<Position> {
        let channel = self.writers.get(writer)?.channel.clone();
        let index = self.channels.find(&channel)?;
        self.channels.get(index)?.listening.as_ref()?.feed.tip()
    }

    /// Redis answered a batch.
    pub(super) fn committed(&mut self, now: Moment, index: usize, serial: u32, reply: &Reply) {
        let Some(writer) = self.writers.same(index, serial).filter(|writer| writer.stage == Stage::Sent)
        else {
            return;
        };
        let word = |at: usize| match reply.parts().get(at) {
            Some(Reply::Text(bytes)) => Some(&bytes[..]),
            _ => None,
        };
        match (word(0), word(1).and_then(place_from)) {
            (Some(b"OK"), Some((epoch, first))) => {
                writer.known_as = Some(writer.sender.0);
                let marks = writer.marks.clone();
                self.batch_is_stored(now, index, epoch, first, &marks);
            }
            (Some(b"DONE"), Some((epoch, first))) => {
                let marks = word(2).unwrap_or_default().chunks_exact(4);
                let marks: Vec<Mark> = marks
                    .map(|mark| Mark(u32::from_be_bytes([mark[0], mark[1], mark[2], mark[3]])))
                    .collect();
                self.batch_is_stored(now, index, epoch, first, &marks);
            }
            (Some(b"LIMIT"), _) if writer.batch.len() > 1 => self.writers.split(index),
            (Some(b"LIMIT"), _) => self.refuse_batch(now, index, CommitError::TooLarge),
            (Some(b"MODE"), _) => self.refuse_batch(now, index, CommitError::Mode),
            (Some(b"STALE"), _) => self.refuse_batch(now, index, CommitError::Stale),
            (Some(b"UNKNOWN"), _) => self.refuse_batch(now, index, CommitError::Unknown),
            _ => self.commit_failed(now, index, reply),
        }
    }

    fn commit_failed(&mut self, now: Moment, index: usize, reply: &Reply) {
        let Reply::Error(error) = reply else { return self.refuse_batch(now, index, CommitError::Broken) };
        match Trouble::of(error) {
            Trouble::Elsewhere => self.lost(now, &format!("redis is not the master any more: {error}")),
            Trouble::Passing => {
                if let Some(writer) = self.writers.get(index) {
                    writer.stage = Stage::PutOff(now + PUT_OFF);
                    writer.renewed_at = None;
                }
                self.writers.look_at(now + PUT_OFF, index);
            }
            Trouble::Full => self.refuse_batch(now, index, CommitError::Unavailable),
            Trouble::Forbidden => {
                self.refused = Some(format!("redis refuses to store: {error}"));
                self.refuse_batch(now, index, CommitError::Refused);
            }
            Trouble::Broken => self.refuse_batch(now, index, CommitError::Broken),
        }
    }

    fn refuse_batch(&mut self, now: Moment, index: usize, error: CommitError) {
        let in_doubt = self.writers.get(index).is_some_and(|writer| writer.in_doubt);
        // That this attempt was refused says nothing about the one before.
        let error = if in_doubt && error == CommitError::Unavailable { CommitError::Unknown } else { error };
        for pending in self.writers.finish(now, index) {
            self.tell_asker(&pending, Err(error));
        }
    }

    fn tell_asker(&mut self, pending: &Pending, outcome: Result<Option<Position>, CommitError>) {
        if let Some((shard, ticket)) = pending.asker {
            self.stage(shard, Event::Committed(ticket, outcome));
        }
    }

    fn batch_is_stored(&mut self, now: Moment, index: usize, epoch: Epoch, first: u64, marks: &[Mark]) {
        let jitter = ECHO_JITTER.mul_f64(self.chance.part());
        let Some(writer) = self.writers.get(index) else { return };
        let channel = writer.channel.clone();
        let is_map = writer.retention().mode == Mode::Map;
        let last = first + if is_map { 0 } else { writer.batch.len() as u64 - 1 };
        let mark = marks.last().copied().unwrap_or_default();
        // A repeated key is answered with a place of long ago.
        if writer.tip.is_none_or(|tip| tip.epoch != epoch || tip.offset < last) {
            writer.tip = Some(Position { epoch, offset: last, mark });
        }
        let echo_at = now + ECHO_AFTER + jitter;
        writer.echo_at = Some(echo_at);
        self.writers.look_at(echo_at, index);
        for (place, pending) in self.writers.finish(now, index).iter().enumerate() {
            let place = if is_map { 0 } else { place };
            let mark = marks.get(place).copied().unwrap_or_default();
            let position = Position { epoch, offset: first + place as u64, mark };
            if let Some(asker) = pending.asker {
                self.tell_in_place(now, &channel, asker, position);
            }
        }
    }

    /// Looks at the writers that are due.
    pub(super) fn advance_writers(&mut self, now: Moment) {
        while let Some(index) = self.writers.next_due(now) {
            for pending in self.writers.give_up_queued(now, index) {
                self.tell_asker(&pending, Err(CommitError::Unavailable));
            }
            let Some(writer) = self.writers.get(index) else { continue };
            let is_late = writer.accepted_at().is_some_and(|at| at + COMMIT_TIME <= now);
            match writer.stage {
                Stage::PutOff(until) if until <= now && !is_late => {
                    writer.stage = Stage::PutOff(Moment::default());
                    self.writers.ready(index);
                }
                Stage::PutOff(_) if is_late => self.refuse_batch(now, index, CommitError::Unavailable),
                Stage::Unknown | Stage::Fenced if is_late => {
                    self.refuse_batch(now, index, CommitError::Unknown);
                }
                _ => {}
            }
            self.echo_when_due(now, index);
            self.writers.forget_idle(now, index);
        }
    }

    /// Says where a topic was after this node's last commit, so that who missed it finds out (redis 3.4).
    fn echo_when_due(&mut self, now: Moment, index: usize) {
        let heard = self.tip_of(index);
        let is_up = self.is_up();
        let Some(writer) = self.writers.get(index) else { return };
        if writer.echo_at.is_none_or(|at| at > now) {
            return;
        }
        writer.echo_at = None;
        let Some(tip) = writer.tip.filter(|_| is_up) else { return };
        let is_superseded = heard.is_some_and(|heard| heard.epoch == tip.epoch && heard.offset > tip.offset);
        if is_superseded || !self.echoes.take(now, ECHOES_PER_SECOND) {
            return;
        }
        self.encoded.clear();
        Heard::encode_echo(tip, &mut self.encoded);
        let channel = writer.channel.clone();
        self.work.call(now, Expect::Echoed, &[b"PUBLISH", &channel, &self.encoded]);
    }

    /// The link is gone: what was sent may have happened.
    pub(super) fn lose_commits(&mut self) {
        for index in self.writers.indices() {
            if let Some(writer) = self.writers.get(index)
                && matches!(writer.stage, Stage::Sent | Stage::Fenced)
            {
                writer.stage = Stage::Unknown;
                writer.in_doubt = true;
                // What the lost server was told of lifetimes may be lost with it.
                writer.renewed_at = None;
                if let Some(at) = writer.accepted_at() {
                    self.writers.look_at(at + COMMIT_TIME, index);
                }
            }
        }
    }

    /// What was sent over the old link can't happen any more, or may for all that is known.
    pub(super) fn repeat_commits(&mut self, now: Moment, safe: bool) {
        for index in self.writers.indices() {
            let Some(writer) = self.writers.get(index).filter(|writer| writer.stage == Stage::Unknown) else {
                continue;
            };
            let is_late = writer.accepted_at().is_some_and(|at| at + COMMIT_TIME <= now);
            if safe && !is_late {
                writer.stage = Stage::Fenced;
                self.writers.ready(index);
            } else {
                self.refuse_batch(now, index, CommitError::Unknown);
            }
        }
    }
}

/// What an error of Redis means for who wanted something of it (redis 9).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Trouble {
    /// Another server has to be asked.
    Elsewhere,
    /// It will be well again.
    Passing,
    /// There is no memory left.
    Full,
    /// An operator has to allow it.
    Forbidden,
    /// What is stored is not what was expected.
    Broken,
}

impl Trouble {
    /// What the error's first word stands for.
    pub(super) fn of(error: &str) -> Self {
        match error.split(' ').next().unwrap_or_default() {
            "READONLY" | "MASTERDOWN" => Self::Elsewhere,
            "LOADING" | "BUSY" | "CLUSTERDOWN" | "NOREPLICAS" | "MISCONF" | "TRYAGAIN" | "NOSCRIPT" => {
                Self::Passing
            }
            "OOM" => Self::Full,
            "NOPERM" | "NOAUTH" => Self::Forbidden,
            _ => Self::Broken,
        }
    }
}

/// Where a commit belongs: it has one topic.
fn place_of(commit: &Commit) -> Option<Place> {
    let Recipients::Topic(topic) = &commit.envelope.to else { return None };
    Some(Place { namespace: commit.envelope.namespace.clone(), topic: topic.clone() })
}

/// Epoch and offset, as scripts write them.
fn place_from(text: &[u8]) -> Option<(Epoch, u64)> {
    let (epoch, offset) = text.split_first_chunk()?;
    Some((Epoch(*epoch), std::str::from_utf8(offset).ok()?.parse().ok()?))
}

/// A position, as scripts read it.
fn words_of(Position { epoch, offset, mark }: Position) -> Vec<u8> {
    [&epoch.0[..], &mark.0.to_be_bytes(), offset.to_string().as_bytes()].concat()
}

type Words = Vec<Bytes>;

impl Writer {
    fn is_to_be_renewed(&mut self, now: Moment) -> bool {
        let renew = self.renewed_at.is_none_or(|at| now.since(at) > self.retention().ttl / 5);
        if renew {
            self.renewed_at = Some(now);
        }
        renew
    }

    /// The words of a call that appends the batch.
    fn append(
        &self,
        room: &mut Vec<u8>,
        names: &super::names::Names,
        renew: bool,
        birth: Epoch,
        is_again: bool,
    ) -> Words {
        let again = match (is_again, self.base) {
            (false, _) => Vec::new(),
            (true, None) => b"?".to_vec(),
            (true, Some(base)) => words_of(base),
        };
        let first = match self.batch.first().map(|first| first.commit.change) {
            Some(Change::Clear) => b"clear".to_vec(),
            Some(Change::Forget(position)) => [&b"before"[..], &words_of(position)].concat(),
            _ => Vec::new(),
        };
        let (mode, limit) = match self.retention().mode {
            Mode::Value => (b"v", 1),
            Mode::List => (b"a", self.retention().limit),
            _ => (b"l", self.retention().limit),
        };
        let keys = self.keys(names, &["h", "s"]);
        let mut words = vec![keys.len().to_string().into()];
        words.extend(keys);
        words.extend([
            Bytes::from_static(b"PUBLISH"),
            self.channel.clone(),
            Bytes::from_static(mode),
            limit.to_string().into(),
            list_seconds(self.retention()).to_string().into(),
            head_seconds(self.retention()).to_string().into(),
            Bytes::from_static(if renew { b"1" } else { b"0" }),
            Bytes::copy_from_slice(&birth.0),
            again.into(),
            Bytes::from_static(KEY_SECONDS),
            Bytes::copy_from_slice(&self.marks.last().copied().unwrap_or_default().0.to_be_bytes()),
            first.into(),
        ]);
        for (pending, mark) in self.batch.iter().zip(&self.marks) {
            room.clear();
            item(pending, *mark, payload_of(&pending.commit)).encode(room);
            words.push(Bytes::copy_from_slice(room));
        }
        words
    }

    /// The words of a call that merges the batch, as one change, into a map.
    fn merge(
        &self,
        room: &mut Vec<u8>,
        names: &super::names::Names,
        renew: bool,
        birth: Epoch,
        live: &[String],
    ) -> Words {
        let mut merged = std::collections::BTreeMap::new();
        for pending in self.batch.iter().filter(|pending| pending.commit.change != Change::Clear) {
            merged.extend(changes(&pending.commit.envelope.payload.bytes).unwrap_or_default());
        }
        let Some(first) = self.batch.first() else { return Words::new() };
        let (sender, number) = self.sender;
        let mark = self.marks.first().copied().unwrap_or_default();
        let replaces = first.commit.change != Change::Publish;
        room.clear();
        item(first, mark, Some(Payload::json(patch(&merged)))).encode(room);
        let live = live.join(",");
        let keys = self.keys(names, &["k"]);
        let mut words = vec![keys.len().to_string().into()];
        words.extend(keys);
        let set: Vec<_> = merged.iter().filter_map(|(name, value)| Some((name, value.clone()?))).collect();
        words.extend([
            Bytes::from_static(b"PUBLISH"),
            self.channel.clone(),
            list_seconds(self.retention()).to_string().into(),
            Bytes::from_static(if renew { b"1" } else { b"0" }),
            Bytes::copy_from_slice(&birth.0),
            Bytes::copy_from_slice(&mark.0.to_be_bytes()),
            sender.to_string().into(),
            number.to_string().into(),
            self.retention().limit.to_string().into(),
            self.retention().max_bytes.to_string().into(),
            Bytes::from_static(if replaces { b"1" } else { b"0" }),
            live.into(),
            Bytes::from_static(KEY_SECONDS),
            Bytes::copy_from_slice(room),
            set.len().to_string().into(),
        ]);
        let field = |name: &str| Bytes::from(format!("f{name}"));
        words.extend(set.iter().flat_map(|(name, value)| [field(name), value.clone()]));
        words.extend(merged.iter().filter(|(_, value)| value.is_none()).map(|(name, _)| field(name)));
        words
    }

    fn keys(&self, names: &super::names::Names, kinds: &[&str]) -> Words {
        let Place { namespace, topic } = &self.place;
        let key = self.batch.first().and_then(|first| first.commit.key.as_deref());
        let named = kinds.iter().map(|kind| names.topic_key(namespace, topic, kind));
        named.chain(key.map(|key| names.idempotency_key(namespace, topic, key))).map(Bytes::from).collect()
    }
}

/// How long history is kept after a commit, in seconds: until it is renewed again, at least its lifetime.
pub(super) fn list_seconds(retention: &Retention) -> u64 {
    (retention.ttl + retention.ttl / 4).as_secs().max(1)
}

/// How long the numbering outlives it.
pub(super) fn head_seconds(retention: &Retention) -> u64 {
    list_seconds(retention).max(HEAD_SECONDS_MIN)
}

fn payload_of(commit: &Commit) -> Option<Payload> {
    let brings = matches!(commit.change, Change::Publish | Change::Replace);
    brings.then(|| commit.envelope.payload.clone())
}

/// What travels of a commit.
fn item(pending: &Pending, mark: Mark, payload: Option<Payload>) -> Item {
    let envelope = &pending.commit.envelope;
    let act = match (pending.commit.change, pending.commit.retention.mode) {
        (Change::Clear, _) | (Change::Replace, Mode::Map) => Act::Clear,
        (Change::Forget(position), _) => Act::Forget { before: position.offset },
        _ => Act::Add,
    };
    let at_ms = envelope.at_us / 1000;
    Item { mark, id: pending.id, at_ms, origin: envelope.origin, echo: envelope.echo, act, payload }
}

/// The changes of a map as one object.
fn patch(changes: &std::collections::BTreeMap<Box<str>, Option<Bytes>>) -> Vec<u8> {
    let mut out = vec![b'{'];
    for (index, (name, value)) in changes.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        json::string(&mut out, name.as_bytes());
        out.push(b':');
        out.extend_from_slice(value.as_deref().unwrap_or(b"null"));
    }
    out.push(b'}');
    out
}
