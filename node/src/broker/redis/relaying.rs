//! Publications out and in (redis.md 4; behaviours T2, T4, T12).

use std::sync::Arc;

use bytes::Bytes;
use dunlin_protocol::{Envelope, GapReason, Namespace, PublicationId, Recipients, Topic};

use super::channels::{Carries, Ear, Joined, Stage};
use super::lanes;
use super::link::Expect;
use super::machine::Machine;
use super::resp;
use super::tally::{Dropped, Gap as Told, Local};
use crate::broker::{Event, inbox};
use crate::config::Retention;
use crate::history::{Gap, Place};
use crate::hub::{Moment, PublishError, Reach, Tag};
use crate::publication::Publication;

/// What a node may have on its way to Redis and back, in bytes.
const IN_FLIGHT_MAX: usize = 64 * 1024 * 1024;

impl Machine {
    pub(super) fn join(
        &mut self,
        ear: Ear,
        namespace: Namespace,
        topic: Topic,
        retention: Option<Arc<Retention>>,
    ) {
        let place = retention.is_some().then(|| Place { namespace: namespace.clone(), topic: topic.clone() });
        self.scratch.clear();
        self.settings.names.topic_channel(&mut self.scratch, &namespace, &topic);
        let index = self.channels.open(&self.scratch, || Carries::Topic(namespace, topic));
        if let (Some(place), Some(retention)) = (place, retention) {
            self.listen(index, ear, place, retention);
        }
        let away = !self.is_up();
        if self.channels.join(index, ear, away) == Joined::Later {
            return;
        }
        match self.channels.channel(index).listening {
            Some(_) => self.tell_joined(index, &[ear]),
            None => self.stage(ear.0, Event::Joined(ear.1)),
        }
    }

    pub(super) fn leave(
        &mut self,
        now: Moment,
        shard: usize,
        tag: Tag,
        namespace: &Namespace,
        topic: &Topic,
    ) {
        self.scratch.clear();
        self.settings.names.topic_channel(&mut self.scratch, namespace, topic);
        self.ears.remove(&(shard, tag));
        if let Some(index) = self.channels.find(&self.scratch) {
            self.channels.leave(now, index, (shard, tag));
            self.forget_ear(now, index, (shard, tag));
        }
    }

    pub(super) fn publish(&mut self, now: Moment, shard: usize, ticket: u32, envelope: Envelope) {
        let copies = lanes::copies(&envelope);
        if copies == 0 {
            return self.stage(shard, Event::Settled(ticket, Ok(Reach::Cluster)));
        }
        if !self.has_room(shard, &envelope, copies) {
            return self.stage(shard, Event::Settled(ticket, Err(PublishError::Unavailable)));
        }
        let envelope = Arc::new(envelope);
        if self.is_up() {
            self.lanes[shard].accept(now, ticket, &envelope);
            return;
        }
        // Never forwarded: who hears of it later would hear it out of order.
        for copy in 0..copies {
            self.deliver_here(&envelope, copy);
        }
        self.tally.local(Local::Down, 1);
        self.stage(shard, Event::Settled(ticket, Ok(Reach::Node)));
    }

    /// Whether there is room for a publication: on its way, if there is a way, and in front of this node's own
    /// shards, beside all that will come back to them.
    fn has_room(&mut self, shard: usize, envelope: &Envelope, copies: usize) -> bool {
        let cost = inbox::cost(envelope.payload.bytes.len()) * copies;
        let mut coming = cost;
        if self.is_up() {
            coming += self.lanes.iter().map(lanes::Lane::bytes).sum::<usize>();
            if coming > IN_FLIGHT_MAX || !self.lanes[shard].has_room(cost) {
                return false;
            }
        }
        (0..copies).all(|copy| {
            let Some(index) = self.channel_of(envelope, copy) else { return true };
            let mut ears = self.channels.get(index).into_iter().flat_map(|channel| &channel.ears);
            ears.all(|(shard, _)| self.staged[*shard].has_room(coming))
        })
    }

    /// Writes the name of a copy's channel into `scratch`.
    fn name_channel(&mut self, envelope: &Envelope, copy: usize) {
        self.scratch.clear();
        let (names, namespace) = (&self.settings.names, &envelope.namespace);
        match &envelope.to {
            Recipients::Namespace => names.namespace_channel(&mut self.scratch, Some(namespace)),
            Recipients::Topic(topic) => names.topic_channel(&mut self.scratch, namespace, topic),
            Recipients::Topics(topics) => names.topic_channel(&mut self.scratch, namespace, &topics[copy]),
        }
    }

    /// The channel that carries a copy, if this node hears it.
    fn channel_of(&mut self, envelope: &Envelope, copy: usize) -> Option<usize> {
        self.name_channel(envelope, copy);
        self.channels.find(&self.scratch)
    }

    /// Sends what may be sent.
    pub(super) fn pump(&mut self, now: Moment) {
        if !self.is_up() {
            return;
        }
        let mut unheard = Vec::new();
        for lane in 0..self.lanes.len() {
            while let Some((sequence, flight)) = self.lanes[lane].send_next() {
                let (envelope, copy, seen) = (flight.envelope.clone(), flight.copy, flight.seen);
                self.name_channel(&envelope, copy);
                let heard = self.channels.find(&self.scratch).and_then(|index| self.channels.get(index));
                let heard = heard.filter(|channel| !channel.ears.is_empty());
                // Its echo is awaited only where there is one.
                if !seen && heard.is_none_or(|channel| channel.stage != Stage::Live) {
                    unheard.push((lane, sequence, heard.is_some()));
                }
                let id = PublicationId {
                    incarnation: self.settings.incarnation,
                    lane: u16::try_from(lane).unwrap_or(u16::MAX),
                    sequence,
                };
                self.send_copy(now, id, &envelope);
            }
        }
        for (lane, sequence, has_ears) in unheard {
            self.do_not_await(lane, sequence, has_ears);
        }
    }

