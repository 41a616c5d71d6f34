//! Who lives, and what is done about who does not (redis.md 5.2 to 5.6).

use std::collections::btree_map::Entry;
use std::time::Duration;

use dunlin_protocol::{Incarnation, Namespace};

use super::counting::{RETRY, item, parse_counted, parse_item};
use super::lease::{CLAIM, Leaving, Visit};
use super::link::Expect;
use super::machine::Machine;
use super::resp::Reply;
use super::script::Script;
use super::space::Space;
use crate::hub::Moment;

/// How often keys are given their lifetime again; they live for a day.
const RENEW_EVERY: Duration = Duration::from_hours(4);
/// Items of a dead node that are seen to at a time.
const ITEMS: &[u8] = b"256";

impl Machine {
    /// The links are up: the lease first, then what depends on it.
    pub(super) fn resume_counts(&mut self, now: Moment) {
        self.lease.reaping.clear();
        // A Redis that fell back counts versions that mean something else.
        self.lease.version.clear();
        if self.lease.epoch.is_some() {
            self.lease.hold(now);
        }
        self.tick(now);
        self.assert_counts(now, Space::forget_writes);
    }

    pub(super) fn lease_deadline(&self) -> Option<Moment> {
        let tick = (self.is_up() && self.lease.leaving == Leaving::No).then_some(self.lease.tick_at);
        tick.into_iter().chain(self.lease.hold_until).min()
    }

    pub(super) fn advance_lease(&mut self, now: Moment) {
        if self.is_up() && self.lease.leaving == Leaving::No && self.lease.tick_at <= now {
            self.tick(now);
        }
    }

    fn tick(&mut self, now: Moment) {
        self.lease.tick_at = now + self.lease.period();
        let renew = self.lease.renewed_at.is_none_or(|at| now.since(at) > RENEW_EVERY);
        let [live, gone, meta] = self.settings.names.leases();
        let arguments = [
            self.lease.incarnation.to_string(),
            self.lease.ttl().as_millis().to_string(),
            self.lease.whole().as_millis().to_string(),
            format!("{:016x}", self.chance.draw()),
            self.lease.version.clone(),
            CLAIM.as_millis().to_string(),
            u8::from(renew).to_string(),
        ];
        let script = self.scripts[Script::Tick as usize].as_bytes();
        let mut call: Vec<&[u8]> =
            vec![b"EVALSHA", script, b"3", live.as_bytes(), gone.as_bytes(), meta.as_bytes()];
        call.extend(arguments.iter().map(String::as_bytes));
        self.work.call(now, Expect::Tick(self.lease.incarnation), &call);
        if renew && self.lease.renewed_at.replace(now).is_some() {
            self.agree_on_secret(now);
            // Writing them again gives the registry and the counts their lifetime again, too.
            self.assert_counts(now, Space::forget_writes);
        }
    }

    /// Redis answered a tick.
    pub(super) fn ticked(&mut self, now: Moment, sent_at: Moment, incarnation: Incarnation, reply: &Reply) {
        if incarnation != self.lease.incarnation {
            return;
        }
        let [status, epoch, rest @ ..] = reply.parts() else {
            // Busy, loading, or the script is forgotten: the next tick tries again, and nobody waits for it.
            self.lease.renewed_at = None;
            return self.assume_counts();
        };
        if status.text() != Some("OK") {
            return self.fenced(now);
        }
        let was_fresh = self.lease.is_fresh(now);
        self.lease.proven(sent_at);
        if let [version, _, live, job] = rest {
            self.note_live(version, live);
            if let Some(dead) = job.text().and_then(|text| Incarnation::parse(text).ok()) {
                self.begin_reaping(now, dead);
            }
        }
        self.note_registry(now, epoch.text().unwrap_or_default());
        if !was_fresh {
            self.settle_counts(now);
        }
    }

    /// Another registry than before: Redis has forgotten who lives and what they wrote.
    fn note_registry(&mut self, now: Moment, epoch: &str) {
        let known = self.lease.epoch.replace(epoch.to_owned());
        if known.is_some_and(|known| known != epoch) {
            self.lease.hold(now);
            self.lease.version.clear();
            self.assert_counts(now, Space::forget_writes);
            self.agree_on_secret(now);
        }
    }

    fn note_live(&mut self, version: &Reply, live: &Reply) {
        let Reply::List(live) = live else { return };
        let live = live.iter().filter_map(|each| Incarnation::parse(each.text()?).ok());
        self.lease.set_live(live.collect());
        version.text().unwrap_or_default().clone_into(&mut self.lease.version);
    }

    /// This node was declared dead: it comes back as somebody else, with all its peers (redis 5.5).
    pub(super) fn fenced(&mut self, now: Moment) {
        if self.lease.leaving != Leaving::No {
            return; // It is not to come back.
        }
        self.tally.fenced += 1;
        let incarnation = Incarnation(self.chance.draw());
        self.lease.begin_again(now, incarnation);
        self.lease.reaping.clear();
        self.assert_counts(now, Space::begin_again);
        if self.is_up() {
            self.tick(now);
        }
    }

