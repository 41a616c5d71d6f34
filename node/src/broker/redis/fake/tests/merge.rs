//! `merge.lua`, answer by answer, on both servers.

use std::collections::BTreeMap;

use super::super::resp::Word;
use super::beside::{Twins, on_both};
use super::calls::{CHANNEL, Merge, birth, item};
use super::sequence::Author;

/// The fields of the map, and what else is in its hash; each by its name.
fn stored(twins: &mut Twins<'_>) -> (BTreeMap<String, String>, BTreeMap<String, String>) {
    let all = twins.ask_for("hgetall t0:k");
    let (pairs, _) = all.as_chunks::<2>();
    pairs
        .iter()
        .map(|[field, value]| (field.clone(), value.clone()))
        .partition(|(field, _)| field.starts_with('f'))
}

fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn merge(twins: &mut Twins<'_>, batch: u64, pairs: &[(&str, &str)], removed: &[&str]) -> Vec<String> {
    twins.answer(&Merge::of(batch, pairs, removed).words())
}

// redis 1.7
#[test]
fn a_change_is_stored_counted_numbered_and_told_with_the_mark_before_it() {
    on_both(|twins| {
        twins.listen(CHANNEL);
        assert_eq!(merge(twins, 1, &[("one", "1"), ("two", "22")], &[]), ["OK", "birth1231"]);
        let mut change = Merge::of(2, &[("two", "{}"), ("", "[3]")], &["one", "nope"]);
        (change.mark, change.item) = ("nnnn", item("nnnn", "2", b"the change"));
        assert_eq!(twins.answer(&change.words()), ["OK", "birth1232"]);
        let (fields, rest) = stored(twins);
        assert_eq!(fields, map(&[("ftwo", "{}"), ("f", "[3]")]));
        let known = [("#h", "1mbirth123nnnn2"), ("#n", "2"), ("#b", "8"), ("ia1", "2:birth123nnnn2")];
        assert_eq!(rest, map(&known));
        let first = [b"Pbirth123\0\0\0\0\0\0\0\0\0\0\0\x01", &item("mmmm", "1", b"{}")[..]].concat();
        let second = [b"Pbirth123mmmm\0\0\0\0\0\0\0\x02", &change.item[..]].concat();
        assert_eq!(twins.heard(), [first, second]);
    });
}

#[test]
fn a_change_is_few_commands() {
    on_both(|twins| {
        merge(twins, 1, &[("a", "1"), ("b", "2")], &[]);
        let setting = Merge::of(2, &[("a", "5"), ("c", "6")], &[]).words();
        assert_eq!(twins.commands_of(&setting), ["hmget 1", "hset 1", "publish 1"]);
        let removing = Merge { is_renewed: true, ..Merge::of(3, &[("a", "5")], &["b", "nope"]) }.words();
        assert_eq!(twins.commands_of(&removing), ["expire 1", "hdel 1", "hmget 1", "hset 1", "publish 1"]);
    });
}

// redis 0.3
#[test]
fn the_key_lives_anew_when_it_is_new_or_the_caller_says_so() {
    on_both(|twins| {
        merge(twins, 1, &[("a", "1")], &[]);
        let is_whole = |twins: &mut Twins<'_>| {
            let ttl: u32 = twins.ask_for("ttl t0:k")[0][1..].parse().expect("the key expires");
            ttl > 900
        };
        assert!(is_whole(twins));
        twins.ask_for("expire t0:k 50");
        merge(twins, 2, &[("a", "2")], &[]);
        assert!(!is_whole(twins));
        twins.answer(&Merge { is_renewed: true, ..Merge::of(3, &[("a", "3")], &[]) }.words());
        assert!(is_whole(twins));
    });
}

