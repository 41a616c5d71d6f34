//! What Redis says, and whom it concerns.

use bytes::Bytes;

use super::channels::{Carries, Ear, Stage};
use super::link::{Expect, Which};
use super::machine::Machine;
use super::pairing::Phase;
use super::resp::{Reply, Said};
use super::tally::Gap as Told;
use crate::broker::Event;
use crate::history::Gap;
use crate::hub::{Moment, PublishError};

use dunlin_protocol::GapReason;

impl Machine {
    /// Takes what was read from a connection.
    pub fn receive(&mut self, now: Moment, which: Which, bytes: &[u8]) {
        self.link(which).receive(bytes);
        loop {
            match self.link(which).next() {
                Ok(Some(said)) => self.hear(now, which, said),
                Ok(None) => break,
                Err(error) => return self.lost(now, &error.to_string()),
            }
        }
        self.go_on(now);
    }

    fn link(&mut self, which: Which) -> &mut super::link::Link {
        match which {
            Which::Bus => &mut self.bus,
            Which::Work => &mut self.work,
        }
    }

    fn hear(&mut self, now: Moment, which: Which, said: Said) {
        match said {
            Said::Message { channel, payload } => self.hear_message(now, &channel, payload),
            Said::Subscribed(channel) => self.confirm(now, &channel, true),
            Said::Unsubscribed(channel) => self.confirm(now, &channel, false),
            Said::Reply(reply) => self.hear_reply(now, which, &reply),
            Said::Other => {}
        }
    }

    fn hear_message(&mut self, now: Moment, channel: &[u8], payload: Bytes) {
        let Some(index) = self.channels.find(channel) else { return };
        let Some(heard) = self.channels.get(index) else { return };
        match &heard.carries {
            Carries::Heartbeat => self.heartbeat_heard(now, &payload),
            Carries::Namespace(name) if payload.first() == Some(&b'C') => {
                let name = name.clone();
                self.hear_sum(now, &name, &payload);
            }
            Carries::Topic(..) if heard.listening.is_some() => self.hear_stored(now, index, &payload),
            Carries::Topic(..) | Carries::Namespace(_) => self.hear_publication(now, index, payload),
        }
    }

    /// Confirmations come in the order of the commands.
    fn confirm(&mut self, now: Moment, name: &[u8], begun: bool) {
        let expected = match self.bus.oldest() {
            Some(Expect::Subscribe(indices)) if begun => indices,
            Some(Expect::Unsubscribe(indices)) if !begun => indices,
            _ => return self.lost(now, "redis confirmed what was not asked for"),
        };
        let index = expected.pop();
        if expected.is_empty() {
            self.note_answered(now, Which::Bus);
        }
        let Some(index) = index.filter(|index| self.channels.get(*index).is_some_and(|it| it.name == name))
        else {
            return self.lost(now, "redis confirmed another channel than was asked for");
        };
        if !begun {
            self.channels.ended(index);
        } else if self.channels.confirmed(index) {
            self.channel_is_live(now, index);
        }
        self.note_reach();
    }

    /// Publications arrive from now on. Who heard the channel before is told that some may be missing; who
    /// waits is told that it hears it.
    fn channel_is_live(&mut self, now: Moment, index: usize) {
        let channel = self.channels.channel(index);
        let missed = std::mem::take(&mut channel.missed);
        let untold = std::mem::take(&mut channel.untold);
        let ears = channel.ears.clone();
        match channel.carries {
            Carries::Heartbeat => self.send_heartbeat(now),
            Carries::Namespace(_) => self.space_is_heard(now, index),
            // A topic that remembers finds out by itself what was missed.
            Carries::Topic(..) if channel.listening.is_some() => self.tell_joined(index, &untold),
            Carries::Topic(..) => self.topic_is_live(missed, &ears, &untold),
        }
    }

    fn topic_is_live(&mut self, missed: bool, ears: &[Ear], untold: &[Ear]) {
        if missed {
            self.tally.gap(Told::Link);
            for (shard, tag) in ears.iter().filter(|ear| !untold.contains(ear)) {
                self.stage(*shard, Event::Missed(*tag, Gap::of(GapReason::Link)));
            }
        }
        for (shard, tag) in untold {
            self.stage(*shard, Event::Joined(*tag));
        }
    }

    fn note_answered(&mut self, now: Moment, which: Which) -> Option<(Moment, Expect)> {
        let (sent_at, expect) = self.link(which).answered()?;
        if let Some(measured) = expect.label() {
            self.tally.took(measured, sent_at, now);
        }
        Some((sent_at, expect))
    }

