//! Leases, counts and relay through faults, from seeds: the rules of redis.md 4, 5 and 7 against a model.
//!
//! Each rule that could be thought superfluous has a control: the same worlds without it must fail.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use super::super::fake::Memory;
use super::super::script::Script;
use super::super::tally::Tally;
use super::world::{LEASE, Node, SPACES, TOPICS, World, namespace};
use crate::hub::{Moment, Reach};

/// How many worlds of each kind; `DUNLIN_SEEDS` asks for more.
pub fn seeds(usual: u64) -> std::ops::Range<u64> {
    let one: Option<u64> = std::env::var("DUNLIN_SEED").ok().and_then(|text| text.parse().ok());
    if let Some(one) = one {
        return one..one + 1;
    }
    let asked = std::env::var("DUNLIN_SEEDS").ok().and_then(|text| text.parse().ok());
    0..asked.unwrap_or(usual)
}

/// Says which seed it was when a test fails.
pub struct Seed(pub &'static str, pub u64);

impl Drop for Seed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let name = std::thread::current().name().unwrap_or_default().to_owned();
            eprintln!("the world of seed {} of {:?} went wrong; to play it again:", self.1, self.0);
            eprintln!("DUNLIN_SEED={} cargo test --profile fast -p dunlin --lib -- --exact {name}", self.1);
        }
    }
}

/// Three nodes with peers that stay, every count known everywhere.
fn settled_world(seed: u64, bodies: &[String; Script::ALL.len()]) -> World {
    let mut world = World::new(0, seed);
    world.bodies.clone_from(bodies);
    (0..3).for_each(|_| world.add_node());
    world.pass(Duration::from_secs(1));
    for node in 0..3 {
        for space in 0..SPACES.len() {
            let peers = 1 + world.below(5);
            world.set_peers(node, space, peers);
        }
    }
    world.pass(Duration::from_secs(3));
    for (space, truth) in [world.truth(0), world.truth(1)].into_iter().enumerate() {
        for node in &mut world.nodes {
            assert_eq!(node.shown(space), Some(truth), "in fair weather");
            node.told[space].clear();
        }
    }
    world
}

fn bodies() -> [String; Script::ALL.len()] {
    Script::ALL.map(|script| script.body().to_owned())
}

/// A script without what stands between two of its lines.
fn without(script: Script, from: &str, to: &str) -> [String; Script::ALL.len()] {
    let mut bodies = bodies();
    let body = &mut bodies[script as usize];
    let (begin, end) = (body.find(from).expect("it is there"), body.find(to).expect("it is there"));
    body.replace_range(begin..end, "");
    bodies
}

/// Redis has some trouble, after which it is as good as new.
fn trouble_redis(world: &mut World) {
    let span = Duration::from_millis(match world.below(3) {
        0 => world.below(500),
        1 => world.below(6_000),
        _ => 6_000 + world.below(20_000),
    });
    match world.below(5) {
        0 => world.restart_redis(Memory::Empty, span, None),
        1 => world.restart_redis(Memory::Kept, span, None),
        2 => {
            let older = world.fake.snapshot();
            world.pass(Duration::from_secs(2));
            world.restart_redis(Memory::Kept, span, Some(&older));
        }
        3 => world.redis_frozen_until = world.now + span,
        _ => world.fake.flush_all(),
    }
    world.pass(span + Duration::from_millis(1) * 500);
    let more = world.below(20_000);
    world.pass(Duration::from_millis(more));
}

/// Redis has troubles, nobody dies: what anybody is told meanwhile.
fn outages(seed: u64, bodies: &[String; Script::ALL.len()]) {
    let mut world = settled_world(seed, bodies);
    for _ in 0..3 {
        trouble_redis(&mut world);
    }
    world.pass(LEASE * 3);
    for space in 0..SPACES.len() {
        let truth = world.truth(space);
        for (place, node) in world.nodes.iter().enumerate() {
            assert!(
                node.told[space].iter().all(|(_, users)| *users == truth),
                "node {place} was told {:?} where there are {truth}",
                node.told[space]
            );
            assert_eq!(node.machine.status(world.now).nodes, 3);
        }
    }
    let fenced: u64 = world.nodes.iter_mut().map(|node| take_tally(node).fenced).sum();
    assert_eq!(fenced, 0, "nobody was declared dead");
}