    fn begin_reaping(&mut self, now: Moment, dead: Incarnation) {
        if let Entry::Vacant(vacant) = self.lease.reaping.entry(dead) {
            vacant.insert(Visit::default());
            self.call_registry(now, Expect::Closed(dead), b"close", dead, &[]);
        }
    }

    /// The dead one's registry is closed, or a part of it is done with: what else may it have written?
    pub(super) fn reap_items(&mut self, now: Moment, dead: Incarnation, reply: &Reply) {
        if let Reply::Error(_) = reply {
            return self.put_off_reaping(dead);
        }
        if self.lease.reaping.contains_key(&dead) {
            let key = self.settings.names.registry(dead);
            self.work.call(now, Expect::Items(dead), &[b"SRANDMEMBER", key.as_bytes(), ITEMS]);
        }
    }

    /// The claim lapses, and then somebody tries again.
    fn put_off_reaping(&mut self, dead: Incarnation) {
        self.lease.reaping.remove(&dead);
    }

    /// Takes away what it wrote.
    pub(super) fn reap(&mut self, now: Moment, dead: Incarnation, reply: &Reply) {
        let Reply::List(items) = reply else { return self.put_off_reaping(dead) };
        let items = items.iter().filter_map(|item| match item {
            Reply::Text(text) if &text[..] != b"#x" => Some(parse_item(text)),
            _ => None,
        });
        let items: Vec<_> = items.collect();
        if items.is_empty() {
            return self.bury(now, dead);
        }
        let known: Vec<_> = items.iter().filter_map(|item| item.clone().ok()).collect();
        if known.is_empty() {
            // A later version wrote what this one can't take away; its own nodes will.
            return self.put_off_reaping(dead);
        }
        self.lease.reaping.insert(dead, Visit { awaited: known.len(), done: Vec::new() });
        for name in known {
            let expect = Expect::Reaped(dead, name.clone());
            self.send_count(now, expect, b"reap", dead, 0, name.as_ref());
        }
    }

    /// One count was taken away. Only then is its item dropped: what failed is tried again.
    pub(super) fn reaped(&mut self, now: Moment, dead: Incarnation, name: Option<Namespace>, reply: &Reply) {
        let Some(visit) = self.lease.reaping.get_mut(&dead) else { return };
        visit.awaited = visit.awaited.saturating_sub(1);
        let counted = parse_counted(reply);
        if counted.is_some() {
            visit.done.push(item(name.as_ref()));
        }
        let done = (visit.awaited == 0).then(|| std::mem::take(&mut visit.done));
        if let Some((_, wait @ 1..)) = counted {
            self.owe(now + Duration::from_millis(wait), name);
        }
        match done {
            None => {}
            Some(done) if done.is_empty() => self.put_off_reaping(dead),
            Some(done) => self.call_registry(now, Expect::Closed(dead), b"drop", dead, &done),
        }
    }

    /// A sum was told, or has to be told again.
    pub(super) fn flushed(&mut self, now: Moment, name: Option<Namespace>, reply: &Reply) {
        match parse_counted(reply) {
            Some((_, 0)) => {}
            Some((_, wait)) => self.owe(now + Duration::from_millis(wait), name),
            None => self.owe(now + RETRY, name),
        }
    }

    fn owe(&mut self, at: Moment, name: Option<Namespace>) {
        self.owed.entry(at).or_default().push(name);
    }

    fn bury(&mut self, now: Moment, dead: Incarnation) {
        self.lease.reaping.remove(&dead);
        self.tally.reaped += 1;
        self.call_leave(now, Expect::Buried, dead, b"1");
    }

    fn call_leave(&mut self, now: Moment, expect: Expect, incarnation: Incarnation, done: &[u8]) {
        let [live, gone, meta] = self.settings.names.leases();
        let (script, incarnation) =
            (self.scripts[Script::Leave as usize].as_bytes(), incarnation.to_string());
        let keys: [&[u8]; 3] = [live.as_bytes(), gone.as_bytes(), meta.as_bytes()];
        let call = [b"EVALSHA", script, b"3", keys[0], keys[1], keys[2], incarnation.as_bytes(), done];
        self.work.call(now, expect, &call);
    }

    /// Tells sums that were owed.
    pub(super) fn flush_owed(&mut self, now: Moment) {
        while self.is_up() {
            let Some(entry) = self.owed.first_entry().filter(|entry| *entry.key() <= now) else { return };
            for name in entry.remove() {
                self.flush(now, name.as_ref());
            }
        }
    }

    /// The node leaves for good: what it last counted is written at once, and the rest is taken away by others.
    pub fn go(&mut self, now: Moment) {
        if !self.is_up() || self.lease.leaving != Leaving::No {
            return;
        }
        // From now on nothing is put off.
        self.lease.leaving = Leaving::Asked;
        for index in self.space_indices() {
            self.spaces[index].write_at = now;
            self.spaces[index].flush_at = self.spaces[index].flush_at.map(|_| now);
            self.advance_space(now, index);
        }
        self.call_leave(now, Expect::Left, self.lease.incarnation, b"0");
    }

    /// Redis knows that this node left.
    pub(super) fn left(&mut self) {
        self.lease.leaving = Leaving::Done;
    }

    /// Whether the node has left, or can't.
    pub fn is_gone(&self) -> bool {
        self.lease.leaving == Leaving::Done || !self.is_up()
    }
}
