//! A single-threaded WebSocket relay, as lean as can be: one epoll, frames built once, no policy, no JSON
//! parser. How deliveries are written is [`Writing`], which the examples that share this file decide.
//!
//! It upgrades any path, answers the subprotocol `dunlin.plain.v1` if offered, and understands
//! `{"type":"subscribe","topic":T}` and `{"type":"publish","topic":T,"payload":P}` with the keys in this
//! order, the payload last and no escapes in the topic. It never answers an `id`.

use std::{collections::HashMap, io::Write, net::TcpListener, os::fd::OwnedFd};

use anyhow::{Context, Result, bail};
use rustix::{
    buffer::spare_capacity,
    event::epoll::{self, Event, EventData, EventFlags},
    io::Errno,
    net::{self, RecvFlags, SocketFlags, sockopt},
};

use self::wire::{head, take_frame, up_to_quote};

mod peer;
mod wire;

pub(crate) use self::peer::Peer;

/// How a frame gets to a peer. Every implementation is compiled into a loop of its own.
pub(crate) trait Writing: Default {
    /// What one read takes at most: all that a wake-up takes in from a peer.
    const READ_BYTES: usize;

    /// Sends a frame or queues it, behind what the peer is owed.
    fn write(&mut self, peer: &mut Peer, slot: usize, frame: &[u8], epoll: &OwnedFd);

    /// Sends what was queued; called once everything that was ready is handled. A slot may have another
    /// peer by then, or none.
    fn write_out(&mut self, peers: &mut [Option<Peer>], epoll: &OwnedFd);
}

/// A listener on the address that the command line asks for; says that it is ready.
#[allow(dead_code, reason = "the tests serve without a command line")]
pub(crate) fn listen() -> Result<TcpListener> {
    let mut arguments = std::env::args().skip(1);
    let listen = match (arguments.next().as_deref(), arguments.next()) {
        (None, _) => "127.0.0.1:9100".to_owned(),
        (Some("--listen"), Some(address)) => address,
        _ => bail!("the only option is --listen ADDRESS"),
    };
    dunlin_loadtest::limits::raise_open_files()?;
    let listener = TcpListener::bind(&listen).with_context(|| format!("{listen} can't be listened on"))?;
    println!("ready listen={}", listener.local_addr()?);
    std::io::stdout().flush()?;
    Ok(listener)
}

/// The server: its peers by slot, and the slots of each topic.
pub(crate) struct Relay<W> {
    listener: TcpListener,
    epoll: OwnedFd,
    peers: Vec<Option<Peer>>,
    free: Vec<usize>,
    topics: HashMap<Box<[u8]>, Vec<usize>>,
    intake: Vec<u8>,
    events: Vec<Event>,
    writing: W,
}

/// Why a peer is done: it said so, hung up, or broke the protocol.
pub(crate) struct Over;

const LISTENER: u64 = u64::MAX;
/// How long a request's head may be.
const HEAD_BYTES: usize = 64 * 1024;
/// How many sockets one wait may find ready. With 4,096 neither loop measured differently.
const EVENTS: usize = 256;
/// More than one backlog of the standard library's listener.
const BACKLOG: i32 = 4096;

impl<W: Writing> Relay<W> {
    /// Takes over a listener.
    pub(crate) fn new(listener: TcpListener) -> Result<Self> {
        listener.set_nonblocking(true)?;
        net::listen(&listener, BACKLOG)?;
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        epoll::add(&epoll, &listener, EventData::new_u64(LISTENER), EventFlags::IN)?;
        let (peers, free, topics, intake) = (Vec::new(), Vec::new(), HashMap::new(), Vec::new());
        let (events, writing) = (Vec::with_capacity(EVENTS), W::default());
        Ok(Self { listener, epoll, peers, free, topics, intake, events, writing })
    }

    /// Serves until the process ends.
    pub(crate) fn run(mut self) -> Result<()> {
        loop {
            self.take_in()?;
            self.write_out();
        }
    }

