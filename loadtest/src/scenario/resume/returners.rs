//! The peers of a resume, as they hear themselves: where each stands, and what it missed.
//!
//! Their numbers say who they are: first those who will lose their connection, then the publisher, then the
//! first again, as they come back. What a peer hears on both connections is one stream, so a publication that
//! falls between them is missing.
//!
//! **Invariant:** no clock and no chance. What must be decided is left in `again`, in the order it happened.

use std::collections::BTreeMap;

use anyhow::{Result, bail};

use super::wording::{self, Answer, Said, Understanding};
use crate::{
    clock::Nanos,
    fleet::{Listener, Next, Peer},
    sequence::{Faults, Ledger},
    stamp::Stamp,
    statistics::Latencies,
};

/// Who a peer number is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// A subscriber before the break.
    Home(u32),
    /// Publishes all along.
    Publisher,
    /// The same subscriber after the break.
    Return(u32),
}

/// How far a subscriber is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stand {
    /// Its first subscription isn't answered.
    Coming,
    /// Subscribed before the break.
    Home,
    /// Has no subscription.
    Away,
    /// Its subscription was refused: it hangs up and comes again.
    Denied,
    /// Subscribed again; current once it knows of all publications below this number.
    Behind(u32),
    /// Subscribed again, and missing nothing it hasn't been told of.
    Current,
}

/// One subscriber.
#[derive(Debug)]
struct Subscriber {
    stand: Stand,
    /// Its last cursor; empty before it has one.
    cursor: Vec<u8>,
    /// Whether the node has said that something may be missing before the next publication.
    told: bool,
}

/// Everybody.
#[derive(Debug)]
pub(super) struct Returners {
    topic: String,
    understanding: Understanding,
    subscribers: Vec<Subscriber>,
    ledger: Ledger,
    /// Publications that have left; the scene counts them.
    pub(super) sent: u32,
    /// Who must dial again.
    pub(super) again: Vec<u32>,
    /// Subscribed at the moment.
    pub(super) here: u32,
    /// Subscribed again.
    pub(super) back: u32,
    /// Subscribed again and current.
    pub(super) current: u32,
    /// What the answers of those who came back said: recovered, or why not.
    pub(super) answers: BTreeMap<String, u64>,
    /// `gap` frames by reason.
    pub(super) gaps: BTreeMap<String, u64>,
    pub(super) delivered: u64,
    /// Of these, how many came inside an answer.
    pub(super) replayed: u64,
    /// Missing publications that the node has told of.
    pub(super) told: u64,
    pub(super) stray: u64,
    /// Publications without a cursor: the topic is no log.
    pub(super) without_cursor: u64,
    pub(super) thrown_out: u64,
    pub(super) denied: u64,
    pub(super) refused: u64,
    /// Of live deliveries, since they were cleared.
    pub(super) latencies: Latencies,
    /// The first thing that went wrong.
    pub(super) complaint: Option<String>,
}

impl Returners {
    /// Nobody is there yet.
    pub(super) fn new(topic: String, peers: u32) -> Self {
        let nobody = || Subscriber { stand: Stand::Coming, cursor: Vec::new(), told: false };
        Self {
            topic,
            understanding: Understanding::default(),
            subscribers: (0..peers).map(|_| nobody()).collect(),
            ledger: Ledger::new(peers as usize),
            sent: 0,
            again: Vec::new(),
            here: 0,
            back: 0,
            current: 0,
            answers: BTreeMap::new(),
            gaps: BTreeMap::new(),
            delivered: 0,
            replayed: 0,
            told: 0,
            stray: 0,
            without_cursor: 0,
            thrown_out: 0,
            denied: 0,
            refused: 0,
            latencies: Latencies::new(),
            complaint: None,
        }
    }

    fn count(&self) -> u32 {
        self.subscribers.len() as u32
    }

    /// Who that is.
    pub(super) fn role(&self, peer: Peer) -> Role {
        match peer.checked_sub(self.count()) {
            None => Role::Home(peer),
            Some(0) => Role::Publisher,
            Some(further) => Role::Return(further - 1),
        }
    }

    /// The peer number of a role.
    pub(super) fn peer(&self, role: Role) -> Peer {
        match role {
            Role::Home(index) => index,
            Role::Publisher => self.count(),
            Role::Return(index) => self.count() + 1 + index,
        }
    }

    /// A subscriber's connection is over.
    pub(super) fn lose(&mut self, index: u32) {
        let stand = std::mem::replace(&mut self.subscribers[index as usize].stand, Stand::Away);
        let (was_here, was_back, was_current) = match stand {
            Stand::Coming | Stand::Away | Stand::Denied => (false, false, false),
            Stand::Home => (true, false, false),
            Stand::Behind(_) => (true, true, false),
            Stand::Current => (true, true, true),
        };
        self.here -= u32::from(was_here);
        self.back -= u32::from(was_back);
        self.current -= u32::from(was_current);
    }

    /// Whether everybody has heard, or was told to be without, all that has left.
    pub(super) fn have_heard_all(&self) -> bool {
        (0..self.subscribers.len()).all(|stream| self.ledger.next(stream) >= self.sent)
    }

    /// What is missing without a word, and what came wrongly.
    pub(super) fn faults(&self) -> Faults {
        self.ledger.faults()
    }

