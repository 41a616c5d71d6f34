//! Moves bytes between the machine and its two connections, and news between the machine and the shards.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;
use std::time::Duration;

use futures_util::FutureExt as _;
use rustls::pki_types::ServerName;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_rustls::TlsConnector;

use super::bulk::Bulk;
use super::link::Which;
use super::machine::{Action, Machine, Settings};
use super::metrics::Connection;
use super::tally::{News, Tally};
use super::{Desk, Exchange, Progress, Unreachable};
use crate::broker::{Command, Status};
use crate::config::RedisUrl;
use crate::hub::Moment;
use crate::transport::tls;

/// What is read at a time.
const READ_BYTES: usize = 256 * 1024;
/// Written output that is kept at most, unless more than as much again is to be written.
const WRITTEN_MAX: usize = 1024 * 1024;
/// So many things may happen before the machine has its turn, so that what came together is served together.
const EVENTS_MAX: usize = 16;
/// How long a connection may take to open.
const DIAL_TIME: Duration = Duration::from_secs(2);
/// How often others are told how things stand.
const STATUS_EVERY: Duration = Duration::from_millis(100);

trait Stream: AsyncRead + AsyncWrite + Unpin {}
impl<S: AsyncRead + AsyncWrite + Unpin> Stream for S {}

type Dialing = Pin<Box<dyn Future<Output = io::Result<[Box<dyn Stream>; 2]>>>>;

/// The owner of both connections.
pub(super) struct Driver {
    exchange: Arc<Exchange>,
    settings: Settings,
    url: RedisUrl,
    seed: u64,
    connector: Option<TlsConnector>,
    report: watch::Sender<Progress>,
}

/// A driver at work.
struct Running {
    exchange: Arc<Exchange>,
    url: RedisUrl,
    connector: Option<TlsConnector>,
    report: watch::Sender<Progress>,
    bulk: Bulk,
    machine: Machine,
    sockets: Option<[Socket; 2]>,
    dialing: Option<Dialing>,
    /// Which connection is asked first, in turns: one that always has something must not hide the other.
    work_first: bool,
    read: Box<[u8]>,
    mail: Vec<(usize, Command)>,
    levels: Vec<usize>,
    attached: usize,
    tally: Tally,
    told_at: Moment,
    outage: Outage,
}

/// One connection and how much of its output is written.
struct Socket {
    stream: Box<dyn Stream>,
    written: usize,
    /// Whether what was written may be held back: TLS has a buffer of its own.
    unflushed: bool,
}

/// What is logged about an outage: its begin, its end, and now and then that it lasts.
#[derive(Default)]
struct Outage {
    since: Option<Moment>,
    logged_at: Option<Moment>,
}

/// What the driver waits for.
enum Happened {
    Mail,
    Due,
    Dialed(io::Result<[Box<dyn Stream>; 2]>),
    Read(Which, io::Result<usize>),
    Wrote(Which, io::Result<usize>),
}

impl Driver {
    pub(super) fn new(
        exchange: Arc<Exchange>,
        settings: Settings,
        url: RedisUrl,
        seed: u64,
        report: watch::Sender<Progress>,
    ) -> Result<Self, Unreachable> {
        let connector =
            if url.tls { Some(TlsConnector::from(Arc::new(tls::client_config()?))) } else { None };
        Ok(Self { exchange, settings, url, seed, connector, report })
    }

    /// Runs until the process ends.
    pub(super) fn run(self) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.unwrap_or_else(|error| panic!("no runtime for redis: {error}"));
        runtime.block_on(tokio::task::coop::unconstrained(async move {
            let names = self.settings.names.clone();
            let bulk = Bulk::start(&self.url, self.connector.clone(), self.exchange.clone(), names);
            let now = self.exchange.clock.now();
            let running = Running {
                machine: Machine::new(self.settings, now, self.seed),
                exchange: self.exchange,
                url: self.url,
                connector: self.connector,
                report: self.report,
                bulk,
                sockets: None,
                dialing: None,
                work_first: false,
                read: vec![0; READ_BYTES].into(),
                mail: Vec::new(),
                levels: Vec::new(),
                attached: 0,
                tally: Tally::default(),
                told_at: Moment::default(),
                outage: Outage::default(),
            };
            running.run().await;
        }));
    }
}

impl Running {
    async fn run(mut self) {
        self.turn();
        loop {
            let mut happened = Some(self.next().await);
            let mut count = 0;
            while let Some(one) = happened.take() {
                let is_socket = !matches!(one, Happened::Mail | Happened::Due);
                self.apply(one);
                count += 1;
                // What the turn looks at anyway ends the round.
                if is_socket && count < EVENTS_MAX {
                    happened = self.next().now_or_never();
                }
            }
            self.turn();
            if count == EVENTS_MAX {
                // The runtime looks at the sockets only when nothing else is to be done.
                tokio::task::yield_now().await;
            }
        }
    }

