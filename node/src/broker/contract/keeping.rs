//! What is kept, read and taken away (B-15, B-17, B-18, B-19).

use dunlin_protocol::{GapReason, Position, Unrecovered};

use super::remembering::{Kept, payload, payloads, texts};
use super::{Event, Factory, Shard};
use crate::config::Mode;
use crate::history::{Change, CommitError, Gap, Range, Since};
use crate::hub::Tag;

/// The newest, so many.
fn newest(limit: u32) -> Range {
    Range { since: Since::Nothing, before: Since::Nothing, limit }
}

pub fn b8_a_commit_whose_state_does_not_fit_is_refused_and_changes_nothing(make: Factory<'_>) {
    let broker = make();
    let (mut stuck, mut speaker) = (Shard::attach(&broker), Shard::attach(&broker));
    let kept = Kept::new(Mode::List).max_bytes(2 * 1024 * 1024);
    stuck.follow(1, &kept);
    let mut tip = speaker.put(kept.publish(&"1".repeat(1024 * 1024)));
    let mut accepted = 1;
    let refused = loop {
        assert!(accepted < 4096, "4 GiB wait for a shard that does not collect");
        match speaker.commit(kept.publish("2")) {
            Ok(position) => tip = position.expect("its place is known"),
            Err(error) => break error,
        }
        accepted += 1;
    };
    assert_eq!(refused, CommitError::Unavailable);
    assert_eq!(stuck.hear_until(1, tip).len(), accepted, "small items, but each brings the whole");
    assert_eq!(stuck.recover(1, Since::Nothing, None).position, Some(tip), "the refused one changed nothing");
    speaker.put(kept.publish("2"));
}

pub fn b15_a_log_keeps_its_limit(make: Factory<'_>) {
    let broker = make();
    let mut shard = Shard::attach(&broker);
    let kept = Kept::new(Mode::Log).limit(10);
    shard.follow(1, &kept);
    for last in 1..=40_usize {
        shard.put(kept.publish(&last.to_string()));
        let expected = texts(last.saturating_sub(9).max(1)..=last);
        let replayed = shard.recover(1, Since::Nothing, Some(100)).publications;
        assert_eq!(payloads(&replayed), expected);
        assert_eq!(payloads(&shard.read(&kept, newest(100)).expect("a page").publications), expected);
    }
}

pub fn b15_a_value_is_the_last_payload(make: Factory<'_>) {
    let broker = make();
    let mut shard = Shard::attach(&broker);
    let kept = Kept::new(Mode::Value);
    shard.follow(1, &kept);
    for value in ["1", "null", "[2]", "\"\""] {
        shard.put(kept.publish(value));
        assert_eq!(shard.state(1).as_deref(), Some(value));
    }
}

pub fn b15_a_list_keeps_its_last_items_within_its_bytes(make: Factory<'_>) {
    let broker = make();
    let mut shard = Shard::attach(&broker);
    let few = Kept::new(Mode::List).called("few").limit(3);
    shard.follow(1, &few);
    shard.put_all(&few, 1..=30);
    assert_eq!(shard.state(1).as_deref(), Some("[28,29,30]"));

    let small = Kept::new(Mode::List).called("small").max_bytes(12);
    shard.follow(2, &small);
    shard.put_all(&small, ["1111", "22222"]);
    assert_eq!(shard.state(2).as_deref(), Some("[1111,22222]"), "exactly as much as it may hold");
    shard.put(small.publish("33333"));
    assert_eq!(shard.state(2).as_deref(), Some("[33333]"), "with the one before it would be 13 bytes");
    shard.put(small.publish("4444444444"));
    assert_eq!(shard.state(2).as_deref(), Some("[4444444444]"));
    assert_eq!(shard.commit(small.publish("55555555555")), Err(CommitError::TooLarge));
}

