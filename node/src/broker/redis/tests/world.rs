//! Several nodes' machines, one Redis and the wires between them, in one thread and on one virtual clock.
//!
//! Everything follows from a seed. Bytes take time; connections are cut, swallow what they are given, or let
//! it through long after their owner has given them up; nodes freeze and die; Redis stands still, restarts,
//! forgets, or falls back to what it knew a while ago.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use dunlin_protocol::{Envelope, Incarnation, Namespace, Payload, Recipients, Topic};
use redis_protocol::resp3::decode::complete::decode_range;
use redis_protocol::resp3::types::RangeFrame;

use super::super::fake::{Connection, Fake, Memory, Snapshot};
use super::super::link::Which;
use super::super::machine::{Action, Machine, Settings};
use super::super::names::Names;
use super::super::script::Script;
use crate::broker::{Command, Event};
use crate::feed::Rules;
use crate::hub::{Chance, Moment, PublishError, Reach, Tag};

/// Namespaces that peers are counted in.
pub const SPACES: [&str; 2] = ["/one", "/two"];
/// Topics of the first namespace.
pub const TOPICS: [&str; 3] = ["a", "b", "c"];
/// The lease of every node.
pub const LEASE: Duration = Duration::from_secs(6);
/// When the clock begins; late enough for all that is subtracted from it.
const BEGIN: Moment = Moment::from_millis(1_700_000_000_000);

/// Tags from here up belong to topics that remember.
pub const STORED: u64 = 1 << 40;

/// One direction of a wire.
type Flow = VecDeque<(Moment, Vec<u8>)>;

/// A node's connection.
struct Wire {
    connection: Connection,
    to_redis: Flow,
    from_redis: Flow,
    /// Bytes vanish, in both directions, and nobody is told.
    swallows: bool,
}

/// What a publisher knows of one publication.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    pub topic: usize,
    pub at: Moment,
    pub outcome: Option<Result<Reach, PublishError>>,
}

/// What one subscription of a node has heard.
#[derive(Debug, Default)]
pub struct Heard {
    /// When its join was answered.
    pub since: Moment,
    /// Publisher and number, in order; none where it was told that something may be missing.
    pub log: Vec<Option<(usize, usize)>>,
}

/// One node, and the one shard it has.
pub struct Node {
    pub machine: Machine,
    pub is_alive: bool,
    pub frozen_until: Moment,
    /// It can't reach Redis.
    pub cut_until: Moment,
    wires: Option<[Wire; 2]>,
    /// Peers in each namespace, and the tag they are counted under.
    pub peers: [u64; SPACES.len()],
    tags: [u64; SPACES.len()],
    /// Peers elsewhere, as it was told last, and all that its peers were told.
    elsewhere: [Option<u64>; SPACES.len()],
    pub told: [Vec<(Moment, u64)>; SPACES.len()],
    /// By topic: the tag while it is joined, and whether that was answered.
    pub joined: [Option<(u64, bool)>; TOPICS.len()],
    pub heard: [Heard; TOPICS.len()],
    pub published: Vec<Published>,
    /// What was said about topics that remember, for whoever keeps them.
    pub stored: Vec<Event>,
    /// Whether everything is put there.
    pub keeps_all: bool,
    /// Of so many messages in a thousand on its bus one is lost, doubled or late.
    pub mangled: u64,
}

/// The world.
pub struct World {
    pub now: Moment,
    pub fake: Fake,
    pub chance: Chance,
    pub nodes: Vec<Node>,
    pub redis_down_until: Moment,
    pub redis_frozen_until: Moment,
    pub bodies: [String; Script::ALL.len()],
    pub rules: Rules,
    serial: u64,
    /// How long bytes of connections that their owner gave up may still be on their way, in milliseconds.
    pub longest_way_ms: u64,
    /// Those bytes.
    ghosts: Vec<(Moment, Connection, Vec<u8>)>,
}

impl World {
    pub fn new(nodes: usize, seed: u64) -> Self {
        let mut world = Self {
            now: BEGIN,
            fake: Fake::new(),
            chance: Chance::new(seed),
            nodes: Vec::new(),
            redis_down_until: BEGIN,
            redis_frozen_until: BEGIN,
            bodies: Script::ALL.map(|script| script.body().to_owned()),
            rules: Rules::ALL,
            serial: 0,
            longest_way_ms: 0,
            ghosts: Vec::new(),
        };
        (0..nodes).for_each(|_| world.add_node());
        world
    }

