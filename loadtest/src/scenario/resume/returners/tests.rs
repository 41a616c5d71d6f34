//! What peers hear on two connections is one stream.

use super::*;
use crate::stamp::blank_payload;

/// One peer of a log that has heard 0 and 1 of five publications and lost its connection.
fn away() -> Returners {
    let mut returners = Returners::new("log:a".to_owned(), 1);
    hear(&mut returners, Role::Home(0), r#"{"type":"ok","id":1,"cursor":"A","publications":[]}"#);
    (0..2).for_each(|sequence| hear(&mut returners, Role::Home(0), &live(sequence)));
    returners.lose(0);
    returners.sent = 5;
    returners
}

fn hear(returners: &mut Returners, role: Role, frame: &str) {
    let peer = returners.peer(role);
    returners.message(peer, 2, frame.as_bytes(), &mut Vec::new());
}

fn payload(sequence: u32) -> String {
    let mut payload = blank_payload(64);
    Stamp { topic: 0, publisher: 0, sequence, intended: 1 }.write(&mut payload);
    String::from_utf8(payload).unwrap()
}

fn live(sequence: u32) -> String {
    format!(r#"{{"topic":"log:a","payload":{},"cursor":"C{sequence}"}}"#, payload(sequence))
}

fn recovered(sequences: &[u32]) -> String {
    let each = |sequence: &u32| format!(r#"{{"cursor":"C","payload":{},"at":1}}"#, payload(*sequence));
    let publications: Vec<_> = sequences.iter().map(each).collect();
    let publications = publications.join(",");
    format!(r#"{{"type":"ok","id":1,"cursor":"C9","recovered":true,"publications":[{publications}]}}"#)
}

const LOST_HISTORY: &str =
    r#"{"type":"ok","id":1,"cursor":"D","recovered":false,"reason":"expired","publications":[]}"#;

#[test]
fn a_peer_number_says_who_it_is() {
    let returners = Returners::new("log:a".to_owned(), 2);
    for role in [Role::Home(1), Role::Publisher, Role::Return(0), Role::Return(1)] {
        assert_eq!(returners.role(returners.peer(role)), role);
    }
}

#[test]
fn who_comes_back_asks_since_its_last_cursor() {
    let mut returners = away();
    assert_eq!(returners.subscribers[0].cursor, b"C1");
    hear(&mut returners, Role::Return(0), &recovered(&[2, 3, 4]));
    assert_eq!(returners.subscribers[0].cursor, b"C9");
}

#[test]
fn a_peer_is_current_when_it_has_heard_what_left_before_its_answer() {
    let mut returners = away();
    hear(&mut returners, Role::Return(0), &recovered(&[2, 3]));
    assert_eq!((returners.back, returners.current), (1, 0));
    hear(&mut returners, Role::Return(0), &live(4));
    assert_eq!((returners.current, returners.replayed, returners.settle()), (1, 2, Faults::default()));
}

#[test]
fn what_falls_between_two_connections_is_lost() {
    let mut returners = away();
    hear(&mut returners, Role::Return(0), &recovered(&[2, 4]));
    assert_eq!(returners.settle(), Faults { lost: 1, ..Faults::default() });
}

#[test]
fn what_is_replayed_once_too_often_is_a_duplicate_and_what_comes_late_is_swapped() {
    let mut returners = away();
    hear(&mut returners, Role::Return(0), &recovered(&[1, 3, 2, 4]));
    assert_eq!(returners.settle(), Faults { lost: 0, duplicated: 1, reordered: 1 });
}

#[test]
fn what_a_peer_was_told_to_miss_is_not_lost_but_what_comes_later_must() {
    let mut returners = away();
    hear(&mut returners, Role::Return(0), LOST_HISTORY);
    hear(&mut returners, Role::Return(0), &live(4));
    returners.sent = 7;
    assert_eq!((returners.told, returners.current), (2, 1));
    assert_eq!(returners.answers["not recovered: expired"], 1);
    hear(&mut returners, Role::Return(0), &live(6));
    assert_eq!(returners.settle().lost, 1, "5 came neither in the answer nor afterwards");
}

#[test]
fn a_gap_excuses_what_is_missing_before_the_next_publication_alone() {
    let mut returners = away();
    hear(&mut returners, Role::Return(0), &recovered(&[2]));
    hear(&mut returners, Role::Return(0), r#"{"type":"gap","topic":"log:a","reason":"link"}"#);
    hear(&mut returners, Role::Return(0), &live(4));
    assert_eq!((returners.told, returners.gaps["link"]), (1, 1));
    assert_eq!(returners.settle(), Faults::default());
}

#[test]
fn an_answer_that_does_not_say_is_counted_as_such() {
    let mut returners = away();
    hear(&mut returners, Role::Return(0), r#"{"type":"ok","id":1}"#);
    assert_eq!(returners.answers["not said"], 1);
    assert_eq!(returners.settle().lost, 3);
}

#[test]
fn who_is_denied_or_thrown_out_comes_again() {
    let mut returners = away();
    let peer = returners.peer(Role::Return(0));
    let denied = returners.message(peer, 2, br#"{"type":"error","code":"rate"}"#, &mut Vec::new());
    returners.closed(peer, 1000);
    assert_eq!((denied, returners.denied, returners.thrown_out), (Next::Leave, 1, 0));
    hear(&mut returners, Role::Return(0), &recovered(&[2, 3, 4]));
    returners.closed(peer, 1013);
    assert_eq!((returners.back, returners.current, returners.thrown_out), (0, 0, 1));
    assert_eq!(returners.again, [0, 0]);
}