pub fn b15_a_map_refuses_what_exceeds_its_bounds(make: Factory<'_>) {
    let broker = make();
    let mut shard = Shard::attach(&broker);
    let few = Kept::new(Mode::Map).called("few").limit(2);
    shard.follow(1, &few);
    shard.put_all(&few, ["{\"a\":1,\"b\":1}", "{\"b\":2}"]);
    assert_eq!(shard.commit(few.publish("{\"b\":3,\"c\":3}")), Err(CommitError::TooLarge));
    assert_eq!(shard.state(1).as_deref(), Some("{\"a\":1,\"b\":2}"), "nothing of it was done");
    shard.put(few.publish("{\"a\":null}"));
    shard.put(few.publish("{\"c\":4}"));
    assert_eq!(shard.state(1).as_deref(), Some("{\"b\":2,\"c\":4}"), "there is room again");

    let small = Kept::new(Mode::Map).called("small").max_bytes(10);
    shard.follow(2, &small);
    shard.put(small.publish("{\"name\":123456}"));
    assert_eq!(shard.commit(small.publish("{\"name\":1234567}")), Err(CommitError::TooLarge));
    assert_eq!(shard.commit(small.publish("{\"n\":1}")), Err(CommitError::TooLarge));
    shard.put(small.publish("{\"name\":12345}"));
    assert_eq!(shard.state(2).as_deref(), Some("{\"name\":12345}"));
}

pub fn b17_a_topic_is_neither_written_nor_read_in_another_mode(make: Factory<'_>) {
    let broker = make();
    let mut shard = Shard::attach(&broker);
    let modes = [Mode::Value, Mode::Log, Mode::List, Mode::Map];
    for (mode, name) in modes.into_iter().zip(["v", "l", "a", "m"]) {
        let kept = Kept::new(mode).called(name);
        let tip = shard.put(kept.publish("{\"a\":1}"));
        for (tag, other) in (2..).zip(modes.into_iter().filter(|other| *other != mode)) {
            let other = Kept::new(other).called(name);
            assert_eq!(shard.commit(other.publish("{\"a\":2}")), Err(CommitError::Mode));
            assert_eq!(shard.read(&other, newest(1)).err(), Some(CommitError::Mode));
            let mut newcomer = Shard::attach(&broker);
            newcomer.follow(tag, &other);
            assert_eq!(newcomer.ask(tag, Since::Nothing, None).err(), Some(CommitError::Mode));
        }
        assert_eq!(shard.read(&kept, newest(1)).map(|page| page.position), Ok(tip), "nothing has changed");
    }
}

pub fn b18_publications_are_read_in_pages_exclusive_of_both_bounds(make: Factory<'_>) {
    let broker = make();
    let mut shard = Shard::attach(&broker);
    let kept = Kept::new(Mode::Log).limit(2000);
    let positions = shard.put_all(&kept, 1..=1100);
    let at = |number: usize| Since::Position(positions[number - 1]);
    let mut page = |since, before, limit| {
        let page = shard.read(&kept, Range { since, before, limit }).expect("a page");
        assert_eq!(page.position, positions[1099], "each says where the topic is");
        payloads(&page.publications)
    };
    let nothing = Since::Nothing;
    assert_eq!(page(nothing, nothing, 3), texts(1098..=1100), "the newest, oldest first");
    assert_eq!(page(nothing, at(1098), 3), texts(1095..=1097), "and backwards from there");
    assert_eq!(page(at(5), nothing, 3), texts(6..=8), "forwards");
    assert_eq!(page(at(5), at(8), 10), texts(6..=7), "between");
    assert_eq!(page(at(8), at(5), 10), [""; 0]);
    assert_eq!(page(at(1100), nothing, 10), [""; 0], "it is at the end");
    assert_eq!(page(nothing, at(1), 10), [""; 0], "it is at the beginning");
    assert_eq!(page(nothing, nothing, 5000), texts(101..=1100), "a thousand at most");
    assert_eq!(page(nothing, nothing, 0), [""; 0]);

    let mut back = Vec::new();
    let mut before = nothing;
    loop {
        let read = shard.read(&kept, Range { since: nothing, before, limit: 300 }).expect("a page");
        let Some(first) = read.publications.first() else { break };
        before = Since::Position(first.position.expect("what is stored has a position"));
        back.splice(0..0, payloads(&read.publications));
    }
    assert_eq!(back, texts(1..=1100), "page by page it is all there is");
}

