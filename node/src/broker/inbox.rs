//! What waits for one shard.

use std::collections::VecDeque;

use super::{Event, Wake};
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
}

impl Inbox {
    /// An empty one of a shard that is woken like this.
    pub fn new(wake: Wake) -> Self {
        Self { events: VecDeque::new(), bytes: 0, wake, woken: false }
    }

    /// What waits, in bytes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Puts an event behind what waits.
    pub fn push(&mut self, event: Event) {
        self.bytes += event_cost(&event);
        self.events.push_back(event);
    }

    /// Puts events behind what waits, and leaves the queue they were in empty.
    pub fn append(&mut self, events: &mut VecDeque<Event>, bytes: usize) {
        self.bytes += bytes;
        self.events.append(events);
    }

    /// Appends what waits to `events`.
    pub fn collect(&mut self, events: &mut VecDeque<Event>) {
        self.bytes = 0;
        self.woken = false;
        if events.is_empty() {
            std::mem::swap(events, &mut self.events);
        } else {
            events.append(&mut self.events);
        }
    }

    /// How to wake the shard, if something waits and it was not woken since it collected.
    pub fn newly_filled(&mut self) -> Option<Wake> {
        if self.woken || self.events.is_empty() {
            return None;
        }
        self.woken = true;
        Some(self.wake.clone())
    }
}

/// What an event costs an inbox, in bytes: publications do, the rest is bounded by what is subscribed to.
pub fn event_cost(event: &Event) -> usize {
    match event {
        Event::Publication(_, publication) | Event::Broadcast(_, publication) => {
            let publication: &Publication = publication;
            cost(publication.envelope.payload.bytes.len())
        }
        _ => 0,
    }
}