    /// A number from 0 up to `bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.chance.draw() % bound
    }

    pub fn add_node(&mut self) {
        let settings = Settings {
            names: Names::new("sim", 0),
            incarnation: Incarnation(self.chance.draw()),
            lease: LEASE,
            interval: Duration::from_millis(100),
            named: Vec::new(),
            login: None,
            database: 0,
            secret: [7; 32],
            rules: self.rules,
        };
        let mut machine = Machine::new(settings, self.now, self.chance.draw());
        machine.attach();
        machine.bodies.clone_from(&self.bodies);
        self.nodes.push(Node {
            machine,
            is_alive: true,
            frozen_until: BEGIN,
            cut_until: BEGIN,
            wires: None,
            peers: [0; SPACES.len()],
            tags: [0; SPACES.len()],
            elsewhere: [None; SPACES.len()],
            told: Default::default(),
            joined: Default::default(),
            heard: Default::default(),
            published: Vec::new(),
            stored: Vec::new(),
            keeps_all: false,
            mangled: 0,
        });
    }

    /// Lets time pass in small steps.
    pub fn pass(&mut self, span: Duration) {
        let end = self.now + span;
        while self.now < end {
            let step = Duration::from_micros(500 + self.below(8_000));
            self.step(step);
        }
    }

    /// Lets a moment pass.
    pub fn step(&mut self, span: Duration) {
        self.now = self.now + span;
        self.fake.set_now(self.now.micros());
        let first = self.below(self.nodes.len() as u64) as usize;
        for offset in 0..self.nodes.len() {
            let index = (first + offset) % self.nodes.len();
            self.carry(index);
            if self.nodes[index].is_alive && self.nodes[index].frozen_until <= self.now {
                self.run(index);
            }
        }
        self.release_ghosts();
    }

    fn is_redis_working(&self) -> bool {
        self.redis_down_until <= self.now && self.redis_frozen_until <= self.now
    }

    /// Moves bytes between a node's wires and Redis.
    fn carry(&mut self, index: usize) {
        let (now, working) = (self.now, self.is_redis_working());
        let mangled = self.nodes[index].mangled;
        let Some(wires) = &mut self.nodes[index].wires else { return };
        for wire in wires {
            while working && wire.to_redis.front().is_some_and(|(at, _)| *at <= now) {
                let Some((_, bytes)) = wire.to_redis.pop_front() else { break };
                if !wire.swallows {
                    self.fake.receive(wire.connection, &bytes);
                }
            }
            let mut bytes = Vec::new();
            self.fake.take(wire.connection, &mut bytes);
            if mangled > 0 {
                bytes = mangle(&bytes, mangled, &mut self.chance);
            }
            if !bytes.is_empty() && !wire.swallows {
                let at = now + Duration::from_micros(self.chance.draw() % 3_000);
                push_in_order(&mut wire.from_redis, at, bytes);
            }
        }
    }

    /// A node's driver has a turn.
    fn run(&mut self, index: usize) {
        self.read(index);
        self.nodes[index].machine.timeout(self.now);
        self.act(index);
        self.write(index);
        self.listen(index);
    }

    fn read(&mut self, index: usize) {
        let now = self.now;
        for (place, which) in [(0, Which::Bus), (1, Which::Work)] {
            loop {
                let Some(wires) = &mut self.nodes[index].wires else { return };
                let wire = &mut wires[place];
                if wire.from_redis.front().is_some_and(|(at, _)| *at <= now) {
                    let Some((_, bytes)) = wire.from_redis.pop_front() else { break };
                    self.nodes[index].machine.receive(now, which, &bytes);
                } else if wire.from_redis.is_empty() && !wire.swallows && !self.fake.is_open(wire.connection)
                {
                    self.nodes[index].machine.lost(now, "redis closed the connection");
                } else {
                    break;
                }
                self.act(index);
            }
        }
    }

    fn act(&mut self, index: usize) {
        while let Some(action) = self.nodes[index].machine.next_action() {
            match action {
                Action::Disconnect => self.hang_up(index),
                Action::Read { .. } => {}
                Action::Connect
                    if self.redis_down_until > self.now || self.nodes[index].cut_until > self.now =>
                {
                    self.nodes[index].machine.lost(self.now, "connection refused");
                }
                Action::Connect => {
                    let mut wire = || Wire {
                        connection: self.fake.connect(),
                        to_redis: Flow::new(),
                        from_redis: Flow::new(),
                        swallows: false,
                    };
                    self.nodes[index].wires = Some([wire(), wire()]);
                    self.nodes[index].machine.connected(self.now);
                }
            }
        }
    }

    /// A node gives its connections up. What it wrote last may be lost, or arrive much later.
    fn hang_up(&mut self, index: usize) {
        for wire in self.nodes[index].wires.take().into_iter().flatten() {
            let bytes: Vec<u8> = wire.to_redis.into_iter().flat_map(|(_, bytes)| bytes).collect();
            if bytes.is_empty() || wire.swallows || self.chance.draw().is_multiple_of(2) {
                self.fake.disconnect(wire.connection);
            } else {
                let at = self.now + Duration::from_millis(self.chance.draw() % self.longest_way_ms.max(1));
                self.ghosts.push((at, wire.connection, bytes));
            }
        }
    }

    fn release_ghosts(&mut self) {
        let (now, working) = (self.now, self.is_redis_working());
        let due = self.ghosts.extract_if(.., |(at, ..)| working && *at <= now);
        for (_, connection, bytes) in due {
            self.fake.receive(connection, &bytes);
            self.fake.disconnect(connection);
        }
    }

    fn write(&mut self, index: usize) {
        let node = &mut self.nodes[index];
        let Some(wires) = &mut node.wires else { return };
        for (wire, which) in wires.iter_mut().zip([Which::Bus, Which::Work]) {
            let bytes = std::mem::take(node.machine.take_output(which));
            if !bytes.is_empty() {
                push_in_order(
                    &mut wire.to_redis,
                    self.now + Duration::from_micros(self.chance.draw() % 3_000),
                    bytes,
                );
            }
        }
    }

    /// The node's shard takes what waits for it.
    fn listen(&mut self, index: usize) {
        let now = self.now;
        let staged = &mut self.nodes[index].machine.staged()[0];
        staged.bytes = 0;
        let events: Vec<Event> = staged.events.drain(..).collect();
        for event in events {
            self.nodes[index].hear(now, event);
        }
    }

    pub fn submit(&mut self, index: usize, command: Command) {
        let now = self.now;
        self.nodes[index].machine.submit(now, std::iter::once((0, command)));
        self.act(index);
        self.write(index);
        self.listen(index);
    }

    /// A node's peers in a namespace become so many.
    pub fn set_peers(&mut self, index: usize, space: usize, peers: u64) {
        let node = &mut self.nodes[index];
        if node.peers[space] == peers {
            return;
        }
        if node.peers[space] == 0 {
            self.serial += 1;
            node.tags[space] = self.serial * 10 + space as u64;
        }
        node.peers[space] = peers;
        if peers == 0 {
            node.elsewhere[space] = None;
        }
        let tag = Tag(node.tags[space]);
        self.submit(index, Command::Count(tag, namespace(space), peers));
    }

    /// A node's shard begins or ends to listen to a topic.
    pub fn toggle(&mut self, index: usize, topic: usize) {
        let name = Topic::parse(TOPICS[topic]).expect("a topic");
        if let Some((tag, _)) = self.nodes[index].joined[topic].take() {
            return self.submit(index, Command::Leave(Tag(tag), namespace(0), name));
        }
        self.serial += 1;
        let tag = self.serial * 10 + topic as u64;
        self.nodes[index].joined[topic] = Some((tag, false));
        self.nodes[index].heard[topic] = Heard::default();
        self.submit(index, Command::Join(Tag(tag), namespace(0), name, None));
    }

    /// A node publishes its next number.
    pub fn publish(&mut self, index: usize, topic: usize) {
        let number = self.nodes[index].published.len();
        self.nodes[index].published.push(Published { topic, at: self.now, outcome: None });
        let envelope = Envelope {
            origin: None,
            echo: false,
            at_us: self.now.micros(),
            namespace: namespace(0),
            to: Recipients::Topic(Topic::parse(TOPICS[topic]).expect("a topic")),
            payload: Payload::json(Bytes::from(format!("[{index},{number}]"))),
        };
        self.submit(index, Command::Publish(number as u32, envelope));
    }

    /// All troubles end.
    pub fn calm(&mut self) {
        (self.redis_down_until, self.redis_frozen_until) = (self.now, self.now);
        for node in &mut self.nodes {
            (node.frozen_until, node.cut_until, node.mangled) = (self.now, self.now, 0);
        }
    }

    /// A node's wires swallow from now on what they are given.
    pub fn swallow(&mut self, index: usize) {
        self.nodes[index].wires.iter_mut().flatten().for_each(|wire| wire.swallows = true);
    }

    /// A node's connections end, as if a proxy had closed them.
    pub fn cut(&mut self, index: usize, span: Duration) {
        self.nodes[index].cut_until = self.now + span;
        for wire in self.nodes[index].wires.iter_mut().flatten() {
            self.fake.disconnect(wire.connection);
        }
    }

    /// A node dies. Says whether something it wrote may still come through.
    pub fn kill(&mut self, index: usize) -> bool {
        self.nodes[index].is_alive = false;
        let before = self.ghosts.len();
        self.hang_up(index);
        self.ghosts.len() > before
    }

    /// Redis forgets everything, and nobody's last words reach it any more.
    pub fn flush(&mut self) {
        self.fake.flush_all();
        self.ghosts.clear();
    }

    /// Redis ends, and is back after a while.
    pub fn restart_redis(&mut self, memory: Memory, back_in: Duration, older: Option<&Snapshot>) {
        self.fake.restart(memory);
        if let Some(older) = older {
            self.fake.restore(older);
        }
        self.redis_down_until = self.now + back_in;
        self.ghosts.clear();
    }

    /// The peers of all living nodes in a namespace.
    pub fn truth(&self, space: usize) -> u64 {
        self.nodes.iter().filter(|node| node.is_alive).map(|node| node.peers[space]).sum()
    }
}

