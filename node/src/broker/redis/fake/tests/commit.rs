//! `commit.lua`, answer by answer, on both servers.

use super::super::resp::Word;
use super::beside::{Twins, on_both};
use super::calls::{CHANNEL, Commit, Merge, birth, head, item, key, read_from, read_last};

/// Item number `n` of a topic, with mark `m<n>` and an id of its own.
fn numbered(number: usize) -> Word {
    item(&mark(number), &format!("id{number}"), b"payload")
}

fn mark(number: usize) -> String {
    format!("m{number:03}")
}

/// Commits items one by one, from number 1 on.
fn filled(twins: &mut Twins<'_>, count: usize, like: &Commit) {
    for number in 1..=count {
        let commit = Commit { items: vec![numbered(number)], ..like.clone() };
        assert_eq!(twins.answer(&commit.words()), ["OK", &format!("birth123{number}")]);
    }
}

fn stored(twins: &mut Twins<'_>) -> Vec<String> {
    twins.ask_for("lrange t0:s 0 -1")
}

// redis 1.3
#[test]
fn a_batch_is_stored_numbered_and_told_with_the_mark_before_it() {
    on_both(|twins| {
        twins.listen(CHANNEL);
        let items = [numbered(1), numbered(2)];
        assert_eq!(twins.answer(&Commit::of(items.clone()).words()), ["OK", "birth1231"]);
        assert_eq!(twins.answer(&Commit::of([numbered(3)]).words()), ["OK", "birth1233"]);
        assert_eq!(twins.ask_for("get t0:h"), ["1lbirth123m0033"]);
        let shown = |item: Word| item.escape_ascii().to_string();
        assert_eq!(stored(twins), [1, 2, 3].map(|number| shown(numbered(number))));
        let first = [b"Pbirth123\0\0\0\0\0\0\0\0\0\0\0\x01", &items.concat()[..]].concat();
        let second = [b"Pbirth123m002\0\0\0\0\0\0\0\x03", &numbered(3)[..]].concat();
        assert_eq!(twins.heard(), [first, second]);
    });
}

// redis 1.3
#[test]
fn a_commit_is_four_commands_whatever_its_size() {
    on_both(|twins| {
        filled(twins, 1, &Commit::of([]));
        for count in [1, 4, 64] {
            let commit = Commit::of((2..2 + count).map(numbered));
            let calls = twins.commands_of(&commit.words());
            assert_eq!(calls, ["get 1", "publish 1", "rpush 1", "set 1"], "{count} items");
        }
    });
}

// redis 0.3
#[test]
fn a_head_outlives_its_list_and_lives_anew_with_every_commit() {
    on_both(|twins| {
        filled(twins, 1, &Commit::of([]));
        twins.ask_for("expire t0:h 50");
        twins.ask_for("expire t0:s 50");
        filled_on(twins, 2, false);
        assert_eq!((ttl(twins, "t0:h"), ttl(twins, "t0:s")), (2000, 50));
        filled_on(twins, 3, true);
        assert_eq!((ttl(twins, "t0:h"), ttl(twins, "t0:s")), (2000, 1000));
        twins.ask_for("del t0:s");
        filled_on(twins, 4, false);
        assert_eq!(ttl(twins, "t0:s"), 1000, "a new list");
        assert_eq!(twins.ask_for("get t0:h"), ["1lbirth123m0044"], "the numbering goes on");
    });
}

fn filled_on(twins: &mut Twins<'_>, number: usize, is_renewed: bool) {
    let commit = Commit { is_renewed, ..Commit::of([numbered(number)]) };
    assert_eq!(twins.answer(&commit.words()), ["OK", &format!("birth123{number}")]);
}

/// In seconds, rounded up to what a test has said: it is that less a moment.
fn ttl(twins: &mut Twins<'_>, key: &str) -> u32 {
    let seconds: u32 = twins.ask_for(&format!("ttl {key}"))[0][1..].parse().expect("a key that expires");
    seconds.next_multiple_of(50)
}