pub fn b18_a_page_says_whether_it_follows(make: Factory<'_>) {
    let broker = make();
    let mut shard = Shard::attach(&broker);
    let kept = Kept::new(Mode::Log).limit(10);
    let positions = shard.put_all(&kept, 1..=60);
    let mut page = |since| {
        let page = shard.read(&kept, Range { since, before: Since::Nothing, limit: 4 }).expect("a page");
        (page.recovered, payloads(&page.publications))
    };
    let newest = texts(57..=60);
    assert_eq!(page(Since::Nothing), (None, newest.clone()));
    assert_eq!(page(Since::Position(positions[52])), (Some(Ok(())), texts(54..=57)));
    assert_eq!(page(Since::Position(positions[5])), (Some(Err(Unrecovered::Expired)), newest.clone()));
    assert_eq!(page(Since::Garbage), (Some(Err(Unrecovered::Reset)), newest.clone()));
    let ahead = Position { offset: 70, ..positions[59] };
    assert_eq!(page(Since::Position(ahead)), (Some(Err(Unrecovered::Forked)), newest));
}

pub fn b18_what_has_a_state_is_read_too(make: Factory<'_>) {
    let broker = make();
    let mut shard = Shard::attach(&broker);
    let mut read = |kept: &Kept, range| payloads(&shard.read(kept, range).expect("a page").publications);
    let (value, list, map) = (
        Kept::new(Mode::Value).called("v"),
        Kept::new(Mode::List).called("a").limit(3),
        Kept::new(Mode::Map).called("m"),
    );
    for kept in [&value, &list, &map] {
        assert_eq!(read(kept, newest(10)), [""; 0], "nobody wrote it");
    }
    let mut writer = Shard::attach(&broker);
    for kept in [&value, &list, &map] {
        writer.put_all(kept, (1..=20).map(|number| format!("{{\"n\":{number}}}")));
    }
    assert_eq!(read(&value, newest(10)), ["{\"n\":20}"], "the last one");
    assert_eq!(read(&list, newest(10)), ["{\"n\":18}", "{\"n\":19}", "{\"n\":20}"], "item by item");
    assert_eq!(read(&map, newest(10)), ["{\"n\":20}"], "the whole");
}

pub fn b19_a_clearing_of_a_state_takes_its_place(make: Factory<'_>) {
    let broker = make();
    for (mode, name, versions) in [
        (Mode::List, "a", ["[{\"a\":1}]", "[]", "[{\"b\":2}]"]),
        (Mode::Map, "m", ["{\"a\":1}", "{}", "{\"b\":2}"]),
    ] {
        let (mut one, mut two) = (Shard::attach(&broker), Shard::attach(&broker));
        let kept = Kept::new(mode).called(name);
        one.follow(1, &kept);
        two.follow(2, &kept);
        let changes = [kept.publish("{\"a\":1}"), kept.change(Change::Clear, ""), kept.publish("{\"b\":2}")];
        for (change, version) in changes.into_iter().zip(versions) {
            let position = one.put(change);
            for (shard, tag) in [(&mut one, 1), (&mut two, 2)] {
                let heard = shard.hear_until(tag, position);
                assert_eq!(payloads(&heard), [version], "{mode:?}: whole, and once");
                assert_eq!(heard[0].envelope.origin, None, "{mode:?}: everybody gets it");
            }
        }
    }
}

/// What a shard hears of a topic: publications as their text, a gap as itself.
fn next_of(shard: &mut Shard, tag: u64) -> Result<String, Gap> {
    shard.first(|event| match event {
        Event::Publication(heard, publication) if *heard == Tag(tag) => Some(Ok(payload(publication))),
        Event::Missed(heard, gap) if *heard == Tag(tag) => Some(Err(*gap)),
        _ => None,
    })
}

