//! The yardstick: the least a single-threaded WebSocket relay can do.
//!
//! One epoll, one `send` per delivery of a frame built once, nothing coalesced, no policy, no JSON
//! parser. What a node costs beyond this loop is what its features cost.
//!
//! It upgrades any path, answers the subprotocol `dunlin.plain.v1` if offered, and understands
//! `{"type":"subscribe","topic":T}` and `{"type":"publish","topic":T,"payload":P}` with the keys in this
//! order, the payload last and no escapes in the topic. It never answers an `id`.

use std::{collections::HashMap, io::Write, net::TcpListener, os::fd::OwnedFd};

use anyhow::{Context, Result, bail};
use base64::{Engine, engine::general_purpose::STANDARD};
use rustix::{
    buffer::spare_capacity,
    event::epoll::{self, EventData, EventFlags},
    io::Errno,
    net::{self, RecvFlags, SendFlags, SocketFlags, sockopt},
};
use sha1::{Digest, Sha1};

#[allow(dead_code, reason = "the tests include this file and serve without its command line")]
fn main() -> Result<()> {
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
    BareLoop::new(listener)?.run()
}

/// The server: its peers by slot, and the slots of each topic.
pub(crate) struct BareLoop {
    listener: TcpListener,
    epoll: OwnedFd,
    peers: Vec<Option<Peer>>,
    free: Vec<usize>,
    topics: HashMap<Box<[u8]>, Vec<usize>>,
    intake: Vec<u8>,
}

struct Peer {
    socket: OwnedFd,
    is_upgraded: bool,
    unread: Vec<u8>,
    unsent: Vec<u8>,
    topics: Vec<Box<[u8]>>,
}

/// Why a peer is done: it said so, hung up, or broke the protocol.
struct Over;

const LISTENER: u64 = u64::MAX;
const READ_BYTES: usize = 64 * 1024;
/// More than one backlog of the standard library's listener.
const BACKLOG: i32 = 4096;

impl BareLoop {
    /// Takes over a listener.
    pub(crate) fn new(listener: TcpListener) -> Result<Self> {
        listener.set_nonblocking(true)?;
        net::listen(&listener, BACKLOG)?;
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        epoll::add(&epoll, &listener, EventData::new_u64(LISTENER), EventFlags::IN)?;
        let (peers, free, topics) = (Vec::new(), Vec::new(), HashMap::new());
        Ok(Self { listener, epoll, peers, free, topics, intake: Vec::new() })
    }

    /// Serves until the process ends.
    pub(crate) fn run(mut self) -> Result<()> {
        let mut events = Vec::with_capacity(256);
        loop {
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
        }
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
            let (unread, unsent, topics) = (Vec::new(), Vec::new(), Vec::new());
            let peer = Some(Peer { socket, is_upgraded: false, unread, unsent, topics });
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
        if intake.len() < held + READ_BYTES {
            intake.resize(held + READ_BYTES, 0);
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
            let Some(head) = peer.upgrade(rest, &self.epoll, slot)? else { return Ok(()) };
            rest = &mut rest[head..];
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
        if let Some(peer) = &mut self.peers[slot] {
            peer.send(&frame, &self.epoll, slot);
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

    /// The measured loop: one `send` for each subscriber but the publisher.
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
                peer.send(&frame, &self.epoll, slot);
            }
        }
    }

    fn remove(&mut self, slot: usize) {
        let Some(peer) = self.peers[slot].take() else { return };
        for topic in peer.topics {
            if let Some(audience) = self.topics.get_mut(&topic) {
                audience.retain(|&other| other != slot);
            }
        }
        self.free.push(slot);
    }
}

impl Peer {
    /// One `send`; what the socket doesn't take waits for room. A dead peer shows at its next read.
    #[inline]
    fn send(&mut self, frame: &[u8], epoll: &OwnedFd, slot: usize) {
        if !self.unsent.is_empty() {
            self.unsent.extend_from_slice(frame);
            return;
        }
        let sent = match net::send(&self.socket, frame, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
            Ok(sent) => sent,
            Err(Errno::AGAIN) => 0,
            Err(_) => return,
        };
        if sent < frame.len() {
            self.unsent.extend_from_slice(&frame[sent..]);
            self.watch(epoll, slot, EventFlags::IN | EventFlags::OUT);
        }
    }