fn take_tally(node: &mut Node) -> Tally {
    let mut tally = Tally::default();
    node.machine.take_tally(&mut tally);
    tally
}

// C2, R3, redis 5.3, 5.8
#[test]
fn an_outage_or_a_loss_of_memory_announces_nothing() {
    for number in seeds(60) {
        let seed = Seed("an outage", number);
        outages(seed.1, &bodies());
    }
}

// redis 5.3
#[test]
fn without_the_rebase_outages_would_kill_the_living() {
    let bodies =
        without(Script::Tick, "if not last or now < last", "if redis.call('ZADD', live, text(now + ttl)");
    assert!(fails_somewhere(60, |seed| outages(seed, &bodies)));
}

/// Whether one of some worlds goes wrong.
fn fails_somewhere(worlds: u64, run: impl Fn(u64)) -> bool {
    (0..worlds).any(|seed| catch_unwind(AssertUnwindSafe(|| run(seed))).is_err())
}

// C2
#[test]
fn the_peers_of_a_killed_node_are_gone_within_the_lease_and_once() {
    for number in seeds(60) {
        let seed = Seed("a death", number);
        let mut world = settled_world(seed.1, &bodies());
        let before = [world.truth(0), world.truth(1)];
        let wait = world.below(2_000);
        world.pass(Duration::from_millis(wait));
        world.kill(0);
        let killed_at = world.now;
        world.pass(LEASE + Duration::from_secs(4));
        for (space, before) in before.into_iter().enumerate() {
            let truth = world.truth(space);
            for node in world.nodes.iter().filter(|node| node.is_alive) {
                assert_eq!(node.told[space].len(), 1, "from {before} to {truth} at once");
                let (at, users) = node.told[space][0];
                assert_eq!(users, truth);
                assert!(at.since(killed_at) <= LEASE + Duration::from_secs(1), "{:?}", at.since(killed_at));
            }
        }
        assert!(
            world
                .nodes
                .iter()
                .filter(|node| node.is_alive)
                .all(|node| node.machine.status(world.now).nodes == 2)
        );
    }
}

// C2
#[test]
fn a_frozen_node_is_gone_once_and_back_once() {
    for number in seeds(60) {
        let seed = Seed("a frozen node", number);
        let mut world = settled_world(seed.1, &bodies());
        let before = [world.truth(0), world.truth(1)];
        world.nodes[0].frozen_until = world.now + LEASE * 2;
        world.pass(LEASE * 2 + Duration::from_secs(12));
        for (space, before) in before.into_iter().enumerate() {
            let others = before - world.nodes[0].peers[space];
            for node in &world.nodes[1..] {
                let told: Vec<u64> = node.told[space].iter().map(|(_, users)| *users).collect();
                assert_eq!(told, [others, before], "gone once, back once");
            }
            assert!(world.nodes[0].told[space].is_empty(), "nothing happened to the frozen one's peers");
        }
    }
}

