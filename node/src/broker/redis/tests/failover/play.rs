//! Publishers and peers through failovers that chance arranges.

use std::collections::HashMap;
use std::time::Duration;

use dunlin_protocol::{GapReason, Position};

use super::Scene;
use crate::broker::contract::remembering::Kept;
use crate::broker::{Command, Event};
use crate::clock::Clock;
use crate::config::Mode;
use crate::feed::Rules;
use crate::history::{Asked, CommitError, Gap, Recovery, Since};
use crate::hub::{Chance, Tag};
use crate::publication::Publication;

/// Publishers and peers on a scene, and what they know.
pub struct Play {
    scene: Scene,
    chance: Chance,
    clock: Clock,
    peers: Vec<Peer>,
    published: Vec<Published>,
    /// Which peer waits under which ticket.
    tickets: HashMap<u32, usize>,
    ticket: u32,
    told: Told,
}

/// Who hears one topic through one node.
#[derive(Debug)]
struct Peer {
    node: usize,
    topic: usize,
    waits: Option<u32>,
    is_in: bool,
    /// What it knows to be the last it had; none if it was told that something is missing.
    position: Option<Position>,
}

#[derive(Debug)]
struct Published {
    topic: usize,
    text: String,
    outcome: Option<Result<Option<Position>, CommitError>>,
}

/// How often peers were told something.
#[derive(Debug, Default)]
struct Told {
    forked: u64,
    lost: u64,
    recovered: u64,
    unrecovered: u64,
}

const MODES: [Mode; 3] = [Mode::Log, Mode::List, Mode::Value];
const PEERS: usize = 18;
const LIMIT: u32 = 60;
/// Nobody waits longer for anything; only a broken broker takes so long.
const STEPS_MAX: usize = 8_000;
const STEP: Duration = Duration::from_millis(5);

impl Play {
    pub fn new(seed: u64, rules: Rules) -> Self {
        let topics = MODES.into_iter().zip(["log", "list", "value"]);
        let scene = Scene::new(rules, topics.map(|(mode, name)| Kept::new(mode).called(name).limit(LIMIT)));
        let mut play = Self {
            scene,
            chance: Chance::new(seed),
            clock: Clock::start(),
            peers: Vec::new(),
            published: Vec::new(),
            tickets: HashMap::new(),
            ticket: 0,
            told: Told::default(),
        };
        for (node, topic) in (0..PEERS).map(|number| (number % 2, number / 2 % MODES.len())) {
            play.peers.push(Peer { node, topic, waits: None, is_in: false, position: None });
            play.ask(play.peers.len() - 1, Since::Nothing);
        }
        play
    }

    fn below(&mut self, end: usize) -> usize {
        (self.chance.part() * end as f64) as usize
    }

    fn ask(&mut self, peer: usize, since: Since) {
        self.ticket += 1;
        self.tickets.insert(self.ticket, peer);
        let Peer { node, topic, waits, is_in, .. } = &mut self.peers[peer];
        (*waits, *is_in) = (Some(self.ticket), false);
        let asked = Asked { since, replay: None };
        self.scene.shards[*node].submit([Command::Recover(self.ticket, Tag(*topic as u64), asked)]);
    }

    /// A peer turns up at a node with what it knows.
    fn hop(&mut self, peer: usize, node: usize) {
        let since = self.peers[peer].position.map_or(Since::Nothing, Since::Position);
        self.peers[peer].node = node;
        self.ask(peer, since);
    }

    fn publish(&mut self, node: usize, topic: usize) -> usize {
        let number = self.published.len();
        let text = number.to_string();
        let mut commit = Box::new(self.scene.topics[topic].kept.publish(&text));
        commit.envelope.at_us = self.clock.now().micros();
        self.published.push(Published { topic, text, outcome: None });
        self.scene.shards[node].submit([Command::Commit(number as u32, commit)]);
        number
    }

    /// Something that happens every day.
    fn act(&mut self) {
        let (node, topic) = (self.below(2), self.below(MODES.len()));
        match self.below(10) {
            few @ 0..6 => {
                for _ in 0..=few / 5 * 4 {
                    self.publish(node, topic);
                }
            }
            6..8 => {
                let peer = self.below(self.peers.len());
                self.hop(peer, node);
            }
            _ => {}
        }
        let most = self.below(15) as u64;
        self.step(Duration::from_millis(most));
    }

