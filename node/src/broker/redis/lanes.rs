//! Publications of this node on their way to Redis and back: one lane for each shard (redis.md 4.2, 4.3).
//!
//! A lane is a queue with two cursors: `[0, answered)` has Redis' answer and waits for its echo on the bus,
//! `[answered, sent)` waits for both, the rest waits to be sent. What has both leaves at the front.
//!
//! **Invariant:** a flight is `seen` as soon as this node's own peers have it, or need not get it, whether by
//! its echo or by local delivery; what is seen is never delivered here again.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use dunlin_protocol::{Envelope, Recipients};

use super::window::WINDOW;
use crate::broker::inbox;
use crate::hub::{Moment, PublishError};

/// What may be unanswered on a lane, in bytes.
const UNANSWERED_MAX: usize = 4 * 1024 * 1024;
/// What a lane may hold, in bytes: what can't be sent at once waits here.
const LANE_MAX: usize = 16 * 1024 * 1024;
/// A publication that has not come back for so long is delivered here without the bus (T12).
pub const ECHO_TIME: Duration = Duration::from_secs(1);
/// A publication that is older is not sent any more.
const RESEND_TIME: Duration = Duration::from_secs(5);

/// One copy of a publication, on its way.
#[derive(Debug)]
pub struct Flight {
    /// What is published.
    pub envelope: Arc<Envelope>,
    /// Which of its topics this copy is for.
    pub copy: usize,
    /// To answer the publisher with, on the last copy and until it was answered.
    pub ticket: Option<u32>,
    /// Whether this node's peers have it.
    pub seen: bool,
    accepted_at: Moment,
    cost: usize,
}

/// The publications of one shard.
#[derive(Debug, Default)]
pub struct Lane {
    flights: VecDeque<Flight>,
    /// The sequence of the first flight.
    base: u64,
    answered: usize,
    sent: usize,
    /// No flight before this is unseen.
    unseen: usize,
    bytes: usize,
    unanswered_bytes: usize,
    /// What became of the copies that were answered since the last ticket.
    outcome: Option<PublishError>,
}

/// An answer to a publisher.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answer {
    /// Whom.
    pub ticket: u32,
    /// What became of it, if it was sent at all.
    pub outcome: Result<(), PublishError>,
}

/// How many copies of a publication travel.
pub fn copies(envelope: &Envelope) -> usize {
    match &envelope.to {
        Recipients::Topics(topics) => topics.len(),
        Recipients::Namespace | Recipients::Topic(_) => 1,
    }
}

impl Lane {
    /// What it holds, in bytes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether there is room for copies that cost so much together.
    pub fn has_room(&self, cost: usize) -> bool {
        self.bytes + cost <= LANE_MAX
    }

    /// Takes a publication in.
    pub fn accept(&mut self, now: Moment, ticket: u32, envelope: &Arc<Envelope>) {
        let copies = copies(envelope);
        let cost = inbox::cost(envelope.payload.bytes.len());
        for copy in 0..copies {
            let ticket = (copy + 1 == copies).then_some(ticket);
            let envelope = envelope.clone();
            self.flights.push_back(Flight { envelope, copy, ticket, seen: false, accepted_at: now, cost });
        }
        self.bytes += cost * copies;
    }

    /// The next copy to send, with its sequence. `seen` is for the caller to set.
    pub fn send_next(&mut self) -> Option<(u64, &mut Flight)> {
        let far = (self.sent - self.answered) as u64 >= WINDOW || self.sent as u64 >= 4 * WINDOW;
        if far || self.unanswered_bytes >= UNANSWERED_MAX {
            return None;
        }
        let flight = self.flights.get_mut(self.sent)?;
        self.unanswered_bytes += flight.cost;
        self.sent += 1;
        Some((self.base + self.sent as u64 - 1, flight))
    }

