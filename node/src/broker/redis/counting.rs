//! How many peers there are in the cluster (redis.md 7; behaviours C1, C2).
//!
//! A namespace comes to Redis in three steps, each awaited: its channel is subscribed to, so that no sum is
//! missed; it is put into this incarnation's registry, so that its count is taken away should this node die;
//! its count is written, and the answer is the first sum.

use std::time::Duration;

use dunlin_protocol::{Incarnation, Namespace};

use super::channels::{BATCH, Carries, Ear, Stage};
use super::lease::Leaving;
use super::link::Expect;
use super::machine::Machine;
use super::resp::Reply;
use super::script::Script;
use super::space::{News, Space, Standing, Sum};
use crate::broker::Event;
use crate::hub::Moment;

/// The count of everything changes with every peer and only metrics read it.
const EVERYTHING_INTERVAL: Duration = Duration::from_secs(1);
/// What every peer of a namespace adds to the time between two counts (C1).
const INTERVAL_PER_PEER: Duration = Duration::from_micros(100);
/// How long an empty namespace is remembered: a Redis that falls back to what it knew a while ago must be told
/// again that nobody is there (redis 5.8).
const FORGET_AFTER: Duration = Duration::from_mins(1);
/// So many counts wait for their answer at most, so that a node that has much to say again after an outage leaves
/// Redis time for others. What is too many is put off, one after the other.
const UNANSWERED_MAX: usize = 512;
const PUT_OFF: Duration = Duration::from_millis(10);
const PUT_OFF_EACH: Duration = Duration::from_micros(20);
/// After a failure.
pub(super) const RETRY: Duration = Duration::from_millis(200);
/// How long the keys of a dead node stay at most.
pub(super) const KEY_TTL: &[u8] = b"86400";

impl Machine {
    /// A shard says how many peers it has in a namespace.
    pub(super) fn count(&mut self, now: Moment, ear: Ear, name: &Namespace, peers: u64) {
        let index = match self.space_by_name.get(&Some(name.clone())) {
            Some(index) => *index,
            None if peers == 0 => return,
            None => self.open_space(Some(name.clone())),
        };
        let before = self.spaces[index].own;
        let was_part = self.spaces[index].parts.iter().any(|part| part.ear == ear);
        self.spaces[index].set(ear, peers);
        match (was_part, peers > 0) {
            (false, true) => {
                let channel = self.open_channel(Some(name));
                self.spaces[index].channel = channel;
                self.channels.join(channel, ear, true);
            }
            (true, false) => self.channels.leave(now, self.spaces[index].channel, ear),
            _ => {}
        }
        self.add_to_everything(now, before, self.spaces[index].own);
        self.spaces[index].forget_at = (self.spaces[index].own == 0).then(|| now + FORGET_AFTER);
        if !self.is_up() {
            self.spaces[index].assume();
        }
        self.announce(index);
        self.look_at(now, index);
    }

    fn add_to_everything(&mut self, now: Moment, before: u64, after: u64) {
        let everything = self.everything;
        self.spaces[everything].own += after;
        self.spaces[everything].own -= before;
        if before != after {
            self.look_at(now, everything);
        }
    }

    /// Adds a namespace that is not known yet.
    pub(super) fn open_space(&mut self, name: Option<Namespace>) -> usize {
        let channel = self.open_channel(name.as_ref());
        self.space_serial = self.space_serial.wrapping_add(1);
        let index = self.spaces.insert(Space::new(name.clone(), channel, self.space_serial));
        self.space_by_name.insert(name, index);
        index
    }

    fn open_channel(&mut self, name: Option<&Namespace>) -> usize {
        self.scratch.clear();
        self.settings.names.namespace_channel(&mut self.scratch, name);
        self.channels.open(&self.scratch, || Carries::Namespace(name.cloned()))
    }

    /// Looks at a namespace soon.
    fn look_at(&mut self, at: Moment, index: usize) {
        self.due.insert((at, index));
    }