    fn act_up_to(&mut self, most: usize) {
        (0..self.below(most)).for_each(|_| self.act());
    }

    /// Waits a while for something to come, and takes in what came.
    fn step(&mut self, most: Duration) {
        let node = self.below(2);
        self.scene.shards[node].is_woken(most);
        let events = [0, 1].map(|node: usize| self.scene.shards[node].collect());
        // Whatever a shard was given the spies have heard of by now.
        self.scene.pair.catch_up();
        for (node, events) in events.into_iter().enumerate() {
            for event in events {
                self.hear(node, event);
            }
        }
    }

    fn hear(&mut self, node: usize, event: Event) {
        match event {
            Event::Publication(tag, publication) => {
                self.for_audience(node, tag, |play, peer| play.give(peer, &publication));
            }
            Event::Missed(tag, gap) => self.for_audience(node, tag, |play, peer| play.miss(peer, gap)),
            Event::Reset(tag, position, state) => {
                let state = state.as_deref();
                self.for_audience(node, tag, |play, peer| play.set_state(peer, position, state));
            }
            Event::Recovered(ticket, outcome) => self.recover(node, ticket, &outcome),
            Event::Committed(ticket, outcome) => self.committed(ticket, outcome),
            _ => {}
        }
    }

    /// For each peer that hears a topic through a node.
    fn for_audience(&mut self, node: usize, Tag(tag): Tag, act: impl Fn(&mut Self, usize)) {
        for index in 0..self.peers.len() {
            let peer = &self.peers[index];
            if peer.is_in && peer.node == node && peer.topic as u64 == tag {
                act(self, index);
            }
        }
    }

    /// A peer is given a publication of a log, or a whole state.
    fn give(&mut self, index: usize, publication: &Publication) {
        let position = publication.position.expect("it is stored");
        let Peer { node, topic, position: had, .. } = self.peers[index];
        if MODES[topic] != Mode::Log {
            return self.set_state(index, position, Some(publication));
        }
        let channel = &self.scene.topics[topic].channel;
        let (before, text) = self.scene.pair.history.at(channel, position).expect("it was committed");
        assert_eq!(payload(publication), *text, "it says what history says");
        if let Some(had) = had {
            assert_eq!(*before, had, "{text} at {position:?} on node {node} skips something in silence");
        }
        self.peers[index].position = Some(position);
    }

    /// A peer is given a whole state: what it had is in the history of that.
    fn set_state(&mut self, index: usize, position: Position, state: Option<&Publication>) {
        let Peer { node, topic, position: had, .. } = self.peers[index];
        let (channel, history) = (&self.scene.topics[topic].channel, &self.scene.pair.history);
        let mut items: Vec<&str> = history.back_from(channel, position).map(|(_, said)| said).collect();
        items.truncate(if MODES[topic] == Mode::List { LIMIT as usize } else { 1 });
        items.reverse();
        let whole = items.join(",");
        let whole = if MODES[topic] == Mode::List { format!("[{whole}]") } else { whole };
        let expected = (!items.is_empty()).then_some(whole);
        assert_eq!(state.map(payload), expected, "another history was mixed in in silence");
        if let Some(had) = had {
            assert_ne!(had, position, "nothing comes twice");
            assert!(
                history.leads(channel, had, position),
                "{position:?} on node {node} replaces {had:?} in silence"
            );
        }
        self.peers[index].position = Some(position);
    }

    fn miss(&mut self, index: usize, gap: Gap) {
        let peer = &mut self.peers[index];
        match gap.reason {
            GapReason::Forked => self.told.forked += 1,
            _ => self.told.lost += 1,
        }
        // A log goes on from there with all that came since; a list is sent whole.
        let goes_on = gap.reason == GapReason::Forked && MODES[peer.topic] == Mode::Log;
        peer.position = gap.from.filter(|_| goes_on);
    }

