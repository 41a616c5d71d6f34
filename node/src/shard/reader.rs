//! The task of one peer.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use super::Shard;
use super::connection::{Connection, Room};
use super::core::Core;
use crate::hub::{Moment, PeerKey};

/// The task of one peer: reads while the peer is open, sees to its end.
pub(super) struct Reader {
    pub(super) shard: Rc<Shard>,
    pub(super) key: PeerKey,
}

impl Future for Reader {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let core = &mut *self.shard.core.borrow_mut();
        let now = self.shard.common.clock.now();
        let polled = core.poll_connection(self.key, now, context);
        if polled.is_ready() {
            core.connections[self.key.index as usize] = None;
            core.hub.remove(now, self.key);
        }
        if core.hub.has_work() || core.hub.has_new_deadline() || !core.ending.is_empty() {
            self.shard.notify.notify_one();
        }
        polled
    }
}

impl Core {
    /// Adds a peer's connection.
    pub(super) fn connect(&mut self, connection: Connection) {
        let index = connection.key().index as usize;
        if index >= self.connections.len() {
            self.connections.resize_with(index + 1, || None);
        }
        self.connections[index] = Some(Box::new(connection));
    }

    /// Serves one peer; ready when its connection is over.
    fn poll_connection(&mut self, key: PeerKey, now: Moment, context: &mut Context<'_>) -> Poll<()> {
        let reading = self.reading();
        let Some(Some(connection)) = self.connections.get_mut(key.index as usize) else {
            return Poll::Ready(());
        };
        let was_ending = connection.is_ending();
        let mut room = Room { now, reading, scratch: &mut self.scratch, replies: &mut self.replies };
        let polled = connection.poll(&mut self.hub, &mut room, context);
        if connection.is_ending() && !was_ending {
            self.ending.push(key);
        }
        polled
    }
}
