//! What a newcomer is told (B-13), with the rows of redis 2.6.

use std::thread;

use dunlin_protocol::{Epoch, Mark, Position, Unrecovered};

use super::remembering::{Kept, offsets, payload, payloads, position, texts};
use super::{Command, Event, Factory, Shard};
use crate::config::Mode;
use crate::history::{Asked, Change, Since};
use crate::hub::Tag;

pub fn b13_a_recovery_is_answered_in_its_place(make: Factory<'_>) {
    let broker = make();
    let kept = Kept::new(Mode::Log).limit(1000);
    let (mut listener, mut speaker) = (Shard::attach(&broker), Shard::attach(&broker));
    listener.follow(1, &kept);
    let mut last = listener.recover(1, Since::Nothing, None).position.expect("it can be found out");
    let (rounds, each) = (60, 15); // Never more behind than one recovery may bring.
    thread::scope(|scope| {
        let (kept, speaker) = (&kept, &mut speaker);
        scope.spawn(move || speaker.put_all(kept, 0..rounds * each));
        let ask = |since| Command::Recover(9, Tag(1), Asked { since: Since::Position(since), replay: None });
        let (mut heard, mut answered) = (0, 0);
        listener.submit([ask(last)]);
        let mut asked_for = last;
        while heard < rounds * each || answered < rounds {
            match listener.next() {
                Event::Publication(Tag(1), publication) => {
                    let next = position(&publication);
                    assert_eq!(
                        (next.epoch, next.offset),
                        (last.epoch, last.offset + 1),
                        "nothing is missing"
                    );
                    last = next;
                    heard += 1;
                }
                Event::Recovered(9, answer) => {
                    let recovery = (*answer).expect("nothing refuses it");
                    assert_eq!(recovery.position, Some(last), "all before it was heard, nothing after it");
                    assert_eq!(recovery.recovered, Some(Ok(())));
                    let missed: Vec<u64> = (asked_for.offset + 1..=last.offset).collect();
                    assert_eq!(offsets(&recovery.publications), missed);
                    answered += 1;
                    asked_for = last;
                    if answered < rounds {
                        listener.submit([ask(last)]);
                    }
                }
                event => panic!("not expected: {event:?}"),
            }
        }
    });
}

pub fn b13_a_position_of_the_history_is_continued(make: Factory<'_>) {
    let broker = make();
    let kept = Kept::new(Mode::Log).limit(10).replay(2);
    let mut shard = Shard::attach(&broker);
    shard.follow(1, &kept);
    let positions = shard.put_all(&kept, 1..=60);
    for missed in 0..10 {
        let recovery = shard.recover(1, Since::Position(positions[59 - missed]), Some(1));
        assert_eq!(recovery.position, Some(positions[59]));
        assert_eq!(recovery.recovered, Some(Ok(())));
        assert_eq!(
            payloads(&recovery.publications),
            texts(61 - missed..=60),
            "all since, however many are asked for"
        );
        let given: Vec<Position> = recovery.publications.iter().map(position).collect();
        assert_eq!(given, positions[60 - missed..], "each with its position");
        assert!(recovery.state.is_none(), "a log has no state");
    }
}

pub fn b13_a_position_that_is_not_in_the_history_is_never_claimed_to_be(make: Factory<'_>) {
    let broker = make();
    let kept = Kept::new(Mode::Log).limit(10).replay(2);
    let mut shard = Shard::attach(&broker);
    shard.follow(1, &kept);
    let positions = shard.put_all(&kept, 1..=60);
    let tip = positions[59];
    let marked = |position: Position| Position { mark: Mark(position.mark.0 ^ 1), ..position };
    let ahead = |offset| Position { offset, mark: Mark(5), ..tip };
    let rows = [
        (Since::Position(marked(tip)), Unrecovered::Forked),
        (Since::Position(marked(positions[55])), Unrecovered::Forked),
        (Since::Position(ahead(61)), Unrecovered::Forked),
        (Since::Position(ahead(u64::MAX / 2)), Unrecovered::Forked),
        (Since::Position(Position { mark: Mark(1), ..Position::origin(tip.epoch) }), Unrecovered::Forked),
        (Since::Position(positions[9]), Unrecovered::Expired),
        (Since::Position(marked(positions[9])), Unrecovered::Expired),
        (Since::Position(Position::origin(tip.epoch)), Unrecovered::Expired),
        (Since::Position(Position { epoch: Epoch(*b"another!"), ..tip }), Unrecovered::Reset),
        (Since::Position(Position::origin(Epoch(*b"another!"))), Unrecovered::Reset),
        (Since::Garbage, Unrecovered::Reset),
    ];
    for (since, why) in rows {
        for (replay, replayed) in [(None, 2), (Some(3), 3)] {
            let recovery = shard.recover(1, since, replay);
            assert_eq!(recovery.recovered, Some(Err(why)), "{since:?}");
            assert_eq!(recovery.position, Some(tip), "{since:?}");
            let last = texts(61 - replayed..=60);
            assert!(
                payloads(&recovery.publications).ends_with(&last),
                "{since:?}: at least what is replayed"
            );
        }
    }
}

