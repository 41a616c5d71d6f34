//! Whole nodes in one thread: hubs on machines on the fake Redis, and v1 peers that believe what they are told.
//!
//! A peer does what docs/PROTOCOL.md says a client may do: it keeps the cursor of the last frame of a topic, and comes
//! back with it. What it was given is compared with every history that Redis ever held.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use dunlin_protocol::{Incarnation, Position};
use serde_json::Value;

use super::super::fake::Snapshot;
use super::chronicle::{Chronicle, namespace, topic};
use super::remembering::{LIMIT, MODES, head_of, trouble};
use super::simulation::{Seed, seeds};
use super::world::World;
use crate::config::Mode;
use crate::exchange;
use crate::hub::tests::wire::Socket;
use crate::hub::tests::world::{arrival_in, settings};
use crate::hub::{Effect, Hub, Message, PeerKey, Settings};
use crate::publication::Dialect;

/// One peer: its connection, and what it knows.
struct Client {
    node: usize,
    key: PeerKey,
    socket: Socket,
    unread: Vec<String>,
    /// By topic: how far it is, whether it hears it, and what it was given.
    positions: [Option<Position>; MODES.len()],
    hears: [bool; MODES.len()],
    seen: [HashSet<String>; MODES.len()],
    states: [Option<String>; MODES.len()],
}

struct Play {
    world: World,
    hubs: Vec<Hub>,
    clients: Vec<Client>,
    chronicle: Chronicle,
    number: u64,
    /// Who published what.
    authors: HashMap<String, usize>,
    /// What was acknowledged with a cursor.
    acknowledged: u64,
    told: u64,
}

const CONFIG: &str = r#"
    [limits]
    message = "4KiB"
    outbox = "16KiB"
    frames_per_second = 0
    publishes_per_second = 0
    subscribes_per_second = 0
    [session]
    topic = ""
    [[endpoint]]
    path = "/**"
    heartbeat = "0s"
    subscribe = ["*"]
    publish = ["*"]
    [[topic]]
    match = "t0"
    mode = "log"
    limit = 60
    slow = "gap"
    [[topic]]
    match = "t1"
    mode = "list"
    limit = 60
    max_bytes = "8KiB"
    [[topic]]
    match = "t2"
    mode = "value"
    max_bytes = "8KiB"
    [[topic]]
    match = "t3"
    mode = "map"
    max_bytes = "8KiB"
"#;

impl Play {
    fn new(nodes: usize, seed: u64) -> Self {
        let mut world = World::new(nodes, seed);
        let hub = |node| {
            let incarnation = Incarnation(node as u64 + 1);
            Hub::new(Arc::new(Settings { incarnation, ..settings(CONFIG) }), 0, world.now, seed)
        };
        let hubs = (0..nodes).map(hub).collect();
        world.nodes.iter_mut().for_each(|node| node.keeps_all = true);
        let chronicle = Chronicle::new(MODES.len());
        let mut play = Self {
            world,
            hubs,
            clients: Vec::new(),
            chronicle,
            number: 0,
            authors: HashMap::new(),
            acknowledged: 0,
            told: 0,
        };
        play.pass(Duration::from_secs(1));
        for client in 0..9 {
            play.arrive(client % nodes);
            (0..MODES.len()).for_each(|topic| play.subscribe(client, topic));
        }
        play.pass(Duration::from_secs(1));
        play
    }

    fn arrive(&mut self, node: usize) {
        let key = self.hubs[node].open(self.world.now, arrival_in("/m", 0, Dialect::JsonV1));
        self.clients.push(Client {
            node,
            key: key.expect("there is room"),
            socket: Socket::default(),
            unread: Vec::new(),
            positions: Default::default(),
            hears: Default::default(),
            seen: Default::default(),
            states: Default::default(),
        });
    }