    /// Waits until sockets are ready, and handles them all.
    pub(crate) fn take_in(&mut self) -> Result<()> {
        let mut events = std::mem::take(&mut self.events);
        events.clear();
        match epoll::wait(&self.epoll, spare_capacity(&mut events), None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        for event in &events {
            match event.data.u64() {
                LISTENER => self.accept()?,
                slot => self.handle_ready(slot as usize, event.flags),
            }
        }
        self.events = events;
        Ok(())
    }

    /// Writes what wasn't written yet.
    pub(crate) fn write_out(&mut self) {
        self.writing.write_out(&mut self.peers, &self.epoll);
    }

    fn accept(&mut self) -> Result<()> {
        loop {
            let socket = match net::accept_with(&self.listener, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC)
            {
                Ok(socket) => socket,
                Err(Errno::AGAIN) => return Ok(()),
                Err(Errno::INTR | Errno::CONNABORTED) => continue,
                Err(error) => return Err(error).context("a connection can't be accepted"),
            };
            sockopt::set_tcp_nodelay(&socket, true)?;
            let slot = self.free.pop().unwrap_or(self.peers.len());
            epoll::add(&self.epoll, &socket, EventData::new_u64(slot as u64), EventFlags::IN)?;
            let peer = Some(Peer::new(socket));
            if slot == self.peers.len() {
                self.peers.push(peer);
            } else {
                self.peers[slot] = peer;
            }
        }
    }

    fn handle_ready(&mut self, slot: usize, flags: EventFlags) {
        let Some(peer) = &mut self.peers[slot] else { return };
        if flags.contains(EventFlags::OUT) {
            peer.flush(&self.epoll, slot);
        }
        if flags.intersects(EventFlags::IN | EventFlags::HUP | EventFlags::ERR) && self.read(slot).is_err() {
            self.remove(slot);
        }
    }

    /// Reads once, behind what was unread, and handles all that is whole.
    fn read(&mut self, slot: usize) -> Result<(), Over> {
        let mut intake = std::mem::take(&mut self.intake);
        let done = self.read_into(slot, &mut intake);
        self.intake = intake;
        done
    }

    fn read_into(&mut self, slot: usize, intake: &mut Vec<u8>) -> Result<(), Over> {
        let Some(peer) = &mut self.peers[slot] else { return Ok(()) };
        let held = peer.unread.len();
        if intake.len() < held + W::READ_BYTES {
            intake.resize(held + W::READ_BYTES, 0);
        }
        let length = match net::recv(&peer.socket, &mut intake[held..], RecvFlags::DONTWAIT) {
            Ok((0, _)) => return Err(Over),
            Ok((length, _)) => held + length,
            Err(Errno::AGAIN | Errno::INTR) => return Ok(()),
            Err(_) => return Err(Over),
        };
        intake[..held].copy_from_slice(&peer.unread);
        peer.unread.clear();
        let mut rest = &mut intake[..length];
        if !peer.is_upgraded {
            let Some(end) = peer.head_end(rest)? else { return Ok(()) };
            self.upgrade(slot, &rest[..end])?;
            rest = &mut rest[end..];
        }
        while let Some((opcode, body, end)) = take_frame(rest)? {
            self.handle_frame(slot, opcode, &rest[body..end])?;
            rest = &mut rest[end..];
        }
        if let Some(peer) = &mut self.peers[slot] {
            peer.unread.extend_from_slice(rest);
        }
        Ok(())
    }

    fn upgrade(&mut self, slot: usize, head: &[u8]) -> Result<(), Over> {
        let Some(answer) = wire::upgrade(head)? else {
            self.write(slot, wire::BAD_REQUEST);
            return Err(Over);
        };
        self.write(slot, answer.as_bytes());
        if let Some(peer) = &mut self.peers[slot] {
            peer.is_upgraded = true;
        }
        Ok(())
    }

    fn handle_frame(&mut self, slot: usize, opcode: u8, body: &[u8]) -> Result<(), Over> {
        match opcode {
            0x1 => self.handle_text(slot, body),
            0x9 => self.answer(slot, 0x8a, body),
            0xa => {}
            0x8 => {
                self.answer(slot, 0x88, body);
                return Err(Over);
            }
            _ => return Err(Over),
        }
        Ok(())
    }

    fn answer(&mut self, slot: usize, first: u8, body: &[u8]) {
        let mut frame = head(first, body.len());
        frame.extend_from_slice(body);
        self.write(slot, &frame);
    }

    fn write(&mut self, slot: usize, frame: &[u8]) {
        if let Some(peer) = &mut self.peers[slot] {
            self.writing.write(peer, slot, frame, &self.epoll);
        }
    }

    fn handle_text(&mut self, slot: usize, text: &[u8]) {
        if let Some(topic) = text.strip_prefix(br#"{"type":"subscribe","topic":""#).and_then(up_to_quote) {
            self.subscribe(slot, topic);
        } else if let Some(rest) = text.strip_prefix(br#"{"type":"publish","topic":""#)
            && let Some(topic) = up_to_quote(rest)
            && let Some(payload) = rest[topic.len()..].strip_prefix(br#"","payload":"#)
            && let Some(payload) = payload.strip_suffix(b"}")
        {
            self.publish(slot, topic, payload);
        }
    }

    fn subscribe(&mut self, slot: usize, topic: &[u8]) {
        let audience = self.topics.entry(topic.into()).or_default();
        if let Some(peer) = &mut self.peers[slot]
            && !audience.contains(&slot)
        {
            audience.push(slot);
            peer.topics.push(topic.into());
        }
    }

    /// The measured loop: one frame for all subscribers but the publisher.
    fn publish(&mut self, publisher: usize, topic: &[u8], payload: &[u8]) {
        let Some(audience) = self.topics.get(topic) else { return };
        let parts: [&[u8]; 5] = [br#"{"topic":""#, topic, br#"","payload":"#, payload, b"}"];
        let mut frame = head(0x81, parts.iter().map(|part| part.len()).sum());
        for part in parts {
            frame.extend_from_slice(part);
        }
        for &slot in audience {
            if slot != publisher
                && let Some(peer) = &mut self.peers[slot]
            {
                self.writing.write(peer, slot, &frame, &self.epoll);
            }
        }
    }

    fn remove(&mut self, slot: usize) {
        let Some(mut peer) = self.peers[slot].take() else { return };
        peer.send_last();
        for topic in peer.topics {
            if let Some(audience) = self.topics.get_mut(&topic) {
                audience.retain(|&other| other != slot);
            }
        }
        self.free.push(slot);
    }
}
