//! One core's peers: a thread with a runtime, a listener, a hub and its peers' connections.
//!
//! Peers' tasks read and hand messages to the hub at once; what follows from them (commands to the broker,
//! bytes in outboxes) waits for the shard's turn, which comes after all tasks that were ready. So a turn
//! serves everything that happened together, with three locks of the broker and one write a peer: under load
//! publications coalesce by themselves, a lone one is not delayed.
//!
//! **Invariant:** the core is never borrowed across an await.

mod accept;
mod connection;
mod core;
mod handshake;
mod reader;

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio_rustls::TlsAcceptor;

use self::accept::Handshakes;
use self::core::Core;
use crate::admission::Admission;
use crate::broker::Broker;
use crate::clock::Clock;
use crate::hub::{Bucket, Hub, Moment, Settings};
use crate::metrics::{Metrics, Snapshot};

/// What all shards of a node share.
pub struct Common {
    /// The configuration as far as it concerns peers.
    pub settings: Arc<Settings>,
    /// The node's clock.
    pub clock: Clock,
    /// How many shards there are.
    pub shards: usize,
    /// What carries between shards.
    pub broker: Arc<dyn Broker>,
    /// The node's door.
    pub admission: Arc<Admission>,
    /// The node's counters.
    pub metrics: Arc<Metrics>,
    /// TLS, if the public listener has it.
    pub tls: Option<TlsAcceptor>,
    /// The demo's pages, if they are served.
    pub pages: Option<axum::Router>,
    /// Whether the node is leaving.
    pub draining: AtomicBool,
}

/// What the node asks of a shard.
#[derive(Debug)]
pub enum Request {
    /// Whether it lives.
    Alive(oneshot::Sender<()>),
    /// How things stand.
    Snapshot(oneshot::Sender<Snapshot>),
    /// Take no more peers and close those that are there within the given time; answered when none is left.
    Drain(Duration, oneshot::Sender<()>),
}

/// Runs a shard on this thread until its requests end. `seed` decides what is left to chance.
pub fn run(
    common: Arc<Common>,
    listener: std::net::TcpListener,
    requests: mpsc::Receiver<Request>,
    seed: u64,
) -> io::Result<()> {
    let runtime =
        Builder::new_current_thread().enable_io().enable_time().build_local(LocalOptions::default())?;
    runtime.block_on(async {
        let listener = TcpListener::from_std(listener)?;
        let shard = Shard::new(common, seed);
        // What the broker has for a new shard, before the first peer.
        shard.core.borrow_mut().turn(shard.index, &shard.common, &shard.notify);
        tokio::task::spawn_local(accept::run(shard.clone(), listener));
        let turns = tokio::task::spawn_local(tokio::task::coop::unconstrained(shard.run(requests)));
        turns.await.map_err(io::Error::other)
    })
}

/// One shard.
struct Shard {
    common: Arc<Common>,
    index: usize,
    core: RefCell<Core>,
    handshakes: RefCell<Handshakes>,
    /// Asks for a turn, also from other threads.
    notify: Arc<Notify>,
    drain: Cell<Option<Drain>>,
    /// Keeps strangers from filling the log.
    log: Cell<Bucket>,
}

/// A drain under way.
struct Drain {
    began: Moment,
    next_step: Moment,
    within: Duration,
    peers: usize,
    done: oneshot::Sender<()>,
}

/// Refusals of strangers that a shard logs; all are counted.
const REFUSALS_LOGGED_PER_SECOND: u32 = 5;
/// How often a draining shard closes some of its peers.
const DRAIN_STEP: Duration = Duration::from_millis(50);

/// Why the shard's loop woke up.
enum Event {
    Turn,
    Request(Option<Request>),
}

impl Shard {
    fn new(common: Arc<Common>, seed: u64) -> Rc<Self> {
        let notify = Arc::new(Notify::new());
        let wake = notify.clone();
        let index = common.broker.attach(Arc::new(move || wake.notify_one()));
        let number = u8::try_from(index).expect("the configuration allows 256 shards");
        let hub = Hub::new(common.settings.clone(), number, common.clock.now(), seed);
        let handshakes =
            RefCell::new(Handshakes::new(common.settings.limits.handshakes.div_ceil(common.shards)));
        let core = RefCell::new(Core::new(hub));
        Rc::new(Self {
            common,
            index,
            core,
            handshakes,
            notify,
            drain: Cell::new(None),
            log: Cell::default(),
        })
    }

