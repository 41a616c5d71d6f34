//! What silence leads to (behaviours H1, H5 message time).

use super::world::{Who, World, arrival};
use crate::publication::Dialect;

const QUIET: &str = "[session]\ntopic = \"\"\n";

/// Lets time pass a second at a time until the peer hears something; says after how many milliseconds.
fn next_word(world: &mut World, who: Who) -> (u64, Vec<String>) {
    let start = world.now;
    for _ in 0..600 {
        world.pass_ms(100);
        let heard = world.heard(who);
        if !heard.is_empty() {
            return (u64::try_from(world.now.since(start).as_millis()).expect("minutes"), heard);
        }
    }
    panic!("a minute went by in silence");
}

// H1
#[test]
fn pings_come_every_25_seconds_give_or_take_a_tenth() {
    let mut world = World::new(QUIET);
    let mut spans = Vec::new();
    for _ in 0..20 {
        let who = world.join(0);
        for _ in 0..3 {
            let (after, heard) = next_word(&mut world, who);
            assert_eq!(heard, ["<ping >"]);
            spans.push(after);
            world.pong(who);
        }
        world.lose(who);
    }
    // A turn of the wheel and the test's own step are added.
    assert!(spans[1..3].iter().all(|span| (22_400..27_700).contains(span)), "{spans:?}");
    spans.dedup();
    assert!(spans.len() > 20, "peers are not pinged together: {spans:?}");
    world.end();
}

// H1
#[test]
fn three_unanswered_pings_close_and_two_do_not() {
    let mut world = World::new(QUIET);
    let (dead, alive) = (world.join(0), world.join(0));
    let mut pings = 0;
    loop {
        let (_, heard) = next_word(&mut world, dead);
        if heard != ["<ping >"] {
            assert_eq!(heard, ["<close 1000 No pong received>"]);
            break;
        }
        pings += 1;
        if pings == 2 {
            world.pong(alive);
        }
    }
    assert_eq!(pings, 3);
    assert!(world.heard(alive).iter().all(|frame| frame == "<ping >"));
    world.pass_ms(10_000);
    assert_eq!(world.hub(dead).peer_keys(), [world.key(alive)]);
}

// H1
#[test]
fn any_frame_at_all_is_a_sign_of_life() {
    let mut world = World::new(QUIET);
    let peers = [world.join(0), world.join(0), world.join(0)];
    for _ in 0..20 {
        world.pass_ms(40_000);
        world.pong(peers[0]);
        world.say(peers[1], "ping");
        world.say(peers[2], "not a frame");
    }
    assert_eq!(world.hub(0).peer_keys().len(), 3);
}

// H1
#[test]
fn a_heartbeat_of_zero_never_pings() {
    let mut world = World::new(&format!("{QUIET}[[endpoint]]\npath = \"/**\"\nheartbeat = \"0s\"\n"));
    let who = world.join(0);
    world.pass_ms(3_600_000);
    assert!(world.heard(who).is_empty());
    assert!(world.hubs[0].next_timeout().is_none());
}

// H1
#[test]
fn inactivity_closes_who_sends_no_message() {
    let toml = format!("{QUIET}[[endpoint]]\npath = \"/**\"\nheartbeat = \"0s\"\ninactivity = \"60s\"\n");
    let mut world = World::new(&toml);
    let (idle, active) = (world.join(0), world.join(0));
    for _ in 0..3 {
        world.pass_ms(30_000);
        world.answers(active, "ping");
    }
    assert_eq!(world.heard(idle), ["<close 1000 Inactivity timeout>"]);
    assert!(world.heard(active).is_empty());
    world.pass_ms(61_000);
    assert_eq!(world.heard(active), ["<close 1000 Inactivity timeout>"]);
}

// H5
#[test]
fn a_message_that_takes_too_long_closes_with_1008() {
    let mut world = World::new(&format!("{QUIET}[limits]\nmessage_time = \"5s\"\n"));
    let (slow, quick) = (world.join(0), world.join(0));
    for who in [slow, quick] {
        let (key, now) = (world.key(who), world.now);
        world.hub(who).unfinished(now, key, true);
    }
    world.pass_ms(4_900);
    assert!(world.heard(slow).is_empty());
    let (key, now) = (world.key(quick), world.now);
    world.say(quick, "ping");
    world.hub(quick).unfinished(now, key, false);
    world.pass_ms(200);
    assert_eq!(world.heard(slow), ["<close 1008 the message took too long>"]);
    assert_eq!(world.heard(quick), ["ping"]);
    world.pass_ms(60_000);
    assert!(world.heard(quick).iter().all(|frame| frame == "<ping >"));
}

// H5
#[test]
fn messages_one_after_another_are_no_long_message() {
    let mut world = World::new(&format!("{QUIET}[limits]\nmessage_time = \"5s\"\n"));
    let busy = world.join(0);
    for _ in 0..20 {
        // Each read ends within the next message already.
        world.say(busy, "ping");
        let (key, now) = (world.key(busy), world.now);
        world.hub(busy).unfinished(now, key, true);
        world.pass_ms(1_000);
    }
    assert_eq!(world.heard(busy).iter().filter(|frame| *frame != "<ping >").count(), 20);
    assert_eq!(world.hub(busy).peer_keys(), [world.key(busy)]);
}

// H6: whoever does not answer our Close is cut off.
#[test]
fn a_closing_peer_is_terminated_after_two_seconds() {
    let mut world = World::new(QUIET);
    let (ours, theirs) = (world.join(0), world.join(0));
    let (key, now) = (world.key(ours), world.now);
    world.hub(ours).close(now, key, dunlin_protocol::CloseCode::GOING_AWAY, "");
    world.say_close(theirs);
    world.pass_ms(1_990);
    assert!(!world.clients[ours].terminated && !world.clients[theirs].terminated);
    world.pass_ms(30);
    assert!(world.clients[ours].terminated && world.clients[theirs].terminated);
    world.end();
}

// H1: deadlines are asked for, so that a driver need not poll.
#[test]
fn a_peer_that_is_there_always_has_a_deadline() {
    let mut world = World::new(QUIET);
    assert!(world.hubs[0].next_timeout().is_none());
    world.arrive(0, arrival(0, Dialect::Plain));
    assert!(world.hubs[0].next_timeout().is_some());
}
