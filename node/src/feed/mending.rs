//! How a feed finds its place: at the beginning, and after something was lost (redis.md 2.5).

use std::time::Duration;

use dunlin_protocol::{GapReason, Position};

use super::{Answer, Ask, Feed, Lost, MENDS_MAX, MENDS_TIME, Said, Stage};
use crate::config::Mode;
use crate::history::{CommitError, Entry, Gap, Members, Span, State};
use crate::hub::Moment;

impl Feed {
    /// Redis answered a question. Only the last one counts: what was asked before it has been overtaken.
    pub fn answered(&mut self, now: Moment, question: u64, answer: Answer, said: &mut Vec<Said>) {
        let Some(ask) = self.asked.take_if(|_| question == self.questions) else { return };
        self.answers = self.questions;
        match answer {
            Answer::Failed(error) => self.refuse(now, error, said),
            Answer::Head(None) | Answer::Entries(None, _) | Answer::Members(None, _) => {
                return self.ask(Ask::Birth, said);
            }
            Answer::Head(Some(head)) => self.locate(now, head, said),
            Answer::Entries(Some(head), entries) => self.take_in(now, ask, head, entries, said),
            Answer::Members(Some(head), members) => self.take_members(now, head, members, said),
        }
        if self.asked.is_none() {
            self.serve(said);
            self.keep_deep();
        }
    }

    /// It can't be read, so nothing is delivered any more: who is here is told so, and again when it can be read.
    fn refuse(&mut self, now: Moment, error: CommitError, said: &mut Vec<Said>) {
        self.stage = Stage::Refused(error, now);
        if let Some(tip) = self.tip.take() {
            said.push(Said::Gap(Gap { from: Some(tip), to: None, reason: GapReason::Lost }));
            self.blind = true;
        }
        self.ring.clear();
        self.state = State::new(self.retention.clone());
    }

    /// Whether two positions are one.
    fn is_same(&self, one: Position, other: Position) -> bool {
        one == other || !self.rules.marks && (one.epoch, one.offset) == (other.epoch, other.offset)
    }

    /// This is where the topic is, and all that was published before has been heard, if it could be.
    fn locate(&mut self, now: Moment, head: Position, said: &mut Vec<Said>) {
        let begins = matches!((self.stage, self.tip), (Stage::Opening, None) | (Stage::Mending(_), _));
        let is_written = head.offset > 0 && (self.state.is_kept() || self.stage != Stage::Opening);
        if begins && is_written {
            // Somebody was quicker than the birth.
            return self.ask(self.whole(), said);
        }
        match (self.stage, self.tip) {
            (Stage::Opening, None) => self.adopt(now, Lost::Nothing, head, Vec::new(), said),
            (Stage::Mending(lost), _) => self.adopt(now, lost, head, Vec::new(), said),
            (Stage::Opening, Some(tip)) if self.is_same(tip, head) => self.stage = Stage::Live,
            (Stage::Live, Some(tip)) if self.is_same(tip, head) => {}
            (Stage::Opening | Stage::Live, _) => self.mend(now, said),
            (Stage::Deaf | Stage::Refused(..), _) => {}
        }
    }

    /// What was heard last does not follow the tip, or may not be all: history knows.
    pub(super) fn mend(&mut self, now: Moment, said: &mut Vec<Said>) {
        self.stage = Stage::Mending(Lost::Nothing);
        self.deep = None;
        let oldest = self.ring.first().map(|entry| entry.position).or(self.tip);
        let ask = match (self.retention.mode, oldest) {
            (Mode::Map, _) | (_, None) => self.whole(),
            (_, Some(oldest)) => Ask::From(oldest.offset.max(1)),
        };
        if self.mends.is_too_many(now) {
            self.questions += 1;
            self.asked = Some(ask);
            return said.push(Said::AskLater(self.questions, ask));
        }
        self.ask(ask, said);
    }

    fn take_in(&mut self, now: Moment, ask: Ask, head: Position, entries: Vec<Entry>, said: &mut Vec<Said>) {
        match (self.stage, ask) {
            (Stage::Opening, _) => self.adopt(now, Lost::Nothing, head, entries, said),
            (Stage::Mending(lost), Ask::Last(_)) => self.adopt(now, lost, head, entries, said),
            (Stage::Mending(_), _) => self.catch_up(ask, head, entries, said),
            (Stage::Live, _) => self.read_for_newcomers(now, ask, head, entries, said),
            (Stage::Deaf | Stage::Refused(..), _) => {}
        }
    }