    /// Advances the namespaces that are due.
    pub(super) fn advance_due(&mut self, now: Moment) {
        if self.lease.end_hold(now) {
            for index in self.space_indices() {
                self.reveal(index);
            }
        }
        while let Some((at, index)) = self.due.first().copied().filter(|(at, _)| *at <= now) {
            self.due.remove(&(at, index));
            if self.spaces.contains(index) {
                self.advance_space(now, index);
            }
        }
        self.register(now);
        self.flush_owed(now);
    }

    pub(super) fn space_indices(&self) -> Vec<usize> {
        self.spaces.iter().map(|(index, _)| index).collect()
    }

    pub(super) fn advance_space(&mut self, now: Moment, index: usize) {
        let space = &self.spaces[index];
        if space.is_forgettable() && space.forget_at.is_some_and(|at| at <= now) {
            return self.forget_space(now, index);
        }
        if let Some(at) = space.forget_at.filter(|at| *at > now) {
            self.due.insert((at, index));
        }
        let channel = self.channels.get(space.channel);
        let is_heard = space.own == 0 || channel.is_some_and(|channel| channel.stage == Stage::Live);
        if !self.is_up() || !self.lease.is_fresh(now) || !is_heard {
            return; // Each of these leads back here when it changes.
        }
        match space.standing {
            Standing::Unregistered if space.is_wanted() => {
                self.spaces[index].standing = Standing::Registering;
                self.unregistered.push(index);
            }
            Standing::Registered if space.is_stale() => self.write_when_due(now, index),
            Standing::Registered => self.flush_when_due(now, index),
            Standing::Unregistered | Standing::Registering => {}
        }
    }

    fn write_when_due(&mut self, now: Moment, index: usize) {
        if self.spaces[index].write_at > now {
            return self.look_at(self.spaces[index].write_at, index);
        }
        if self.unanswered_counts >= UNANSWERED_MAX {
            self.put_off_at = self.put_off_at.max(now + PUT_OFF) + PUT_OFF_EACH;
            return self.look_at(self.put_off_at, index);
        }
        self.unanswered_counts += 1;
        let interval = self.interval(index);
        let space = &mut self.spaces[index];
        space.write_at = now + interval;
        let (serial, peers) = (space.serial, space.write());
        let expect = Expect::Count(self.lease.incarnation, index, serial);
        let name = space.name.clone();
        self.send_count(now, expect, b"set", self.lease.incarnation, peers, name.as_ref());
    }

    fn flush_when_due(&mut self, now: Moment, index: usize) {
        let Some(at) = self.spaces[index].flush_at else { return };
        if at > now {
            return self.look_at(at, index);
        }
        self.spaces[index].flush_at = None;
        let name = self.spaces[index].name.clone();
        self.flush(now, name.as_ref());
    }

    /// Asks for a sum that is owed to be told.
    pub(super) fn flush(&mut self, now: Moment, name: Option<&Namespace>) {
        let (expect, incarnation) = (Expect::Flushed(name.cloned()), self.lease.incarnation);
        self.send_count(now, expect, b"flush", incarnation, 0, name);
    }

    /// The least time between two counts of a namespace.
    fn interval(&self, index: usize) -> Duration {
        let space = &self.spaces[index];
        if self.lease.leaving != Leaving::No {
            return Duration::ZERO;
        }
        if space.name.is_none() {
            return EVERYTHING_INTERVAL;
        }
        let peers = u32::try_from(space.users().unwrap_or(space.own)).unwrap_or(u32::MAX);
        self.settings.interval.max(INTERVAL_PER_PEER.saturating_mul(peers))
    }

    /// Calls the script that counts.
    pub(super) fn send_count(
        &mut self,
        now: Moment,
        expect: Expect,
        operation: &[u8],
        incarnation: Incarnation,
        peers: u64,
        name: Option<&Namespace>,
    ) {
        let (mut key, mut channel) = (Vec::new(), Vec::new());
        self.settings.names.counts_key(&mut key, name);
        self.settings.names.namespace_channel(&mut channel, name);
        let known = self.space_by_name.get(&name.cloned());
        let interval = known.map_or(self.settings.interval, |index| self.interval(*index));
        let arguments = [
            incarnation.to_string().into_bytes(),
            peers.to_string().into_bytes(),
            channel,
            interval.as_millis().to_string().into_bytes(),
            format!("{:016x}", self.chance.draw()).into_bytes(),
        ];
        let mut call: Vec<&[u8]> =
            vec![b"EVALSHA", self.scripts[Script::Count as usize].as_bytes(), b"1", &key];
        call.push(operation);
        call.extend(arguments.iter().map(Vec::as_slice));
        call.push(b"PUBLISH");
        self.work.call(now, expect, &call);
    }

