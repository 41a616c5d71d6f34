//! Newcomers to a topic, and those who come back: what they have missed (redis.md 2.6 to 2.8).

use std::time::Duration;

use dunlin_protocol::{Position, Unrecovered};

use super::{Ask, Deep, Feed, Said, Stage};
use crate::config::Mode;
use crate::history::{Asked, CommitError, Entry, PAGE_BYTES_MAX, Proof, Recovery, Since, Span};
use crate::hub::Moment;

/// Somebody who is to be told what a topic holds.
#[derive(Debug, Clone, Copy)]
pub struct Newcomer {
    who: (usize, u32),
    asked: Asked,
    came_at: Moment,
    /// How many questions had been asked when it came: only the answer to a later one knows what it may know.
    questions: u64,
}

/// How long a newcomer waits for a topic that can't be read.
const PATIENCE: Duration = Duration::from_secs(5);
/// A topic that could not be read is tried again for newcomers after so long.
const REFUSED: Duration = Duration::from_secs(1);
/// Publications that one recovery brings at most; who missed more begins anew.
const RECOVERED_MAX: usize = 1000;
/// What is read for newcomers at most.
const DEEP_ENTRIES: usize = 4096;
const DEEP_BYTES: usize = 4 * 1024 * 1024;

impl Feed {
    /// Somebody wants to know what the topic holds, or what it missed since a position.
    pub fn recover(&mut self, now: Moment, who: (usize, u32), asked: Asked, said: &mut Vec<Said>) {
        self.newcomers.push(Newcomer { who, asked, came_at: now, questions: self.questions });
        if let Stage::Refused(_, since) = self.stage
            && now.since(since) >= REFUSED
        {
            // It may have been put right.
            self.subscribing(said);
        }
        // What is being read would look like all there is.
        if self.deep.is_none() {
            self.serve(said);
        }
    }

    /// A shard does not listen any more: whoever it asked for is told so.
    pub fn dismiss(&mut self, shard: usize, said: &mut Vec<Said>) {
        for newcomer in self.newcomers.extract_if(.., |newcomer| newcomer.who.0 == shard) {
            said.push(Said::Answer(newcomer.who, Box::new(Err(CommitError::Unavailable))));
        }
    }

    /// When somebody has waited long enough.
    pub fn deadline(&self) -> Option<Moment> {
        self.newcomers.first().map(|newcomer| newcomer.came_at + PATIENCE)
    }

    /// Lets in who has waited long enough: they are told that what they missed is not known.
    pub fn give_up(&mut self, now: Moment, said: &mut Vec<Said>) {
        let late = self.newcomers.iter().take_while(|each| each.came_at + PATIENCE <= now).count();
        let late: Vec<Newcomer> = self.newcomers.drain(..late).collect();
        for newcomer in late {
            self.blind |= self.tip.is_none();
            let recovery = match newcomer.asked.since {
                Since::Nothing => self.fresh(newcomer.asked, None),
                _ => self.fresh(newcomer.asked, Some(Unrecovered::Unavailable)),
            };
            said.push(Said::Answer(newcomer.who, Box::new(Ok(recovery))));
        }
    }

    /// Answers who can be answered, and asks what the others need.
    pub(super) fn serve(&mut self, said: &mut Vec<Said>) {
        if self.newcomers.is_empty() {
            return;
        }
        let newcomers = match self.stage {
            Stage::Opening | Stage::Mending(_) => return,
            Stage::Deaf if self.tip.is_none() => return,
            Stage::Deaf | Stage::Live | Stage::Refused(..) => std::mem::take(&mut self.newcomers),
        };
        let mut wanted = None;
        for newcomer in newcomers {
            let outcome = match self.stage {
                Stage::Refused(error, _) => Ok(Err(error)),
                _ => self.judge(&newcomer).map(Ok),
            };
            match outcome {
                Ok(outcome) => said.push(Said::Answer(newcomer.who, Box::new(outcome))),
                Err(ask) => {
                    wanted = Some(wanted.map_or(ask, |wanted| deeper(wanted, ask)));
                    self.newcomers.push(newcomer);
                }
            }
        }
        if let Some(ask) = wanted.filter(|_| self.stage == Stage::Live) {
            self.ask_unless_asked(ask, said);
        }
    }

    /// What a newcomer is told, or what has to be asked before.
    fn judge(&mut self, newcomer: &Newcomer) -> Result<Recovery, Ask> {
        let Some(tip) = self.tip else { return Err(Ask::Head) };
        let asked = newcomer.asked;
        let Since::Position(since) = asked.since else {
            let wanted = self.replay(asked);
            let read = self
                .deep
                .as_ref()
                .is_some_and(|deep| matches!(deep.ask, Ask::Last(count) if count >= wanted));
            let enough = read || self.has_last(wanted);
            let why = (asked.since == Since::Garbage).then_some(Unrecovered::Reset);
            return if enough { Ok(self.fresh(asked, why)) } else { Err(Ask::Last(wanted)) };
        };
        let since = if self.rules.marks { since } else { self.remarked(since) };
        let span = self.span();
        match span.prove(tip, since) {
            Proof::Holds(index) => Ok(self.rest(index)),
            Proof::Older if self.has_read(since) => Ok(self.fresh(asked, Some(Unrecovered::Expired))),
            Proof::Older => Err(Ask::From(since.offset.max(1))),
            // It may come from a node that is ahead of this one, or it may be this one that is wrong.
            Proof::Fails(why) if self.answers > newcomer.questions => Ok(self.fresh(asked, Some(why))),
            Proof::Fails(_) => Err(Ask::Head),
        }
    }