/// Everything happens to everybody; then it stops.
///
/// But for one thing that the rules can't mend: what a node wrote last that died before it could tick again in
/// a Redis that had forgotten everything. Nobody knows of it, so it stays in the sum.
fn chaos(seed: u64, bodies: &[String; Script::ALL.len()]) -> World {
    let mut world = World::new(0, seed);
    world.bodies.clone_from(bodies);
    world.longest_way_ms = 9_000;
    (0..4).for_each(|_| world.add_node());
    let (mut older, mut forgot_at) = (world.fake.snapshot(), Moment::default());
    for _ in 0..500 {
        let node = world.below(world.nodes.len() as u64) as usize;
        let awake = world.nodes[node].is_alive && world.nodes[node].frozen_until <= world.now;
        let span = Duration::from_millis(world.below(9_000));
        let is_known = world.now.since(forgot_at) > Duration::from_secs(1);
        let may_die = is_known && world.nodes.iter().filter(|node| node.is_alive).count() > 2;
        match world.below(400) {
            0 if may_die => {
                world.kill(node);
            }
            1 => world.add_node(),
            2 | 3 => world.nodes[node].frozen_until = world.now + span,
            4..8 => world.cut(node, span / 3),
            8 | 9 => world.swallow(node),
            10 => world.redis_frozen_until = world.now + span,
            11 => world.restart_redis(Memory::Empty, span, None),
            12 => world.restart_redis(Memory::Kept, span, Some(&older)),
            13 if world.redis_frozen_until <= world.now => {
                world.flush();
                forgot_at = world.now;
            }
            14 if is_known => older = world.fake.snapshot(),
            15..120 if awake => {
                let (space, peers) = (world.below(2) as usize, world.below(4));
                world.set_peers(node, space, peers);
            }
            120..160 if awake => {
                let topic = world.below(TOPICS.len() as u64) as usize;
                world.toggle(node, topic);
            }
            _ if awake => {
                let topic = world.below(TOPICS.len() as u64) as usize;
                world.publish(node, topic);
            }
            _ => {}
        }
        let step = Duration::from_micros(100 + world.below(60_000));
        world.step(step);
    }
    world.redis_down_until = world.now;
    world.redis_frozen_until = world.now;
    for node in &mut world.nodes {
        (node.frozen_until, node.cut_until) = (world.now, world.now);
    }
    world.pass(LEASE * 5);
    world
}

/// In the end every count is right, everywhere, and Redis keeps nothing of the dead.
fn check_counts(world: &World) {
    let alive = || world.nodes.iter().filter(|node| node.is_alive);
    for (space, name) in SPACES.into_iter().enumerate() {
        let truth = world.truth(space);
        for node in alive().filter(|node| node.peers[space] > 0) {
            let known = node.machine.space(&namespace(space));
            assert_eq!(node.shown(space), Some(truth), "{known:?}, {:?}", node.machine.lease);
        }
        let counts = world.fake.hash(format!("sim:1:{{c|{name}}}:c"));
        let sum = counts.get(&b"#s"[..]).map_or("0".into(), |sum| String::from_utf8_lossy(sum).into_owned());
        assert_eq!(sum, truth.to_string(), "{counts:?}");
    }
    assert!(alive().all(|node| node.machine.status(world.now).nodes == alive().count()));
    for key in world.fake.keys() {
        assert!(world.fake.ttl(&key).is_some(), "{} would stay for ever", String::from_utf8_lossy(&key));
    }
}

/// Nobody hears anything twice or out of its publisher's order, and what is missing was announced.
fn check_relay(world: &World) {
    for node in &world.nodes {
        for (topic, heard) in node.heard.iter().enumerate() {
            let mut last: HashMap<usize, (usize, bool)> = HashMap::new();
            for entry in &heard.log {
                let Some((publisher, number)) = *entry else {
                    for (_, announced) in last.values_mut() {
                        *announced = true;
                    }
                    continue;
                };
                if let Some((before, announced)) = last.insert(publisher, (number, false)) {
                    assert!(before < number, "{publisher} said {before}, then {number}");
                    let between = &world.nodes[publisher].published[before + 1..number];
                    let accepted = |it: &&super::world::Published| {
                        it.topic == topic && it.at >= heard.since && it.outcome == Some(Ok(Reach::Cluster))
                    };
                    let missed = between.iter().filter(accepted).count();
                    assert!(
                        announced || missed == 0,
                        "{missed} between {before} and {number} of {publisher} went silently: {between:?}"
                    );
                }
            }
        }
    }
    let unanswered = world.nodes.iter().filter(|node| node.is_alive);
    let unanswered =
        unanswered.flat_map(|node| &node.published).filter(|published| published.outcome.is_none());
    assert_eq!(unanswered.count(), 0, "every publish is answered");
}