    /// Puts namespaces into this incarnation's registry.
    fn register(&mut self, now: Moment) {
        while !self.unregistered.is_empty() {
            let batch = self.unregistered.split_off(self.unregistered.len().saturating_sub(BATCH));
            let known = batch.into_iter().filter(|index| self.spaces.contains(*index));
            let batch: Vec<(usize, u32)> = known.map(|index| (index, self.spaces[index].serial)).collect();
            let items = batch.iter().map(|(index, _)| item(self.spaces[*index].name.as_ref()));
            let items: Vec<Vec<u8>> = items.collect();
            let incarnation = self.lease.incarnation;
            self.call_registry(now, Expect::Registered(incarnation, batch), b"add", incarnation, &items);
        }
    }

    /// Calls the script that keeps a registry.
    pub(super) fn call_registry(
        &mut self,
        now: Moment,
        expect: Expect,
        operation: &[u8],
        incarnation: Incarnation,
        items: &[Vec<u8>],
    ) {
        let key = self.settings.names.registry(incarnation);
        let script = self.scripts[Script::Registry as usize].as_bytes();
        let mut call: Vec<&[u8]> = vec![b"EVALSHA", script, b"1", key.as_bytes(), operation, KEY_TTL];
        call.extend(items.iter().map(Vec::as_slice));
        self.work.call(now, expect, &call);
    }

    /// Redis answered a registration.
    pub(super) fn registered(
        &mut self,
        now: Moment,
        incarnation: Incarnation,
        spaces: &[(usize, u32)],
        reply: &Reply,
    ) {
        if incarnation != self.lease.incarnation {
            return;
        }
        if reply.number() == Some(0) {
            return self.fenced(now);
        }
        let (standing, at) = match reply {
            Reply::Error(_) => {
                self.assume_counts();
                (Standing::Unregistered, now + RETRY)
            }
            _ => (Standing::Registered, now),
        };
        for &(index, serial) in spaces {
            let space = self.spaces.get_mut(index).filter(|space| space.serial == serial);
            if let Some(space) = space.filter(|space| space.standing == Standing::Registering) {
                space.standing = standing;
                self.look_at(at, index);
            }
        }
    }

    /// Redis answered a count.
    pub(super) fn counted(
        &mut self,
        now: Moment,
        incarnation: Incarnation,
        space: (usize, u32),
        reply: &Reply,
    ) {
        let (index, serial) = space;
        self.unanswered_counts = self.unanswered_counts.saturating_sub(1);
        if incarnation != self.lease.incarnation
            || self.spaces.get(index).is_none_or(|it| it.serial != serial)
        {
            return;
        }
        let Some((sum, wait)) = parse_counted(reply) else {
            if reply.parts().first().and_then(Reply::text) == Some("FENCED") {
                return self.fenced(now);
            }
            self.spaces[index].write_failed();
            self.spaces[index].write_at = now + RETRY;
            self.assume_counts();
            return self.look_at(now + RETRY, index);
        };
        let news = self.spaces[index].written(sum);
        self.spaces[index].flush_at = (wait > 0).then(|| now + Duration::from_millis(wait));
        self.take_news(now, index, news);
        self.look_at(now, index);
    }

    /// Redis told a sum: `C`, 16 digits of epoch, version, a space, peers.
    #[expect(clippy::ref_option, reason = "it is the key of a map")]
    pub(super) fn hear_sum(&mut self, now: Moment, name: &Option<Namespace>, payload: &[u8]) {
        let Some(index) = self.space_by_name.get(name).copied() else { return };
        let Some(sum) = parse_sum(payload) else {
            return self.tally.dropped(super::tally::Dropped::Malformed);
        };
        let fresh = self.lease.is_fresh(now);
        let news = self.spaces[index].told(sum, fresh);
        self.take_news(now, index, news);
    }