    /// What is at hand: what was read for newcomers, or the last entries.
    fn span(&self) -> &Span {
        self.deep.as_ref().map_or(&self.ring, |deep| &deep.span)
    }

    /// Whether history was asked for a position, or has none to ask for.
    fn has_read(&self, since: Position) -> bool {
        let asked = self.deep.as_ref().map(|deep| deep.ask);
        self.retention.mode == Mode::Map
            || matches!(asked, Some(Ask::From(offset)) if offset <= since.offset.max(1))
    }

    /// What was read for some serves those, too, who come next.
    pub(super) fn keep_deep(&mut self) {
        let Some(Deep { span, .. }) = self.deep.take() else { return };
        let is_longer = span.len() > self.ring.len() && span.last().map(|last| last.position) == self.tip;
        if is_longer {
            self.ring = span;
            self.trim_ring();
        }
    }

    /// What a position would be if marks meant nothing.
    fn remarked(&self, since: Position) -> Position {
        let span = self.span();
        let known = span.at(since.offset).map(|entry| entry.position).or(self.tip);
        known.filter(|known| (known.epoch, known.offset) == (since.epoch, since.offset)).unwrap_or(since)
    }

    /// For who is known to have all up to an entry: those after it.
    fn rest(&mut self, index: usize) -> Recovery {
        let span = self.span();
        let is_new = index < span.len();
        if self.state.is_kept() {
            let state = if is_new { self.state() } else { None };
            return Recovery { position: self.tip, recovered: Some(Ok(())), state, publications: Vec::new() };
        }
        let missed = span.from(index).filter(|entry| entry.publication.is_some()).count();
        // If that is not all, it is enough to begin anew with, and it says so.
        let publications = span.last_publications(missed.min(RECOVERED_MAX), PAGE_BYTES_MAX);
        let is_all = publications.len() == missed;
        let recovered = Some(if is_all { Ok(()) } else { Err(Unrecovered::Expired) });
        Recovery { position: self.tip, recovered, state: None, publications }
    }

    /// For who has nothing, or nothing that counts: the state, or the last publications.
    fn fresh(&mut self, asked: Asked, why: Option<Unrecovered>) -> Recovery {
        let recovered = why.map(Err);
        if self.state.is_kept() {
            let state = self.state();
            return Recovery { position: self.tip, recovered, state, publications: Vec::new() };
        }
        // What was read and did not lead to the head is gone; the last ones are still at hand.
        let span = if self.span().len() < self.ring.len() { &self.ring } else { self.span() };
        let publications = match self.replay(asked) {
            0 => Vec::new(),
            wanted => span.last_publications(wanted, PAGE_BYTES_MAX),
        };
        Recovery { position: self.tip, recovered, state: None, publications }
    }

    /// How many publications of a log a newcomer wants.
    fn replay(&self, asked: Asked) -> usize {
        let wanted = asked.replay.unwrap_or(self.retention.replay).min(self.retention.limit) as usize;
        if self.state.is_kept() { 0 } else { wanted.min(RECOVERED_MAX) }
    }

    /// Whether the last so many entries are at hand, or all there are.
    fn has_last(&self, wanted: usize) -> bool {
        let is_all = self.ring.first().is_some_and(|first| first.position.offset == 1)
            || self.tip.is_some_and(|tip| tip.offset == 0);
        is_all || self.ring.len() >= wanted
    }

    /// Entries that were read for newcomers while publications go on.
    pub(super) fn read_for_newcomers(
        &mut self,
        now: Moment,
        ask: Ask,
        head: Position,
        entries: Vec<Entry>,
        said: &mut Vec<Said>,
    ) {
        if self.tip != Some(head) {
            return self.mend(now, said);
        }
        let Deep { span, .. } = self.deep.get_or_insert_with(|| Deep { ask, span: Span::default() });
        let before = span.len();
        for entry in entries {
            if entry.id.is_none() {
                said.push(Said::Unreadable);
            }
            span.push(entry);
        }
        let end = span.last().map(|last| last.position);
        let may_go_on = span.len() > before && span.len() < DEEP_ENTRIES && span.bytes() < DEEP_BYTES;
        match (ask, end) {
            (Ask::From(_), Some(end)) if end != head && may_go_on => {
                self.ask(Ask::From(end.offset + 1), said);
            }
            // What does not lead to the head proves nothing.
            (_, Some(end)) if end != head => span.clear(),
            _ => {}
        }
    }
}

/// The question whose answer serves both.
fn deeper(one: Ask, other: Ask) -> Ask {
    match (one, other) {
        (Ask::From(one), Ask::From(other)) => Ask::From(one.min(other)),
        (Ask::From(offset), _) | (_, Ask::From(offset)) => Ask::From(offset),
        (Ask::Last(one), Ask::Last(other)) => Ask::Last(one.max(other)),
        (Ask::Last(count), _) | (_, Ask::Last(count)) => Ask::Last(count),
        (Ask::Head | Ask::Birth, _) => Ask::Head,
    }
}
