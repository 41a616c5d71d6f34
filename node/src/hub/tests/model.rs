//! Random worlds against a model that knows no queues: what a peer may have received is what its topics, at
//! some moment between the publish and the next rest, say it should.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::world::{Who, World, arrival_in, settings, unsubscribe};
use crate::hub::{Chance, Settings};
use crate::publication::Dialect;

const SETTINGS: &str = r#"
    [limits]
    frames_per_second = 0
    publishes_per_second = 0
    subscribes_per_second = 0
    [[endpoint]]
    path = "/**"
    heartbeat = "0s"
    defaults = ["d", "session"]
    subscribe = ["*"]
    publish = ["*"]
    broadcast = true
"#;
const TOPICS: [&str; 4] = ["a", "b", "c", "d"];
const NAMESPACES: [&str; 2] = ["/one", "/two"];
const SEEDS: u64 = 400;
const STEPS: usize = 160;
const PEERS_MAX: usize = 8;

/// What a peer gets of a publication: nothing, or one copy, under a topic or (a broadcast) under none.
type Outcome = Option<Option<&'static str>>;

/// How sure it is that a peer hears a topic. A topic it doesn't hear for sure is not listed.
#[derive(Clone, Copy, PartialEq)]
enum Hears {
    Perhaps,
    Surely,
}

struct Publication {
    number: u64,
    namespace: usize,
    /// None for everybody.
    topics: Option<Vec<&'static str>>,
    /// Who gets none of it.
    excluded: Option<Who>,
}

struct Peer {
    namespace: usize,
    /// Whether it came before the last rest.
    is_open: bool,
    is_here: bool,
    topics: BTreeMap<&'static str, Hears>,
    /// What it may have got of each publication.
    expected: BTreeMap<u64, BTreeSet<Outcome>>,
    /// Subscribes under an id.
    asked: usize,
}

struct Model {
    world: World,
    chance: Chance,
    peers: Vec<Peer>,
    /// Published since the last rest.
    in_flight: Vec<Publication>,
    published: u64,
}

impl Peer {
    /// Every outcome that its topics allow now.
    fn outcomes(&self, publication: &Publication) -> BTreeSet<Outcome> {
        let mut outcomes = BTreeSet::new();
        let Some(topics) = &publication.topics else {
            if !self.is_open || !self.is_here {
                outcomes.insert(None);
            }
            if self.is_here {
                outcomes.insert(Some(None));
            }
            return outcomes;
        };
        for topic in topics {
            match self.topics.get(topic) {
                Some(Hears::Surely) => {
                    outcomes.insert(Some(Some(*topic)));
                    return outcomes;
                }
                Some(Hears::Perhaps) => {
                    outcomes.insert(Some(Some(*topic)));
                }
                None => {}
            }
        }
        outcomes.insert(None);
        outcomes
    }
}