    /// The only place that waits.
    async fn next(&mut self) -> Happened {
        let Self { machine, sockets, dialing, read, exchange, work_first, .. } = self;
        *work_first = !*work_first;
        let deadline = exchange.clock.instant(machine.next_timeout());
        let sockets = poll_fn(|context| {
            let Some([bus, work]) = sockets.as_mut() else { return Poll::Pending };
            let mut both = [(Which::Bus, bus), (Which::Work, work)];
            if *work_first {
                both.reverse();
            }
            for (which, socket) in both {
                let output = machine.take_output(which);
                if socket.written < output.len() {
                    let stream = Pin::new(&mut socket.stream);
                    if let Poll::Ready(wrote) = stream.poll_write(context, &output[socket.written..]) {
                        return Poll::Ready(Happened::Wrote(which, wrote));
                    }
                }
                if socket.unflushed {
                    match Pin::new(&mut socket.stream).poll_flush(context) {
                        Poll::Ready(Err(error)) => return Poll::Ready(Happened::Wrote(which, Err(error))),
                        flushed => socket.unflushed = flushed.is_pending(),
                    }
                }
                let mut buffer = ReadBuf::new(read);
                if let Poll::Ready(result) = Pin::new(&mut socket.stream).poll_read(context, &mut buffer) {
                    let count = buffer.filled().len();
                    return Poll::Ready(Happened::Read(which, result.map(|()| count)));
                }
            }
            Poll::Pending
        });
        let dialed = poll_fn(|context| match dialing.as_mut() {
            Some(dialing) => dialing.as_mut().poll(context),
            None => Poll::Pending,
        });
        tokio::select! {
            biased;
            happened = sockets => happened,
            dialed = dialed => Happened::Dialed(dialed),
            () = exchange.notify.notified() => Happened::Mail,
            () = tokio::time::sleep_until(deadline.into()) => Happened::Due,
        }
    }

    fn apply(&mut self, happened: Happened) {
        let now = self.exchange.clock.now();
        match happened {
            Happened::Mail | Happened::Due => {}
            Happened::Dialed(result) => self.take_sockets(now, result),
            Happened::Read(which, Ok(count @ 1..)) => {
                self.look_at_crowded();
                self.machine.receive(now, which, &self.read[..count]);
            }
            Happened::Read(_, Ok(0)) => self.machine.lost(now, "redis closed the connection"),
            Happened::Wrote(which, Ok(count @ 1..)) => self.note_written(which, count),
            Happened::Read(_, Err(error)) | Happened::Wrote(_, Err(error)) => {
                self.machine.lost(now, &error.to_string());
            }
            Happened::Wrote(_, Ok(0)) => self.machine.lost(now, "the connection takes no bytes any more"),
        }
        self.act();
    }

    fn take_sockets(&mut self, now: Moment, result: io::Result<[Box<dyn Stream>; 2]>) {
        self.dialing = None;
        match result {
            Ok(streams) => {
                self.sockets = Some(streams.map(|stream| Socket { stream, written: 0, unflushed: false }));
                self.machine.connected(now);
            }
            Err(error) => self.machine.lost(now, &error.to_string()),
        }
    }

    fn note_written(&mut self, which: Which, count: usize) {
        let Some([bus, work]) = &mut self.sockets else { return };
        let socket = if which == Which::Bus { bus } else { work };
        let output = self.machine.take_output(which);
        socket.written += count;
        socket.unflushed = true;
        // A part that is long enough is let go, too: under load there may always be more behind it.
        let done = socket.written == output.len();
        if done || socket.written >= WRITTEN_MAX && socket.written >= output.len() / 2 {
            output.drain(..socket.written);
            socket.written = 0;
        }
    }

    /// Does what the machine wants done about its connections.
    fn act(&mut self) {
        while let Some(action) = self.machine.next_action() {
            match action {
                Action::Disconnect => (self.sockets, self.dialing) = (None, None),
                Action::Read { shard, ticket, reading } => self.bulk.read(shard, ticket, reading),
                Action::Connect => {
                    self.dialing = Some(Box::pin(dial(self.url.clone(), self.connector.clone())));
                }
            }
        }
    }

    /// Hands over what waits on either side.
    fn turn(&mut self) {
        let now = self.exchange.clock.now();
        self.take_mail();
        while self.attached < self.levels.len() {
            self.machine.attach();
            self.attached += 1;
        }
        self.machine.set_levels(self.levels.iter().copied());
        self.machine.submit(now, self.mail.drain(..));
        self.machine.timeout(now);
        if self.exchange.leaving.load(Ordering::Relaxed) {
            self.leave(now);
        }
        self.act();
        self.deliver();
        self.tell(now);
    }

    /// What shards have taken out of full inboxes makes room for what is about to be read.
    fn look_at_crowded(&mut self) {
        if self.machine.is_crowded() {
            let desk = self.exchange.desk();
            self.machine.set_levels(desk.inboxes.iter().map(super::Inbox::bytes));
        }
    }