    fn hear_reply(&mut self, now: Moment, which: Which, reply: &Reply) {
        let Some((sent_at, expect)) = self.note_answered(now, which) else {
            return self.lost(now, "redis answered what was not asked");
        };
        if matches!(reply, Reply::Error(error) if error.starts_with("NOSCRIPT")) {
            self.load_scripts(now);
        }
        match expect {
            Expect::Role => self.check_role(now, reply),
            Expect::Identity => self.note_identity(now, reply),
            Expect::Greeting | Expect::Loaded(_) => self.note_greeting(now, &expect, reply),
            Expect::Fence => self.fenced_off(now, reply),
            Expect::Subscribe(channels) => self.subscription_refused(now, &channels, reply),
            Expect::Unsubscribe(_) => self.lost(now, "redis refuses to unsubscribe"),
            Expect::Audit => self.check_subscriptions(now, reply),
            Expect::Publish(lane) => self.published(now, lane, reply),
            Expect::Committed(writer, serial) => self.committed(now, writer, serial, reply),
            Expect::Heads(heads) => self.heads_answered(now, &heads, reply),
            Expect::Asked(question) => self.question_answered(now, question, reply),
            Expect::Secret => self.hear_secret(reply),
            Expect::Heartbeat => self.check_heartbeat(now, reply),
            Expect::Tick(incarnation) => self.ticked(now, sent_at, incarnation, reply),
            Expect::Count(incarnation, space, serial) => {
                self.counted(now, incarnation, (space, serial), reply);
            }
            Expect::Registered(incarnation, spaces) => self.registered(now, incarnation, &spaces, reply),
            Expect::Closed(dead) => self.reap_items(now, dead, reply),
            Expect::Items(dead) => self.reap(now, dead, reply),
            Expect::Reaped(dead, name) => self.reaped(now, dead, name, reply),
            Expect::Left => self.left(),
            Expect::Flushed(name) => self.flushed(now, name, reply),
            Expect::Dropped | Expect::Buried | Expect::Echoed => {}
        }
    }

    fn note_greeting(&mut self, now: Moment, expect: &Expect, reply: &Reply) {
        match (expect, reply) {
            (_, Reply::Error(error)) => self.lost(now, &format!("redis refuses what a node needs: {error}")),
            (Expect::Loaded(script), reply) => {
                reply.text().unwrap_or_default().clone_into(&mut self.scripts[*script as usize]);
                self.greeted(now);
            }
            _ => self.greeted(now),
        }
    }

    /// Not allowed, most likely. Publications of this node still reach its own peers, and the health says why.
    fn subscription_refused(&mut self, now: Moment, channels: &[usize], reply: &Reply) {
        let Reply::Error(error) = reply else {
            return self.lost(now, "redis answered a subscription with something else");
        };
        self.refused = Some(format!("redis refuses to subscribe: {error}"));
        for &index in channels {
            self.channels.refused(index);
            if let Some(listening) = self.listening(index) {
                listening.feed.lost();
            }
            let untold = std::mem::take(&mut self.channels.channel(index).untold);
            if matches!(self.channels.channel(index).carries, Carries::Topic(..)) {
                untold.into_iter().for_each(|(shard, tag)| self.stage(shard, Event::Joined(tag)));
            }
            self.assume_counts();
            if self.channels.channel(index).carries == Carries::Heartbeat {
                return self.lost(now, &format!("redis refuses to subscribe: {error}"));
            }
        }
    }

    fn check_heartbeat(&mut self, now: Moment, reply: &Reply) {
        if let Reply::Error(error) = reply {
            self.lost(now, &format!("redis refuses to publish: {error}"));
        }
    }

    fn published(&mut self, now: Moment, lane: u16, reply: &Reply) {
        let outcome = match reply {
            Reply::Error(error) if error.starts_with("READONLY") || error.starts_with("MASTERDOWN") => {
                return self.lost(now, &format!("redis is not the master any more: {error}"));
            }
            Reply::Error(error) if error.starts_with("NOPERM") || error.starts_with("NOAUTH") => {
                self.refused = Some(format!("redis refuses to publish: {error}"));
                Err(PublishError::Refused)
            }
            Reply::Error(_) => Err(PublishError::Unavailable),
            _ => Ok(()),
        };
        self.answer_publish(usize::from(lane), outcome);
    }

    pub(super) fn may_subscribe(&self) -> bool {
        matches!(self.phase, Phase::Proving { .. } | Phase::Up)
    }

    /// Subscribes to what is wanted, unsubscribes from what is not, as much as may be under way.
    pub(super) fn subscribe(&mut self, now: Moment) {
        if !self.may_subscribe() {
            return;
        }
        let ending = self.channels.ending(now);
        if !ending.is_empty() {
            self.send_channels(now, b"UNSUBSCRIBE", ending, Expect::Unsubscribe);
        }
        loop {
            let beginning = self.channels.beginning();
            if beginning.is_empty() {
                return;
            }
            let mut listening = beginning.clone();
            listening.retain(|index| self.listening(*index).is_some());
            self.send_channels(now, b"SUBSCRIBE", beginning, Expect::Subscribe);
            for channel in listening {
                self.drive(now, channel, crate::feed::Feed::subscribing);
            }
        }
    }

    /// One command for several channels; they are confirmed in their order.
    fn send_channels(
        &mut self,
        now: Moment,
        verb: &[u8],
        mut channels: Vec<usize>,
        expect: fn(Vec<usize>) -> Expect,
    ) {
        let names =
            channels.iter().filter_map(|index| self.channels.get(*index)).map(|channel| &channel.name[..]);
        let arguments: Vec<&[u8]> = std::iter::once(verb).chain(names).collect();
        super::resp::command(&mut self.bus.out, &arguments);
        channels.reverse();
        self.bus.expect(now, expect(channels));
    }

    /// Who waits for a channel need not wait for the link: this node's own publications reach it.
    pub(super) fn tell_untold(&mut self) {
        for index in self.channels.indices() {
            let channel = self.channels.channel(index);
            debug_assert!(channel.stage == Stage::Absent, "there is no link");
            let untold = std::mem::take(&mut channel.untold);
            if !untold.is_empty() {
                channel.missed = true;
            }
            if matches!(channel.carries, Carries::Topic(..)) {
                untold.into_iter().for_each(|(shard, tag)| self.stage(shard, Event::Joined(tag)));
            }
        }
    }
}
