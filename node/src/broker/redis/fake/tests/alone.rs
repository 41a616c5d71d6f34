//! What a simulation relies on and no real server can be asked: the clock, faults, and looking inside.

use std::collections::{BTreeMap, BTreeSet};

use super::super::{Connection, Fake, Memory, Role};
use super::{request, words};

const SECOND_US: u64 = 1_000_000;

/// Says a command and hears the answer.
fn say(fake: &mut Fake, connection: Connection, command: &str) -> String {
    fake.receive(connection, &request(&words(command)));
    hear(fake, connection)
}

fn hear(fake: &mut Fake, connection: Connection) -> String {
    let mut bytes = Vec::new();
    fake.take(connection, &mut bytes);
    bytes.escape_ascii().to_string()
}

/// A server at ten seconds past 1970, and a client that speaks RESP3.
fn greeted() -> (Fake, Connection) {
    let mut fake = Fake::new();
    fake.set_now(10 * SECOND_US);
    let connection = fake.connect();
    assert!(say(&mut fake, connection, "hello 3").starts_with("%7"));
    (fake, connection)
}

#[test]
fn a_command_in_pieces_is_obeyed_when_its_last_byte_comes() {
    let (mut fake, connection) = greeted();
    let bytes = request(&words("set k v"));
    for byte in &bytes[..bytes.len() - 1] {
        fake.receive(connection, &[*byte]);
        assert_eq!(hear(&mut fake, connection), "");
    }
    fake.receive(connection, &[&bytes[bytes.len() - 1..], &request(&words("get k"))].concat());
    assert_eq!(hear(&mut fake, connection), r"+OK\r\n$1\r\nv\r\n");
}

#[test]
fn a_key_lives_through_the_millisecond_of_its_deadline() {
    let (mut fake, connection) = greeted();
    say(&mut fake, connection, "set k v ex 5");
    fake.set_now(15 * SECOND_US + 999);
    assert_eq!((fake.string("k"), fake.ttl("k")), (Some(b"v".to_vec()), Some(0)));
    fake.set_now(15 * SECOND_US + 1_000);
    assert_eq!((fake.string("k"), fake.ttl("k")), (None, None));
    assert_eq!(say(&mut fake, connection, "dbsize"), r":0\r\n");
}

#[test]
fn a_clock_that_goes_back_lets_keys_live_longer_and_brings_none_back() {
    let (mut fake, connection) = greeted();
    say(&mut fake, connection, "set k v ex 5");
    say(&mut fake, connection, "set l v ex 1");
    fake.set_now(12 * SECOND_US);
    fake.set_now(SECOND_US);
    assert_eq!(fake.ttl("k"), Some(14_000));
    assert_eq!(fake.keys(), [b"k"]);
    assert_eq!(say(&mut fake, connection, "time"), r"*2\r\n$1\r\n1\r\n$1\r\n0\r\n");
}

#[test]
fn a_deadline_that_was_moved_or_taken_away_no_longer_counts() {
    let (mut fake, connection) = greeted();
    for command in
        ["set k v ex 5", "expire k 9", "set l v ex 5", "set l w", "set m v ex 5", "del m", "set m v"]
    {
        say(&mut fake, connection, command);
    }
    fake.set_now(17 * SECOND_US);
    assert_eq!(fake.keys(), [b"k", b"l", b"m"]);
    assert_eq!((fake.ttl("k"), fake.ttl("l")), (Some(2_000), None));
}

#[test]
fn what_is_stored_can_be_looked_at() {
    let (mut fake, connection) = greeted();
    for command in
        ["hset h b 2 a 1", "rpush l y x", "zadd z 2 x 1 y", "sadd s q p", "select 1", "set other v"]
    {
        say(&mut fake, connection, command);
    }
    let pair = |one: &str, other: &str| (one.as_bytes().to_vec(), other.as_bytes().to_vec());
    assert_eq!(fake.keys(), [b"h", b"l", b"s", b"z"]);
    assert_eq!(fake.hash("h"), BTreeMap::from([pair("a", "1"), pair("b", "2")]));
    assert_eq!(fake.list("l"), [b"y", b"x"]);
    assert_eq!(fake.zset("z"), [(b"y".to_vec(), 1.0), (b"x".to_vec(), 2.0)]);
    assert_eq!(fake.set("s"), BTreeSet::from([b"p".to_vec(), b"q".to_vec()]));
    assert_eq!((fake.hash("nope").len(), fake.list("nope").len()), (0, 0));
    assert_eq!((fake.zset("nope").len(), fake.set("nope").len()), (0, 0));
}

#[test]
fn a_restart_ends_connections_and_forgets_scripts_and_perhaps_keys() {
    for (memory, left) in [(Memory::Kept, r"$1\r\nv\r\n"), (Memory::Empty, r"$-1\r\n")] {
        let (mut fake, former) = greeted();
        say(&mut fake, former, "set k v");
        say(&mut fake, former, "subscribe c");
        let digest = say(&mut fake, former, "script load return(1)").replace(r"$40\r\n", "");
        let ask = format!("script exists {}", &digest[..40]);
        assert_eq!(say(&mut fake, former, &ask), r"*1\r\n:1\r\n");
        fake.restart(memory);
        assert!(!fake.is_open(former));
        assert_eq!(say(&mut fake, former, "ping"), "");
        let fresh = fake.connect();
        assert_eq!(say(&mut fake, fresh, "get k"), left);
        assert_eq!(say(&mut fake, fresh, "publish c v"), r":0\r\n");
        assert_eq!(say(&mut fake, fresh, &ask), r"*1\r\n:0\r\n");
    }
}

