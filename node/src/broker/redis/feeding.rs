//! Feeds between Redis and the shards: what is heard goes in, what feeds say goes out.

use bytes::Bytes;
use dunlin_protocol::{GapReason, Heard, Position, PublicationId};
use smallvec::SmallVec;
use std::sync::Arc;

use super::channels::Ear;
use super::machine::Machine;
use super::tally::{Dropped, Gap as Told};
use crate::broker::{Event, inbox};
use crate::config::Retention;
use crate::feed::{Ask, Feed, MEND_PAUSE, Said};
use crate::history::{Asked, CommitError, Gap, Place};
use crate::hub::{Moment, Tag};
use crate::publication::Publication;

/// A feed, and who waits for it.
#[derive(Debug)]
pub struct Listening {
    /// The topic's progress.
    pub feed: Feed,
    /// Tells apart feeds whose channels had the same place.
    pub serial: u32,
    /// Ears that are told that they hear the topic once it is known where it is.
    untold: Vec<Ear>,
    /// Publishers that are told once the feed has passed what they published.
    owed: Vec<Owed>,
    /// Ears that were left out because their shard does not keep up, and what they had got.
    behind: Vec<(Ear, Option<Position>)>,
    /// What waits to be asked, and since when it may be.
    later: Option<(Moment, u64, Ask)>,
    /// When the head was given its lifetime by this node.
    pub renewed_at: Option<Moment>,
}

#[derive(Debug)]
struct Owed {
    asker: (usize, u32),
    position: Position,
    since: Moment,
}

/// How long a publisher waits at most for what it published to be delivered here.
const OWED_TIME: std::time::Duration = std::time::Duration::from_secs(5);

impl Machine {
    /// A shard listens to a topic that remembers.
    pub(super) fn listen(&mut self, channel: usize, ear: Ear, place: Place, retention: Arc<Retention>) {
        self.ears.insert(ear, channel);
        let (rules, allowed) = (self.settings.rules, self.ring_allowance());
        self.serial = self.serial.wrapping_add(1);
        let serial = self.serial;
        let listening = &mut self.channels.channel(channel).listening;
        if listening.is_some() {
            return;
        }
        let mut feed = Feed::new(place, retention, rules);
        feed.allow(allowed);
        let (untold, owed, behind) = (Vec::new(), Vec::new(), Vec::new());
        *listening =
            Some(Box::new(Listening { feed, serial, untold, owed, behind, later: None, renewed_at: None }));
        self.listeners.insert(channel);
    }

    /// Lets a feed do something, and does what it wants.
    pub(super) fn drive(&mut self, now: Moment, channel: usize, act: impl FnOnce(&mut Feed, &mut Vec<Said>)) {
        let mut said = std::mem::take(&mut self.said);
        if let Some(listening) = self.listening(channel) {
            act(&mut listening.feed, &mut said);
        }
        for one in said.drain(..) {
            self.obey(now, channel, one);
        }
        self.said = said;
        self.settle_owed(now, channel);
        self.tell_joined(channel, &[]);
    }

    /// Tells ears that they hear a topic: what is committed from then on reaches them.
    pub(super) fn tell_joined(&mut self, channel: usize, ears: &[Ear]) {
        let Some(listening) = self.listening(channel) else { return };
        listening.untold.extend_from_slice(ears);
        if listening.feed.is_settled() {
            for (shard, tag) in std::mem::take(&mut listening.untold) {
                self.stage(shard, Event::Joined(tag));
            }
        }
    }

    pub(super) fn listening(&mut self, channel: usize) -> Option<&mut Listening> {
        self.channels.find_at(channel)?.listening.as_deref_mut()
    }

    fn obey(&mut self, now: Moment, channel: usize, said: Said) {
        match said {
            Said::Deliver(publication) => self.deliver_stored(channel, &publication),
            Said::Passed(id, position) => self.passed(channel, id, position),
            Said::Gap(gap) => self.tell_gap(channel, gap),
            Said::Reset(position, state) => {
                let reset = |tag| Event::Reset(tag, position, state.clone());
                self.stage_for_ears(channel, reset);
            }
            Said::Answer((shard, ticket), outcome) => {
                self.stage(shard, Event::Recovered(ticket, outcome));
            }
            Said::Ask(number, ask) => self.put_question(now, channel, number, ask),
            Said::AskLater(number, ask) => self.ask_later(now + MEND_PAUSE, channel, number, ask),
            Said::Unreadable => self.tally.dropped(Dropped::Unreadable),
        }
    }

    /// Asks again after a while.
    pub(super) fn ask_later(&mut self, at: Moment, channel: usize, number: u64, ask: Ask) {
        if let Some(listening) = self.listening(channel) {
            listening.later = Some((at, number, ask));
            self.later.insert((at, channel));
        }
    }

