//! Feeds alone: what is heard and answered goes in, what is said comes out.

use std::time::Duration;

use bytes::Bytes;
use dunlin_protocol::{Epoch, Incarnation, Mark, Namespace, Payload, Topic, Unrecovered};

use super::*;
use crate::history::{Asked, Since};

const NOW: Moment = Moment::from_millis(1_700_000_000_000);

fn retention(mode: Mode, limit: u32) -> Arc<Retention> {
    let (max_bytes, ttl) = (256 * 1024, Duration::from_hours(168));
    Arc::new(Retention { mode, limit, max_bytes, ttl, replay: 0 })
}

fn place() -> Place {
    let (namespace, topic) = (Namespace::parse("/a").expect("good"), Topic::parse("t").expect("good"));
    Place { namespace, topic }
}

fn position(offset: u64) -> Position {
    Position { epoch: Epoch([1; 8]), offset, mark: Mark(if offset == 0 { 0 } else { 1000 + offset as u32 }) }
}

fn item(offset: u64, bytes: usize) -> Item {
    Item {
        mark: position(offset).mark,
        id: PublicationId { incarnation: Incarnation(1), lane: 0, sequence: offset },
        at_ms: NOW.micros() / 1000,
        origin: None,
        echo: true,
        act: Act::Add,
        payload: Some(Payload::json(Bytes::from(format!("\"{}\"", "x".repeat(bytes))))),
    }
}

fn entries(offsets: std::ops::RangeInclusive<u64>) -> Vec<Entry> {
    offsets.map(|offset| Entry::new(&place(), offset, position(offset).epoch, item(offset, 1))).collect()
}

fn commit(before: u64, bytes: usize) -> Heard {
    Heard::Commit { before: position(before), items: vec![Ok(item(before + 1, bytes))] }
}

/// A feed that knows these entries and hears what follows them.
fn live(mode: Mode, limit: u32, known: u64) -> Feed {
    let mut feed = Feed::new(place(), retention(mode, limit), Rules::ALL);
    let mut said = Vec::new();
    feed.subscribing(&mut said);
    while feed.stage != Stage::Live {
        let ask = feed.asked.expect("it asks");
        let answer = match ask {
            Ask::Head => Answer::Head(Some(position(known))),
            _ => Answer::Entries(Some(position(known)), entries(1..=known)),
        };
        reply(&mut feed, answer, &mut said);
    }
    feed
}

/// Redis answers the last question.
fn reply(feed: &mut Feed, answer: Answer, said: &mut Vec<Said>) {
    let question = feed.questions;
    feed.answered(NOW, question, answer, said);
}

fn asked(said: &[Said]) -> Vec<(u64, Ask)> {
    let ask = |one: &Said| if let Said::Ask(number, ask) = one { Some((*number, *ask)) } else { None };
    said.iter().filter_map(ask).collect()
}

fn gaps(said: &[Said]) -> usize {
    said.iter().filter(|one| matches!(one, Said::Gap(_))).count()
}

// R2, redis 2.5
#[test]
fn an_answer_to_an_older_question_is_not_taken_for_the_one_that_mends() {
    let mut feed = live(Mode::List, 1000, 300);
    let mut said = Vec::new();
    feed.heard(NOW, Heard::Echo(position(301)), &mut said);
    feed.heard(NOW, commit(301, 1), &mut said);
    let [first, second] = asked(&said)[..] else { panic!("two questions: {said:?}") };
    feed.answered(NOW, first.0, Answer::Head(Some(position(302))), &mut said);
    let Ask::From(from) = second.1 else { panic!("{second:?}") };
    feed.answered(NOW, second.0, Answer::Entries(Some(position(302)), entries(from..=302)), &mut said);
    assert_eq!((feed.stage, feed.tip, gaps(&said)), (Stage::Live, Some(position(302)), 0));
    let state = feed.state().expect("it has one").envelope.payload.bytes.clone();
    let items: Vec<String> = serde_json::from_slice(&state).expect("an array");
    assert_eq!(items.len(), 302, "nothing of the array is lost");
}

