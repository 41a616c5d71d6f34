//! What waits for one shard.

use std::collections::VecDeque;
use std::sync::Arc;

use super::{Event, Wake};
use crate::hub::UNAWAITED;
use crate::publication::Publication;

/// What may wait for one shard, in bytes of payload and per-publication cost.
pub const INBOX_MAX: usize = 32 * 1024 * 1024;
/// What one publication costs an inbox beside its payload, in bytes.
const PUBLICATION_COST: usize = 256;

/// What a payload of this length costs an inbox, in bytes.
pub const fn cost(payload: usize) -> usize {
    payload + PUBLICATION_COST
}

/// What waits for one shard.
pub struct Inbox {
    events: VecDeque<Event>,
    bytes: usize,
    wake: Wake,
    /// Whether the shard was woken since it last collected.
    woken: bool,
    /// Whether something waits that is worth waking it for.
    urgent: bool,
}

impl Inbox {
    /// An empty one of a shard that is woken like this.
    pub fn new(wake: Wake) -> Self {
        Self { events: VecDeque::new(), bytes: 0, wake, woken: false, urgent: false }
    }

    /// What waits, in bytes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Puts an event behind what waits.
    pub fn push(&mut self, event: Event) {
        self.bytes += event_cost(&event);
        self.urgent |= is_urgent(&event);
        self.events.push_back(event);
    }

    /// Puts events behind what waits, and leaves the queue they were in empty.
    pub fn append(&mut self, events: &mut VecDeque<Event>, bytes: usize) {
        self.bytes += bytes;
        self.urgent |= events.iter().any(is_urgent);
        self.events.append(events);
    }

    /// Appends what waits to `events`.
    pub fn collect(&mut self, events: &mut VecDeque<Event>) {
        self.bytes = 0;
        self.woken = false;
        self.urgent = false;
        if events.is_empty() {
            std::mem::swap(events, &mut self.events);
        } else {
            events.append(&mut self.events);
        }
    }

    /// How to wake the shard, if something urgent waits and it was not woken since it collected.
    pub fn newly_filled(&mut self) -> Option<Wake> {
        if self.woken || !self.urgent {
            return None;
        }
        self.woken = true;
        Some(self.wake.clone())
    }
}

/// Whether a shard is woken for an event. The success of a publish that nobody asks about can wait until the
/// shard has something else to do.
fn is_urgent(event: &Event) -> bool {
    !matches!(event, Event::Settled(ticket, Ok(_)) | Event::Committed(ticket, Ok(_)) if ticket & UNAWAITED != 0)
}

/// What an event costs an inbox, in bytes: publications do, the rest is bounded by what is subscribed to. What was
/// asked for is shared with what is stored, so only the list of it counts.
pub fn event_cost(event: &Event) -> usize {
    match event {
        Event::Publication(_, publication) | Event::Broadcast(_, publication) => {
            let publication: &Publication = publication;
            cost(publication.envelope.payload.bytes.len())
        }
        Event::Recovered(_, answer) => {
            cost(answer.as_ref().as_ref().map_or(0, |it| listed(&it.publications)))
        }
        Event::Read(_, answer) => cost(answer.as_ref().as_ref().map_or(0, |it| listed(&it.publications))),
        _ => 0,
    }
}

/// What a list of publications takes beside them, in bytes.
const fn listed(publications: &[Arc<Publication>]) -> usize {
    std::mem::size_of_val(publications)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::{PublishError, Reach, Tag};

    fn inbox() -> Inbox {
        Inbox::new(Arc::new(|| {}))
    }

    #[test]
    fn a_shard_is_woken_once_until_it_collects() {
        let mut inbox = inbox();
        inbox.push(Event::Joined(Tag(1)));
        assert!(inbox.newly_filled().is_some());
        inbox.push(Event::Joined(Tag(2)));
        assert!(inbox.newly_filled().is_none());
        inbox.collect(&mut VecDeque::new());
        assert!(inbox.newly_filled().is_none(), "nothing waits");
    }

    #[test]
    fn success_that_nobody_asks_about_wakes_nobody_and_comes_with_the_next_event() {
        let mut inbox = inbox();
        inbox.push(Event::Settled(UNAWAITED | 1, Ok(Reach::Cluster)));
        assert!(inbox.newly_filled().is_none());
        inbox.append(&mut VecDeque::from([Event::Settled(2, Ok(Reach::Cluster))]), 0);
        assert!(inbox.newly_filled().is_some());
        let mut events = VecDeque::new();
        inbox.collect(&mut events);
        assert_eq!(events.len(), 2);
    }

    #[test]
    fn trouble_is_always_worth_waking_for() {
        let mut inbox = inbox();
        inbox.push(Event::Settled(UNAWAITED | 1, Err(PublishError::Unavailable)));
        assert!(inbox.newly_filled().is_some());
    }
}