// C1, C2, T2, T12, R3, redis 4.2, 4.3, 5.5
#[test]
fn after_any_chaos_counts_are_right_and_nothing_came_twice_or_went_silently() {
    for number in seeds(200) {
        let seed = Seed("chaos", number);
        let world = chaos(seed.1, &bodies());
        check_counts(&world);
        check_relay(&world);
    }
}

/// A node dies while what it wrote last is on its way, and comes through when it has long been buried.
fn late_write(bodies: &[String; Script::ALL.len()]) -> u64 {
    let mut world = settled_world(1, bodies);
    world.longest_way_ms = 60_000;
    world.set_peers(0, 0, 9);
    while !world.kill(0) {
        world = settled_world(1 + world.below(1_000), bodies);
        world.longest_way_ms = 60_000;
        world.set_peers(0, 0, 9);
    }
    world.pass(Duration::from_secs(70));
    world.nodes[1].shown(0).expect("it has peers") - world.truth(0)
}

// redis 5.5
#[test]
fn what_the_dead_wrote_late_is_refused_by_their_tombstone() {
    assert_eq!(late_write(&bodies()), 0);
    let without = without(Script::Count, "if operation == 'set' and dead", "local before, after");
    assert_eq!(late_write(&without), 9, "a ghost");
}

// T2, T12
#[test]
fn in_fair_weather_all_nodes_hear_one_order_and_everything() {
    for number in seeds(20) {
        let seed = Seed("fair weather", number);
        let mut world = World::new(3, seed.1);
        world.pass(Duration::from_secs(1));
        (0..3).for_each(|node| (0..TOPICS.len()).for_each(|topic| world.toggle(node, topic)));
        world.pass(Duration::from_secs(1));
        for _ in 0..400 {
            let (node, topic) = (world.below(3) as usize, world.below(TOPICS.len() as u64) as usize);
            world.publish(node, topic);
            let step = Duration::from_micros(world.below(2_000));
            world.step(step);
        }
        world.pass(Duration::from_secs(1));
        for topic in 0..TOPICS.len() {
            let log = |node: usize| &world.nodes[node].heard[topic].log;
            let published = world.nodes.iter().flat_map(|node| &node.published);
            assert_eq!(log(0).len(), published.filter(|each| each.topic == topic).count());
            assert!(log(0).iter().all(Option::is_some) && log(0) == log(1) && log(1) == log(2));
        }
        check_relay(&world);
    }
}

// redis 0.6, 9.3
#[test]
fn a_redis_that_forgot_the_scripts_is_taught_them_again() {
    let mut world = settled_world(7, &bodies());
    let flusher = world.fake.connect();
    world.fake.receive(flusher, b"*2\r\n$6\r\nSCRIPT\r\n$5\r\nFLUSH\r\n");
    world.set_peers(0, 0, 9);
    world.pass(LEASE * 2);
    assert_eq!(world.nodes[1].shown(0), Some(world.truth(0)));
    assert!(world.nodes.iter().all(|node| node.machine.status(world.now).trouble.is_none()));
}

// R5
#[test]
fn a_link_that_swallows_is_noticed_within_five_seconds_and_replaced() {
    for number in seeds(20) {
        let seed = Seed("a half-open link", number);
        let mut world = settled_world(seed.1, &bodies());
        world.swallow(0);
        let began: Moment = world.now;
        while world.nodes[0].machine.is_up() {
            world.pass(Duration::from_millis(20));
            assert!(world.now.since(began) < Duration::from_secs(5));
        }
        world.pass(Duration::from_secs(8));
        let node = &world.nodes[0];
        assert!(node.machine.is_up() && node.machine.status(world.now).trouble.is_none());
        assert!((0..2).all(|space| node.told[space].is_empty()), "the lease was long enough");
    }
}