// redis 0.7
#[test]
fn after_a_restart_an_old_id_is_a_strangers_but_an_old_address_is_nobodys() {
    let (mut fake, former) = greeted();
    let info = say(&mut fake, former, "client info");
    let address =
        info.split(' ').find_map(|field| field.strip_prefix("addr=")).expect("it is said").to_owned();
    fake.restart(Memory::Kept);
    let (stranger, fence) = (fake.connect(), fake.connect());
    assert_eq!(say(&mut fake, stranger, "client id"), r":1\r\n");
    assert_eq!(say(&mut fake, fence, &format!("client kill id 1 addr {address}")), r":0\r\n");
    assert!(fake.is_open(stranger));
    assert_eq!(say(&mut fake, fence, "client kill id 1"), r":1\r\n");
    assert!(!fake.is_open(stranger));
}

#[test]
fn what_a_client_got_before_it_was_killed_can_still_be_taken() {
    let (mut fake, one) = greeted();
    let other = fake.connect();
    fake.receive(other, &request(&words("client id")));
    assert_eq!(say(&mut fake, one, "client kill id 2"), r":1\r\n");
    fake.receive(other, &request(&words("set k v")));
    assert_eq!((hear(&mut fake, other).as_str(), fake.keys().len()), (r":2\r\n", 0));
    assert_eq!((hear(&mut fake, other).as_str(), fake.is_open(other)), ("", false));
}

#[test]
fn who_has_gone_is_told_nothing_and_half_a_command_is_forgotten() {
    let (mut fake, one) = greeted();
    let other = fake.connect();
    say(&mut fake, other, "subscribe c");
    fake.receive(other, b"*1\r\n$4\r\nPI");
    fake.disconnect(other);
    fake.receive(other, b"NG\r\n");
    assert_eq!(say(&mut fake, one, "publish c v"), r":0\r\n");
    assert_eq!(hear(&mut fake, other), "");
}

#[test]
fn a_snapshot_brings_keys_back_but_not_those_that_have_expired() {
    let (mut fake, connection) = greeted();
    for command in ["set k v", "set l v ex 5", "subscribe c"] {
        say(&mut fake, connection, command);
    }
    let snapshot = fake.snapshot();
    say(&mut fake, connection, "set k w");
    fake.flush_all();
    fake.set_now(20 * SECOND_US);
    fake.restore(&snapshot);
    assert_eq!((fake.keys(), fake.string("k")), (vec![b"k".to_vec()], Some(b"v".to_vec())));
    assert!(say(&mut fake, connection, "publish c v").ends_with(r":1\r\n"), "connections don't notice");
}

#[test]
fn the_role_is_what_the_test_says() {
    let (mut fake, connection) = greeted();
    fake.set_role(Role::Replica);
    assert!(say(&mut fake, connection, "hello").contains(r"role\r\n$7\r\nreplica"));
    assert!(say(&mut fake, connection, "set k v").starts_with("-READONLY"));
    fake.set_role(Role::Master);
    assert_eq!(say(&mut fake, connection, "set k v"), r"+OK\r\n");
}

#[test]
fn a_walk_through_a_set_finds_whoever_is_there_all_the_time() {
    let (mut fake, connection) = greeted();
    for number in 0..100 {
        say(&mut fake, connection, &format!("sadd s stays{number} goes{number}"));
    }
    let (mut cursor, mut found) = ("0".to_owned(), BTreeSet::new());
    for number in 0..100 {
        let page = say(&mut fake, connection, &format!("sscan s {cursor} count 7"));
        let parts: Vec<&str> = page.split(r"\r\n").collect();
        cursor = parts[2].to_owned();
        found.extend(parts.iter().filter(|part| part.starts_with("stays")).map(|part| (*part).to_owned()));
        if cursor == "0" {
            break;
        }
        say(&mut fake, connection, &format!("srem s goes{number}"));
        say(&mut fake, connection, &format!("sadd s comes{number}"));
    }
    assert_eq!((cursor.as_str(), found.len()), ("0", 100));
}

#[test]
fn the_same_words_get_the_same_answers_again() {
    let tell = || {
        let (mut fake, connection) = greeted();
        let commands = ["sadd s a b c d e", "srandmember s", "srandmember s -9", "smembers s", "client info"];
        commands.map(|command| say(&mut fake, connection, command))
    };
    assert_eq!(tell(), tell());
}

#[test]
fn a_script_has_no_chance_and_no_library_that_is_not_here() {
    let (mut fake, connection) = greeted();
    assert_eq!(say(&mut fake, connection, "eval return(type(math.random)) 0"), r"$3\r\nnil\r\n");
    assert!(
        say(&mut fake, connection, "eval return(cjson.encode(1)) 0")
            .starts_with("-ERR user_script:1: Script")
    );
}
