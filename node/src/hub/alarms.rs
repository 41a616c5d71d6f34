//! What happens by itself: pings, deadlines, announcements.

use std::time::Duration;

use super::Hub;
use super::effect::{Effect, PeerKey, Tag};
use super::moment::Moment;
use super::peer::Stage;
use super::tally::Limit;
use dunlin_protocol::CloseCode;

/// What a key in the timer wheel is about.
#[derive(Debug, Clone, Copy)]
pub(super) enum Alarm {
    /// Something of this peer may be due.
    Peer(PeerKey),
    /// The namespace's number of users may be announced.
    Namespace(Tag),
}

/// What a peer's alarm found to be due.
enum Due {
    Nothing,
    Ping,
    Close(CloseCode, &'static str),
    Terminate,
}

impl Hub {
    /// When to call [`Hub::timeout`] next. Ask again when [`Hub::has_new_deadline`].
    pub fn next_timeout(&mut self) -> Option<Moment> {
        self.new_deadline = false;
        self.wheel.next()
    }

    /// Whether a deadline was set since [`Hub::next_timeout`] was asked.
    pub fn has_new_deadline(&self) -> bool {
        self.new_deadline
    }

    /// Does what is due.
    pub fn timeout(&mut self, now: Moment) {
        self.grant_to_all(now);
        let mut due = std::mem::take(&mut self.due);
        self.wheel.expire(now, &mut due);
        for alarm in due.drain(..) {
            match alarm {
                Alarm::Peer(key) => {
                    if let Some(index) = self.peer(key) {
                        self.peer_alarm(now, index);
                    }
                }
                Alarm::Namespace(tag) => {
                    if let Some(namespace) = self.namespaces.find(tag) {
                        self.announce_users(now, namespace);
                    }
                }
            }
        }
        self.due = due;
    }

    /// The transport says whether a message of the peer has begun that is not complete (message time, H5).
    pub fn unfinished(&mut self, now: Moment, key: PeerKey, unfinished: bool) {
        let Some(index) = self.peer(key) else { return };
        let since = &mut self.peers[index].unfinished_since;
        match (since.is_some(), unfinished) {
            (false, true) => {
                *since = Some(now);
                self.set_alarm(index);
            }
            (true, false) => *since = None,
            _ => {}
        }
    }

    fn peer_alarm(&mut self, now: Moment, index: usize) {
        if self.peers[index].alarm > now {
            return; // A key that an earlier deadline made superfluous.
        }
        if self.peers[index].paused_until.take_if(|until| *until <= now).is_some() {
            let key = self.peers[index].key(index);
            self.effects.push(Effect::Read(key));
        }
        match self.what_is_due(now, index) {
            Due::Nothing => {}
            Due::Ping => {
                let next = now + self.jittered(self.endpoint(index).heartbeat);
                self.peers[index].ping_at = next;
                self.peers[index].unanswered += 1;
                self.ping(index);
            }
            Due::Close(code, reason) => {
                let key = self.peers[index].key(index);
                self.close(now, key, code, reason);
            }
            Due::Terminate => {
                let key = self.peers[index].key(index);
                self.effects.push(Effect::Terminate(key));
                return;
            }
        }
        self.peers[index].alarm = Moment::from_micros(u64::MAX);
        self.set_alarm(index);
    }

    fn what_is_due(&mut self, now: Moment, index: usize) -> Due {
        let endpoint = self.endpoint(index);
        let (misses, inactivity, heartbeat) = (endpoint.misses, endpoint.inactivity, endpoint.heartbeat);
        let message_time = self.settings.limits.message_time;
        let peer = &self.peers[index];
        if let Stage::Closing(deadline) = peer.stage {
            return if deadline <= now { Due::Terminate } else { Due::Nothing };
        }
        if let (Some(since), Some(limit)) = (peer.unfinished_since, message_time)
            && since + limit <= now
        {
            self.tally.limited(Limit::MessageTime);
            return Due::Close(CloseCode::POLICY, "the message took too long");
        }
        if !inactivity.is_zero() && peer.active_at + inactivity <= now {
            return Due::Close(CloseCode::NORMAL, "Inactivity timeout");
        }
        match !heartbeat.is_zero() && peer.ping_at <= now {
            true if u32::from(peer.unanswered) >= misses => Due::Close(CloseCode::NORMAL, "No pong received"),
            true => Due::Ping,
            false => Due::Nothing,
        }
    }

    /// Puts the peer's next deadline into the wheel, unless an earlier key of it is there.
    pub(super) fn set_alarm(&mut self, index: usize) {
        let Some(at) = self.next_deadline(index) else { return };
        let peer = &mut self.peers[index];
        if at < peer.alarm {
            peer.alarm = at;
            let key = peer.key(index);
            self.schedule(at, Alarm::Peer(key));
        }
    }

    /// Sets an alarm, and sees to it that whoever waits for the next one hears of it.
    pub(super) fn schedule(&mut self, at: Moment, alarm: Alarm) {
        self.new_deadline = true;
        self.wheel.schedule(at, alarm);
    }

    fn next_deadline(&self, index: usize) -> Option<Moment> {
        let (peer, endpoint) = (&self.peers[index], self.endpoint(index));
        if let Stage::Closing(deadline) = peer.stage {
            return Some(deadline);
        }
        let after = |since: Moment, span: Duration| (!span.is_zero()).then(|| since + span);
        let message_time = self.settings.limits.message_time;
        let unfinished = peer.unfinished_since.and_then(|since| message_time.map(|limit| since + limit));
        let ping = (!endpoint.heartbeat.is_zero()).then_some(peer.ping_at);
        let deadlines = [unfinished, ping, after(peer.active_at, endpoint.inactivity), peer.paused_until];
        deadlines.into_iter().flatten().min()
    }

    /// A span give or take a tenth, so that peers that came together are not pinged together.
    pub(super) fn jittered(&mut self, span: Duration) -> Duration {
        let micros = u64::try_from(span.as_micros()).unwrap_or(u64::MAX);
        let tenth = micros / 10;
        Duration::from_micros(micros - tenth + self.chance.draw() % (2 * tenth).max(1))
    }
}
