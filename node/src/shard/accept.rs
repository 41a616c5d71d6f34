//! Takes connections in, and keeps the handshakes in flight within their limit.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
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
                let handshake = Box::pin(handshake::run(shard.clone(), stream, address, number));
                let task = tokio::task::spawn_local(Paced { shard: shard.clone(), handshake });
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

/// A handshake that takes its steps between the shard's turns, a few at a time: a thousand that come, or run
/// out of time, together would otherwise keep all peers waiting.
struct Paced<F> {
    shard: Rc<Shard>,
    handshake: Pin<Box<F>>,
}

impl<F: Future> Future for Paced<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        if self.shard.handshakes.borrow_mut().may_step(context) {
            return self.handshake.as_mut().poll(context);
        }
        self.shard.notify.notify_one();
        Poll::Pending
    }
}

/// The handshakes in flight, oldest first.
pub(super) struct Handshakes {
    max: usize,
    next: u64,
    tasks: BTreeMap<u64, AbortHandle>,
    /// Steps that may still be taken before the next turn, and who waits for it.
    steps: usize,
    waiting: VecDeque<Waker>,
}

/// Steps of handshakes between two turns, each 20 to 40 µs.
const HANDSHAKE_STEPS: usize = 16;

impl Handshakes {
    pub(super) fn new(max: usize) -> Self {
        Self { max, next: 0, tasks: BTreeMap::new(), steps: HANDSHAKE_STEPS, waiting: VecDeque::new() }
    }

    fn may_step(&mut self, context: &Context<'_>) -> bool {
        let may = self.steps > 0;
        if may {
            self.steps -= 1;
        } else {
            self.waiting.push_back(context.waker().clone());
        }
        may
    }

    /// The turn is over: as many as may go on do. Says whether others still wait.
    pub(super) fn go_on(&mut self) -> bool {
        self.steps = HANDSHAKE_STEPS;
        let next = self.waiting.len().min(HANDSHAKE_STEPS);
        self.waiting.drain(..next).for_each(Waker::wake);
        !self.waiting.is_empty()
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