    /// Redis answered the oldest copy without an answer.
    pub fn answer(&mut self, outcome: Result<(), PublishError>) -> Option<Answer> {
        if self.answered == self.sent {
            return None;
        }
        let flight = &mut self.flights[self.answered];
        self.unanswered_bytes -= flight.cost;
        if let Err(error) = outcome {
            // Nobody gets it, so its echo need not be awaited.
            flight.seen = true;
            self.outcome = Some(error);
        }
        let is_last = flight.copy + 1 == copies(&flight.envelope);
        let ticket = flight.ticket.take();
        self.answered += 1;
        let outcome = if is_last { self.outcome.take() } else { None };
        self.trim();
        ticket.map(|ticket| Answer { ticket, outcome: outcome.map_or(Ok(()), Err) })
    }

    /// A copy came back on the bus. True if this node's peers don't have it yet.
    pub fn echo(&mut self, sequence: u64) -> bool {
        self.see(sequence).is_some()
    }

    /// This node's peers have a copy, or need not get it. Says what it is if that is news.
    pub fn see(&mut self, sequence: u64) -> Option<(Arc<Envelope>, usize)> {
        let index = usize::try_from(sequence.checked_sub(self.base)?).ok()?;
        let flight = self.flights.get_mut(index)?;
        let is_new = !std::mem::replace(&mut flight.seen, true);
        let seen = (flight.envelope.clone(), flight.copy);
        self.trim();
        is_new.then_some(seen)
    }

    /// When the oldest unseen copy is overdue.
    pub fn deadline(&mut self) -> Option<Moment> {
        while self.flights.get(self.unseen).is_some_and(|flight| flight.seen) {
            self.unseen += 1;
        }
        self.flights.get(self.unseen).map(|flight| flight.accepted_at + ECHO_TIME)
    }

    /// Lets go of what was never sent, when it never will be. The caller has delivered it here.
    pub fn drop_unsent(&mut self) {
        let unsent = self.flights.split_off(self.sent);
        self.bytes -= unsent.iter().map(|flight| flight.cost).sum::<usize>();
        self.unseen = self.unseen.min(self.sent);
        self.trim();
    }

    /// The next copy that is overdue, or simply the next unseen one when there is no time to wait; it is seen
    /// from now on.
    pub fn next_unseen(&mut self, overdue_at: Option<Moment>) -> Option<&mut Flight> {
        let deadline = self.deadline()?;
        if overdue_at.is_some_and(|now| now < deadline) {
            return None;
        }
        let flight = &mut self.flights[self.unseen];
        flight.seen = true;
        Some(flight)
    }

    /// Tickets that were not answered; they are the caller's to answer now.
    pub fn take_tickets(&mut self) -> Vec<u32> {
        self.outcome = None;
        self.flights.iter_mut().filter_map(|flight| flight.ticket.take()).collect()
    }

    /// The link is new and the old one's commands can't run any more: what has no answer is sent again, but for
    /// what is too old. Says how many were given up.
    pub fn send_again(&mut self, now: Moment) -> usize {
        self.give_up(|flight| now.since(flight.accepted_at) > RESEND_TIME)
    }

    /// What has no answer may have been carried out, and can't be sent again. Says how many there were.
    pub fn abandon(&mut self) -> usize {
        self.give_up(|_| true)
    }

    /// Gives the copies without an answer up that are hopeless, from the front, and makes the rest wait again.
    fn give_up(&mut self, hopeless: impl Fn(&Flight) -> bool) -> usize {
        let unanswered = self.answered..self.sent;
        let given_up = self.flights.range(unanswered).take_while(|flight| hopeless(flight)).count();
        self.answered += given_up;
        self.sent = self.answered;
        self.unanswered_bytes = 0;
        self.trim();
        given_up
    }

    /// Lets go of what has both, at the front.
    pub fn trim(&mut self) {
        while self.answered > 0 && self.flights.front().is_some_and(|flight| flight.seen) {
            if let Some(flight) = self.flights.pop_front() {
                self.bytes -= flight.cost;
            }
            self.base += 1;
            self.answered -= 1;
            self.sent -= 1;
            self.unseen = self.unseen.saturating_sub(1);
        }
    }
}