// redis 1.4
#[test]
fn without_a_head_what_the_list_holds_goes_and_a_new_epoch_begins() {
    on_both(|twins| {
        filled(twins, 3, &Commit::of([]));
        twins.ask_for("del t0:h");
        let commit =
            Commit { birth: "other456", again: "birth123m0022".to_owned(), ..Commit::of([numbered(9)]) };
        assert_eq!(twins.answer(&commit.words()), ["OK", "other4561"]);
        assert_eq!((stored(twins).len(), twins.ask_for("get t0:h")), (1, vec!["1lother456m0091".to_owned()]));
    });
}

// redis 1.5
#[test]
fn a_list_has_never_fewer_than_its_limit_nor_more_than_a_quarter_and_four_above_it() {
    on_both(|twins| {
        for (limit, step) in [(1, 1), (1, 3), (3, 1), (10, 7), (100, 64), (16, 40)] {
            twins.ask_for("del t0:h t0:s");
            let mut lengths = Vec::new();
            for round in 0..40 {
                let batch = Commit::of((round * step + 1..=(round + 1) * step).map(numbered));
                twins.answer(&Commit { limit, ..batch }.words());
                let length = twins.ask_for("llen t0:s")[0][1..].parse::<usize>().expect("a number");
                assert!(length >= limit.min((round + 1) * step), "{length} of {limit}");
                assert!(length <= limit + limit / 4 + 4, "{length} of {limit}");
                lengths.push(length);
            }
            assert!(
                lengths.windows(2).any(|pair| pair[1] < pair[0] || pair == [limit, limit]),
                "it was trimmed"
            );
            let newest = numbered(40 * step).escape_ascii().to_string();
            assert_eq!(stored(twins).last(), Some(&newest));
        }
    });
}

