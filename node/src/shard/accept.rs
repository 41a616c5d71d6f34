//! Takes connections in, and keeps the handshakes in flight within their limit.

use std::collections::BTreeMap;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::task::AbortHandle;

use super::Shard;
use super::handshake;
use crate::hub::Limit;

/// How long accepting pauses when the process has no descriptor left (H5): trying at once would spin.
const PAUSE: Duration = Duration::from_millis(100);

/// Connections accepted before others have their turn.
const ACCEPTED_AT_ONCE: usize = 8;

/// Accepts connections as long as the shard lives; a draining node still says that it is leaving.
pub(super) async fn run(shard: Rc<Shard>, listener: TcpListener) {
    for accepted in 1.. {
        if accepted % ACCEPTED_AT_ONCE == 0 {
            tokio::task::yield_now().await;
        }
        match listener.accept().await {
            Ok((stream, address)) => {
                let number = shard.handshakes.borrow_mut().next_number();
                let task = tokio::task::spawn_local(handshake::run(shard.clone(), stream, address, number));
                shard.begin_handshake(number, task.abort_handle());
            }
            Err(error) if is_the_peer_s(&error) => {}
            Err(error) => {
                if shard.may_log() {
                    tracing::warn!(%error, "accepting pauses");
                }
                shard.common.metrics.connection("accept_error");
                pause().await;
            }
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "no event says that a descriptor is free again")]
async fn pause() {
    tokio::time::sleep(PAUSE).await;
}

/// Whether only the one connection failed that would have been accepted.
fn is_the_peer_s(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::Interrupted
    )
}

/// The handshakes in flight, oldest first.
pub(super) struct Handshakes {
    max: usize,
    next: u64,
    tasks: BTreeMap<u64, AbortHandle>,
}

impl Handshakes {
    pub(super) fn new(max: usize) -> Self {
        Self { max, next: 0, tasks: BTreeMap::new() }
    }

    fn next_number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// A handshake is done, one way or the other.
    pub(super) fn end(&mut self, number: u64) {
        self.tasks.remove(&number);
    }

    /// Ends all of them.
    pub(super) fn end_all(&mut self) {
        for task in std::mem::take(&mut self.tasks).into_values() {
            task.abort();
        }
    }
}

impl Shard {
    /// Notes a handshake; over the limit the oldest one goes, which has had more time than any other. So a
    /// flood of half-open connections pushes itself out, and a client that gets on with it comes through.
    fn begin_handshake(&self, number: u64, task: AbortHandle) {
        let mut handshakes = self.handshakes.borrow_mut();
        if !task.is_finished() {
            handshakes.tasks.insert(number, task);
        }
        if handshakes.tasks.len() > handshakes.max
            && let Some((_, oldest)) = handshakes.tasks.pop_first()
        {
            oldest.abort();
            self.common.metrics.limited(Limit::Handshakes);
            self.common.metrics.connection("evicted");
        }
    }
}