    /// Goes on from the last position that both this feed and history know.
    fn catch_up(&mut self, ask: Ask, head: Position, entries: Vec<Entry>, said: &mut Vec<Said>) {
        let Some(tip) = self.tip else { return self.lose(None, GapReason::Lost, said) };
        let page = Span::of(entries);
        let known = |position: &Position| {
            self.is_same(*position, head)
                || page.at(position.offset).is_some_and(|entry| self.is_same(entry.position, *position))
                || position.offset == 0
                    && position.epoch == head.epoch
                    && page.first().is_some_and(|first| first.position.offset == 1)
        };
        let ours = std::iter::once(tip).chain(self.ring.iter().rev().map(|entry| entry.position));
        let Some(common) = ours.into_iter().find(known) else {
            return self.lose(None, GapReason::Lost, said);
        };
        if common != tip {
            if self.state.is_kept() {
                return self.lose(Some(common), GapReason::Forked, said);
            }
            let gap = Gap { from: Some(common), to: Some(head), reason: GapReason::Forked };
            said.push(Said::Gap(gap));
            self.ring.forget_after(common.offset);
            self.tip = Some(common);
        }
        let rest: Vec<Entry> =
            page.iter().filter(|entry| entry.position.offset > common.offset).cloned().collect();
        let is_next = rest.first().is_some_and(|first| first.position.offset == common.offset + 1);
        if is_next {
            self.deliver(rest, said);
        }
        let Some(tip) = self.tip else { return };
        let next = Ask::From(tip.offset.max(1));
        if self.is_same(tip, head) {
            self.stage = Stage::Live;
        } else if is_next || ask != next {
            // A page may be full of what is in the ring.
            self.ask(next, said);
        } else {
            self.lose(Some(tip), GapReason::Lost, said);
        }
    }

    /// What came after a position can't be had: the state has to do.
    fn lose(&mut self, from: Option<Position>, reason: GapReason, said: &mut Vec<Said>) {
        self.stage = Stage::Mending(Lost::Since(from, reason));
        self.ask(self.whole(), said);
    }

    /// Begins anew at the head, with the entries that lead to it.
    fn adopt(&mut self, now: Moment, lost: Lost, head: Position, entries: Vec<Entry>, said: &mut Vec<Said>) {
        let mut span = Span::of(entries);
        let is_stale = |last: &Entry| {
            last.publication
                .as_ref()
                .is_some_and(|last| Moment::from_micros(last.envelope.at_us) + self.retention.ttl < now)
        };
        if span.last().is_none_or(|last| last.position != head || is_stale(last)) {
            span.clear();
        }
        let is_other = self.tip.is_some_and(|tip| !self.is_same(tip, head));
        let lost = match lost {
            Lost::Nothing if is_other => Lost::Since(None, GapReason::Lost),
            lost => lost,
        };
        self.state = State::new(self.retention.clone());
        for entry in span.iter() {
            if entry.id.is_none() {
                said.push(Said::Unreadable);
            }
            self.state.apply(entry);
        }
        self.begin(lost, head, span, said);
    }

    fn begin(&mut self, lost: Lost, head: Position, span: Span, said: &mut Vec<Said>) {
        self.tip = Some(head);
        self.stage = Stage::Live;
        let lost = match lost {
            Lost::Nothing if std::mem::take(&mut self.blind) => Lost::Since(None, GapReason::Lost),
            lost => lost,
        };
        if let Lost::Since(from, reason) = lost {
            said.push(Said::Gap(Gap { from, to: Some(head), reason }));
            if self.state.is_kept() {
                said.push(Said::Reset(head, self.state.publication(&self.place, head)));
            }
        }
        let is_delivered = lost != Lost::Nothing && !self.state.is_kept();
        for entry in span.iter() {
            said.extend(entry.publication.clone().filter(|_| is_delivered).map(Said::Deliver));
            said.extend(entry.id.map(|id| Said::Passed(id, entry.position)));
        }
        self.ring = span;
        self.trim_ring();
    }

    /// A map heals by being read whole: its state says it all, whatever was missed.
    fn take_members(&mut self, now: Moment, head: Position, members: Members, said: &mut Vec<Said>) {
        let tip = self.tip;
        if tip.is_some_and(|tip| self.is_same(tip, head)) {
            if self.stage != Stage::Opening {
                self.stage = Stage::Live;
            }
            return;
        }
        self.state = State::of_members(self.retention.clone(), members, head.offset > 0, now.micros());
        let lost = match tip {
            Some(tip) if tip.epoch != head.epoch => Lost::Since(None, GapReason::Lost),
            Some(tip) if tip.offset >= head.offset => Lost::Since(None, GapReason::Forked),
            _ => Lost::Nothing,
        };
        let is_newer = tip.is_some() && lost == Lost::Nothing;
        self.begin(lost, head, Span::default(), said);
        if is_newer && let Some(state) = self.state.publication(&self.place, head) {
            said.push(Said::Deliver(state));
        }
    }
}

impl super::Mends {
    fn is_too_many(&mut self, now: Moment) -> bool {
        if now.since(self.since) > MENDS_TIME {
            *self = Self { since: now, count: 0 };
        }
        self.count += 1;
        self.count > MENDS_MAX
    }
}

/// How long a feed that does not heal waits before it asks again.
pub const MEND_PAUSE: Duration = Duration::from_secs(1);