    fn send_copy(&mut self, now: Moment, id: PublicationId, envelope: &Envelope) {
        let out = self.work.expect(now, Expect::Publish(id.lane));
        resp::header(out, b'*', 3);
        resp::blob(out, b"PUBLISH");
        resp::blob(out, &self.scratch);
        self.encoded.clear();
        envelope.encode(id, &mut self.encoded);
        resp::blob(out, &self.encoded);
    }

    /// No echo will come: nobody here hears the channel, or it is still being subscribed to again.
    fn do_not_await(&mut self, lane: usize, sequence: u64, has_ears: bool) {
        let Some((envelope, copy)) = self.lanes[lane].see(sequence) else { return };
        if has_ears {
            self.deliver_here(&envelope, copy);
        }
    }

    /// Redis answered the oldest copy of a lane.
    pub(super) fn answer_publish(&mut self, lane: usize, outcome: Result<(), PublishError>) {
        let Some(answer) = self.lanes.get_mut(lane).and_then(|lane| lane.answer(outcome)) else { return };
        let outcome = answer.outcome.map(|()| Reach::Cluster);
        self.stage(lane, Event::Settled(answer.ticket, outcome));
    }

    /// Delivers what did not come back in time (T12).
    pub(super) fn deliver_overdue(&mut self, now: Moment) {
        self.deliver_unseen(Some(now), Local::Late);
    }

    /// The link is gone: what did not come back is delivered here, and all that waits for an answer gets one.
    /// What was not sent yet never will be: it would arrive late, behind what only this node's peers hear now.
    pub(super) fn lose_flights(&mut self) {
        self.deliver_unseen(None, Local::Down);
        for shard in 0..self.lanes.len() {
            for ticket in self.lanes[shard].take_tickets() {
                self.stage(shard, Event::Settled(ticket, Ok(Reach::Node)));
            }
            self.lanes[shard].drop_unsent();
        }
    }

    fn deliver_unseen(&mut self, overdue_at: Option<Moment>, reason: Local) {
        for shard in 0..self.lanes.len() {
            while let Some(flight) = self.lanes[shard].next_unseen(overdue_at) {
                let (envelope, copy, ticket) = (flight.envelope.clone(), flight.copy, flight.ticket.take());
                self.tally.local(reason, 1);
                self.deliver_here(&envelope, copy);
                if let Some(ticket) = ticket {
                    self.stage(shard, Event::Settled(ticket, Ok(Reach::Node)));
                }
            }
            self.lanes[shard].trim();
        }
    }

    /// Delivers a copy to this node's peers without the bus.
    fn deliver_here(&mut self, envelope: &Arc<Envelope>, copy: usize) {
        if let Some(index) = self.channel_of(envelope, copy) {
            self.hand_out(index, Publication::new(envelope.clone(), copy));
        }
    }

    /// A publication came on the bus.
    pub(super) fn hear_publication(&mut self, now: Moment, channel: usize, payload: Bytes) {
        let Ok((id, envelope)) = Envelope::decode(payload) else {
            return self.tally.dropped(Dropped::Malformed);
        };
        let Some(copy) = self.copy_for(channel, &envelope) else {
            return self.tally.dropped(Dropped::Malformed);
        };
        let is_own = id.incarnation == self.settings.incarnation;
        let is_new = if is_own {
            self.lanes.get_mut(usize::from(id.lane)).is_some_and(|lane| lane.echo(id.sequence))
        } else {
            self.windows.admit(now, id)
        };
        if is_new {
            self.hand_out(channel, Publication::new(Arc::new(envelope), copy));
        } else if !is_own {
            self.tally.dropped(Dropped::Duplicate);
        }
    }

    /// Which copy travels on this channel; none if it has no business there.
    fn copy_for(&self, channel: usize, envelope: &Envelope) -> Option<usize> {
        match (&self.channels.get(channel)?.carries, &envelope.to) {
            (Carries::Topic(namespace, topic), to) if *namespace == envelope.namespace => match to {
                Recipients::Topic(to) => (to == topic).then_some(0),
                Recipients::Topics(topics) => topics.iter().position(|to| to == topic),
                Recipients::Namespace => None,
            },
            (Carries::Namespace(Some(namespace)), Recipients::Namespace) => {
                (*namespace == envelope.namespace).then_some(0)
            }
            _ => None,
        }
    }

    /// Puts a publication in front of every shard that hears the channel, as far as there is room.
    fn hand_out(&mut self, channel: usize, publication: Publication) {
        let publication = Arc::new(publication);
        let cost = inbox::cost(publication.envelope.payload.bytes.len());
        let Some(heard) = self.channels.get(channel) else { return };
        let broadcast = matches!(heard.carries, Carries::Namespace(_));
        for (shard, tag) in heard.ears.clone() {
            if !self.staged[shard].has_room(cost) {
                self.leave_out(shard, tag, broadcast);
                continue;
            }
            let event = if broadcast { Event::Broadcast } else { Event::Publication };
            self.stage(shard, event(tag, publication.clone()));
        }
    }

    /// A shard does not keep up. Its peers are told, once for each topic until it has caught up.
    fn leave_out(&mut self, shard: usize, tag: Tag, broadcast: bool) {
        self.tally.dropped(Dropped::Overflow);
        if !broadcast && self.staged[shard].overflow(tag) {
            self.tally.gap(Told::Overflow);
            self.stage(shard, Event::Missed(tag, Gap::of(GapReason::Lost)));
        }
    }
}