    fn flush(&mut self, epoll: &OwnedFd, slot: usize) {
        match net::send(&self.socket, &self.unsent, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
            Ok(sent) => drop(self.unsent.drain(..sent)),
            Err(Errno::AGAIN) => {}
            Err(_) => self.unsent.clear(),
        }
        if self.unsent.is_empty() {
            self.watch(epoll, slot, EventFlags::IN);
        }
    }

    fn watch(&self, epoll: &OwnedFd, slot: usize, flags: EventFlags) {
        epoll::modify(epoll, &self.socket, EventData::new_u64(slot as u64), flags)
            .expect("the socket is registered as long as its peer lives");
    }

    /// Answers the upgrade once its head is whole; the answer is the head's length.
    fn upgrade(&mut self, bytes: &[u8], epoll: &OwnedFd, slot: usize) -> Result<Option<usize>, Over> {
        let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else {
            self.unread.extend_from_slice(bytes);
            return if bytes.len() < READ_BYTES { Ok(None) } else { Err(Over) };
        };
        let head = std::str::from_utf8(&bytes[..end]).map_err(|_| Over)?;
        let Some(key) = header(head, "sec-websocket-key") else {
            self.send(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n", epoll, slot);
            return Err(Over);
        };
        let accept = STANDARD.encode(Sha1::digest(format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11")));
        let offered = header(head, "sec-websocket-protocol").unwrap_or_default();
        let is_plain = offered.split(',').any(|name| name.trim() == "dunlin.plain.v1");
        let protocol = if is_plain { "Sec-WebSocket-Protocol: dunlin.plain.v1\r\n" } else { "" };
        let answer = format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: {accept}\r\n{protocol}\r\n"
        );
        self.send(answer.as_bytes(), epoll, slot);
        self.is_upgraded = true;
        Ok(Some(end + 4))
    }
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let mut fields = head.lines().filter_map(|line| line.split_once(':'));
    fields.find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
}

/// Unmasks the first frame in place: its opcode, where its body starts and where it ends.
fn take_frame(bytes: &mut [u8]) -> Result<Option<(u8, usize, usize)>, Over> {
    let [first, second, ..] = *bytes else { return Ok(None) };
    if first & 0xf0 != 0x80 || second & 0x80 == 0 {
        return Err(Over);
    }
    let (mask, length) = match (second & 0x7f, &bytes[2..]) {
        (126, [high, low, ..]) => (4, usize::from(u16::from_be_bytes([*high, *low]))),
        (127, rest) if rest.len() >= 8 => return Err(Over),
        (126 | 127, _) => return Ok(None),
        (short, _) => (2, usize::from(short)),
    };
    let (body, end) = (mask + 4, mask + 4 + length);
    if bytes.len() < end {
        return Ok(None);
    }
    let key: [u8; 4] = bytes[mask..body].try_into().map_err(|_| Over)?;
    bytes[body..end].iter_mut().zip(key.iter().cycle()).for_each(|(byte, key)| *byte ^= key);
    Ok(Some((first & 0x0f, body, end)))
}

/// The head of a server's frame.
fn head(first: u8, length: usize) -> Vec<u8> {
    let mut head = Vec::with_capacity(length + 10);
    match length {
        ..126 => head.extend([first, length as u8]),
        126..=0xffff => {
            head.extend([first, 126]);
            head.extend((length as u16).to_be_bytes());
        }
        _ => {
            head.extend([first, 127]);
            head.extend((length as u64).to_be_bytes());
        }
    }
    head
}

fn up_to_quote(text: &[u8]) -> Option<&[u8]> {
    text.iter().position(|&byte| byte == b'"').map(|end| &text[..end])
}