impl Model {
    fn new(settings: &Arc<Settings>, seed: u64) -> Self {
        let world = World::of(2, settings, seed);
        Self { world, chance: Chance(seed), peers: Vec::new(), in_flight: Vec::new(), published: 0 }
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.chance.draw() % bound as u64) as usize
    }

    fn step(&mut self) {
        match self.below(16) {
            0 | 1 => self.open(),
            2 => self.leave(),
            3..=5 => self.subscribe(),
            6 | 7 => self.unsubscribe(),
            8..=10 => self.publish(),
            11 => self.stall(),
            12 | 13 => {
                let hub = self.below(2);
                self.world.turn(hub);
            }
            14 => {
                let millis = self.below(300) as u64;
                self.world.pass_ms(millis);
                self.rest();
            }
            _ => {
                self.world.settle();
                self.rest();
            }
        }
    }

    /// One of the peers that may speak.
    fn speaker(&mut self) -> Option<Who> {
        let speakers = self.peers.iter().enumerate().filter(|(_, peer)| peer.is_open && peer.is_here);
        let speakers: Vec<Who> = speakers.map(|(who, _)| who).collect();
        (!speakers.is_empty()).then(|| speakers[self.below(speakers.len())])
    }

    fn open(&mut self) {
        if self.peers.iter().filter(|peer| peer.is_here).count() == PEERS_MAX {
            return;
        }
        let (hub, namespace) = (self.below(2), self.below(2));
        let who = self.world.arrive(hub, arrival_in(NAMESPACES[namespace], 0, Dialect::Plain));
        let topics = BTreeMap::from([("d", Hears::Perhaps)]);
        let (is_here, is_open, asked) = (true, false, 0);
        let expected = self.in_flight.iter().map(|each| (each.number, BTreeSet::from([None]))).collect();
        self.peers.push(Peer { namespace, is_open, is_here, topics, expected, asked });
        self.note_change(who);
    }

    fn leave(&mut self) {
        let Some(who) = self.speaker() else { return };
        let (key, now) = (self.world.key(who), self.world.now);
        match self.below(3) {
            0 => self.world.lose(who),
            1 => self.world.say_close(who),
            _ => self.world.hub(who).close(now, key, dunlin_protocol::CloseCode::NORMAL, ""),
        }
        self.peers[who].is_here = false;
        self.peers[who].topics.clear();
    }

    fn subscribe(&mut self) {
        let Some(who) = self.speaker() else { return };
        let topic = TOPICS[self.below(TOPICS.len())];
        self.world.say(who, &format!(r#"{{"type":"subscribe","topic":"{topic}","id":1}}"#));
        self.peers[who].asked += 1;
        self.peers[who].topics.entry(topic).or_insert(Hears::Perhaps);
        self.note_change(who);
    }

    fn unsubscribe(&mut self) {
        let Some(who) = self.speaker() else { return };
        let topic = TOPICS[self.below(TOPICS.len())];
        self.world.say(who, &unsubscribe(topic));
        self.peers[who].topics.remove(topic);
        self.note_change(who);
    }

    fn publish(&mut self) {
        let Some(who) = self.speaker() else { return };
        let (number, echo) = (self.published, self.below(3) == 0);
        let topics = match self.below(6) {
            0 => None,
            1..=3 => Some(vec![TOPICS[self.below(TOPICS.len())]]),
            several => {
                let mut topics = Vec::new();
                for _ in 0..several - 2 {
                    let topic = TOPICS[self.below(TOPICS.len())];
                    topics.extend((!topics.contains(&topic)).then_some(topic));
                }
                Some(topics)
            }
        };
        let to = topics.as_ref().map_or(String::new(), |topics| format!(r#""topics":{topics:?},"#));
        self.world.say(who, &format!(r#"{{"type":"publish",{to}"self":{echo},"payload":{number}}}"#));
        self.published += 1;
        let (namespace, excluded) = (self.peers[who].namespace, (!echo).then_some(who));
        let publication = Publication { number, namespace, topics, excluded };
        for who in 0..self.peers.len() {
            self.note_outcomes(who, &publication);
        }
        self.in_flight.push(publication);
    }

    /// What a peer may get of what is in flight has become more.
    fn note_change(&mut self, who: Who) {
        let in_flight = std::mem::take(&mut self.in_flight);
        for publication in &in_flight {
            self.note_outcomes(who, publication);
        }
        self.in_flight = in_flight;
    }

    fn note_outcomes(&mut self, who: Who, publication: &Publication) {
        let peer = &mut self.peers[who];
        if peer.is_here && peer.namespace == publication.namespace && publication.excluded != Some(who) {
            let outcomes = peer.outcomes(publication);
            peer.expected.entry(publication.number).or_default().extend(outcomes);
        }
    }

    /// A socket takes nothing for a while, or a few bytes, or everything again.
    fn stall(&mut self) {
        let Some(who) = self.speaker() else { return };
        match self.below(3) {
            0 => self.world.block(who, 0),
            1 => {
                let room = self.below(100);
                self.world.unblock(who);
                self.world.block(who, room);
            }
            _ => self.world.unblock(who),
        }
    }

    /// Everything on its way has arrived.
    fn rest(&mut self) {
        self.in_flight.clear();
        for peer in &mut self.peers {
            peer.is_open = true;
            peer.topics.values_mut().for_each(|hears| *hears = Hears::Surely);
        }
    }

    /// Every peer that is still there got what the model says, and knows how many users there are.
    fn check(&mut self) {
        for who in 0..self.peers.len() {
            if self.peers[who].is_here {
                self.world.unblock(who);
            }
        }
        self.world.pass_ms(1_000);
        let order: BTreeMap<u64, usize> = self.world.submitted.iter().enumerate().map(numbered).collect();
        for who in 0..self.peers.len() {
            if self.peers[who].is_here {
                self.check_peer(who, &order);
            }
        }
        self.world.end();
    }

    fn check_peer(&mut self, who: Who, order: &BTreeMap<u64, usize>) {
        let heard = self.world.heard(who);
        let peer = &self.peers[who];
        let (mut got, mut users, mut answers) = (Vec::new(), None, 0);
        for frame in &heard {
            let value: serde_json::Value = serde_json::from_str(frame).expect("every frame is JSON");
            match value["topic"].as_str() {
                _ if value["type"] == "ok" => answers += 1,
                Some("session") => users = value["payload"]["users"].as_u64(),
                Some(topic) => got.push((value["payload"].as_u64(), Some(topic.to_owned()))),
                None => got.push((value.as_u64(), None)),
            }
        }
        let got: Vec<(u64, Option<String>)> =
            got.into_iter().map(|(number, topic)| (number.expect("payloads are numbers"), topic)).collect();
        let places: Vec<usize> = got.iter().map(|(number, _)| order[number]).collect();
        assert!(places.is_sorted_by(|one, next| one < next), "peer {who} is out of order: {got:?}");
        let mut by_number: BTreeMap<u64, Option<String>> = got.into_iter().collect();
        for (number, outcomes) in &peer.expected {
            let outcome = by_number.remove(number);
            let outcome = outcome.as_ref().map(Option::as_deref);
            let fits = outcomes.iter().any(|each| *each == outcome);
            assert!(fits, "peer {who} got {outcome:?} of {number}, but {outcomes:?} is allowed");
        }
        assert!(by_number.is_empty(), "peer {who} should have got nothing of {by_number:?}");
        assert_eq!(answers, peer.asked, "peer {who}'s subscribes were answered");
        let here = |each: &&Peer| each.is_here && each.namespace == peer.namespace;
        let here = self.peers.iter().filter(here).count() as u64;
        assert_eq!(users, Some(here), "peer {who} knows how many users there are");
    }
}

fn numbered((place, payload): (usize, &bytes::Bytes)) -> (u64, usize) {
    let number = std::str::from_utf8(payload).expect("payloads are numbers");
    (number.parse().expect("payloads are numbers"), place)
}

/// Says which seed it was when a test fails.
struct Seed(u64);

impl Drop for Seed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the world of seed {} went wrong", self.0);
        }
    }
}

// T1, T2, T4, T9, T12, C1, L2
#[test]
fn in_random_worlds_everybody_gets_what_it_should_and_nothing_is_left() {
    let settings = Arc::new(settings(SETTINGS));
    for number in 0..SEEDS {
        let seed = Seed(number);
        let mut model = Model::new(&settings, seed.0);
        (0..STEPS).for_each(|_| model.step());
        model.world.settle();
        model.rest();
        model.check();
    }
}