    /// Ends the run: what hasn't come is lost, unless it was told.
    pub(super) fn settle(&mut self) -> Faults {
        let sent = self.sent;
        for (stream, _) in self.subscribers.iter().enumerate().filter(|(_, each)| each.told) {
            self.told += u64::from(self.ledger.skip_to(stream, sent));
        }
        self.ledger.settle(|_| sent)
    }

    fn take(&mut self, index: u32, now: Nanos, body: &[u8]) -> Next {
        let mut understanding = std::mem::take(&mut self.understanding);
        let said = understanding.read(body);
        self.understanding = understanding;
        match said {
            Said::Publication(stamp, cursor) => {
                self.latencies.record(now.saturating_sub(stamp.intended));
                self.without_cursor += u64::from(cursor.is_none());
                self.deliver(index, stamp);
                self.move_to(index, cursor);
            }
            Said::Moved(cursor) => self.move_to(index, Some(cursor)),
            Said::Answer(answer) => self.settle_in(index, &answer),
            Said::Gap(reason) => {
                *self.gaps.entry(reason.to_owned()).or_default() += 1;
                self.subscribers[index as usize].told = true;
            }
            Said::Objection => return self.hear_objection(index, body),
            Said::Other => {}
        }
        Next::Stay
    }

    fn deliver(&mut self, index: u32, stamp: Stamp) {
        if stamp.topic != 0 || stamp.publisher != 0 {
            self.stray += 1;
            return;
        }
        let stream = index as usize;
        self.delivered += 1;
        if std::mem::take(&mut self.subscribers[stream].told) {
            self.told += u64::from(self.ledger.skip_to(stream, stamp.sequence));
        }
        let _ = self.ledger.note(stream, stamp.sequence);
        self.catch_up(index);
    }

    fn move_to(&mut self, index: u32, cursor: Option<&[u8]>) {
        let Some(cursor) = cursor else { return };
        let kept = &mut self.subscribers[index as usize].cursor;
        kept.clear();
        kept.extend_from_slice(cursor);
    }

    fn settle_in(&mut self, index: u32, answer: &Answer<'_>) {
        let sent = self.sent;
        let subscriber = &mut self.subscribers[index as usize];
        match subscriber.stand {
            Stand::Coming => subscriber.stand = Stand::Home,
            Stand::Away => {
                subscriber.stand = Stand::Behind(sent);
                subscriber.told = answer.recovered == Some(false);
                *self.answers.entry(verdict_of(answer)).or_default() += 1;
                self.back += 1;
            }
            Stand::Home | Stand::Denied | Stand::Behind(_) | Stand::Current => return,
        }
        self.here += 1;
        self.replayed += answer.publications.len() as u64;
        for stamp in &answer.publications {
            self.deliver(index, *stamp);
        }
        self.move_to(index, answer.cursor);
        self.catch_up(index);
    }

    fn catch_up(&mut self, index: u32) {
        let subscriber = &mut self.subscribers[index as usize];
        if let Stand::Behind(until) = subscriber.stand
            && self.ledger.next(index as usize) >= until
        {
            subscriber.stand = Stand::Current;
            self.current += 1;
        }
    }

    /// Whose subscription is refused after the break comes again; other objections are only told.
    fn hear_objection(&mut self, index: u32, body: &[u8]) -> Next {
        self.complain(|| String::from_utf8_lossy(body).into_owned());
        self.denied += 1;
        let subscriber = &mut self.subscribers[index as usize];
        if subscriber.stand != Stand::Away {
            return Next::Stay;
        }
        subscriber.stand = Stand::Denied;
        Next::Leave
    }

    fn complain(&mut self, text: impl FnOnce() -> String) {
        self.complaint.get_or_insert_with(text);
    }
}

/// What an answer to a subscription with `since` comes to.
fn verdict_of(answer: &Answer<'_>) -> String {
    match (answer.recovered, answer.reason) {
        (Some(true), _) => "recovered".to_owned(),
        (Some(false), reason) => format!("not recovered: {}", reason.unwrap_or("no reason")),
        (None, _) => "not said".to_owned(),
    }
}

impl Listener for Returners {
    fn opened(&mut self, peer: Peer, outbox: &mut Vec<u8>) -> Next {
        if let Role::Home(index) | Role::Return(index) = self.role(peer) {
            wording::subscribe(outbox, &self.topic, &self.subscribers[index as usize].cursor);
        }
        Next::Stay
    }

    fn message(&mut self, peer: Peer, now: Nanos, body: &[u8], _outbox: &mut Vec<u8>) -> Next {
        match self.role(peer) {
            Role::Home(index) | Role::Return(index) => self.take(index, now, body),
            Role::Publisher => {
                if self.understanding.read(body) == Said::Objection {
                    self.denied += 1;
                    self.complain(|| String::from_utf8_lossy(body).into_owned());
                }
                Next::Stay
            }
        }
    }

    fn closed(&mut self, peer: Peer, code: u16) {
        match self.role(peer) {
            Role::Return(index) => {
                if self.subscribers[index as usize].stand != Stand::Denied {
                    self.thrown_out += 1;
                    self.complain(|| format!("a peer that had come back was closed with {code}"));
                }
                self.lose(index);
                self.again.push(index);
            }
            Role::Home(_) => self.complain(|| format!("a peer was closed with {code} before the break")),
            Role::Publisher => self.complain(|| format!("the publisher was closed with {code}")),
        }
    }

    fn refused(&mut self, peer: Peer, why: String) -> Result<()> {
        let Role::Return(index) = self.role(peer) else { bail!(why) };
        self.refused += 1;
        self.complain(|| why);
        self.again.push(index);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
