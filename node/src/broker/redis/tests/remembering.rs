//! Topics that remember, in worlds where everything goes wrong: what peers were given is compared with every history
//! that Redis ever held.

use std::collections::{HashMap, HashSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use dunlin_protocol::{Envelope, Epoch, Mark, Payload, Position, Recipients};

use super::super::fake::{Memory, Snapshot};
use super::chronicle::{Chronicle, head, key, namespace, topic};
use super::simulation::{Seed, seeds};
use super::world::{STORED, World};
use crate::broker::{Command, Event};
use crate::config::{Mode, Retention};
use crate::feed::Rules;
use crate::history::{Asked, Change, Commit, CommitError, Recovery, Since};
use crate::hub::Tag;
use crate::publication::Publication;

/// The topics, and how each remembers.
pub const MODES: [Mode; 4] = [Mode::Log, Mode::List, Mode::Value, Mode::Map];
pub const LIMIT: u32 = 60;

/// What one peer was given.
#[derive(Debug)]
struct Peer {
    node: usize,
    topic: usize,
    /// The ticket it waits under for what it has to know.
    waits: Option<u32>,
    is_in: bool,
    /// How far it is; none if it does not know.
    position: Option<Position>,
    /// What it was given since the last gap.
    seen: HashSet<String>,
    state: Option<String>,
}

/// What a publisher knows.
#[derive(Debug)]
struct Published {
    topic: usize,
    text: String,
    outcome: Option<Result<Option<Position>, CommitError>>,
}

/// A world, and the model beside it.
struct Play {
    world: World,
    peers: Vec<Peer>,
    published: Vec<Published>,
    tickets: HashMap<u32, usize>,
    ticket: u32,
    chronicle: Chronicle,
    /// Gaps and failed recoveries that peers were told of.
    told: u64,
    /// Recoveries that went well.
    recovered: u64,
}

fn retention(index: usize) -> Arc<Retention> {
    let (max_bytes, ttl) = (256 * 1024, Duration::from_hours(168));
    Arc::new(Retention { mode: MODES[index], limit: LIMIT, max_bytes, ttl, replay: 0 })
}

impl Play {
    fn new(nodes: usize, seed: u64, rules: Rules) -> Self {
        let mut world = World::new(0, seed);
        world.rules = rules;
        (0..nodes).for_each(|_| world.add_node());
        let mut play = Self {
            world,
            peers: Vec::new(),
            published: Vec::new(),
            tickets: HashMap::new(),
            ticket: 0,
            chronicle: Chronicle::new(MODES.len()),
            told: 0,
            recovered: 0,
        };
        play.pass(Duration::from_secs(1));
        for node in 0..nodes {
            for topic in 0..MODES.len() {
                play.join(node, topic);
                play.come(node, topic, Since::Nothing);
                play.come(node, topic, Since::Nothing);
            }
        }
        play.pass(Duration::from_secs(1));
        play
    }

    fn join(&mut self, node: usize, index: usize) {
        let join = Command::Join(tag(index), namespace(), topic(index), Some(retention(index)));
        self.world.submit(node, join);
    }

    fn come(&mut self, node: usize, index: usize, since: Since) -> usize {
        let position = if let Since::Position(position) = since { Some(position) } else { None };
        let (seen, state) = (HashSet::new(), None);
        self.peers.push(Peer { node, topic: index, waits: None, is_in: false, position, seen, state });
        let peer = self.peers.len() - 1;
        self.ask(peer, since);
        peer
    }

    fn ask(&mut self, peer: usize, since: Since) {
        self.ticket += 1;
        self.tickets.insert(self.ticket, peer);
        self.peers[peer].waits = Some(self.ticket);
        self.peers[peer].is_in = false;
        let Peer { node, topic, .. } = self.peers[peer];
        let asked = Asked { since, replay: None };
        self.world.submit(node, Command::Recover(self.ticket, tag(topic), asked));
    }

    /// A peer turns up at another node with what it knows.
    fn hop(&mut self, peer: usize, node: usize) {
        let since = self.peers[peer].position.map_or(Since::Nothing, Since::Position);
        self.peers[peer].node = node;
        self.ask(peer, since);
    }

    fn publish(&mut self, node: usize, index: usize) {
        let number = self.published.len();
        let text = match MODES[index] {
            Mode::Map => format!(r#"{{"k{}":{number}}}"#, number % 7),
            _ => number.to_string(),
        };
        self.commit(node, index, text, Change::Publish);
    }

    fn commit(&mut self, node: usize, index: usize, text: String, change: Change) {
        let envelope = Envelope {
            origin: None,
            echo: true,
            at_us: self.world.now.micros(),
            namespace: namespace(),
            to: Recipients::Topic(topic(index)),
            payload: Payload::json(Bytes::from(text.clone())),
        };
        let ticket = self.published.len() as u32;
        self.published.push(Published { topic: index, text, outcome: None });
        let commit = Commit { envelope, retention: retention(index), key: None, change };
        self.world.submit(node, Command::Commit(ticket, Box::new(commit)));
        self.chronicle.watch(&mut self.world.fake);
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
        self.chronicle.watch(&mut self.world.fake);
        for node in 0..self.world.nodes.len() {
            for event in std::mem::take(&mut self.world.nodes[node].stored) {
                self.hear(node, event);
            }
        }
    }

    fn hear(&mut self, node: usize, event: Event) {
        match event {
            Event::Publication(tag, publication) => {
                for peer in self.audience(node, tag) {
                    self.give(peer, &publication);
                }
            }
            Event::Missed(tag, _) => {
                for peer in self.audience(node, tag) {
                    self.told += 1;
                    self.peers[peer].position = None;
                    self.peers[peer].seen.clear();
                }
            }
            Event::Reset(tag, position, state) => {
                for peer in self.audience(node, tag) {
                    self.set_state(peer, position, state.as_deref());
                }
            }
            Event::Recovered(ticket, outcome) => self.recover(node, ticket, &outcome),
            Event::Committed(ticket, outcome) => {
                let published = &mut self.published[ticket as usize];
                assert!(published.outcome.is_none(), "a commit is answered once");
                if let Ok(Some(position)) = outcome
                    && MODES[published.topic] != Mode::Map
                {
                    let said = self.chronicle.said.get(&(published.topic, position));
                    assert_eq!(said, Some(&published.text), "it is where its publisher is told");
                }
                published.outcome = Some(outcome);
            }
            _ => {}
        }
    }

    fn audience(&self, node: usize, Tag(tag): Tag) -> Vec<usize> {
        let topic = (tag - STORED) as usize;
        let hears = |peer: &Peer| peer.is_in && peer.node == node && peer.topic == topic;
        let peers = self.peers.iter().enumerate();
        peers.filter(|(_, peer)| hears(peer)).map(|(index, _)| index).collect()
    }

    fn recover(&mut self, node: usize, ticket: u32, outcome: &Result<Recovery, CommitError>) {
        let Some(index) = self.tickets.remove(&ticket) else { return };
        let peer = &mut self.peers[index];
        if peer.waits != Some(ticket) || peer.node != node {
            return; // It went elsewhere meanwhile.
        }
        peer.waits = None;
        peer.is_in = true;
        let recovery = outcome.as_ref().expect("nothing is broken here");
        match recovery.recovered {
            Some(Err(_)) => {
                self.told += 1;
                peer.position = None;
                peer.seen.clear();
            }
            Some(Ok(())) => self.recovered += 1,
            None => {}
        }
        if MODES[peer.topic] != Mode::Log {
            if let Some(position) = recovery.position.filter(|position| peer.position != Some(*position)) {
                self.set_state(index, position, recovery.state.as_deref());
            }
            return;
        }
        for publication in &recovery.publications {
            self.give(index, publication);
        }
        let peer = &mut self.peers[index];
        if recovery.recovered == Some(Ok(())) {
            assert_eq!(peer.position, recovery.position, "it got all up to where it is told that it is");
        }
        peer.position = recovery.position;
    }

    /// A peer is given a publication, or a whole state.
    fn give(&mut self, index: usize, publication: &Publication) {
        let position = publication.position.expect("it is stored");
        let peer = &self.peers[index];
        if MODES[peer.topic] == Mode::Log {
            return self.give_one(index, position, publication);
        }
        // A newer one, or one after a gap.
        if let Some(had) = peer.position.filter(|had| had.epoch == position.epoch) {
            assert!(had.offset < position.offset, "{had:?}, then {position:?}");
        }
        self.set_state(index, position, Some(publication));
    }

    fn give_one(&mut self, index: usize, position: Position, publication: &Publication) {
        let text = String::from_utf8_lossy(&publication.envelope.payload.bytes).into_owned();
        let peer = &mut self.peers[index];
        let place = (peer.topic, position);
        assert_eq!(self.chronicle.said.get(&place), Some(&text), "it says what history says");
        if let Some(had) = peer.position {
            assert_eq!(
                self.chronicle.before.get(&place),
                Some(&had),
                "{text} at {position:?} follows what came before"
            );
        }
        assert!(peer.seen.insert(text), "nothing comes twice");
        peer.position = Some(position);
    }

    fn set_state(&mut self, index: usize, position: Position, state: Option<&Publication>) {
        let topic = self.peers[index].topic;
        let text = state.map(|state| String::from_utf8_lossy(&state.envelope.payload.bytes).into_owned());
        match MODES[topic] {
            Mode::List => {
                assert_eq!(text, self.chronicle.array_at(topic, position, LIMIT), "at {position:?}");
            }
            Mode::Value => {
                assert_eq!(text.as_ref(), self.chronicle.said.get(&(topic, position)), "at {position:?}");
            }
            Mode::Log | Mode::Map => {}
        }
        let peer = &mut self.peers[index];
        peer.position = Some(position);
        peer.state = text;
    }

    /// All troubles end, and everything comes to rest.
    fn calm(&mut self) {
        self.world.calm();
        self.pass(Duration::from_secs(30));
        // The last word on each topic shows what is still missing.
        for topic in 0..MODES.len() {
            let node = self.world.nodes.iter().position(|node| node.is_alive).expect("somebody lives");
            self.publish(node, topic);
        }
        self.pass(Duration::from_secs(3));
    }

    /// In the end everybody is where the topic is, and has what it holds.
    fn check_end(&self) {
        for (index, mode) in MODES.into_iter().enumerate() {
            let head = head_of(&self.world, index).expect("it was written to");
            let living = |peer: &&Peer| self.world.nodes[peer.node].is_alive && peer.topic == index;
            let mut states = HashSet::new();
            for peer in self.peers.iter().filter(living) {
                assert!(peer.is_in, "nobody waits for ever");
                assert_eq!(peer.position, Some(head), "{mode:?} on node {}", peer.node);
                states.insert(&peer.state);
            }
            assert!(mode == Mode::Log || states.len() <= 1, "all end identical (T8): {states:?}");
        }
        for published in &self.published {
            let is_lost = self.world.nodes.iter().any(|node| !node.is_alive);
            assert!(published.outcome.is_some() || is_lost, "every commit is answered: {published:?}");
        }
        for key in self.world.fake.keys() {
            let name = String::from_utf8_lossy(&key).into_owned();
            assert!(self.world.fake.ttl(&key).is_some(), "{name} would stay for ever");
        }
    }
}

/// Where Redis has a topic.
pub fn head_of(world: &World, topic: usize) -> Option<Position> {
    let bytes = match MODES[topic] {
        Mode::Map => world.fake.hash(key(topic, "k")).get(&b"#h"[..]).cloned(),
        _ => world.fake.string(key(topic, "h")),
    };
    bytes.map(|bytes| head(&bytes))
}

fn tag(topic: usize) -> Tag {
    Tag(STORED + topic as u64)
}

/// What may happen in a world.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Weather {
    /// Nothing but load.
    Fair,
    /// Everything.
    Chaos,
}

fn play(seed: u64, weather: Weather, rules: Rules, moves: usize) -> Play {
    let mut play = Play::new(3, seed, rules);
    play.world.longest_way_ms = if weather == Weather::Chaos { 9_000 } else { 0 };
    let mut older: Option<Snapshot> = None;
    for _ in 0..moves {
        let node = play.world.below(play.world.nodes.len() as u64) as usize;
        let awake = play.world.nodes[node].is_alive && play.world.nodes[node].frozen_until <= play.world.now;
        let topic = play.world.below(MODES.len() as u64) as usize;
        if weather == Weather::Chaos && trouble(&mut play.world, node, &mut older) {
            play.move_from(node);
        }
        match play.world.below(20) {
            0..12 if awake => play.publish(node, topic),
            12 if awake => (0..5).for_each(|_| play.publish(node, topic)),
            13 if awake => {
                let peer = play.world.below(play.peers.len() as u64) as usize;
                play.hop(peer, node);
            }
            14 if awake && play.peers.len() < 60 => {
                play.come(node, topic, Since::Nothing);
            }
            _ => {}
        }
        let step = Duration::from_micros(100 + play.world.below(40_000));
        play.step(step);
    }
    play
}

/// Something goes wrong. Says whether a node died of it.
pub fn trouble(world: &mut World, node: usize, older: &mut Option<Snapshot>) -> bool {
    let span = Duration::from_millis(world.below(7_000));
    match world.below(500) {
        0 if world.nodes.iter().filter(|node| node.is_alive).count() > 2 => {
            world.kill(node);
            return true;
        }
        1 => world.nodes[node].frozen_until = world.now + span,
        2..7 => world.cut(node, span / 3),
        7 | 8 => world.swallow(node),
        9 => world.redis_frozen_until = world.now + span,
        10 => world.restart_redis(Memory::Empty, span, None),
        11..14 => {
            if let Some(older) = older.take() {
                world.restart_redis(Memory::Kept, span / 10, Some(&older));
            }
        }
        14 => world.restart_redis(Memory::Kept, span, None),
        15 if world.redis_frozen_until <= world.now => world.flush(),
        16..22 if older.is_none() => *older = Some(world.fake.snapshot()),
        22..26 => world.nodes[node].mangled = world.below(200),
        26..30 => world.nodes[node].mangled = 0,
        _ => {}
    }
    false
}

impl Play {
    /// The peers of a dead node turn up elsewhere.
    fn move_from(&mut self, dead: usize) {
        let alive = self.world.nodes.iter().position(|node| node.is_alive).expect("somebody lives");
        let theirs = self.peers.iter().enumerate().filter(|(_, peer)| peer.node == dead);
        for peer in theirs.map(|(index, _)| index).collect::<Vec<_>>() {
            self.hop(peer, alive);
        }
    }
}

// T8, T9, R1, R2, R3, redis 2, 3, 9.6
#[test]
fn after_any_chaos_nobody_was_given_anything_but_history_and_all_is_healed() {
    for number in seeds(150) {
        let seed = Seed("chaos of topics that remember", number);
        let mut play = play(seed.1, Weather::Chaos, Rules::ALL, 400);
        play.calm();
        play.check_end();
    }
}

// redis 2.1
#[test]
fn without_marks_failovers_lose_publications_in_silence() {
    let goes_wrong = |seed| {
        let run = || {
            let mut play = play(seed, Weather::Chaos, Rules { marks: false }, 400);
            play.calm();
            play.check_end();
        };
        catch_unwind(AssertUnwindSafe(run)).is_err()
    };
    assert!((0..150).any(goes_wrong));
}

// R1, redis 2.6, 2.11
#[test]
fn in_fair_weather_every_hop_recovers_and_no_gap_is_told() {
    for number in seeds(20) {
        let seed = Seed("fair weather of topics that remember", number);
        let mut play = play(seed.1, Weather::Fair, Rules::ALL, 400);
        for _ in 0..100 {
            let (peer, node) = (play.world.below(play.peers.len() as u64), play.world.below(3));
            play.hop(peer as usize, node as usize);
            let topic = play.world.below(MODES.len() as u64) as usize;
            play.publish(node as usize, topic);
            let step = Duration::from_micros(play.world.below(20_000));
            play.step(step);
        }
        play.calm();
        play.check_end();
        assert_eq!(play.told, 0, "no false alarm");
        assert!(play.recovered > 50);
        assert!(play.published.iter().all(|each| matches!(each.outcome, Some(Ok(Some(_))))));
    }
}

// R2, redis 3.4, 3.6
#[test]
fn a_tail_that_is_lost_on_a_quiet_topic_is_healed_by_the_echo() {
    for number in seeds(20) {
        let seed = Seed("a lost tail", number);
        let mut play = play(seed.1, Weather::Fair, Rules::ALL, 10);
        play.pass(Duration::from_secs(2));
        play.world.nodes[0].mangled = 999;
        play.publish(1, 0);
        play.pass(Duration::from_millis(100));
        play.world.nodes[0].mangled = 0;
        play.pass(Duration::from_millis(1_400));
        let head = head(&play.world.fake.string(key(0, "h")).expect("it is there"));
        let behind = play.peers.iter().filter(|peer| peer.topic == 0 && peer.position != Some(head));
        assert_eq!(behind.count(), 0);
        assert_eq!(play.told, 0, "peers notice nothing");
    }
}

#[test]
fn unavailable_is_told_in_time_and_nothing_of_it_is_stored_later() {
    let mut play = Play::new(2, 5, Rules::ALL);
    play.world.redis_frozen_until = play.world.now + Duration::from_secs(20);
    play.publish(0, 0);
    play.pass(Duration::from_secs(7));
    assert_eq!(play.published[0].outcome, Some(Err(CommitError::Unknown)), "it was sent");
    play.publish(0, 0);
    play.pass(Duration::from_secs(6));
    assert_eq!(play.published[1].outcome, Some(Err(CommitError::Unavailable)));
    play.pass(Duration::from_secs(20));
    assert!(!play.chronicle.said.values().any(|text| text == "1"));
}

// redis 2.6
#[test]
fn who_waits_for_a_topic_that_can_not_be_read_is_let_in_after_five_seconds() {
    let mut play = Play::new(2, 5, Rules::ALL);
    play.publish(0, 0);
    play.pass(Duration::from_secs(1));
    play.world.redis_frozen_until = play.world.now + Duration::from_secs(20);
    play.pass(Duration::from_secs(4));
    let unknown = Position { epoch: Epoch(*b"elsewher"), offset: 9, mark: Mark(1) };
    let peer = play.come(1, 0, Since::Position(unknown));
    play.pass(Duration::from_secs(4));
    assert!(!play.peers[peer].is_in);
    play.pass(Duration::from_secs(2));
    assert!(play.peers[peer].is_in && play.told == 1);
}