impl Node {
    /// What its peers are told about a namespace, as a hub would.
    pub fn shown(&self, space: usize) -> Option<u64> {
        self.elsewhere[space].map(|elsewhere| elsewhere + self.peers[space])
    }

    fn hear(&mut self, now: Moment, event: Event) {
        let is_stored = match &event {
            Event::Publication(tag, _) | Event::Missed(tag, _) | Event::Joined(tag) => {
                self.keeps_all || tag.0 >= STORED
            }
            Event::Committed(..) | Event::Recovered(..) | Event::Reset(..) => true,
            _ => self.keeps_all,
        };
        if is_stored {
            return self.stored.push(event);
        }
        match event {
            Event::Counted(Tag(tag), elsewhere) => {
                let space = (tag % 10) as usize;
                if self.tags[space] == tag && self.peers[space] > 0 {
                    let users = elsewhere + self.peers[space];
                    self.elsewhere[space] = Some(elsewhere);
                    self.told[space].push((now, users));
                }
            }
            Event::Joined(Tag(tag)) => {
                let topic = (tag % 10) as usize;
                if let Some((_, answered)) = self.joined[topic].as_mut().filter(|(joined, _)| *joined == tag)
                {
                    assert!(!std::mem::replace(answered, true), "a join is answered once");
                    self.heard[topic].since = now;
                }
            }
            Event::Publication(Tag(tag), publication) => {
                let topic = (tag % 10) as usize;
                let [publisher, number]: [usize; 2] =
                    serde_json::from_slice(&publication.envelope.payload.bytes).expect("two numbers");
                // Before the answer to its join a shard has no audience.
                if self.joined[topic] == Some((tag, true)) {
                    self.heard[topic].log.push(Some((publisher, number)));
                }
            }
            Event::Missed(Tag(tag), _) => {
                let topic = (tag % 10) as usize;
                if self.joined[topic].is_some_and(|(joined, _)| joined == tag) {
                    self.heard[topic].log.push(None);
                }
            }
            Event::Settled(ticket, outcome) => {
                let published = &mut self.published[ticket as usize];
                assert_eq!(published.outcome.replace(outcome), None, "a publish is answered once");
            }
            _ => {}
        }
    }
}

