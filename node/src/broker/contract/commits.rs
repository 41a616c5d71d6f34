//! What is committed: answers, one order for everybody, repetitions (B-11, B-12, B-14, B-16).

use std::collections::BTreeSet;
use std::thread;

use dunlin_protocol::{Incarnation, Payload, PeerId, Position};

use super::remembering::{Kept, offsets, payload, payloads, position};
use super::{Command, Event, Factory, Shard, leave};
use crate::config::Mode;
use crate::history::{Change, Commit, CommitError, Since};
use crate::hub::Tag;

const MODES: [Mode; 4] = [Mode::Value, Mode::Log, Mode::List, Mode::Map];

pub fn b11_each_commit_is_answered_once_with_a_position_behind_the_last(make: Factory<'_>) {
    let broker = make();
    let mut shard = Shard::attach(&broker);
    for (mode, name) in MODES.into_iter().zip(["v", "l", "a", "m"]) {
        let kept = Kept::new(mode).called(name);
        let commits = (1..=20).map(|ticket| Command::Commit(ticket, Box::new(kept.publish("{\"a\":1}"))));
        shard.submit(commits.collect::<Vec<_>>());
        let positions: Vec<Position> = (1..=20).map(|ticket| answer(&mut shard, ticket)).collect();
        let epoch = positions[0].epoch;
        assert!(positions.iter().all(|position| position.epoch == epoch), "{mode:?}: one life");
        let offsets: Vec<u64> = positions.iter().map(|position| position.offset).collect();
        // Changes of a map that come together may be one change.
        let rises = |one: &u64, next: &u64| one < next || mode == Mode::Map && one == next;
        assert!(offsets.is_sorted_by(rises), "{mode:?}: {offsets:?}");
        assert!(shard.up_to_a_mark().is_empty(), "once each, and who has not joined hears nothing else");
    }
}

/// Where the commit of this ticket was put.
fn answer(shard: &mut Shard, ticket: u32) -> Position {
    let outcome = shard.first(|event| match event {
        Event::Committed(answered, outcome) if *answered == ticket => Some(*outcome),
        _ => None,
    });
    outcome.expect("nothing refuses it").expect("its place is known")
}

pub fn b11_what_is_refused_changes_nothing(make: Factory<'_>) {
    let broker = make();
    let (mut one, mut two) = (Shard::attach(&broker), Shard::attach(&broker));
    let list = Kept::new(Mode::List).called("a").max_bytes(64);
    let map = Kept::new(Mode::Map).called("m").max_bytes(64);
    one.follow(1, &list);
    one.follow(2, &map);
    let tips = [two.put(list.publish("1")), two.put(map.publish("{\"a\":1}"))];
    one.hear_until(1, tips[0]);
    one.hear_until(2, tips[1]);
    let mut binary = list.publish("");
    binary.envelope.payload = Payload::binary(&b"\x00"[..]);
    let mut text = map.publish("");
    text.envelope.payload = Payload::text("{\"a\":2}");
    let large = format!("\"{}\"", "x".repeat(64));
    let refused: [(Commit, CommitError); 8] = [
        (binary, CommitError::Payload),
        (list.publish(&large), CommitError::TooLarge),
        (list.change(Change::Replace, "[]"), CommitError::Mode),
        (text, CommitError::Payload),
        (map.publish("[1]"), CommitError::Payload),
        (map.change(Change::Replace, "7"), CommitError::Payload),
        (map.publish(&format!("{{\"a\":2,\"b\":{large}}}")), CommitError::TooLarge),
        (map.change(Change::Forget(tips[1]), ""), CommitError::Mode),
    ];
    for (commit, error) in refused {
        assert_eq!(two.commit(commit), Err(error));
    }
    let heard = one.up_to_a_mark();
    assert!(heard.is_empty(), "nobody hears of it: {heard:?}");
    assert_eq!([one.state(1), one.state(2)], [Some("[1]".to_owned()), Some("{\"a\":1}".to_owned())]);
    assert_eq!(one.recover(1, Since::Nothing, None).position, Some(tips[0]));
    assert_eq!(one.recover(2, Since::Nothing, None).position, Some(tips[1]));
}

/// Shards that commit at once.
const SHARDS: usize = 4;
/// Commits of one shard that may be under way.
const AHEAD: usize = 32;

/// What a shard heard of a topic, and where its own commits were put.
struct Heard {
    publications: Vec<(Position, String)>,
    own: Vec<Position>,
}