pub fn b19_a_clearing_and_a_forgetting_of_a_log_are_told_in_their_place(make: Factory<'_>) {
    let broker = make();
    for (mode, name) in [(Mode::Log, "l"), (Mode::Value, "v")] {
        let (mut one, mut two) = (Shard::attach(&broker), Shard::attach(&broker));
        let kept = Kept::new(mode).called(name);
        one.follow(1, &kept);
        two.follow(2, &kept);
        let first = one.put(kept.publish("1"));
        let cleared = one.put(kept.change(Change::Clear, ""));
        let old = one.recover(1, Since::Position(first), None);
        assert_eq!(
            (old.recovered, old.position),
            (Some(Err(Unrecovered::Expired)), Some(cleared)),
            "{mode:?}"
        );
        let empty = one.recover(1, Since::Position(cleared), Some(10));
        assert_eq!(empty.recovered, Some(Ok(())), "{mode:?}");
        assert!(one.recover(1, Since::Nothing, Some(10)).publications.is_empty(), "{mode:?}");
        assert_eq!(one.state(1), None, "{mode:?}: nothing is stored");
        let second = one.put(kept.publish("2"));
        let forgotten = one.put(kept.change(Change::Forget(second), ""));
        one.put(kept.publish("3"));
        let gap = |to| Err(Gap { from: None, to: Some(to), reason: GapReason::Reset });
        let expected =
            [Ok("1".to_owned()), gap(cleared), Ok("2".to_owned()), gap(forgotten), Ok("3".to_owned())];
        for (shard, tag) in [(&mut one, 1), (&mut two, 2)] {
            let heard: Vec<_> = (0..expected.len()).map(|_| next_of(shard, tag)).collect();
            assert_eq!(heard, expected, "{mode:?}");
        }
        if mode == Mode::Log {
            let left = one.recover(1, Since::Nothing, Some(10)).publications;
            assert_eq!(payloads(&left), ["2", "3"], "what is forgotten before stays itself");
            let resumed = one.recover(1, Since::Position(second), None);
            assert_eq!(resumed.recovered, Some(Ok(())), "it has all that came since");
            assert_eq!(payloads(&resumed.publications), ["3"]);
        }
    }
}

pub fn b19_a_replacement_takes_the_place_of_all_members(make: Factory<'_>) {
    let broker = make();
    let mut shard = Shard::attach(&broker);
    let map = Kept::new(Mode::Map).called("m").limit(2);
    shard.follow(1, &map);
    shard.put(map.publish("{\"a\":1,\"b\":2}"));
    shard.put(map.change(Change::Replace, "{\"c\":3,\"d\":4,\"e\":null}"));
    assert_eq!(shard.state(1).as_deref(), Some("{\"c\":3,\"d\":4}"));
    let more = map.change(Change::Replace, "{\"a\":1,\"b\":2,\"c\":3}");
    assert_eq!(shard.commit(more), Err(CommitError::TooLarge));
    let end = shard.put(map.publish("{\"d\":5}"));
    let heard = shard.hear_until(1, end);
    assert_eq!(payload(heard.last().expect("the end was heard")), "{\"c\":3,\"d\":5}");

    let value = Kept::new(Mode::Value).called("v");
    shard.follow(2, &value);
    shard.put(value.publish("1"));
    let end = shard.put(value.change(Change::Replace, "2"));
    assert_eq!(payloads(&shard.hear_until(2, end)), ["1", "2"]);
    assert_eq!(shard.state(2).as_deref(), Some("2"));
}

pub fn b19_a_list_forgets_what_is_older(make: Factory<'_>) {
    let broker = make();
    let mut shard = Shard::attach(&broker);
    let kept = Kept::new(Mode::List).limit(3);
    shard.follow(1, &kept);
    let positions = shard.put_all(&kept, 1..=3);
    let forgotten = shard.put(kept.change(Change::Forget(positions[1]), ""));
    let heard = shard.hear_until(1, forgotten);
    assert_eq!(payload(heard.last().expect("the end was heard")), "[2,3]");
    let end = shard.put(kept.publish("4"));
    assert_eq!(payloads(&shard.hear_until(1, end)), ["[2,3,4]"], "a forgetting takes no item's room");
    assert_eq!(payloads(&shard.read(&kept, newest(10)).expect("a page").publications), texts(2..=4));
}

pub fn b19_only_a_position_of_the_history_can_be_forgotten_before(make: Factory<'_>) {
    let broker = make();
    let mut shard = Shard::attach(&broker);
    let kept = Kept::new(Mode::Log).limit(3);
    shard.follow(1, &kept);
    let positions = shard.put_all(&kept, 1..=30);
    let tip = positions[29];
    let elsewhere = [
        positions[0],
        Position { mark: dunlin_protocol::Mark(tip.mark.0 ^ 1), ..tip },
        Position { offset: 31, ..tip },
        Position::origin(tip.epoch),
        Position { epoch: dunlin_protocol::Epoch(*b"another!"), ..tip },
    ];
    for position in elsewhere {
        assert_eq!(shard.commit(kept.change(Change::Forget(position), "")), Err(CommitError::Stale));
    }
    assert_eq!(shard.recover(1, Since::Nothing, Some(10)).position, Some(tip), "nothing has changed");
}