// redis 1.7
#[test]
fn a_repeated_batch_undoes_nothing_that_others_wrote_since() {
    on_both(|twins| {
        merge(twins, 7, &[("a", "1")], &[]);
        let other = Merge { incarnation: "b2", mark: "oooo", ..Merge::of(1, &[("a", "2")], &[]) };
        assert_eq!(twins.answer(&other.words()), ["OK", "birth1232"]);
        assert_eq!(merge(twins, 7, &[("a", "1")], &[]), ["DONE", "birth1231", "mmmm"]);
        assert_eq!(merge(twins, 6, &[("a", "1")], &[]), ["DONE", "birth1231", "mmmm"], "an older one still");
        assert_eq!(twins.answer(&other.words()), ["DONE", "birth1232", "oooo"]);
        assert_eq!(stored(twins).0, map(&[("fa", "2")]));
        assert_eq!(merge(twins, 10, &[("a", "3")], &[]), ["OK", "birth1233"], "10 comes after 7");
    });
}

#[test]
fn a_publication_with_a_known_key_is_done_already() {
    on_both(|twins| {
        let idempotent = |batch, json| Merge { is_idempotent: true, ..Merge::of(batch, &[("a", json)], &[]) };
        assert_eq!(twins.answer(&idempotent(1, "1").words()), ["OK", "birth1231"]);
        assert_eq!(twins.ask_for("get t0:i"), ["birth123mmmm1"]);
        assert_eq!(twins.answer(&idempotent(2, "2").words()), ["DONE", "birth1231", "mmmm"]);
        twins.ask_for("set t0:i garbage");
        assert_eq!(twins.answer(&idempotent(2, "2").words()), ["CORRUPT"]);
        assert_eq!(stored(twins).0, map(&[("fa", "1")]));
    });
}

// redis 1.7
#[test]
fn more_fields_or_bytes_than_allowed_are_refused_and_nothing_is_written() {
    on_both(|twins| {
        let small = |pairs: &[(&str, &str)], removed: &[&str]| {
            Merge { fields_max: 2, bytes_max: 10, ..Merge::of(1, pairs, removed) }.words()
        };
        assert_eq!(twins.answer(&small(&[("a", "1"), ("b", "2"), ("c", "3")], &[])), ["LIMIT"]);
        assert_eq!(twins.answer(&small(&[("a", "0123456789")], &[])), ["LIMIT"]);
        assert_eq!(twins.ask_for("exists t0:k t0:i"), [":0"]);
        assert_eq!(
            twins.answer(&small(&[("a", "012345678")], &[])),
            ["OK", "birth1231"],
            "ten bytes with its key"
        );
        let second = |pairs: &[(&str, &str)], removed: &[&str]| {
            Merge { fields_max: 2, bytes_max: 10, ..Merge::of(2, pairs, removed) }.words()
        };
        let before = stored(twins);
        assert_eq!(twins.answer(&second(&[("b", "")], &[])), ["LIMIT"]);
        assert_eq!(twins.answer(&second(&[("a", "0123456789")], &[])), ["LIMIT"]);
        assert_eq!(stored(twins), before);
        assert_eq!(
            twins.answer(&second(&[("b", "1"), ("c", "2")], &["a"])),
            ["OK", "birth1232"],
            "a makes room"
        );
        assert_eq!(stored(twins).0, map(&[("fb", "1"), ("fc", "2")]));
    });
}

// redis 1.7
#[test]
fn the_batches_of_the_dead_go_with_an_incarnations_first() {
    on_both(|twins| {
        for incarnation in ["b2", "c3", "d4"] {
            twins.answer(&Merge { incarnation, ..Merge::of(1, &[("i", incarnation)], &[]) }.words());
        }
        let first = Merge { live: "c3,d40", ..Merge::of(1, &[("a", "1")], &[]) };
        assert_eq!(twins.answer(&first.words()), ["OK", "birth1234"]);
        let (fields, rest) = stored(twins);
        assert_eq!(rest.keys().filter(|field| field.starts_with('i')).collect::<Vec<_>>(), ["ia1", "ic3"]);
        assert_eq!(fields, map(&[("fi", "d4"), ("fa", "1")]), "a field is no batch");
    });
}