    /// A client's connection ends, and it comes back to a node with what it knows.
    fn come_back(&mut self, client: usize, node: usize) {
        let Client { node: before, key, .. } = self.clients[client];
        self.hubs[before].remove(self.world.now, key);
        let key = self.hubs[node].open(self.world.now, arrival_in("/m", 0, Dialect::JsonV1));
        let client_now = &mut self.clients[client];
        (client_now.node, client_now.key) = (node, key.expect("there is room"));
        (client_now.socket, client_now.unread) = (Socket::default(), Vec::new());
        client_now.hears = Default::default();
        (0..MODES.len()).for_each(|topic| self.subscribe(client, topic));
    }

    fn subscribe(&mut self, client: usize, index: usize) {
        let cursor = self.clients[client].positions[index].map(|it| it.cursor(&namespace(), &topic(index)));
        let since = cursor.map_or(String::new(), |cursor| format!(r#","since":"{}""#, cursor.as_str()));
        self.say(client, format!(r#"{{"type":"subscribe","topic":"t{index}"{since},"id":"s{index}"}}"#));
    }

    fn publish(&mut self, client: usize, index: usize) {
        self.number += 1;
        let number = self.number;
        let payload = match MODES[index] {
            Mode::Map => format!(r#"{{"k{}":{number}}}"#, number % 7),
            _ => number.to_string(),
        };
        self.authors.insert(payload.clone(), client);
        let id = if number.is_multiple_of(3) { String::new() } else { format!(r#","id":"p{index}""#) };
        self.say(client, format!(r#"{{"type":"publish","topic":"t{index}","payload":{payload}{id}}}"#));
    }

    fn say(&mut self, client: usize, text: String) {
        self.clients[client].unread.push(text);
    }

    fn pass(&mut self, span: Duration) {
        let end = self.world.now + span;
        while self.world.now < end {
            let step = Duration::from_micros(500 + self.world.below(8_000));
            self.step(step);
        }
    }

    fn step(&mut self, span: Duration) {
        self.chronicle.watch(&mut self.world.fake);
        self.world.step(span);
        for node in 0..self.hubs.len() {
            let awake =
                self.world.nodes[node].is_alive && self.world.nodes[node].frozen_until <= self.world.now;
            if awake {
                self.turn(node);
            }
        }
        self.chronicle.watch(&mut self.world.fake);
        for client in 0..self.clients.len() {
            for frame in self.clients[client].socket.frames() {
                self.hear(client, &frame);
            }
        }
    }

    /// What one turn of a node's shard does.
    fn turn(&mut self, node: usize) {
        let (now, hub) = (self.world.now, &mut self.hubs[node]);
        hub.timeout(now);
        hub.shed(now);
        for event in std::mem::take(&mut self.world.nodes[node].stored) {
            exchange::tell(hub, event);
        }
        for client in self.clients.iter_mut().filter(|client| client.node == node) {
            if hub.may_be_read(client.key) {
                for text in client.unread.drain(..) {
                    hub.receive(now, client.key, Message::Text(Bytes::from(text)));
                }
            }
        }
        hub.shed(now);
        let mut effects = Vec::new();
        hub.take_effects(&mut effects);
        for effect in effects {
            match exchange::command(effect) {
                Ok(command) => self.world.submit(node, command),
                Err(Effect::Read(_)) => {}
                Err(effect) => panic!("no peer is closed here: {effect:?}"),
            }
        }
        let (hub, clients) = (&mut self.hubs[node], &mut self.clients);
        hub.flush(|peer, write| {
            let client = clients.iter_mut().find(|client| client.node == node && client.key == peer);
            client.expect("it is connected").socket.write(write)
        });
    }

    fn block(&mut self, client: usize) {
        self.clients[client].socket.room = 200;
    }

    fn unblock(&mut self, client: usize) {
        let Client { node, key, socket, .. } = &mut self.clients[client];
        socket.room = usize::MAX;
        self.hubs[*node].flush_one(*key, |_, write| socket.write(write));
    }

    fn hear(&mut self, client: usize, text: &str) {
        let frame: Value = serde_json::from_str(text).expect("every frame is JSON");
        let index = frame["topic"].as_str().map(|name| name[1..].parse::<usize>().expect("t0 to t3"));
        let id = frame["id"].as_str().unwrap_or_default();
        match (frame["type"].as_str(), index) {
            (Some("ok"), Some(index)) => self.recover(client, index, &frame),
            (Some("ok"), None) => {
                let index = id[1..].parse().expect("p0 to p3");
                if let Some(position) = place(&frame["cursor"], index) {
                    self.acknowledged += 1;
                    self.own(client, index, position);
                }
            }
            (Some("gap"), Some(index)) => self.gap(client, index, &frame),
            (Some("reset"), Some(index)) => {
                let position = place(&frame["cursor"], index).expect("a reset has one");
                self.state(client, index, position, &frame["state"]);
            }
            (None, Some(index)) => {
                let position = place(&frame["cursor"], index).expect("it is stored");
                match frame.get("payload") {
                    Some(payload) => self.publication(client, index, position, payload),
                    None => self.own(client, index, position),
                }
            }
            (Some("error"), _) => assert_eq!(frame["code"], "unavailable", "{text}"),
            (Some("welcome" | "grant"), _) => {}
            _ => panic!("{text}"),
        }
    }

    fn recover(&mut self, client: usize, index: usize, frame: &Value) {
        let knows = self.clients[client].positions[index].is_some();
        if knows && frame["recovered"] != true {
            assert!(frame["reason"].is_string(), "{frame}");
            self.forget(client, index);
        }
        self.clients[client].hears[index] = true;
        let position = place(&frame["cursor"], index);
        if MODES[index] == Mode::Log {
            for publication in frame["publications"].as_array().into_iter().flatten() {
                let position = place(&publication["cursor"], index).expect("each has one");
                self.publication(client, index, position, &publication["payload"]);
            }
            if frame["recovered"] == true {
                let had = self.clients[client].positions[index];
                assert_eq!(had, position, "it got all up to where it is told that it is");
            }
        } else if let Some(position) = position.filter(|_| frame.get("state").is_some()) {
            return self.state(client, index, position, &frame["state"]);
        }
        if let Some(position) = position {
            self.clients[client].positions[index] = Some(position);
        }
    }

    fn forget(&mut self, client: usize, index: usize) {
        self.told += 1;
        self.clients[client].positions[index] = None;
        self.clients[client].seen[index].clear();
    }

    fn gap(&mut self, client: usize, index: usize, frame: &Value) {
        let (from, to) = (place(&frame["from"], index), place(&frame["to"], index));
        if frame["reason"] == "slow" {
            assert_eq!(from, self.clients[client].positions[index], "from the last that it was given");
            self.clients[client].positions[index] = to;
            return;
        }
        self.forget(client, index);
        self.clients[client].positions[index] = from;
    }

    fn publication(&mut self, client: usize, index: usize, position: Position, payload: &Value) {
        assert!(
            self.clients[client].hears[index] || MODES[index] == Mode::Log,
            "nothing before the answer (T9)"
        );
        if MODES[index] != Mode::Log {
            let had = self.clients[client].positions[index];
            if let Some(had) = had.filter(|had| had.epoch == position.epoch) {
                assert!(had.offset < position.offset, "never older, never twice (T8)");
            }
            return self.state(client, index, position, payload);
        }
        let text = payload.to_string();
        assert_eq!(self.chronicle.said.get(&(index, position)), Some(&text));
        assert!(self.clients[client].seen[index].insert(text), "nothing twice");
        self.follow(client, index, position);
    }

    /// The client's own publication took its place.
    fn own(&mut self, client: usize, index: usize, position: Position) {
        match MODES[index] {
            Mode::Log => self.follow(client, index, position),
            Mode::Value => {
                self.clients[client].positions[index] = Some(position);
                self.clients[client].states[index] = self.chronicle.said.get(&(index, position)).cloned();
            }
            Mode::List | Mode::Map => {
                let had = self.clients[client].positions[index];
                let covers = |had: Position| had.epoch != position.epoch || had.offset >= position.offset;
                assert!(had.is_none_or(covers), "the whole that has it came before");
            }
        }
    }

    /// The item at a position comes right behind what the client had, but for what it published itself: of that it may
    /// not have been told the place.
    fn follow(&mut self, client: usize, index: usize, position: Position) {
        if let Some(had) = self.clients[client].positions[index] {
            let before = |position| self.chronicle.before.get(&(index, position)).copied();
            let is_own =
                |position| self.authors.get(&self.chronicle.said[&(index, position)]) == Some(&client);
            let mut last = before(position);
            while last != Some(had) && last.is_some_and(|last| last.offset > 0 && is_own(last)) {
                last = last.and_then(before);
            }
            assert_eq!(last, Some(had), "{position:?} follows what came before");
        }
        self.clients[client].positions[index] = Some(position);
    }

    fn state(&mut self, client: usize, index: usize, position: Position, state: &Value) {
        let text = (!state.is_null()).then(|| state.to_string());
        match MODES[index] {
            Mode::List => assert_eq!(text, self.chronicle.array_at(index, position, LIMIT)),
            Mode::Value => assert_eq!(text.as_ref(), self.chronicle.said.get(&(index, position))),
            Mode::Log | Mode::Map => {}
        }
        self.clients[client].positions[index] = Some(position);
        self.clients[client].states[index] = text;
    }

    fn check_end(&self) {
        for (index, mode) in MODES.into_iter().enumerate() {
            let head = head_of(&self.world, index);
            let mut states = HashSet::new();
            for (number, client) in self.clients.iter().enumerate() {
                assert!(client.hears[index], "every subscribe is answered");
                assert_eq!(client.positions[index], head, "client {number}, {mode:?}");
                states.insert(&client.states[index]);
            }
            assert!(mode == Mode::Log || states.len() == 1, "all end identical (T8): {states:?}");
        }
    }
}

/// The position of a cursor, if there is one.
fn place(cursor: &Value, index: usize) -> Option<Position> {
    let cursor = cursor.as_str()?;
    Some(Position::parse(cursor, &namespace(), &topic(index)).expect("a cursor of the topic"))
}

fn play(seed: u64, moves: usize) -> Play {
    let mut play = Play::new(3, seed);
    play.world.longest_way_ms = 9_000;
    let mut older: Option<Snapshot> = None;
    for _ in 0..moves {
        let node = play.world.below(3) as usize;
        if trouble(&mut play.world, node, &mut older) {
            let alive = play.world.nodes.iter().position(|node| node.is_alive).expect("somebody lives");
            for client in 0..play.clients.len() {
                if play.clients[client].node == node {
                    play.come_back(client, alive);
                }
            }
        }
        let client = play.world.below(play.clients.len() as u64) as usize;
        let topic = play.world.below(MODES.len() as u64) as usize;
        match play.world.below(24) {
            0..14 => play.publish(client, topic),
            14 => (0..8).for_each(|_| play.publish(client, topic)),
            15 if play.world.nodes[node].is_alive => play.come_back(client, node),
            16 | 17 => play.block(client),
            18..21 => play.unblock(client),
            _ => {}
        }
        let step = Duration::from_micros(100 + play.world.below(40_000));
        play.step(step);
    }
    play.world.calm();
    (0..play.clients.len()).for_each(|client| play.unblock(client));
    play.pass(Duration::from_secs(30));
    for topic in 0..MODES.len() {
        play.publish(0, topic);
    }
    play.pass(Duration::from_secs(3));
    play
}

// T8, T9, R1, R2, R3, H6, W5
#[test]
fn whole_nodes_in_any_chaos_give_their_peers_nothing_but_history() {
    let mut acknowledged = 0;
    for number in seeds(60) {
        let seed = Seed("chaos of whole nodes", number);
        let play = play(seed.1, 300);
        play.check_end();
        acknowledged += play.acknowledged;
    }
    assert!(acknowledged > 1_000, "{acknowledged}");
}
