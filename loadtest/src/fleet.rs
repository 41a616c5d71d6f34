//! All peers of a run on one thread: dials them, each at its node, reads them through one shared buffer,
//! tells a [`Listener`] what came.
//!
//! **Invariant:** a delivery that fits the buffer costs no allocation and no copy. Only the start of an
//! unfinished frame is kept with its peer until the rest comes.

mod comings;
mod link;

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, VecDeque},
};

use anyhow::{Context, Result, bail, ensure};
use rustix::{buffer::spare_capacity, event::epoll, fd::OwnedFd, io::Errno};
use serde::{Deserialize, Serialize};

pub use self::comings::Cut;
use self::link::{Fate, Link, Phase, Received, Wire};
use crate::{
    clock::{self, Nanos},
    frame::{self, Format},
    handshake::{self, Answer},
    target::Target,
};

/// A peer's number; peers are numbered from 0 in the order they are added. One that is dialled again keeps
/// its number.
pub type Peer = u32;

/// Who hears what the peers receive.
pub trait Listener {
    /// A peer's upgrade is done; what is put into `outbox` is sent at once.
    fn opened(&mut self, peer: Peer, outbox: &mut Vec<u8>) -> Next;
    /// A whole message came, read from the socket at `now`; what is put into `outbox` is sent once all that
    /// was read with it is handled.
    fn message(&mut self, peer: Peer, now: Nanos, body: &[u8], outbox: &mut Vec<u8>) -> Next;
    /// A peer's connection is over: the server's close code, 1006 without one.
    fn closed(&mut self, peer: Peer, code: u16);
    /// A peer was not let in, and has no connection. That ends the run, unless a listener knows better.
    fn refused(&mut self, _peer: Peer, why: String) -> Result<()> {
        bail!(why)
    }
}

/// What a peer does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Keeps the connection.
    Stay,
    /// Starts the closing handshake.
    Leave,
}

/// What the client does while there is nothing to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Rest {
    /// Sleeps until something comes. The server's `send` then also pays for waking this core.
    Sleep,
    /// Looks again and again, which takes a core of its own and makes the server's figures steadier.
    Spin,
}

/// What happened to the fleet so far.
#[derive(Debug, Clone, Copy, Default)]
pub struct Tally {
    /// Upgrades done.
    pub opened: u32,
    /// Connections that were open and are over.
    pub closed: u32,
    /// Upgrades answered 429 and dialled again later.
    pub retried: u32,
    /// The longest time spent between two waits, or beyond the end of one: while it lasts nothing is published
    /// or read.
    pub stall: Nanos,
}

/// The peers of a run.
pub struct Fleet {
    doors: Vec<Door>,
    epoll: OwnedFd,
    events: Vec<epoll::Event>,
    intake: Vec<u8>,
    links: Vec<Link>,
    queue: VecDeque<Peer>,
    later: BinaryHeap<Reverse<(Nanos, Peer)>>,
    dialing: u32,
    concurrency: u32,
    rest: Rest,
    /// Since when nothing has been waited for; none before the first wait.
    busy_since: Option<Nanos>,
    tally: Tally,
}

/// Where the peers from `first` up to the next door's connect.
struct Door {
    first: Peer,
    target: Target,
    request: Vec<u8>,
}

/// How dialling went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Dialed {
    Well,
    /// The listener was told of somebody.
    Refused,
}

/// Events taken per wait: few enough that publications due meanwhile are not held up.
const EVENTS_PER_TURN: usize = 128;

/// What may wait for a peer's socket: minutes of any load that a server takes, and little of a machine's
/// memory.
const UNSENT_BYTES_MAX: usize = 512 << 20;

impl Fleet {
    /// No peers yet; at most `concurrency` upgrades will be under way at a time.
    pub fn new(concurrency: u32, rest: Rest) -> Result<Self> {
        Ok(Self {
            doors: Vec::new(),
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
            events: Vec::with_capacity(EVENTS_PER_TURN),
            intake: Vec::new(),
            links: Vec::new(),
            queue: VecDeque::new(),
            later: BinaryHeap::new(),
            dialing: 0,
            concurrency,
            rest,
            busy_since: None,
            tally: Tally::default(),
        })
    }