// redis 1.9
#[test]
fn a_map_that_is_replaced_keeps_its_numbering_and_its_batches() {
    on_both(|twins| {
        merge(twins, 1, &[("a", "1"), ("b", "2")], &[]);
        twins.answer(&Merge { incarnation: "b2", ..Merge::of(5, &[("c", "3")], &[]) }.words());
        twins.ask_for("expire t0:k 50");
        let replaced =
            Merge { is_replaced: true, fields_max: 2, ..Merge::of(2, &[("b", "22"), ("z", "9")], &["a"]) };
        assert_eq!(twins.answer(&replaced.words()), ["OK", "birth1233"]);
        let (fields, rest) = stored(twins);
        assert_eq!(fields, map(&[("fb", "22"), ("fz", "9")]));
        assert_eq!((rest["#n"].as_str(), rest["#b"].as_str(), rest.len()), ("2", "5", 5));
        let emptied = Merge { is_replaced: true, ..Merge::of(3, &[], &[]) };
        assert_eq!(twins.answer(&emptied.words()), ["OK", "birth1234"]);
        let (fields, rest) = stored(twins);
        assert_eq!((fields.len(), rest["#n"].as_str(), rest["#b"].as_str()), (0, "0", "0"));
        assert_eq!(rest["ib2"], "5:birth123mmmm2");
    });
}

// redis 1.7
#[test]
fn maps_of_ten_thousand_fields_are_written_replaced_and_emptied() {
    on_both(|twins| {
        let large = |batch, json: &str| {
            let pairs: Vec<_> = (0..10_000).map(|n| (format!("f{n:05}"), json.into())).collect();
            Merge { pairs, fields_max: 10_000, bytes_max: 100_000, ..Merge::of(batch, &[], &[]) }
        };
        assert_eq!(twins.answer(&large(1, "12345").words()), ["OK", "birth1231"]);
        assert_eq!(counters(twins), ["10004", "10000", "100000"]);
        let all = stored(twins).0;
        assert!(all.len() == 10_000 && all.values().all(|json| json == "12345"));
        assert_eq!(merge(twins, 2, &[("one more", "1")], &[]), ["LIMIT"]);
        assert_eq!(twins.answer(&large(2, "123").words()), ["OK", "birth1232"]);
        assert_eq!(counters(twins), ["10004", "10000", "80000"]);
        let replaced = Merge { is_replaced: true, ..large(3, "1") };
        assert_eq!(twins.answer(&replaced.words()), ["OK", "birth1233"]);
        assert_eq!(counters(twins), ["10004", "10000", "60000"]);
        let removed: Vec<String> = (1..10_000).map(|n| format!("f{n:05}")).collect();
        let emptied = Merge { removed, ..Merge::of(4, &[], &[]) };
        assert_eq!(twins.answer(&emptied.words()), ["OK", "birth1234"]);
        assert_eq!(stored(twins).0, map(&[("f00000", "1")]));
        assert_eq!(counters(twins), ["5", "1", "6"]);
    });
}

/// How many fields the hash has, and what it says about those of the map.
fn counters(twins: &mut Twins<'_>) -> Vec<String> {
    let length = twins.ask_for("hlen t0:k")[0][1..].to_owned();
    [vec![length], twins.ask_for("hmget t0:k #n #b")].concat()
}

#[test]
fn a_topic_of_another_mode_is_left_alone() {
    on_both(|twins| {
        twins.answer(&birth("t0", 'l', "birth123"));
        assert_eq!(merge(twins, 1, &[("a", "1")], &[]), ["MODE", "l"]);
        twins.ask_for("hset t1:k #h 1vbirth123mmmm1");
        assert_eq!(twins.answer(&Merge { topic: "t1", ..Merge::of(1, &[], &[]) }.words()), ["MODE", "v"]);
        assert_eq!(twins.ask_for("exists t0:k"), [":0"]);
    });
}

#[test]
fn without_a_head_what_is_left_goes_and_a_new_epoch_begins() {
    on_both(|twins| {
        merge(twins, 9, &[("a", "1"), ("b", "2")], &[]);
        twins.ask_for("hdel t0:k #h");
        let anew = Merge { birth: "other456", ..Merge::of(1, &[("c", "3")], &["a"]) };
        assert_eq!(twins.answer(&anew.words()), ["OK", "other4561"]);
        let (fields, rest) = stored(twins);
        assert_eq!((fields, rest["#n"].as_str(), rest["#b"].as_str()), (map(&[("fc", "3")]), "1", "2"));
    });
}