/// Each shard follows the topic and commits so many, all at once; `done` says when a shard has heard all.
fn all_at_once(
    make: Factory<'_>,
    kept: &Kept,
    each: usize,
    done: impl Fn(&Heard) -> bool + Sync,
) -> Vec<Heard> {
    let broker = make();
    let mut shards: Vec<Shard> = (0..SHARDS).map(|_| Shard::attach(&broker)).collect();
    for shard in &mut shards {
        shard.follow(1, kept);
    }
    let done = &done;
    thread::scope(|scope| {
        let run = |shard| scope.spawn(move || hear_while_committing(shard, kept, each, done));
        let running: Vec<_> = shards.iter_mut().map(run).collect();
        running.into_iter().map(|thread| thread.join().expect("no thread fails")).collect()
    })
}

fn hear_while_committing(
    shard: &mut Shard,
    kept: &Kept,
    each: usize,
    done: impl Fn(&Heard) -> bool,
) -> Heard {
    let mut heard = Heard { publications: Vec::new(), own: Vec::new() };
    let mut sent = 0;
    while heard.own.len() < each || !done(&heard) {
        while sent < each && sent - heard.own.len() < AHEAD {
            let item = format!("\"{}:{sent:06}\"", shard.number);
            shard.submit([Command::Commit(sent as u32, Box::new(kept.publish(&item)))]);
            sent += 1;
        }
        match shard.next() {
            Event::Publication(Tag(1), publication) => {
                heard.publications.push((position(&publication), payload(&publication)));
            }
            Event::Committed(ticket, outcome) => {
                assert_eq!(
                    ticket as usize,
                    heard.own.len(),
                    "commits of one topic are answered in their order"
                );
                let own = outcome.expect("nobody falls behind so far").expect("its place is known");
                let last = heard.publications.last().map(|(position, _)| position.offset);
                assert!(last >= Some(own.offset), "its publication comes before the answer");
                heard.own.push(own);
            }
            Event::Settled(..) => {}
            event => panic!("not expected: {event:?}"),
        }
    }
    heard
}

pub fn b12_every_shard_hears_every_commit_once_in_one_order_and_its_own_before_the_answer(make: Factory<'_>) {
    let (kept, each) = (Kept::new(Mode::Log), 1500);
    let all = all_at_once(make, &kept, each, |heard| heard.publications.len() == SHARDS * each);
    let order = &all[0].publications;
    assert!(all.iter().all(|heard| heard.publications == *order), "all hear one order");
    let first = order[0].0;
    for (place, (position, _)) in order.iter().enumerate() {
        assert_eq!((position.epoch, position.offset), (first.epoch, first.offset + place as u64));
    }
    let distinct: BTreeSet<&String> = order.iter().map(|(_, payload)| payload).collect();
    assert_eq!(distinct.len(), SHARDS * each, "none is lost, none comes twice");
    for (shard, heard) in all.iter().enumerate() {
        let prefix = format!("\"{shard}:");
        let own = order.iter().filter(|(_, payload)| payload.starts_with(&prefix));
        let own: Vec<(Position, String)> = own.cloned().collect();
        assert!(
            own.is_sorted_by_key(|(_, payload)| payload.clone()),
            "what one shard commits keeps its order"
        );
        assert!(own.iter().map(|(position, _)| position).eq(&heard.own), "each answer names its place");
    }
}

pub fn b12_a_list_is_heard_whole_and_never_older_after_newer(make: Factory<'_>) {
    let each = 400;
    let kept = Kept::new(Mode::List).limit((SHARDS * each) as u32);
    let items = |array: &str| array.split(',').count();
    let is_whole =
        |heard: &Heard| heard.publications.last().is_some_and(|(_, array)| items(array) == SHARDS * each);
    let all = all_at_once(make, &kept, each, is_whole);
    for heard in &all {
        for pair in heard.publications.windows(2) {
            let [(before, shorter), (after, longer)] = pair else { unreachable!("windows of two") };
            assert!(
                before.epoch == after.epoch && before.offset < after.offset,
                "versions may be skipped only"
            );
            assert!(longer.starts_with(shorter.trim_end_matches(']')), "what was there stays in its place");
        }
        assert_eq!(heard.publications.last(), all[0].publications.last(), "all end alike");
    }
}

pub fn b12_who_published_hears_the_state_and_may_be_spared_the_entry(make: Factory<'_>) {
    let broker = make();
    let mut shard = Shard::attach(&broker);
    let peer = PeerId::new(Incarnation(1), 5);
    for (mode, name) in MODES.into_iter().zip(["v", "l", "a", "m"]) {
        let kept = Kept::new(mode).called(name);
        shard.follow(1, &kept);
        let end = shard.put(kept.publish_of(peer, "{\"a\":1}"));
        let heard = shard.hear_until(1, end);
        let whole = matches!(mode, Mode::List | Mode::Map);
        assert_eq!(heard[0].envelope.origin, if whole { None } else { Some(peer) }, "{mode:?}");
        assert_eq!(payloads(&heard), [if mode == Mode::List { "[{\"a\":1}]" } else { "{\"a\":1}" }]);
        shard.submit([leave(1, "/a", name)]);
        shard.up_to_a_mark();
    }
}