    fn take_news(&mut self, now: Moment, index: usize, news: News) {
        if news == News::Amnesia {
            self.lease.hold(now);
            self.look_at(now, index);
        }
        self.reveal(index);
    }

    /// Lets shards know what is known, unless it may not be the whole.
    fn reveal(&mut self, index: usize) {
        self.spaces[index].reveal(self.lease.is_holding());
        self.announce(index);
    }

    fn announce(&mut self, index: usize) {
        for ((shard, tag), elsewhere) in self.spaces[index].announcements() {
            self.stage(shard, Event::Counted(tag, elsewhere));
        }
    }

    /// A namespace's channel is live.
    pub(super) fn space_is_heard(&mut self, now: Moment, channel: usize) {
        let Some(Carries::Namespace(name)) =
            self.channels.get(channel).map(|channel| channel.carries.clone())
        else {
            return;
        };
        if let Some(index) = self.space_by_name.get(&name).copied() {
            self.look_at(now, index);
        }
    }

    fn forget_space(&mut self, now: Moment, index: usize) {
        let space = self.spaces.remove(index);
        self.space_by_name.remove(&space.name);
        if space.standing == Standing::Registered && self.is_up() {
            let items = [item(space.name.as_ref())];
            self.call_registry(now, Expect::Dropped, b"drop", self.lease.incarnation, &items);
        }
    }

    /// The link is gone: counts keep their last value.
    pub(super) fn hold_counts(&mut self, now: Moment) {
        self.unregistered.clear();
        self.unanswered_counts = 0;
        self.lease.hold(now);
        self.space_indices().into_iter().for_each(|index| self.spaces[index].forget_writes());
        self.assume_counts();
    }

    /// There is no link, or Redis takes nothing: who knows no count takes what is here for everything, so that
    /// no peer's opening waits for it.
    pub(super) fn assume_counts(&mut self) {
        for index in self.space_indices() {
            self.spaces[index].assume();
            self.announce(index);
        }
    }

    /// Redis may have forgotten anything: all that is here is said again (redis 5.8).
    pub(super) fn assert_counts(&mut self, now: Moment, again: fn(&mut Space)) {
        self.unregistered.clear();
        for index in self.space_indices() {
            again(&mut self.spaces[index]);
            self.look_at(now, index);
        }
    }

    /// The lease is known to hold: what was held back because of that may be told.
    pub(super) fn settle_counts(&mut self, now: Moment) {
        for index in self.space_indices() {
            self.spaces[index].settle();
            self.reveal(index);
            self.look_at(now, index);
        }
    }
}

/// A namespace as an item of a registry.
pub(super) fn item(name: Option<&Namespace>) -> Vec<u8> {
    [b"c", name.map_or("", Namespace::as_str).as_bytes()].concat()
}

/// An item of a registry that this version can't take away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct UnknownItem;

/// The namespace an item of a registry names; none for the count of everything.
pub(super) fn parse_item(item: &[u8]) -> Result<Option<Namespace>, UnknownItem> {
    let name = item.strip_prefix(b"c").ok_or(UnknownItem)?;
    if name.is_empty() {
        return Ok(None);
    }
    let name = std::str::from_utf8(name).map_err(|_| UnknownItem)?;
    Namespace::parse(name).map(Some).map_err(|_| UnknownItem)
}

/// `OK`, epoch, version, sum, and in how many milliseconds what is owed is to be told.
pub(super) fn parse_counted(reply: &Reply) -> Option<(Sum, u64)> {
    let [status, epoch, version, peers, wait] = reply.parts() else { return None };
    let sum = Sum { epoch: epoch.text()?.to_owned(), version: version.number()?, peers: peers.number()? };
    (status.text()? == "OK").then_some((sum, wait.number()?))
}

fn parse_sum(payload: &[u8]) -> Option<Sum> {
    let text = std::str::from_utf8(payload.strip_prefix(b"C")?).ok()?;
    let (epoch, rest) = text.split_at_checked(EPOCH_DIGITS)?;
    let (version, peers) = rest.split_once(' ')?;
    Some(Sum { epoch: epoch.to_owned(), version: version.parse().ok()?, peers: peers.parse().ok()? })
}

const EPOCH_DIGITS: usize = 16;