    async fn run(self: Rc<Self>, mut requests: mpsc::Receiver<Request>) {
        loop {
            match self.next(&mut requests).await {
                Event::Turn => {}
                Event::Request(Some(request)) => self.obey(request),
                Event::Request(None) => return,
            }
            self.advance_drain();
            let more = self.core.borrow_mut().turn(self.index, &self.common, &self.notify);
            if self.handshakes.borrow_mut().go_on() || more {
                // The runtime looks at the sockets before it comes back here.
                tokio::task::yield_now().await;
                self.notify.notify_one();
            }
        }
    }

    /// The only place that waits.
    async fn next(&self, requests: &mut mpsc::Receiver<Request>) -> Event {
        let deadline = self.core.borrow_mut().hub.next_timeout();
        let draining = self.is_draining().then(|| self.common.clock.now() + DRAIN_STEP);
        let deadline = deadline.into_iter().chain(draining).min();
        let sleep = async {
            match deadline {
                Some(at) => tokio::time::sleep_until(self.common.clock.instant(at).into()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            request = requests.recv() => Event::Request(request),
            () = self.notify.notified() => Event::Turn,
            () = sleep => Event::Turn,
        }
    }

    /// Whether one more refusal of a stranger is worth a line in the log.
    fn may_log(&self) -> bool {
        let mut log = self.log.get();
        let allowed = log.take(self.common.clock.now(), REFUSALS_LOGGED_PER_SECOND);
        self.log.set(log);
        allowed
    }

    fn obey(&self, request: Request) {
        match request {
            Request::Alive(answer) => {
                let _ = answer.send(()); // Who asked may have given up.
            }
            Request::Snapshot(answer) => {
                let mut core = self.core.borrow_mut();
                // What is not urgent may wait at the broker; what is left to do now, the next turn does.
                core.turn(self.index, &self.common, &self.notify);
                let snapshot = core.snapshot(self.common.metrics.named_namespaces());
                let _ = answer.send(snapshot); // Who asked may have given up.
            }
            Request::Drain(within, done) => {
                let (began, peers) = (self.common.clock.now(), self.core.borrow().hub.peer_count());
                self.handshakes.borrow_mut().end_all();
                self.drain.set(Some(Drain { began, next_step: began, within, peers, done }));
            }
        }
    }

    fn is_draining(&self) -> bool {
        let drain = self.drain.take();
        let draining = drain.is_some();
        self.drain.set(drain);
        draining
    }

    /// Closes as many peers as the time that has passed asks for, so that they come back elsewhere one after
    /// the other, all within half the time (the other half is for slow goodbyes).
    fn advance_drain(&self) {
        let Some(mut drain) = self.drain.take() else { return };
        let now = self.common.clock.now();
        if now < drain.next_step {
            return self.drain.set(Some(drain));
        }
        drain.next_step = now + DRAIN_STEP;
        let mut core = self.core.borrow_mut();
        let span = (drain.within / 2).min(SPREAD_MAX).as_secs_f64().max(0.001);
        let part = (now.since(drain.began) + DRAIN_STEP).as_secs_f64() / span;
        let quota = (drain.peers as f64 * part).ceil() as usize + DRAIN_AT_ONCE;
        let leaving = core.hub.peer_keys();
        let stay = drain.peers.saturating_sub(quota);
        for peer in leaving.iter().skip(stay) {
            core.hub.close(now, *peer, dunlin_protocol::CloseCode::GOING_AWAY, "the node is leaving");
        }
        if core.connections_are_gone() {
            let _ = drain.done.send(()); // The node may have stopped waiting.
        } else {
            self.drain.set(Some(drain));
        }
    }
}

/// So few peers are closed in the first step already.
const DRAIN_AT_ONCE: usize = 100;
/// Peers are not kept waiting longer than this for their turn to leave, however long the drain may take.
const SPREAD_MAX: Duration = Duration::from_secs(10);
