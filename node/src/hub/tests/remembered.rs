//! Random worlds of topics that remember, against the order in which their broker took what was published.
//!
//! For a v1 peer the check is exact: cursors tell where it believes to be, and nothing lies between two of them but its
//! own publications or what a `gap` names. A plain peer sees no cursor: never an older version after a newer one, and
//! in the end the newest.

use std::collections::BTreeMap;
use std::sync::Arc;

use dunlin_protocol::{Namespace, Position, Topic};
use serde_json::Value;

use super::world::{Who, World, arrival, settings};
use crate::hub::{Chance, Settings};
use crate::publication::Dialect;

const SETTINGS: &str = r#"
    [limits]
    message = "8KiB"
    outbox = "8KiB"
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
    match = "value"
    mode = "value"
    [[topic]]
    match = "log"
    mode = "log"
    slow = "gap"
    limit = 10000
    [[topic]]
    match = "list"
    mode = "list"
    limit = 3
    [[topic]]
    match = "map"
    mode = "map"
"#;
const TOPICS: [&str; 4] = ["value", "log", "list", "map"];
const SEEDS: u64 = 300;
const STEPS: usize = 250;
const PEERS_MAX: usize = 7;

struct Peer {
    is_v1: bool,
    is_here: bool,
    /// Requests that were sent under an id.
    asked: usize,
    /// Topics it subscribes to, by its last word.
    topics: BTreeMap<&'static str, bool>,
}

struct Model {
    world: World,
    chance: Chance,
    peers: Vec<Peer>,
    /// Who published each number, and whether it hears itself.
    publishers: Vec<(Who, bool)>,
}

/// What one peer has been told of one topic.
#[derive(Default)]
struct View {
    /// The offset it believes to be at; none while it is not subscribed.
    at: Option<u64>,
    /// The newest version's place in the order, and its payload.
    newest: Option<(usize, Value)>,
}