    /// An ear is gone: nothing is owed to it.
    pub(super) fn forget_ear(&mut self, now: Moment, channel: usize, ear: Ear) {
        self.drive(now, channel, |feed, said| feed.dismiss(ear.0, said));
        if let Some(listening) = self.listening(channel) {
            listening.untold.retain(|each| *each != ear);
            listening.behind.retain(|(each, _)| *each != ear);
        }
        if !self.is_heard(channel)
            && let Some(listening) = self.listening(channel)
        {
            // The feed may be gone before it gets there.
            for Owed { asker: (shard, ticket), .. } in std::mem::take(&mut listening.owed) {
                self.stage(shard, Event::Committed(ticket, Ok(None)));
            }
        }
    }

    fn stage_for_ears(&mut self, channel: usize, event: impl Fn(Tag) -> Event) {
        let Some(heard) = self.channels.get(channel) else { return };
        for (shard, tag) in heard.ears.clone() {
            self.stage(shard, event(tag));
        }
    }

    fn tell_gap(&mut self, channel: usize, gap: Gap) {
        self.tally.gap(match gap.reason {
            GapReason::Forked => Told::Forked,
            GapReason::Reset => Told::Reset,
            _ => Told::Lost,
        });
        self.stage_for_ears(channel, |tag| Event::Missed(tag, gap));
        // What was stored beyond it never was, for all that is known.
        if gap.reason == GapReason::Reset {
            return;
        }
        let Some(listening) = self.listening(channel) else { return };
        let feed = &listening.feed;
        let lost: Vec<Owed> = listening.owed.extract_if(.., |owed| !feed.has_passed(owed.position)).collect();
        for Owed { asker: (shard, ticket), .. } in lost {
            self.stage(shard, Event::Committed(ticket, Err(CommitError::Unknown)));
        }
    }

    /// Puts a publication in front of every shard that hears the topic and keeps up.
    fn deliver_stored(&mut self, channel: usize, publication: &Arc<Publication>) {
        let cost = inbox::cost(publication.envelope.payload.bytes.len());
        let Some(heard) = self.channels.get(channel) else { return };
        for ear @ (shard, tag) in heard.ears.clone() {
            if self.is_behind(channel, ear) {
                continue;
            }
            if self.staged[shard].has_room(cost) {
                self.stage(shard, Event::Publication(tag, publication.clone()));
            } else {
                self.tally.dropped(Dropped::Overflow);
                let had = publication.position.and_then(|position| self.before(channel, position));
                if let Some(listening) = self.listening(channel) {
                    listening.behind.push((ear, had));
                    self.behind.insert(channel);
                }
            }
        }
    }

    fn is_behind(&mut self, channel: usize, ear: Ear) -> bool {
        self.listening(channel).is_some_and(|listening| listening.behind.iter().any(|(each, _)| *each == ear))
    }

    /// The position before another one, if it is at hand.
    fn before(&mut self, channel: usize, position: Position) -> Option<Position> {
        self.listening(channel)?.feed.position_at(position.offset.checked_sub(1)?)
    }

    /// Shards that keep up again are told what they were left out of.
    pub(super) fn catch_up_behind(&mut self) {
        for channel in std::mem::take(&mut self.behind) {
            let Some(listening) = self.channels.find_at(channel).and_then(|it| it.listening.as_deref_mut())
            else {
                continue;
            };
            let staged = &self.staged;
            let caught_up: Vec<_> =
                listening.behind.extract_if(.., |((shard, _), _)| staged[*shard].is_relaxed()).collect();
            if !listening.behind.is_empty() {
                self.behind.insert(channel);
            }
            if caught_up.is_empty() {
                continue;
            }
            let (tip, state) = (listening.feed.tip(), listening.feed.state());
            let keeps_state = listening.feed.keeps_state();
            for ((shard, tag), from) in caught_up {
                self.tally.gap(Told::Overflow);
                self.stage(shard, Event::Missed(tag, Gap { from, to: tip, reason: GapReason::Lost }));
                if let Some(tip) = tip.filter(|_| keeps_state) {
                    self.stage(shard, Event::Reset(tag, tip, state.clone()));
                }
            }
        }
    }

    /// Something came on the channel of a topic that remembers.
    pub(super) fn hear_stored(&mut self, now: Moment, channel: usize, payload: &Bytes) {
        match Heard::decode(payload) {
            Some(heard) => self.drive(now, channel, |feed, said| feed.heard(now, heard, said)),
            None => self.tally.dropped(Dropped::Malformed),
        }
    }

    /// A newcomer to a joined topic.
    pub(super) fn recover(&mut self, now: Moment, shard: usize, ticket: u32, tag: Tag, asked: Asked) {
        let Some(channel) = self.ears.get(&(shard, tag)).copied() else {
            let gone = Box::new(Err(CommitError::Unavailable));
            return self.stage(shard, Event::Recovered(ticket, gone));
        };
        self.drive(now, channel, |feed, said| feed.recover(now, (shard, ticket), asked, said));
        self.await_feed(channel);
    }

    /// Sees to it that newcomers who wait are let in some time.
    fn await_feed(&mut self, channel: usize) {
        if let Some(at) = self.listening(channel).and_then(|listening| listening.feed.deadline()) {
            self.later.insert((at, channel));
        }
    }