pub fn b14_forty_concurrent_appends_leave_forty(make: Factory<'_>) {
    let broker = make();
    let kept = Kept::new(Mode::List);
    let mut shards = [Shard::attach(&broker), Shard::attach(&broker)];
    for shard in &mut shards {
        shard.follow(1, &kept);
    }
    thread::scope(|scope| {
        for shard in &mut shards {
            let kept = &kept;
            scope.spawn(move || {
                let own = shard.number;
                let items = (0..20).map(|item| format!("\"{own}:{item}\""));
                shard.put_all(kept, items);
            });
        }
    });
    let tip = shards[0].put(kept.publish("\"last\""));
    let states = shards.each_mut().map(|shard| {
        let heard = shard.hear_until(1, tip);
        payload(heard.last().expect("the tip was heard"))
    });
    assert_eq!(states[0], states[1], "both end alike");
    let items: Vec<String> = serde_json::from_str(&states[0]).expect("an array of texts");
    assert_eq!(items.iter().collect::<BTreeSet<_>>().len(), 41, "none is lost, none comes twice: {items:?}");
    assert_eq!(items.len(), 41);
}

pub fn b14_members_are_merged_one_by_one(make: Factory<'_>) {
    let broker = make();
    let kept = Kept::new(Mode::Map);
    let mut shards: Vec<Shard> = (0..SHARDS).map(|_| Shard::attach(&broker)).collect();
    for shard in &mut shards {
        shard.follow(1, &kept);
    }
    thread::scope(|scope| {
        for shard in &mut shards {
            let kept = &kept;
            scope.spawn(move || {
                let own = shard.number;
                let changes = (0..250).map(|round| match round % 5 {
                    4 => format!("{{\"gone{own}\":null}}"),
                    0 => format!("{{\"gone{own}\":1,\"own{own}\":{round}}}"),
                    _ => format!("{{\"own{own}\":{round},\"all\":{round}}}"),
                });
                shard.put_all(kept, changes);
            });
        }
    });
    let tip = shards[0].put(kept.publish("{\"all\":\"last\"}"));
    for shard in &mut shards {
        let heard = shard.hear_until(1, tip);
        let offsets = offsets(&heard);
        assert!(offsets.is_sorted_by(|one, next| one < next), "never an older one after a newer");
        let last = payload(heard.last().expect("the tip was heard"));
        let whole: serde_json::Value = serde_json::from_str(&last).expect("an object");
        let expected = serde_json::json!({"all": "last", "own0": 248, "own1": 248, "own2": 248, "own3": 248});
        assert_eq!(whole, expected);
    }
}

pub fn b16_a_repeated_key_happens_once(make: Factory<'_>) {
    let broker = make();
    let mut shard = Shard::attach(&broker);
    for (mode, name) in MODES.into_iter().zip(["v", "l", "a", "m"]) {
        let kept = Kept::new(mode).called(name);
        shard.follow(1, &kept);
        let first = shard.put(kept.publish_once("k", "{\"a\":1}"));
        let other = shard.put(kept.publish_once("other", "{\"a\":2}"));
        assert_eq!(
            shard.put(kept.publish_once("k", "{\"a\":3}")),
            first,
            "{mode:?}: as it was answered then"
        );
        assert_eq!(
            shard.recover(1, Since::Nothing, None).position,
            Some(other),
            "{mode:?}: nothing happened"
        );
        let heard = shard.hear_until(1, other);
        assert!(heard.len() <= 2 && !payload(&heard[heard.len() - 1]).contains('3'), "{mode:?}");
        shard.submit([leave(1, "/a", name)]);
        shard.up_to_a_mark();
    }
}

pub fn b16_a_key_that_two_shards_bring_at_once_happens_once(make: Factory<'_>) {
    let broker = make();
    let kept = Kept::new(Mode::Log);
    let mut shards = [Shard::attach(&broker), Shard::attach(&broker)];
    shards[0].follow(1, &kept);
    let answers: Vec<Vec<Position>> = thread::scope(|scope| {
        let run = |shard| {
            let kept = &kept;
            scope.spawn(move || put_keyed(shard, kept))
        };
        let running: Vec<_> = shards.iter_mut().map(run).collect();
        running.into_iter().map(|thread| thread.join().expect("no thread fails")).collect()
    });
    assert_eq!(answers[0], answers[1], "both are answered alike");
    let all = shards[0].recover(1, Since::Nothing, Some(200)).publications;
    assert_eq!(all.len(), 50, "each key happened once");
}

/// Publishes under fifty keys.
fn put_keyed(shard: &mut Shard, kept: &Kept) -> Vec<Position> {
    let keys = (0..50).map(|key| format!("key {key}"));
    keys.map(|key| shard.put(kept.publish_once(&key, "1"))).collect()
}