    /// Queues new peers for dialling a target.
    pub fn add(&mut self, target: &Target, peers: u32) {
        let first = self.links.len() as Peer;
        if self.doors.last().is_none_or(|door| door.target != *target) {
            self.doors.push(Door { first, target: target.clone(), request: handshake::request(target) });
        }
        self.links.extend((0..peers).map(|_| Link::Queued));
        self.queue.extend(first..first + peers);
    }

    /// What happened so far.
    pub fn tally(&self) -> Tally {
        self.tally
    }

    /// Starts counting the longest stall anew.
    pub fn forget_stall(&mut self) {
        self.tally.stall = 0;
        self.busy_since = Some(clock::now());
    }

    /// Puts a message into a peer's outbox; [`Fleet::flush`] sends it.
    pub fn push(&mut self, peer: Peer, format: Format, body: &[u8]) -> Result<()> {
        let wire =
            self.links[peer as usize].wire().with_context(|| format!("peer {peer} was disconnected"))?;
        frame::push_message(&mut wire.outbox, format, body);
        ensure!(
            wire.outbox.len() <= UNSENT_BYTES_MAX,
            "{} MiB of peer {peer} wait to be sent: its server doesn't read, or the rate is beyond what any takes",
            wire.outbox.len() >> 20
        );
        Ok(())
    }

    /// Sends a peer's outbox as far as the socket takes it; the rest follows when it can.
    pub fn flush(&mut self, peer: Peer) -> Result<()> {
        let Some(wire) = self.links[peer as usize].wire() else { return Ok(()) };
        wire.flush(&self.epoll, peer).with_context(|| format!("peer {peer} can't send"))
    }

    /// Starts the closing handshake of a peer, if it is still connected.
    pub fn leave(&mut self, peer: Peer) -> Result<()> {
        let Some(wire) = self.links[peer as usize].wire() else { return Ok(()) };
        wire.leave();
        self.flush(peer)
    }

    /// Dials who may be dialled, waits for events until `until` at the longest, and handles them.
    pub fn turn(&mut self, until: Nanos, listener: &mut impl Listener) -> Result<()> {
        let now = clock::now();
        let until = match self.dial(now, listener)? {
            // Whoever was told decides what comes next, without waiting for anything else.
            Dialed::Refused => now,
            Dialed::Well => self.later.peek().map_or(until, |Reverse((due, _))| until.min(*due)),
        };
        let mut events = std::mem::take(&mut self.events);
        events.clear();
        let until = match self.rest {
            Rest::Sleep => until.max(now),
            Rest::Spin => now,
        };
        self.note_stall(clock::now());
        match epoll::wait(&self.epoll, spare_capacity(&mut events), Some(&clock::timespec(until - now))) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        // A process that is stopped while it waits wakes long after it wanted to.
        self.busy_since = Some(clock::now().min(until));
        for event in &events {
            self.handle_ready(event.data.u64() as Peer, event.flags, listener)?;
        }
        self.events = events;
        self.note_stall(clock::now());
        Ok(())
    }

    fn note_stall(&mut self, now: Nanos) {
        let busy = self.busy_since.map_or(0, |since| now.saturating_sub(since));
        self.tally.stall = self.tally.stall.max(busy);
    }

    fn dial(&mut self, now: Nanos, listener: &mut impl Listener) -> Result<Dialed> {
        let mut dialed = Dialed::Well;
        while let Some(Reverse((due, peer))) = self.later.peek().copied() {
            if due > now {
                break;
            }
            self.later.pop();
            self.queue.push_back(peer);
        }
        while self.dialing < self.concurrency {
            let Some(peer) = self.queue.pop_front() else { break };
            let Door { target, request, .. } = door_of(&self.doors, peer);
            match Wire::dial(target, peer, request, &self.epoll) {
                Ok(wire) => {
                    self.links[peer as usize] = Link::Up(wire);
                    self.dialing += 1;
                }
                Err(error) => {
                    let why = format!("peer {peer} can't connect to {}: {error}", target.address);
                    self.links[peer as usize] = Link::Gone;
                    listener.refused(peer, why)?;
                    dialed = Dialed::Refused;
                }
            }
        }
        Ok(dialed)
    }