    /// A publication took its place: if it is this node's own, whoever published it is told here and now.
    fn passed(&mut self, channel: usize, id: PublicationId, position: Position) {
        if id.incarnation != self.settings.incarnation {
            return;
        }
        let Some(listening) = self.listening(channel) else { return };
        // Redis' answer may have been quicker than the publication.
        let owed: SmallVec<[Owed; 1]> =
            listening.owed.extract_if(.., |owed| owed.position == position).collect();
        for Owed { asker, .. } in owed {
            self.tell_committed(channel, asker, Some(position));
        }
        let Some(name) = self.channels.get(channel).map(|channel| channel.name.clone()) else { return };
        let Some(writer) = self.writers.find(&name).and_then(|index| self.writers.get(index)) else { return };
        let Some(place) = writer.batch.iter().position(|pending| pending.id == id) else { return };
        let is_map = writer.retention().mode == crate::config::Mode::Map;
        let passed = if is_map { 0..writer.batch.len() } else { place..place + 1 };
        let askers: SmallVec<[_; 1]> =
            writer.batch[passed].iter_mut().filter_map(|pending| pending.asker.take()).collect();
        for asker in askers {
            self.tell_committed(channel, asker, Some(position));
        }
    }

    /// A commit is stored. Where the topic is listened to, its publisher is told behind the publication.
    pub(super) fn tell_in_place(
        &mut self,
        now: Moment,
        name: &[u8],
        asker: (usize, u32),
        position: Position,
    ) {
        let Some(channel) = self.channels.find(name).filter(|index| self.is_heard(*index)) else {
            return self.stage(asker.0, Event::Committed(asker.1, Ok(Some(position))));
        };
        let Some(listening) = self.listening(channel) else { return };
        if listening.feed.has_passed(position) || !listening.feed.will_deliver() {
            let has_passed = listening.feed.has_passed(position);
            return self.tell_committed(channel, asker, Some(position).filter(|_| has_passed));
        }
        listening.owed.push(Owed { asker, position, since: now });
        self.later.insert((now + OWED_TIME, channel));
    }

    /// Whether shards listen to a topic that remembers.
    fn is_heard(&self, channel: usize) -> bool {
        self.channels.get(channel).is_some_and(|it| it.listening.is_some() && !it.ears.is_empty())
    }

    /// Tells a publisher where its publication is, unless its shard was left out of what came before: then a position
    /// would say that all of that was delivered.
    fn tell_committed(&mut self, channel: usize, (shard, ticket): (usize, u32), position: Option<Position>) {
        let behind = self.listening(channel).map(|listening| &listening.behind);
        let is_behind = behind.is_some_and(|behind| behind.iter().any(|((each, _), _)| *each == shard));
        self.stage(shard, Event::Committed(ticket, Ok(position.filter(|_| !is_behind))));
    }

    fn settle_owed(&mut self, now: Moment, channel: usize) {
        let Some(listening) = self.listening(channel).filter(|listening| !listening.owed.is_empty()) else {
            return;
        };
        let feed = &listening.feed;
        let is_due = |owed: &mut Owed| feed.has_passed(owed.position) || owed.since + OWED_TIME <= now;
        let due: Vec<(Owed, bool)> = listening
            .owed
            .extract_if(.., is_due)
            .map(|owed| {
                let has_passed = feed.has_passed(owed.position);
                (owed, has_passed)
            })
            .collect();
        for (Owed { asker, position, .. }, has_passed) in due {
            // Without its place a position would say that all before it was delivered.
            self.tell_committed(channel, asker, has_passed.then_some(position));
        }
    }

    /// Asks what was put off, and lets in who has waited long enough.
    pub(super) fn advance_feeds(&mut self, now: Moment) {
        while let Some((at, channel)) = self.later.first().copied().filter(|(at, _)| *at <= now) {
            self.later.remove(&(at, channel));
            let Some(listening) = self.listening(channel) else { continue };
            if let Some((_, number, ask)) = listening.later.take_if(|(at, ..)| *at <= now) {
                self.put_question(now, channel, number, ask);
            }
            self.drive(now, channel, |feed, said| feed.give_up(now, said));
            self.await_feed(channel);
        }
        if !self.behind.is_empty() {
            self.catch_up_behind();
        }
        self.sweep(now);
    }

    /// The link is gone: feeds hear nothing.
    pub(super) fn lose_feeds(&mut self, now: Moment) {
        self.questions.clear();
        self.reading = 0;
        for channel in self.listeners.iter().copied().collect::<Vec<_>>() {
            let Some(listening) = self.listening(channel) else {
                self.listeners.remove(&channel);
                continue;
            };
            listening.later = None;
            listening.feed.lost();
            // What is known to be stored is said to be; its place is not known.
            for Owed { asker: (shard, ticket), .. } in std::mem::take(&mut listening.owed) {
                self.stage(shard, Event::Committed(ticket, Ok(None)));
            }
            self.drive(now, channel, |_, _| {});
        }
    }
}