#[test]
fn items_of_40_kib_pass_whole() {
    on_both(|twins| {
        twins.listen(CHANNEL);
        let noise: Vec<u8> =
            (0..40 * 1024_u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
        let items: Vec<Word> = (0..8).map(|n| item(&mark(n), &format!("id{n}"), &noise)).collect();
        assert_eq!(twins.answer(&Commit::of(items.clone()).words()), ["OK", "birth1231"]);
        let head = b"Pbirth123\0\0\0\0\0\0\0\0\0\0\0\x01";
        assert!(twins.heard() == [[&head[..], &items.concat()].concat()], "the frame is whole");
        let page = twins.answer(&read_last("t0", 8, usize::MAX));
        let shown: Vec<String> = items.iter().map(|item| item.escape_ascii().to_string()).collect();
        assert!(page[2..] == shown, "the page is whole");
    });
}

#[test]
fn a_publication_with_a_known_key_is_done_already() {
    on_both(|twins| {
        filled(twins, 2, &Commit::of([]));
        let commit = Commit { is_idempotent: true, ..Commit::of([numbered(3)]) };
        assert_eq!(twins.answer(&commit.words()), ["OK", "birth1233"]);
        assert_eq!(twins.ask_for("get t0:i"), ["birth123m0033"]);
        assert_eq!(ttl(twins, "t0:i"), 300);
        let anew = Commit { items: vec![item("zzzz", "other", b"")], ..commit };
        assert_eq!(twins.answer(&anew.words()), ["DONE", "birth1233", "m003"]);
        assert_eq!(stored(twins).len(), 3);
        twins.ask_for("set t0:i garbage");
        assert_eq!(twins.answer(&anew.words()), ["CORRUPT"]);
    });
}

// redis 0.7
#[test]
fn a_batch_that_is_repeated_is_found_and_its_marks_are_those_of_the_first_attempt() {
    on_both(|twins| {
        filled(twins, 5, &Commit::of([]));
        let batch = [numbered(6), numbered(7), numbered(8)];
        twins.answer(&Commit::of(batch).words());
        twins.answer(&Commit::of([numbered(9)]).words());
        let fresh = |number: usize| item("zzzz", &format!("id{number}"), b"payload");
        let repeated = |again: &str| Commit { again: again.into(), ..Commit::of([6, 7, 8].map(fresh)) };
        let done = ["DONE", "birth1236", "m006m007m008"];
        for again in
            ["birth123m0055", "birth123m0000", "other456m0077", "birth123zzzz7", "birth123zzzz99", "?"]
        {
            assert_eq!(twins.answer(&repeated(again).words()), done, "since {again}");
        }
        assert_eq!(stored(twins).len(), 9);
        assert_eq!(
            twins.answer(&repeated("birth123m0099").words()),
            ["OK", "birth12310"],
            "it came later than that"
        );
    });
}

// redis 0.7
#[test]
fn a_batch_that_never_came_is_appended_when_it_is_repeated() {
    on_both(|twins| {
        filled(twins, 5, &Commit::of([]));
        for (number, again) in [
            (6, "birth123m0033"),
            (7, "?"),
            (8, "birth123m0077"),
            (9, "birth123m00999"),
            (10, "birth123zzzz9"),
        ] {
            let commit = Commit { again: again.into(), ..Commit::of([numbered(number)]) };
            assert_eq!(twins.answer(&commit.words()), ["OK", &format!("birth123{number}")]);
        }
    });
}

// redis 0.7
#[test]
fn a_batch_that_may_have_been_trimmed_is_neither_done_nor_appended() {
    on_both(|twins| {
        filled(twins, 20, &Commit { limit: 4, ..Commit::of([]) });
        let asked = |items: Vec<Word>, again: &str| Commit { again: again.into(), ..Commit::of(items) };
        for again in ["birth123m0000", "birth123m0022", "other456m02020", "birth123zzzz20", "?"] {
            assert_eq!(twins.answer(&asked(vec![numbered(1)], again).words()), ["UNKNOWN"], "since {again}");
        }
        let half = vec![numbered(20), numbered(21)];
        assert_eq!(
            twins.answer(&asked(half, "birth123m01818").words()),
            ["UNKNOWN"],
            "a batch is there whole"
        );
        twins.ask_for("set t0:h 1lbirth123m0202000");
        assert_eq!(
            twins.answer(&asked(vec![numbered(30)], "birth123m975975").words()),
            ["UNKNOWN"],
            "too far back"
        );
        assert_eq!(twins.ask_for("get t0:h"), ["1lbirth123m0202000"]);
    });
}

// redis 1.9
#[test]
fn what_is_cleared_goes_before_the_batch_and_the_numbering_goes_on() {
    on_both(|twins| {
        filled(twins, 3, &Commit::of([]));
        twins.ask_for("expire t0:s 50");
        let commit = Commit { first: "clear".to_owned(), ..Commit::of([numbered(4)]) };
        assert_eq!(twins.answer(&commit.words()), ["OK", "birth1234"]);
        assert_eq!((stored(twins).len(), ttl(twins, "t0:s")), (1, 1000));
    });
}

// redis 1.9
#[test]
fn items_before_one_that_is_there_go_and_others_leave_all_as_it_was() {
    on_both(|twins| {
        filled(twins, 6, &Commit::of([]));
        let removing = |first: &str| Commit { first: first.into(), ..Commit::of([numbered(7)]) };
        for stale in [
            "beforebirth123m0034",
            "beforeother456m0033",
            "beforebirth123m0077",
            "beforebirth123m0060",
            "beforebirth123m00699",
        ] {
            assert_eq!(twins.answer(&removing(stale).words()), ["STALE"], "{stale}");
            assert_eq!((stored(twins).len(), twins.ask_for("get t0:h")), (6, vec!["1lbirth123m0066".into()]));
        }
        assert_eq!(twins.answer(&removing("beforebirth123m0044").words()), ["OK", "birth1237"]);
        let kept = [4, 5, 6, 7].map(|number| numbered(number).escape_ascii().to_string());
        assert_eq!(stored(twins), kept);
        assert_eq!(twins.answer(&removing("beforebirth123m0033").words()), ["STALE"], "it has gone itself");
        let unborn = Commit { topic: "t1", ..removing("beforebirth123m0011") };
        assert_eq!(twins.answer(&unborn.words()), ["STALE"]);
        assert_eq!(twins.ask_for("exists t1:h t1:s"), [":0"]);
    });
}

#[test]
fn a_topic_of_another_mode_is_left_alone() {
    on_both(|twins| {
        filled(twins, 1, &Commit::of([]));
        let other = Commit { mode: 'v', again: "?".to_owned(), ..Commit::of([numbered(1)]) };
        assert_eq!(twins.answer(&other.words()), ["MODE", "l"]);
        twins.ask_for("hset t1:k f 1");
        let commit = Commit { topic: "t1", ..Commit::of([numbered(1)]) };
        assert_eq!(twins.answer(&commit.words()), ["MODE", "m"]);
        assert_eq!((twins.ask_for("exists t1:h t1:s"), stored(twins).len()), (vec![":0".to_owned()], 1));
    });
}

#[test]
fn a_head_that_is_none_is_left_alone() {
    on_both(|twins| {
        for bad in ["x", "1lbirth123m001", "2lbirth123m0011", "1lbirth123m0011x", "1lbirth123m001-1"]
            .into_iter()
            .chain(["1lbirth123m001100000000000000", "1lbirth123m0011e9", "", "11111"])
        {
            twins.answer(&[b"set".to_vec(), key("t0", 'h'), bad.into()]);
            assert_eq!(twins.answer(&Commit::of([numbered(1)]).words()), ["CORRUPT"], "{bad}");
            assert_eq!((twins.ask_for("get t0:h"), twins.ask_for("exists t0:s")), (vec![bad.into()], none()));
        }
    });
}

fn none() -> Vec<String> {
    vec![":0".to_owned()]
}

// redis 0.4
#[test]
fn numbers_up_to_1e14_are_written_in_full_and_none_beyond() {
    on_both(|twins| {
        twins.listen(CHANNEL);
        let high = head('l', "birth123", "m001", 99_999_999_999_997);
        twins.answer(&[b"set".to_vec(), key("t0", 'h'), high]);
        let two = || Commit::of([numbered(2), numbered(3)]);
        assert_eq!(twins.answer(&two().words()), ["OK", "birth12399999999999998"]);
        assert_eq!(twins.ask_for("get t0:h"), ["1lbirth123m00399999999999999"]);
        let number = 99_999_999_999_998_u64.to_be_bytes();
        assert_eq!(twins.heard()[0][..21], [b"Pbirth123m001", &number[..]].concat());
        let repeated = Commit { again: "birth123m00199999999999997".to_owned(), ..two() };
        assert_eq!(twins.answer(&repeated.words()), ["DONE", "birth12399999999999998", "m002m003"]);
        assert_eq!(twins.answer(&two().words()), ["CORRUPT"]);
        assert_eq!(twins.ask_for("llen t0:s"), [":2"]);
    });
}

#[test]
fn keys_of_another_type_are_an_error_and_nothing_is_written() {
    on_both(|twins| {
        for kind in ['h', 's', 'i'] {
            for command in ["del t0:h t0:s t0:i", "set t0:h 1lbirth123m0011", "rpush t0:s x"] {
                twins.ask_for(command);
            }
            twins.ask_for(&format!("del t0:{kind}"));
            twins.ask_for(&format!("hset t0:{kind} a b"));
            let before = state(twins);
            for (again, first) in [("", ""), ("?", ""), ("", "beforebirth123m0011")] {
                let (again, first) = (again.to_owned(), first.to_owned());
                let commit = Commit { is_idempotent: true, again, first, ..Commit::of([numbered(2)]) };
                assert!(twins.answer(&commit.words())[0].starts_with("-WRONGTYPE"), "t0:{kind} is a hash");
                assert_eq!(state(twins), before);
            }
        }
    });
}

/// All that is stored for a topic.
fn state(twins: &mut Twins<'_>) -> Vec<Vec<String>> {
    let looks = ["get t0:h", "lrange t0:s 0 -1", "get t0:i", "hgetall t0:h", "hgetall t0:s", "hgetall t0:i"];
    looks.map(|look| twins.ask_for(look)).into()
}

// redis 0.4
#[test]
fn a_full_redis_refuses_what_writes_before_it_has_begun_and_can_still_be_read() {
    on_both(|twins| {
        filled(twins, 3, &Commit::of([]));
        twins.watch("config set maxmemory 1");
        let cleared = Commit { first: "clear".to_owned(), ..Commit::of([numbered(4)]) };
        let refused = [
            cleared.words(),
            birth("t1", 'l', "birth123"),
            Merge { topic: "t2", ..Merge::of(1, &[], &[]) }.words(),
        ];
        for words in refused {
            let answer = twins.tell_real(&words).shown();
            assert!(answer.starts_with("-OOM"), "{answer}");
        }
        let page = twins.tell_real(&read_from("t0", 2, 10, 1000));
        assert_eq!(page.items().len(), 4, "{}", page.shown());
        assert_eq!(twins.ask_for("dbsize"), [":2"]);
    });
}