    fn handle_ready(
        &mut self,
        peer: Peer,
        flags: epoll::EventFlags,
        listener: &mut impl Listener,
    ) -> Result<()> {
        if flags.intersects(epoll::EventFlags::OUT) && !flags.intersects(epoll::EventFlags::ERR) {
            self.flush(peer)?;
        }
        if flags.intersects(epoll::EventFlags::IN | epoll::EventFlags::HUP | epoll::EventFlags::ERR) {
            self.handle_readable(peer, listener)?;
        }
        Ok(())
    }

    fn handle_readable(&mut self, peer: Peer, listener: &mut impl Listener) -> Result<()> {
        let Some(wire) = self.links[peer as usize].wire() else { return Ok(()) };
        let length = match wire.receive(&mut self.intake) {
            Ok(Received::Bytes(length)) => length,
            Ok(Received::Nothing) => return Ok(()),
            Ok(Received::End) => return self.lost(peer, listener, None),
            Err(error) => return self.lost(peer, listener, Some(error)),
        };
        let now = clock::now();
        let start = match wire.phase {
            Phase::Dialing => self.handle_answer(peer, length, now, listener)?,
            Phase::Open | Phase::Leaving => Some(0),
        };
        let (Some(start), Some(wire)) = (start, self.links[peer as usize].wire()) else { return Ok(()) };
        match wire.read_frames(&self.intake[start..length], peer, now, listener)? {
            Fate::Up if wire.outbox.is_empty() => Ok(()),
            Fate::Up => self.flush(peer),
            Fate::Over(code) => {
                self.drop_link(peer, code, listener);
                Ok(())
            }
        }
    }

    /// Judges the answer to an upgrade: where its frames start, none if it isn't open yet.
    fn handle_answer(
        &mut self,
        peer: Peer,
        length: usize,
        now: Nanos,
        listener: &mut impl Listener,
    ) -> Result<Option<usize>> {
        let bytes = &self.intake[..length];
        let Some(wire) = self.links[peer as usize].wire() else { return Ok(None) };
        match handshake::answer(bytes) {
            Answer::Partial => wire.keep(bytes),
            Answer::Later(after) => self.dial_later(peer, now + after.as_nanos() as Nanos),
            Answer::Refused(why) => {
                let why = format!("the server refused peer {peer}'s upgrade: {why}");
                self.refuse(peer, listener, why)?;
            }
            Answer::Open(head) => {
                let next = listener.opened(peer, &mut wire.outbox);
                wire.open(next);
                self.dialing -= 1;
                self.tally.opened += 1;
                return Ok(Some(head));
            }
        }
        Ok(None)
    }

    /// 429: frees the place for another and comes back when told to.
    fn dial_later(&mut self, peer: Peer, due: Nanos) {
        self.links[peer as usize] = Link::Queued;
        self.dial_at(peer, due);
        self.dialing -= 1;
        self.tally.retried += 1;
    }

    fn dial_at(&mut self, peer: Peer, due: Nanos) {
        self.later.push(Reverse((due, peer)));
    }

    fn refuse(&mut self, peer: Peer, listener: &mut impl Listener, why: String) -> Result<()> {
        self.links[peer as usize] = Link::Gone;
        self.dialing -= 1;
        listener.refused(peer, why)
    }

    /// A connection ended without a Close frame. Before its upgrade that ends the run.
    fn lost(&mut self, peer: Peer, listener: &mut impl Listener, error: Option<Errno>) -> Result<()> {
        let dialing = self.links[peer as usize].wire().is_some_and(|wire| wire.phase == Phase::Dialing);
        if dialing {
            let why = error.map_or("closed before the upgrade".to_owned(), |error| error.to_string());
            let address = door_of(&self.doors, peer).target.address;
            return self.refuse(peer, listener, format!("peer {peer} can't connect to {address}: {why}"));
        }
        self.drop_link(peer, 1006, listener);
        Ok(())
    }

    fn drop_link(&mut self, peer: Peer, code: u16, listener: &mut impl Listener) {
        self.links[peer as usize] = Link::Gone;
        self.tally.closed += 1;
        listener.closed(peer, code);
    }
}

fn door_of(doors: &[Door], peer: Peer) -> &Door {
    let behind = doors.partition_point(|door| door.first <= peer);
    &doors[behind.checked_sub(1).expect("a peer is added together with its door")]
}