    fn recover(&mut self, node: usize, ticket: u32, outcome: &Result<Recovery, CommitError>) {
        let Some(index) = self.tickets.remove(&ticket) else { return };
        let peer = &mut self.peers[index];
        if peer.waits != Some(ticket) || peer.node != node {
            return; // It went elsewhere meanwhile.
        }
        (peer.waits, peer.is_in) = (None, true);
        let (topic, recovery) = (peer.topic, outcome.as_ref().expect("nothing is broken here"));
        match recovery.recovered {
            Some(Ok(())) => self.told.recovered += 1,
            Some(Err(_)) => (self.told.unrecovered, peer.position) = (self.told.unrecovered + 1, None),
            None => {}
        }
        let had = peer.position;
        match &recovery.state {
            Some(state) => self.set_state(index, recovery.position.expect("a state has one"), Some(state)),
            None => recovery.publications.iter().for_each(|each| self.give(index, each)),
        }
        if recovery.recovered == Some(Ok(())) {
            assert_eq!(self.peers[index].position, recovery.position, "it has all up to there");
            let (channel, end) = (&self.scene.topics[topic].channel, recovery.position.expect("it is known"));
            let is_whole = had.is_some_and(|had| self.scene.pair.history.leads(channel, had, end));
            assert!(is_whole, "{end:?} on node {node} is said to continue {had:?}, in silence");
        }
        self.peers[index].position = recovery.position;
    }

    fn committed(&mut self, ticket: u32, outcome: Result<Option<Position>, CommitError>) {
        let published = &mut self.published[ticket as usize];
        assert!(published.outcome.is_none(), "a commit is answered once");
        if let Ok(Some(position)) = outcome {
            let channel = &self.scene.topics[published.topic].channel;
            let (_, said) = self.scene.pair.history.at(channel, position).expect("it was committed");
            assert_eq!(*said, published.text, "it is where its publisher is told");
        }
        published.outcome = Some(outcome);
    }

    /// One failover, and all that comes of it until everybody is well again.
    pub fn round(&mut self) {
        self.act_up_to(20);
        self.scene.pair.await_replica();
        let old = self.scene.pair.promote();
        self.act_up_to(20);
        let first = self.below(2);
        self.scene.switch(first);
        self.act_up_to(40);
        let stays_on_the_demoted = self.below(3) > 0;
        if stays_on_the_demoted {
            self.scene.pair.demote(old);
            self.act_up_to(40);
        }
        self.scene.switch(1 - first);
        self.act_up_to(20);
        if !stays_on_the_demoted {
            self.scene.pair.demote(old);
        }
        self.settle();
    }

    /// Waits until everybody is where the topics are.
    fn settle(&mut self) {
        self.wait_until("every commit is answered", |play| {
            play.published.iter().all(|published| published.outcome.is_some())
        });
        for topic in 0..MODES.len() {
            let node = self.below(2);
            let last = self.publish(node, topic);
            self.wait_until("the last word is answered", |play| play.published[last].outcome.is_some());
            assert!(self.published[last].outcome.expect("it is there").is_ok(), "all is well again");
            let head = self.scene.head(topic);
            self.wait_until("everybody has the last word", |play| {
                let mut peers = play.peers.iter().filter(|peer| peer.topic == topic);
                peers.all(|peer| peer.is_in && peer.position == head)
            });
            let channel = &self.scene.topics[topic].channel;
            let head = head.expect("it was written to");
            assert!(!self.scene.pair.history.has_doubles(channel, head), "nothing is stored twice");
        }
    }

    fn wait_until(&mut self, what: &str, is_so: impl Fn(&Self) -> bool) {
        let is_done = (0..STEPS_MAX).any(|_| {
            self.step(STEP);
            is_so(self)
        });
        assert!(is_done, "{what}: {:?}", self.peers);
    }

    /// A test in which nothing forks shows nothing.
    pub fn show_that_something_happened(&self) {
        let Told { forked, recovered, unrecovered, .. } = self.told;
        assert!(forked > 0 && recovered > 0 && unrecovered > 0, "{:?}", self.told);
    }
}

fn payload(publication: &Publication) -> String {
    String::from_utf8_lossy(&publication.envelope.payload.bytes).into_owned()
}