// R1
#[test]
fn who_hears_a_topic_that_can_not_be_read_any_more_is_told_and_told_again_when_it_can() {
    let mut feed = live(Mode::Log, 10, 3);
    let mut said = Vec::new();
    feed.heard(NOW, Heard::Echo(position(9)), &mut said);
    reply(&mut feed, Answer::Failed(CommitError::Broken), &mut said);
    assert_eq!(gaps(&said), 1);
    said.clear();
    let anew = Asked { since: Since::Nothing, replay: None };
    feed.recover(NOW, (0, 1), anew, &mut said);
    assert!(matches!(&said[..], [Said::Answer((0, 1), answer)] if answer.is_err()), "{said:?}");
    said.clear();
    feed.recover(NOW + Duration::from_secs(2), (0, 2), anew, &mut said);
    assert_eq!(asked(&said).last().map(|(_, ask)| *ask), Some(Ask::Head), "it is tried again");
    reply(&mut feed, Answer::Head(Some(position(7))), &mut said);
    assert_eq!((feed.stage, feed.tip, gaps(&said)), (Stage::Live, Some(position(7)), 1));
    assert!(said.iter().any(|one| matches!(one, Said::Answer((0, 2), answer) if answer.is_ok())));
}

// R1
#[test]
fn one_publication_that_is_larger_than_a_page_is_recovered() {
    let mut feed = live(Mode::Log, 10, 3);
    let mut said = Vec::new();
    feed.heard(NOW, commit(3, 600 * 1024), &mut said);
    said.clear();
    feed.recover(NOW, (0, 1), Asked { since: Since::Position(position(3)), replay: None }, &mut said);
    let large = Entry::new(&place(), 4, position(4).epoch, item(4, 600 * 1024));
    let page = entries(3..=3).into_iter().chain([large]).collect();
    reply(&mut feed, Answer::Entries(Some(position(4)), page), &mut said);
    let Some(Said::Answer(_, answer)) = said.last() else { panic!("{said:?}") };
    let recovery = answer.as_ref().as_ref().expect("it can be read");
    assert_eq!((recovery.recovered, recovery.publications.len()), (Some(Ok(())), 1));
}

// redis 2.8
#[test]
fn what_is_at_hand_is_told_also_when_more_could_not_be_read() {
    let mut feed = live(Mode::Log, 10_000, 0);
    let mut said = Vec::new();
    (0..9000).for_each(|before| feed.heard(NOW, commit(before, 1), &mut said));
    said.clear();
    feed.recover(NOW, (0, 1), Asked { since: Since::Position(position(1)), replay: Some(5) }, &mut said);
    while let Some(Ask::From(from)) = feed.asked {
        let page = entries(from..=(from + 255).min(9000));
        reply(&mut feed, Answer::Entries(Some(position(9000)), page), &mut said);
    }
    let Some(Said::Answer(_, answer)) = said.last() else { panic!("{said:?}") };
    let recovery = answer.as_ref().as_ref().expect("it can be read");
    assert_eq!(recovery.recovered, Some(Err(Unrecovered::Expired)));
    let last: Vec<u64> = recovery.publications.iter().map(|it| it.position.expect("stored").offset).collect();
    assert_eq!(last, [8996, 8997, 8998, 8999, 9000]);
}

#[test]
fn a_feed_keeps_no_more_than_its_share() {
    let mut feed = live(Mode::Log, 1000, 0);
    (0..200).for_each(|before| feed.heard(NOW, commit(before, 1), &mut Vec::new()));
    assert_eq!(feed.ring.len(), 200);
    feed.allow(10_000);
    (200..300).for_each(|before| feed.heard(NOW, commit(before, 1), &mut Vec::new()));
    assert!(feed.ring.bytes() <= 10_000 && feed.ring.len() > 10);
}

#[test]
fn a_frame_from_the_end_of_all_numbers_harms_nobody() {
    let mut feed = live(Mode::Log, 10, 3);
    let (before, items) = (Position { offset: u64::MAX - 1, ..position(1) }, vec![Ok(item(1, 1)); 3]);
    feed.heard(NOW, Heard::Commit { before, items }, &mut Vec::new());
    assert!(matches!(feed.stage, Stage::Mending(_)));
}