/// What comes through a bad bus: of its messages some are lost, some come twice, some change places.
fn mangle(bytes: &[u8], per_mille: u64, chance: &mut Chance) -> Vec<u8> {
    let (mut out, mut held, mut rest) = (Vec::new(), Vec::new(), bytes);
    while let Ok(Some((frame, length))) = decode_range(&Bytes::copy_from_slice(rest)) {
        let (one, after) = rest.split_at(length);
        rest = after;
        let is_message = one.starts_with(b">3\r\n$7\r\nmessage") && matches!(frame, RangeFrame::Push { .. });
        match chance.draw() % 3_000 {
            fate if !is_message || fate >= 3 * per_mille => out.extend_from_slice(one),
            fate if fate < per_mille => {}
            fate if fate < 2 * per_mille => out.extend_from_slice(&[one, one].concat()),
            _ => {
                held.extend_from_slice(one);
                continue;
            }
        }
        out.append(&mut held);
    }
    out.append(&mut held);
    out.extend_from_slice(rest);
    out
}

fn push_in_order(flow: &mut Flow, at: Moment, bytes: Vec<u8>) {
    let last = flow.back().map_or(at, |(last, _)| *last);
    flow.push_back((at.max(last), bytes));
}

pub fn namespace(space: usize) -> Namespace {
    Namespace::parse(SPACES[space]).expect("a namespace")
}