pub fn b13_a_topic_that_nobody_wrote_has_a_position(make: Factory<'_>) {
    let broker = make();
    for (mode, name) in [(Mode::Value, "v"), (Mode::Log, "l"), (Mode::List, "a"), (Mode::Map, "m")] {
        let mut shard = Shard::attach(&broker);
        let kept = Kept::new(mode).called(name);
        shard.follow(1, &kept);
        let unwritten = shard.recover(1, Since::Nothing, Some(5));
        let origin = unwritten.position.expect("it can be found out");
        assert_eq!(origin, Position::origin(origin.epoch), "{mode:?}");
        assert!(
            unwritten.recovered.is_none() && unwritten.state.is_none() && unwritten.publications.is_empty()
        );
        let again = shard.recover(1, Since::Position(origin), None);
        assert_eq!((again.position, again.recovered), (Some(origin), Some(Ok(()))), "{mode:?}");
        let first = shard.put(kept.publish("{\"a\":1}"));
        assert_eq!((first.epoch, first.offset), (origin.epoch, 1), "{mode:?}: it is the first of that life");
        let written = shard.recover(1, Since::Position(origin), None);
        assert_eq!(written.position, Some(first));
        if mode == Mode::Log {
            assert_eq!(written.recovered, Some(Ok(())));
            assert_eq!(payloads(&written.publications), ["{\"a\":1}"]);
        }
        assert_eq!(written.state.is_some(), mode != Mode::Log, "{mode:?}");
    }
}

pub fn b13_a_newcomer_to_a_log_gets_as_many_as_it_asks_for(make: Factory<'_>) {
    let broker = make();
    let kept = Kept::new(Mode::Log).limit(10).replay(2);
    let mut shard = Shard::attach(&broker);
    shard.follow(1, &kept);
    shard.put_all(&kept, 1..=5);
    let replayed = |shard: &mut Shard, replay| {
        let recovery = shard.recover(1, Since::Nothing, replay);
        assert_eq!(recovery.recovered, None, "it had nothing");
        payloads(&recovery.publications)
    };
    assert_eq!(replayed(&mut shard, None), ["4", "5"], "the topic's own number");
    assert_eq!(replayed(&mut shard, Some(0)), [""; 0]);
    assert_eq!(replayed(&mut shard, Some(3)), ["3", "4", "5"]);
    assert_eq!(replayed(&mut shard, Some(100)), texts(1..=5), "no more than there are");
    shard.put_all(&kept, 6..=50);
    assert_eq!(replayed(&mut shard, Some(100)), texts(41..=50), "no more than it keeps");
}

pub fn b13_more_than_may_be_sent_at_once_is_not_claimed_to_be_all(make: Factory<'_>) {
    let broker = make();
    let mut shard = Shard::attach(&broker);
    let many = Kept::new(Mode::Log).called("many").limit(2000);
    shard.follow(1, &many);
    let positions = shard.put_all(&many, 1..=1001);
    let all_but_one = shard.recover(1, Since::Position(positions[0]), None);
    assert_eq!(all_but_one.recovered, Some(Ok(())));
    assert_eq!(payloads(&all_but_one.publications), texts(2..=1001));
    let all = shard.recover(1, Since::Position(Position::origin(positions[0].epoch)), None);
    assert_eq!(all.recovered, Some(Err(Unrecovered::Expired)));
    assert!(texts(1..=1001).ends_with(&payloads(&all.publications)), "what comes is the last of it");
    assert!((1..=1000).contains(&all.publications.len()));

    let large = Kept::new(Mode::Log).called("large");
    shard.follow(2, &large);
    let item = "1".repeat(60 * 1024);
    let positions = shard.put_all(&large, std::iter::repeat_n(&item, 20));
    let few = shard.recover(2, Since::Position(positions[11]), None);
    assert_eq!((few.recovered, few.publications.len()), (Some(Ok(())), 8));
    let all = shard.recover(2, Since::Position(positions[0]), None);
    assert_eq!(all.recovered, Some(Err(Unrecovered::Expired)));
    let last = all.publications.last().map(position);
    assert_eq!(last, Some(positions[19]), "what comes is the last of it");
    assert!(all.publications.len() < 19);
}

pub fn b13_a_state_is_sent_unless_it_is_there_already(make: Factory<'_>) {
    let broker = make();
    let cases = [
        (Mode::Value, "v", "{\"b\":2}", None),
        (Mode::List, "a", "[{\"a\":1},{\"b\":2}]", Some("[]")),
        (Mode::Map, "m", "{\"a\":1,\"b\":2}", Some("{}")),
    ];
    for (mode, name, whole, emptied) in cases {
        let mut shard = Shard::attach(&broker);
        let kept = Kept::new(mode).called(name);
        shard.follow(1, &kept);
        let positions = shard.put_all(&kept, ["{\"a\":1}", "{\"b\":2}"]);
        let tip = positions[1];
        let newcomer = shard.recover(1, Since::Nothing, Some(5));
        assert_eq!((newcomer.position, newcomer.recovered), (Some(tip), None), "{mode:?}");
        assert_eq!(newcomer.state.as_ref().map(payload).as_deref(), Some(whole));
        assert!(newcomer.publications.is_empty(), "{mode:?}: replay is a log's");

        let same = shard.recover(1, Since::Position(tip), None);
        assert_eq!((same.recovered, same.state.is_none()), (Some(Ok(())), true), "{mode:?}");
        for (since, is_forged) in [(positions[0], false), (Position { mark: Mark(7), ..tip }, true)] {
            let behind = shard.recover(1, Since::Position(since), None);
            assert_eq!(behind.state.as_ref().map(payload).as_deref(), Some(whole), "{mode:?}");
            assert!(!is_forged || behind.recovered == Some(Err(Unrecovered::Forked)), "{mode:?}");
        }
        let garbage = shard.recover(1, Since::Garbage, None);
        assert_eq!(garbage.recovered, Some(Err(Unrecovered::Reset)), "{mode:?}");
        assert_eq!(garbage.state.as_ref().map(payload).as_deref(), Some(whole), "{mode:?}");

        shard.put(kept.change(Change::Clear, ""));
        assert_eq!(shard.state(1).as_deref(), emptied, "{mode:?}: an emptied array is sent");
    }
}