impl Model {
    fn new(settings: &Arc<Settings>, seed: u64) -> Self {
        let world = World::of(2, settings, seed);
        Self { world, chance: Chance(seed), peers: Vec::new(), publishers: Vec::new() }
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.chance.draw() % bound as u64) as usize
    }

    fn step(&mut self) {
        match self.below(20) {
            0 | 1 => self.open(),
            2 => self.leave(),
            3..=5 => self.subscribe(),
            6 => self.unsubscribe(),
            7..=14 => self.publish(),
            15 | 16 => self.stall(),
            17 | 18 => {
                let hub = self.below(2);
                self.world.turn(hub);
            }
            _ => self.world.settle(),
        }
    }

    fn speaker(&mut self) -> Option<Who> {
        let here: Vec<Who> = (0..self.peers.len()).filter(|who| self.peers[*who].is_here).collect();
        (!here.is_empty()).then(|| here[self.below(here.len())])
    }

    fn open(&mut self) {
        if self.peers.iter().filter(|peer| peer.is_here).count() < PEERS_MAX {
            let (hub, is_v1) = (self.below(2), self.below(3) > 0);
            let dialect = if is_v1 { Dialect::JsonV1 } else { Dialect::Plain };
            self.world.arrive(hub, arrival(0, dialect));
            self.peers.push(Peer { is_v1, is_here: true, asked: 0, topics: BTreeMap::new() });
        }
    }

    fn leave(&mut self) {
        let Some(who) = self.speaker() else { return };
        self.world.lose(who);
        self.peers[who].is_here = false;
    }

    fn ask(&mut self, who: Who, kind: &str, topic: &'static str) {
        let frame = format!(r#"{{"type":"{kind}","topic":"{topic}","id":"{kind}"}}"#);
        self.world.say(who, &frame);
        self.peers[who].asked += 1;
        self.peers[who].topics.insert(topic, kind == "subscribe");
    }

    fn subscribe(&mut self) {
        let Some(who) = self.speaker() else { return };
        let topic = TOPICS[self.below(TOPICS.len())];
        self.ask(who, "subscribe", topic);
    }

    fn unsubscribe(&mut self) {
        let Some(who) = self.speaker() else { return };
        let topic = TOPICS[self.below(TOPICS.len())];
        self.ask(who, "unsubscribe", topic);
    }

    fn publish(&mut self) {
        let Some(who) = self.speaker() else { return };
        let (number, topic, echo) = (self.publishers.len(), TOPICS[self.below(4)], self.below(4) == 0);
        let payload = match topic {
            "map" => format!(r#"{{"k{}":{number}}}"#, self.below(3)),
            "log" => format!(r#"[{number},"{}"]"#, "x".repeat(1_500)),
            _ => number.to_string(),
        };
        let id = if self.below(2) == 0 {
            self.peers[who].asked += 1;
            format!(r#","id":"{topic}""#)
        } else {
            String::new()
        };
        let publish =
            format!(r#"{{"type":"publish","topic":"{topic}","payload":{payload},"self":{echo}{id}}}"#);
        self.world.say(who, &publish);
        self.publishers.push((who, echo));
    }

    fn stall(&mut self) {
        let Some(who) = self.speaker() else { return };
        match self.below(3) {
            0 => self.world.block(who, 0),
            1 => {
                let room = self.below(2_000);
                self.world.unblock(who);
                self.world.block(who, room);
            }
            _ => self.world.unblock(who),
        }
    }

    /// Every peer that is still there has been told all, and nothing wrong on the way.
    fn check(&mut self) -> Seen {
        let mut seen = Seen::default();
        for who in 0..self.peers.len() {
            if self.peers[who].is_here {
                self.world.unblock(who);
            }
        }
        self.world.pass_ms(1_000);
        for who in 0..self.peers.len() {
            let (key, hub) = (self.world.key(who), self.world.clients[who].hub);
            if self.peers[who].is_here && self.world.hubs[hub].peer_keys().contains(&key) {
                self.check_peer(who, &mut seen);
            }
        }
        self.world.end();
        seen
    }

    fn check_peer(&mut self, who: Who, seen: &mut Seen) {
        let heard = self.world.heard(who);
        let mut views: BTreeMap<&str, View> = TOPICS.map(|topic| (topic, View::default())).into();
        let mut answers = 0;
        for frame in &heard {
            let value: Value = serde_json::from_str(frame).expect("every frame is JSON");
            answers += usize::from(value["type"] == "ok");
            assert_ne!(value["type"], "error", "peer {who}: {frame}");
            self.hear(who, &value, &mut views, seen);
        }
        assert_eq!(answers, self.peers[who].asked, "peer {who}'s requests were answered");
        for topic in TOPICS {
            if self.peers[who].topics.get(topic) == Some(&true) {
                self.check_end(who, topic, &views[topic]);
            }
        }
    }

    /// One frame, as the peer understands it.
    fn hear(&self, who: Who, value: &Value, views: &mut BTreeMap<&str, View>, seen: &mut Seen) {
        let id = value["id"].as_str().unwrap_or_default();
        let Some(topic) = value["topic"].as_str().or_else(|| TOPICS.contains(&id).then_some(id)) else {
            return;
        };
        let view = views.get_mut(topic).expect("it is one of ours");
        let cursor = offset(&value["cursor"], topic);
        match (value["type"].as_str(), id) {
            (Some("ok"), "unsubscribe") => view.at = None,
            (Some("ok"), "subscribe") => {
                if self.peers[who].is_v1 {
                    view.at = cursor;
                    assert!(
                        value["publications"].as_array().is_none_or(Vec::is_empty),
                        "no replay was asked for"
                    );
                }
                self.see_version(who, topic, &value["state"], view);
            }
            (Some("gap"), _) => {
                let (from, to) = (offset(&value["from"], topic), offset(&value["to"], topic));
                self.move_on(who, topic, view, from.expect("a log's gap has a beginning"));
                assert!(to > from, "peer {who}: {value}");
                view.at = to;
                seen.gaps += 1;
            }
            (Some("ok") | None, _) if value["payload"].is_null() => {
                if let Some(at) = cursor.filter(|_| view.at.is_some()) {
                    self.move_on(who, topic, view, at);
                }
            }
            (None, _) => {
                if self.peers[who].is_v1 {
                    let (at, before) =
                        (cursor.expect("v1 gets cursors"), view.at.expect("nothing before the answer"));
                    assert!(at > before, "peer {who} is at {before} and gets {value}");
                    if topic == "log" {
                        self.move_on(who, topic, view, at - 1);
                    } else {
                        seen.skipped += at - before - 1;
                    }
                    view.at = Some(at);
                }
                self.see_version(who, topic, &value["payload"], view);
            }
            (other, _) => panic!("peer {who} is not sent {other:?}"),
        }
    }

    /// Nothing but the peer's own publications lies between where it is and this offset.
    fn move_on(&self, who: Who, topic: &str, view: &mut View, to: u64) {
        let at = view.at.expect("it subscribes");
        if topic == "log" {
            for offset in at..to {
                let number = self.order(topic)[offset as usize];
                assert_eq!(
                    self.publishers[number],
                    (who, false),
                    "peer {who} at {at} skips to {to} in silence"
                );
            }
        }
        view.at = Some(at.max(to));
    }

    fn see_version(&self, who: Who, topic: &str, payload: &Value, view: &mut View) {
        if payload.is_null() {
            return;
        }
        let order = self.order(topic);
        let place = |number: &Value| {
            number.as_u64().and_then(|number| order.iter().position(|it| *it as u64 == number))
        };
        let newest = match payload {
            Value::Array(items) if topic == "list" => items.iter().filter_map(place).max(),
            Value::Array(items) => place(&items[0]),
            Value::Object(members) => members.values().filter_map(place).max(),
            number => place(number),
        };
        let newest = newest.expect("it was published");
        let is_older = view.newest.as_ref().is_some_and(|(seen, _)| *seen > newest);
        assert!(!is_older, "peer {who} gets an older version of {topic}: {payload}");
        view.newest = Some((newest, payload.clone()));
    }

    /// Numbers published on a topic, in the broker's order.
    fn order(&self, topic: &str) -> &[usize] {
        self.world.committed.get(topic).map_or(&[], |numbers| numbers)
    }

    fn check_end(&self, who: Who, topic: &str, view: &View) {
        let order = self.order(topic);
        let is_own = |place: &usize| self.publishers[order[*place]] == (who, false);
        let hears_all = matches!(topic, "list" | "map");
        if self.peers[who].is_v1 {
            let at = view.at.expect("it was answered") as usize;
            assert!(
                (at..order.len()).all(|place| !hears_all && is_own(&place)),
                "peer {who} ends at {at} of {topic}"
            );
        }
        if topic == "log" {
            return;
        }
        let last = (0..order.len()).rev().find(|place| hears_all || !is_own(place));
        let Some(last) = last else { return };
        let newest = view.newest.as_ref().map(|(newest, _)| *newest);
        let has_own_since = !hears_all && (last + 1) < order.len();
        let is_newest = newest == Some(last) || newest == order.len().checked_sub(1);
        assert!(is_newest || has_own_since, "peer {who} of {topic} ends with {newest:?}, not {last}");
        if topic == "list" {
            let tail: Vec<u64> = order[order.len().saturating_sub(3)..].iter().map(|it| *it as u64).collect();
            assert_eq!(view.newest.as_ref().map(|(_, list)| list.clone()), Some(tail.into()), "peer {who}");
        }
    }
}

/// What happened, so that the worlds prove something.
#[derive(Default)]
struct Seen {
    gaps: u64,
    skipped: u64,
}

fn offset(cursor: &Value, topic: &str) -> Option<u64> {
    let (namespace, topic) = (Namespace::parse("/ws").expect("good"), Topic::parse(topic).expect("good"));
    let position = cursor.as_str().map(|text| Position::parse(text, &namespace, &topic).expect("a cursor"));
    position.map(|position| position.offset)
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

// T7, T8, T9, H6, R1
#[test]
fn in_random_worlds_nobody_misses_a_publication_in_silence_nor_sees_an_older_version() {
    let settings = Arc::new(settings(SETTINGS));
    let mut all = Seen::default();
    for number in 0..SEEDS {
        let seed = Seed(number);
        let mut model = Model::new(&settings, seed.0);
        (0..STEPS).for_each(|_| model.step());
        model.world.settle();
        let seen = model.check();
        all = Seen { gaps: all.gaps + seen.gaps, skipped: all.skipped + seen.skipped };
    }
    assert!(all.gaps > 50 && all.skipped > 500, "{} gaps, {} versions skipped", all.gaps, all.skipped);
}