    fn take_mail(&mut self) {
        let mut desk = self.exchange.desk();
        let Desk { mail, mail_bytes, inboxes } = &mut *desk;
        std::mem::swap(mail, &mut self.mail);
        *mail_bytes = 0;
        self.levels.clear();
        self.levels.extend(inboxes.iter().map(super::Inbox::bytes));
    }

    fn deliver(&mut self) {
        let staged = self.machine.staged();
        if staged.iter().all(|staged| staged.events.is_empty()) {
            return;
        }
        let mut desk = self.exchange.desk();
        let mut wakes = Vec::with_capacity(staged.len());
        for (inbox, staged) in desk.inboxes.iter_mut().zip(staged) {
            inbox.append(&mut staged.events, std::mem::take(&mut staged.bytes));
            wakes.extend(inbox.newly_filled());
        }
        drop(desk);
        for wake in wakes {
            wake();
        }
    }

    fn leave(&mut self, now: Moment) {
        self.machine.go(now);
        if self.machine.is_gone() {
            self.report.send_replace(Progress::Left);
        }
    }

    /// Says how things stand, to metrics, health and the log.
    fn tell(&mut self, now: Moment) {
        self.machine.take_tally(&mut self.tally);
        let news = std::mem::take(&mut self.tally.news);
        self.tell_status(now, !news.is_empty());
        for one in news {
            self.note(now, one);
        }
        self.exchange.metrics.absorb(&mut self.tally);
        self.exchange.topics.store(self.machine.topics(), Ordering::Relaxed);
    }

    /// Others are told now and then, and at once when there is news.
    fn tell_status(&mut self, now: Moment, at_once: bool) {
        if at_once || now.since(self.told_at) >= STATUS_EVERY {
            self.told_at = now;
            let Status { trouble, nodes, peers } = self.machine.status(now);
            let status = Status { trouble: trouble.or_else(|| self.bulk.trouble()), nodes, peers };
            *self.exchange.status.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = (now, status);
        }
    }

    fn note(&mut self, now: Moment, news: News) {
        let metrics = &self.exchange.metrics;
        match news {
            News::Up => {
                metrics.came_up(Connection::Bus);
                metrics.came_up(Connection::Work);
                self.outage.end(now, &self.url);
                self.report.send_if_modified(|progress| {
                    let first = matches!(progress, Progress::Failing(_));
                    if first {
                        *progress = Progress::Joined;
                    }
                    first
                });
            }
            News::Lost(reason) | News::Failed(reason) => {
                metrics.went_down(Connection::Bus);
                metrics.went_down(Connection::Work);
                self.outage.note(now, &self.url, &reason);
                self.report.send_if_modified(|progress| {
                    if let Progress::Failing(last) = progress {
                        *last = reason;
                    }
                    false
                });
            }
        }
    }
}

impl Outage {
    /// How often an outage that lasts is worth a line.
    const EVERY: Duration = Duration::from_secs(5);

    fn note(&mut self, now: Moment, url: &RedisUrl, reason: &str) {
        let since = *self.since.get_or_insert(now);
        if self.logged_at.is_none_or(|at| now.since(at) >= Self::EVERY) {
            self.logged_at = Some(now);
            let seconds = now.since(since).as_secs();
            tracing::warn!("{url} can't be reached for {seconds} s: {reason}; trying on");
        }
    }

    fn end(&mut self, now: Moment, url: &RedisUrl) {
        let lasted = self.since.take().map(|since| now.since(since));
        self.logged_at = None;
        if let Some(lasted) = lasted {
            tracing::info!("{url} is reached, after {} ms without", lasted.as_millis());
        }
    }
}

/// Opens both connections.
async fn dial(url: RedisUrl, connector: Option<TlsConnector>) -> io::Result<[Box<dyn Stream>; 2]> {
    let both = async { tokio::try_join!(open(&url, connector.as_ref()), open(&url, connector.as_ref())) };
    let late = || io::Error::new(io::ErrorKind::TimedOut, format!("no connection within {DIAL_TIME:?}"));
    let (bus, work) = tokio::time::timeout(DIAL_TIME, both).await.map_err(|_| late())??;
    Ok([bus, work])
}

async fn open(url: &RedisUrl, connector: Option<&TlsConnector>) -> io::Result<Box<dyn Stream>> {
    let stream = TcpStream::connect((url.host.as_str(), url.port)).await?;
    stream.set_nodelay(true)?;
    // What was not sent when a connection is given up must never be sent: it may have been sent elsewhere.
    SockRef::from(&stream).set_linger(Some(Duration::ZERO))?;
    let Some(connector) = connector else { return Ok(Box::new(stream)) };
    let name = ServerName::try_from(url.host.clone()).map_err(io::Error::other)?;
    Ok(Box::new(connector.connect(name, stream).await?))
}
