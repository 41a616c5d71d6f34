//! Peers that can't keep up (behaviours H6).

use super::world::{Who, World, publication, publish, subscribe};
use crate::hub::{Limit, SlowAction};

fn toml(outbox: &str, total: &str, slow: &str) -> String {
    format!(
        r#"
        [limits]
        message = "{outbox}"
        outbox = "{outbox}"
        outbox_total = "{total}"
        publishes_per_second = 0
        frames_per_second = 0
        [session]
        topic = ""
        [[endpoint]]
        path = "/**"
        heartbeat = "0s"
        subscribe = ["*"]
        publish = ["*"]
        broadcast = true
        [[topic]]
        match = "a"
        slow = "{slow}"
        payload = "{outbox}"
        "#
    )
}

/// A JSON string of so many bytes, quotes included.
fn payload(bytes: usize) -> String {
    format!("\"{}\"", "x".repeat(bytes - 2))
}

/// A sender and a peer that hears `a`.
fn pair(world: &mut World) -> (Who, Who) {
    let (sender, peer) = (world.join(0), world.join(0));
    world.answers(peer, &subscribe("a"));
    (sender, peer)
}

#[test]
fn a_peer_that_falls_behind_is_closed_with_1013_and_nothing_else() {
    let mut world = World::new(&toml("64KiB", "1GiB", "close"));
    let (sender, slow) = pair(&mut world);
    let quick = world.join(0);
    world.answers(quick, &subscribe("a"));
    world.block(slow, 1_500); // within the second frame
    for _ in 0..100 {
        world.say(sender, &publish("a", &payload(1_000)));
        world.settle();
    }
    let frame = publication("a", &payload(1_000));
    assert_eq!(world.heard(quick), vec![frame.clone(); 100]);
    assert_eq!(world.hub(slow).peer_count(), 2);
    world.unblock(slow);
    world.settle();
    let close = "<close 1013 too slow: its outbox is full>".to_owned();
    assert_eq!(world.heard(slow), [frame.clone(), frame, close]);
    let tally = world.tally(0);
    assert_eq!(tally.slow[SlowAction::Close as usize], 1);
    assert_eq!(tally.closes, [1013]);
    world.end();
}

#[test]
fn a_topic_that_drops_leaves_out_what_does_not_fit_and_goes_on() {
    let mut world = World::new(&toml("64KiB", "1GiB", "drop"));
    let (sender, slow) = pair(&mut world);
    world.block(slow, 0);
    for number in 0..100 {
        world.say(sender, &publish("a", &format!("\"{}{}\"", number + 1000, "x".repeat(1_000))));
        world.settle();
    }
    world.unblock(slow);
    world.say(sender, &publish("a", "\"9999\""));
    world.settle();
    let heard = world.heard(slow);
    let numbers: Vec<_> = heard.iter().map(|frame| frame[24..28].parse::<u32>().expect("a number")).collect();
    let kept = numbers.len() as u32 - 1;
    assert!((60..64).contains(&kept), "{kept}");
    assert_eq!(numbers[..kept as usize], (1000..1000 + kept).collect::<Vec<_>>());
    assert_eq!(numbers[kept as usize], 9999);
    assert_eq!(world.tally(0).slow[SlowAction::Drop as usize], 100 - u64::from(kept));
}

