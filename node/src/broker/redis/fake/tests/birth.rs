//! `birth.lua`, answer by answer, on both servers.

use super::beside::on_both;
use super::calls::{Commit, birth, item};

const BORN: &str = r"1lbirth123\x00\x00\x00\x000";

// redis 1.4, 1.6
#[test]
fn a_topic_is_born_once_and_keeps_its_first_epoch() {
    on_both(|twins| {
        assert_eq!(twins.answer(&birth("t0", 'l', "birth123")), ["OK", BORN]);
        assert_eq!(twins.answer(&birth("t0", 'l', "other456")), ["OK", BORN]);
        assert_eq!(
            (twins.ask_for("get t0:h"), twins.ask_for("exists t0:s")),
            (vec![BORN.into()], vec![":0".into()])
        );
        let commit = Commit { birth: "other456", ..Commit::of([item("m001", "1", b"")]) };
        assert_eq!(twins.answer(&commit.words()), ["OK", "birth1231"]);
        assert_eq!(twins.answer(&birth("t0", 'l', "other456")), ["OK", "1lbirth123m0011"]);
    });
}

#[test]
fn who_is_born_lives_for_the_time_that_was_said() {
    on_both(|twins| {
        for (mode, key) in [('l', "t0:h"), ('m', "t1:k")] {
            twins.answer(&birth(&key[..2], mode, "birth123"));
            let ttl: u32 = twins.ask_for(&format!("ttl {key}"))[0][1..].parse().expect("it expires");
            assert!((3550..=3600).contains(&ttl), "{ttl}");
        }
    });
}

#[test]
fn a_map_is_born_in_its_own_key() {
    on_both(|twins| {
        let head = r"1mbirth123\x00\x00\x00\x000";
        twins.ask_for("hset t0:k fleft 1 #n 7");
        assert_eq!(twins.answer(&birth("t0", 'm', "birth123")), ["OK", head]);
        assert_eq!(twins.answer(&birth("t0", 'm', "other456")), ["OK", head]);
        assert_eq!(twins.ask_for("hgetall t0:k"), ["#h", head], "what no head counted has gone");
    });
}

#[test]
fn what_a_list_without_a_head_holds_goes() {
    on_both(|twins| {
        twins.ask_for("rpush t0:s left");
        assert_eq!(twins.answer(&birth("t0", 'l', "birth123")), ["OK", BORN]);
        assert_eq!(twins.ask_for("exists t0:s"), [":0"]);
    });
}

#[test]
fn a_topic_of_another_mode_is_not_born_again() {
    on_both(|twins| {
        twins.answer(&birth("t0", 'l', "birth123"));
        twins.answer(&birth("t1", 'm', "birth123"));
        for (topic, mode, other) in [("t0", 'v', "l"), ("t0", 'm', "l"), ("t1", 'a', "m")] {
            assert_eq!(twins.answer(&birth(topic, mode, "other456")), ["MODE", other]);
        }
        assert_eq!(twins.ask_for("exists t0:k t1:h t1:s"), [":0"]);
    });
}

#[test]
fn a_head_that_is_none_is_corrupt_wherever_it_is_found() {
    on_both(|twins| {
        for bad in ["x", "1lbirth123m001", "1mbirth123m001100000000000000", "1lbirth123m0011x"] {
            twins.ask_for(&format!("hset t1:k #h {bad}"));
            twins.ask_for(&format!("set t0:h {bad}"));
            assert_eq!(twins.answer(&birth("t0", 'l', "birth123")), ["CORRUPT"]);
            assert_eq!(twins.answer(&birth("t0", 'm', "birth123")), ["CORRUPT"], "the other form's");
            assert_eq!(twins.answer(&birth("t1", 'm', "birth123")), ["CORRUPT"]);
            assert_eq!(twins.ask_for("get t0:h"), [bad]);
        }
        twins.ask_for("set t0:h 1mbirth123m0011");
        assert_eq!(
            twins.answer(&birth("t0", 'm', "birth123")),
            ["CORRUPT"],
            "a map's head has no key of its own"
        );
    });
}

#[test]
fn keys_of_another_type_are_an_error() {
    on_both(|twins| {
        for command in ["hset t0:h a b", "set t1:k v", "rpush t2:h x"] {
            twins.ask_for(command);
        }
        for (topic, mode) in [("t0", 'l'), ("t1", 'm'), ("t2", 'm')] {
            assert!(twins.answer(&birth(topic, mode, "birth123"))[0].starts_with("-WRONGTYPE"));
        }
        assert_eq!(twins.ask_for("dbsize"), [":3"]);
    });
}
