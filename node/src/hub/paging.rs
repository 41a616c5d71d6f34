//! Stored publications that peers ask for.

use dunlin_protocol::{ErrorCode, RequestId, ServerFrame, Topic};

use super::conversation::Rated;
use super::effect::{Effect, PeerKey};
use super::moment::Moment;
use super::recovering::{code, stored};
use super::refusal::Refusal;
use super::{Hub, Ticket};
use crate::config::Mode;
use crate::history::{CommitError, Page, Range, Reading, Since};

/// What a `history` frame asks for.
pub(super) struct Question<'a> {
    pub(super) topic: &'a Topic,
    pub(super) since: Option<&'a str>,
    pub(super) before: Option<&'a str>,
    pub(super) limit: u32,
}

/// Who waits for a page.
#[derive(Debug)]
pub(super) struct Reader {
    peer: PeerKey,
    request: RequestId,
    topic: Topic,
    /// Whether it reads on from somewhere, so that the oldest come first.
    goes_on: bool,
}

/// How many publications one page may have.
const LIMIT_MAX: u32 = 1000;

impl Hub {
    pub(super) fn read_history(
        &mut self,
        now: Moment,
        index: usize,
        question: &Question<'_>,
        id: Option<&RequestId>,
    ) -> Result<(), Refusal> {
        self.pass(now, index, Rated::Subscribe)?;
        let Some(request) = id.cloned() else {
            return Err(Refusal::new(ErrorCode::Malformed, "id is missing: nothing else names the answer"));
        };
        if !(1..=LIMIT_MAX).contains(&question.limit) {
            return Err(Refusal::new(ErrorCode::Malformed, "limit must be from 1 to 1000"));
        }
        let topic = question.topic.clone();
        self.may_subscribe(index, &topic)?;
        let namespace = self.peers[index].namespace as usize;
        let retention = self.retention_of(namespace, &topic);
        let Some(retention) = retention.filter(|retention| retention.mode != Mode::Map) else {
            return Err(Refusal::new(ErrorCode::InvalidTopic, "the topic keeps no history"));
        };
        let namespace = self.namespaces[namespace].name.clone();
        let since = Since::of(question.since, &namespace, &topic);
        let before = Since::of(question.before, &namespace, &topic);
        let range = Range { since, before, limit: question.limit };
        let goes_on = since != Since::Nothing;
        let reader = Reader { peer: self.peers[index].key(index), request, topic: topic.clone(), goes_on };
        let ticket = self.tickets.insert(Ticket::Page(reader)) as u32;
        self.effects.push(Effect::Page(ticket, Box::new(Reading { namespace, topic, retention, range })));
        Ok(())
    }

    /// The broker's answer to a question for stored publications.
    pub fn page(&mut self, ticket: u32, page: Result<Page, CommitError>) {
        let Some(Ticket::Page(reader)) = self.tickets.try_remove(ticket as usize) else { return };
        let Some(index) = self.staying(reader.peer) else { return };
        match page {
            Ok(page) => self.send_page(index, &reader, &page),
            Err(error) => {
                let (id, topic) = (Some(&reader.request), Some(&reader.topic));
                let text = error.to_string();
                self.answer(index, &ServerFrame::Error { code: code(error), error: &text, id, topic });
            }
        }
    }

    /// As much of a page as there is room for: the first of it where the peer reads on, else the last.
    fn send_page(&mut self, index: usize, reader: &Reader, page: &Page) {
        let namespace = &self.namespaces[self.peers[index].namespace as usize].name;
        let cursor = page.position.cursor(namespace, &reader.topic);
        let all = stored(page.publications.iter());
        let reads_on = reader.goes_on && page.recovered == Some(Ok(()));
        let mut count = all.len();
        loop {
            let part = if reads_on { &all[..count] } else { &all[all.len() - count..] };
            let answer = ServerFrame::Remembered {
                id: &reader.request,
                topic: &reader.topic,
                cursor: Some(cursor),
                recovered: page.recovered,
                state: None,
                publications: Some(part),
            };
            let frame = self.outboxes[index].dialect.frame(&answer);
            if count == 0 || self.has_room(index, frame.len()) {
                return self.send_frame(index, &frame);
            }
            count /= 2;
        }
    }
}