#[test]
fn a_broadcast_closes_who_falls_behind_whatever_the_topics_do() {
    let mut world = World::new(&toml("64KiB", "1GiB", "drop"));
    let (sender, slow) = pair(&mut world);
    world.block(slow, 0);
    for _ in 0..70 {
        world.say(sender, &format!(r#"{{"type":"publish","payload":{}}}"#, payload(1_000)));
        world.settle();
    }
    world.unblock(slow);
    assert_eq!(world.heard(slow), ["<close 1013 too slow: its outbox is full>"]);
}

#[test]
fn answers_nobody_reads_close_as_publications_do() {
    let mut world = World::new(&toml("64KiB", "1GiB", "drop"));
    let who = world.join(0);
    world.block(who, 0);
    for _ in 0..1_000 {
        world.say(who, r#"{"type":"hello","id":1}"#);
    }
    world.settle();
    assert_eq!(world.hub(who).peer_count(), 0);
    world.unblock(who);
    assert_eq!(world.heard(who), ["<close 1013 too slow: its outbox is full>"]);
    world.end();
}

#[test]
fn a_newcomer_does_not_inherit_the_fate_of_who_had_its_place() {
    let mut world = World::new(&toml("64KiB", "1GiB", "close"));
    let slow = world.join(0);
    world.block(slow, 0);
    for _ in 0..1_000 {
        world.say(slow, r#"{"type":"hello","id":1}"#);
    }
    // Its connection ends before the shard's turn comes.
    world.lose(slow);
    let newcomer = world.join(0);
    assert_eq!(world.key(newcomer).index, world.key(slow).index);
    assert_eq!(world.answers(newcomer, "ping"), ["ping"]);
}

#[test]
fn the_slowest_go_first_when_all_together_are_owed_too_much() {
    let mut world = World::new(&toml("64KiB", "100KiB", "close"));
    let sender = world.join(0);
    let peers = [world.join(0), world.join(0), world.join(0), world.join(0)];
    for (who, topics) in peers.iter().zip([&["b"][..], &["b", "a"], &["a", "b", "c"], &["c"]]) {
        for topic in topics {
            world.say(*who, &subscribe(topic));
        }
        world.block(*who, 0);
    }
    world.settle();
    for (topic, count) in [("a", 24), ("b", 14), ("c", 9)] {
        for _ in 0..count {
            world.say(sender, &publish(topic, &payload(980)));
            world.settle();
        }
    }
    let left = world.hub(0).peer_keys();
    assert_eq!(left, [sender, peers[0], peers[1], peers[3]].map(|who| world.key(who)));
    assert!(world.hub(0).owed() <= 100 * 1024);
    assert_eq!(world.tally(0).limited[Limit::OutboxTotal as usize], 1);
    world.end();
}

// What one turn owes to all is not slowness: nobody had a chance to take it yet.
#[test]
fn peers_that_take_all_they_are_sent_are_never_closed_whatever_a_turn_brings() {
    let mut world = World::new(&toml("64KiB", "128KiB", "close"));
    let sender = world.join(0);
    // More than one turn flushes: those that still wait are not slow.
    let peers: Vec<_> = (0..1_000).map(|_| world.join(0)).collect();
    for who in &peers {
        world.say(*who, &subscribe("a"));
    }
    world.settle();
    world.say(sender, &publish("a", &payload(1_000)));
    world.settle();
    assert_eq!(world.hub(0).peer_count(), 1_001);
    assert!(peers.iter().all(|who| world.heard(*who).len() == 1));
}

#[test]
fn large_publications_at_once_close_nobody_who_takes_them() {
    let mut world = World::new(&toml("1MiB", "1GiB", "close"));
    let (sender, peer) = pair(&mut world);
    for _ in 0..40 {
        world.say(sender, &publish("a", &payload(60_000)));
    }
    world.settle();
    assert_eq!(world.hub(peer).peer_count(), 2);
    assert_eq!(world.heard(peer), vec![publication("a", &payload(60_000)); 40]);
}

#[test]
fn frames_stay_whole_and_in_order_whatever_a_socket_takes_at_a_time() {
    let mut world = World::new(&toml("1MiB", "1GiB", "close"));
    let (sender, peer) = pair(&mut world);
    world.block(peer, 0);
    let mut expected = Vec::new();
    for (round, size) in [10, 20_000, 200, 17_000, 3, 70_000].into_iter().cycle().take(60).enumerate() {
        world.say(sender, &publish("a", &payload(size)));
        expected.push(publication("a", &payload(size)));
        world.settle();
        // Sizes that fall into headers, into payloads and onto boundaries.
        world.unblock(peer);
        world.block(peer, round * 997 % 40_000);
        world.settle();
    }
    world.unblock(peer);
    world.settle();
    assert_eq!(world.heard(peer), expected);
    assert_eq!(world.clients[peer].socket.partial(), 0);
    assert_eq!(world.hub(peer).owed(), 0);
}