#[test]
fn what_is_no_head_no_count_or_no_batch_is_corrupt_and_stays() {
    on_both(|twins| {
        let spoilt = [
            ("#h", "x"),
            ("#h", "1mbirth123mmmm"),
            ("#h", "1mbirth123mmmm100000000000000"),
            ("#h", "1mbirth123mmmm99999999999999"),
            ("#n", "many"),
            ("#b", "many"),
            ("ia1", "many"),
            ("ia1", "5:birth123mmmm"),
        ];
        for (field, value) in spoilt {
            twins.ask_for("del t0:k");
            merge(twins, 1, &[("a", "1")], &[]);
            twins.ask_for(&format!("hset t0:k {field} {value}"));
            let before = stored(twins);
            assert_eq!(merge(twins, 2, &[("a", "2")], &[]), ["CORRUPT"], "{field} {value}");
            assert_eq!(stored(twins), before);
        }
        twins.ask_for("del t0:k");
        twins.ask_for("set t0:h 1lbirth123mmmm");
        assert_eq!(merge(twins, 1, &[("a", "1")], &[]), ["CORRUPT"], "the other form's head");
    });
}

// redis 0.4
#[test]
fn numbers_up_to_1e14_are_written_in_full() {
    on_both(|twins| {
        twins.listen(CHANNEL);
        merge(twins, 1, &[("a", "1")], &[]);
        twins.ask_for("hset t0:k #h 1mbirth123mmmm99999999999998");
        assert_eq!(merge(twins, 9_007_199_254_740_991, &[("a", "2")], &[]), ["OK", "birth12399999999999999"]);
        assert_eq!(twins.ask_for("hget t0:k ia1"), ["9007199254740991:birth123mmmm99999999999999"]);
        assert_eq!(twins.heard()[1][13..21], 99_999_999_999_999_u64.to_be_bytes());
        let repeated = merge(twins, 9_007_199_254_740_991, &[("a", "2")], &[]);
        assert_eq!(repeated, ["DONE", "birth12399999999999999", "mmmm"]);
    });
}

#[test]
fn keys_of_another_type_are_an_error_and_nothing_is_written() {
    on_both(|twins| {
        for wrong in ["set t0:k v", "hset t0:i a b", "rpush t0:h x"] {
            twins.ask_for("del t0:h t0:k t0:i");
            twins.ask_for(wrong);
            let change = Merge { is_idempotent: true, ..Merge::of(1, &[("a", "1")], &[]) };
            assert!(twins.answer(&change.words())[0].starts_with("-WRONGTYPE"), "{wrong}");
            assert_eq!(twins.ask_for("dbsize"), [":1"]);
        }
    });
}

#[test]
fn counts_and_fields_are_those_of_a_map_that_was_changed_alike() {
    on_both(|twins| {
        let (mut author, mut model) = (Author::new(5, 1), BTreeMap::<String, Word>::new());
        for batch in 1..400 {
            let mut change = Merge::of(batch, &[], &[]);
            let field =
                |author: &mut Author| format!("f{}", author.one(&["", "a", "bb", "ccc", "dddd", "f"]));
            for _ in 0..author.below(5) {
                let json = vec![b'1'; 1 + author.below(80)];
                change.pairs.push((field(&mut author), json));
            }
            change.removed = (0..author.below(3)).map(|_| field(&mut author)).collect();
            change.is_replaced = author.below(10) == 0;
            let answer = twins.answer(&change.words());
            assert_eq!(answer, ["OK", &format!("birth123{batch}")]);
            if change.is_replaced {
                model.clear();
            }
            model.extend(change.pairs);
            model.retain(|field, _| !change.removed.contains(field));
            let (fields, rest) = stored(twins);
            let expected = model.iter().map(|(field, json)| (field.clone(), json.escape_ascii().to_string()));
            assert_eq!(fields, expected.collect());
            let bytes: usize = model.iter().map(|(field, json)| field.len() - 1 + json.len()).sum();
            assert_eq!((&rest["#n"], &rest["#b"]), (&model.len().to_string(), &bytes.to_string()));
        }
    });
}
