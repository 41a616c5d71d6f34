use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use dunlin_protocol::{
    Act, Envelope, Epoch, Incarnation, Mark, Namespace, Payload, Position, PublicationId, Recipients, Topic,
    Unrecovered,
};
use proptest::prelude::*;
use serde_json::{Map, Value};

use super::*;
use crate::config::{Mode, Retention};

const EPOCH: Epoch = Epoch(*b"abcdefgh");

fn place() -> Place {
    Place { namespace: Namespace::parse("/a").expect("good"), topic: Topic::parse("t").expect("good") }
}

fn at(offset: u64) -> Position {
    Position { epoch: EPOCH, offset, mark: Mark(offset as u32 + 1000) }
}

fn entry(offset: u64, act: Act, payload: Option<Payload>) -> Entry {
    let publication =
        payload.map(|payload| Arc::new(Publication::stored(place().envelope(payload, offset), at(offset))));
    let id = PublicationId { incarnation: Incarnation(1), lane: 0, sequence: offset };
    Entry { position: at(offset), id: Some(id), at_us: offset, act, publication }
}

fn added(offset: u64) -> Entry {
    entry(offset, Act::Add, Some(Payload::json(offset.to_string())))
}

fn span(entries: impl IntoIterator<Item = Entry>) -> Span {
    let mut span = Span::default();
    entries.into_iter().for_each(|entry| span.push(entry));
    span
}

fn offsets(publications: &[Arc<Publication>]) -> Vec<u64> {
    publications.iter().filter_map(|publication| Some(publication.position?.offset)).collect()
}

// redis 2.6
#[test]
fn a_position_is_proven_by_its_mark_and_by_nothing_else() {
    let span = span((40..=60).map(added));
    let head = at(60);
    let marked = |offset| Position { mark: Mark(1), ..at(offset) };
    assert_eq!(span.prove(head, head), Proof::Holds(21));
    assert_eq!(span.prove(head, at(40)), Proof::Holds(1));
    assert_eq!(span.prove(head, marked(60)), Proof::Fails(Unrecovered::Forked));
    assert_eq!(span.prove(head, marked(50)), Proof::Fails(Unrecovered::Forked));
    assert_eq!(span.prove(head, at(61)), Proof::Fails(Unrecovered::Forked));
    assert_eq!(span.prove(head, at(39)), Proof::Older);
    assert_eq!(span.prove(head, Position::origin(EPOCH)), Proof::Older);
    let other = Position { epoch: Epoch(*b"another!"), ..head };
    assert_eq!(span.prove(head, other), Proof::Fails(Unrecovered::Reset));
}

// redis 2.6
#[test]
fn an_expired_history_proves_its_head_only() {
    let span = Span::default();
    assert_eq!(span.prove(at(8), at(8)), Proof::Holds(0));
    assert_eq!(span.prove(at(8), at(7)), Proof::Older);
}

#[test]
fn what_can_not_be_read_is_not_skipped_in_silence() {
    let span = span([added(1), Entry::unreadable(at(2)), added(3)]);
    assert_eq!(span.prove(at(3), at(1)), Proof::Fails(Unrecovered::Expired));
    assert_eq!(span.prove(at(3), at(2)), Proof::Holds(2));
}

#[test]
fn an_entry_that_does_not_follow_begins_a_new_span() {
    let span = span([added(1), added(2), added(5)]);
    assert_eq!((span.len(), span.first().map(|entry| entry.position)), (1, Some(at(5))));
}

#[test]
fn entries_that_only_take_away_cost_no_publication_its_place() {
    let forget = |offset| entry(offset, Act::Forget { before: 2 }, None);
    let mut span = span([added(1), added(2), added(3), forget(4), added(5)]);
    span.keep(3);
    assert_eq!(offsets(&span.last_publications(10, PAGE_BYTES_MAX)), [2, 3, 5]);
    (6..200).for_each(|offset| span.push(forget(offset)));
    span.keep(3);
    assert!(span.len() < 80, "but there are not many of them");
}

#[test]
fn a_page_is_bounded_in_bytes_but_holds_one() {
    let large = |offset| entry(offset, Act::Add, Some(Payload::binary(vec![0; 200 * 1024])));
    let span = span((1..=5).map(large));
    let range = Range { since: Since::Nothing, before: Since::Nothing, limit: 5 };
    assert_eq!(offsets(&span.page(at(5), range).publications), [4, 5]);
    let huge = span_of_one(PAGE_BYTES_MAX + 1);
    assert_eq!(offsets(&huge.page(at(1), range).publications), [1]);
}

fn span_of_one(bytes: usize) -> Span {
    span([entry(1, Act::Add, Some(Payload::binary(vec![0; bytes])))])
}

fn retention(mode: Mode, limit: u32, max_bytes: usize) -> Arc<Retention> {
    Arc::new(Retention { mode, limit, max_bytes, ..Retention::default() })
}

fn json(state: &mut State, offset: u64) -> Option<String> {
    let whole = state.publication(&place(), at(offset))?;
    Some(String::from_utf8_lossy(&whole.envelope.payload.bytes).into_owned())
}

#[test]
fn a_value_that_is_forgotten_before_is_gone_and_one_that_is_not_stays() {
    let mut state = State::new(retention(Mode::Value, 1, 100));
    state.apply(&added(1));
    state.apply(&entry(2, Act::Forget { before: 1 }, None));
    assert_eq!(json(&mut state, 2).as_deref(), Some("1"));
    state.apply(&entry(3, Act::Forget { before: 2 }, None));
    assert_eq!(json(&mut state, 3), None);
}

#[test]
fn text_is_an_item_as_a_json_string_and_never_an_object() {
    let text = |offset| entry(offset, Act::Add, Some(Payload::text("{\"a\":1}")));
    let mut list = State::new(retention(Mode::List, 5, 100));
    list.apply(&text(1));
    assert_eq!(json(&mut list, 1).as_deref(), Some(r#"["{\"a\":1}"]"#));
    let mut map = State::new(retention(Mode::Map, 5, 100));
    map.apply(&text(1));
    assert_eq!(json(&mut map, 1).as_deref(), Some("{}"));
}

// T10
#[test]
fn of_a_name_that_comes_twice_after_unescaping_the_last_counts() {
    let object = Bytes::from_static(br#"{"a":1,"\u0061":[2, 3]}"#);
    assert_eq!(changes(&object), Some(vec![("a".into(), Some(Bytes::from_static(b"[2, 3]")))]));
    assert_eq!(changes(&Bytes::from_static(b"[]")), None);
}

/// Members by name, none where one is removed.
fn patch() -> impl Strategy<Value = BTreeMap<String, Option<u32>>> {
    prop::collection::btree_map("[a-e\"]", prop::option::of(0..5000_u32), 0..4)
}

/// What happens to a span.
#[derive(Debug, Clone)]
enum Step {
    Add,
    Unreadable,
    Clear,
    Forget(u64),
    Keep(usize),
    Trim(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => Just(Step::Add),
        1 => Just(Step::Unreadable),
        1 => Just(Step::Clear),
        2 => (0..8_u64).prop_map(Step::Forget),
        2 => (1..8_usize).prop_map(Step::Keep),
        1 => (1..8_usize).prop_map(Step::Trim),
    ]
}

/// A history that never forgets how it came about.
#[derive(Debug, Default)]
struct Model {
    all: Vec<Entry>,
    /// The first that is kept.
    begin: usize,
}

impl Model {
    fn kept(&self) -> &[Entry] {
        &self.all[self.begin..]
    }

    fn take(&mut self, step: &Step) -> Option<Entry> {
        let offset = self.all.len() as u64 + 1;
        let next = match step {
            Step::Add => added(offset),
            Step::Unreadable => Entry::unreadable(at(offset)),
            Step::Clear => {
                self.begin = self.all.len();
                entry(offset, Act::Clear, None)
            }
            Step::Forget(back) => {
                let before = offset.saturating_sub(*back);
                self.begin = self.begin.max((before as usize).saturating_sub(1)).min(self.all.len());
                entry(offset, Act::Forget { before }, None)
            }
            Step::Keep(count) => {
                while self.kept().iter().filter(|entry| entry.publication.is_some()).count() > *count {
                    self.begin += 1;
                }
                return None;
            }
            Step::Trim(count) => {
                self.begin = self.begin.max(self.all.len().saturating_sub(*count));
                return None;
            }
        };
        self.all.push(next.clone());
        Some(next)
    }

    /// Whether who has reached an offset can be given all that came since.
    fn is_provable(&self, offset: usize) -> bool {
        let is_kept = offset > self.begin || (offset == 0 && self.begin == 0);
        offset == self.all.len() || is_kept && self.all[offset..].iter().all(|entry| entry.id.is_some())
    }

    fn publications(&self, after: u64, before: u64) -> Vec<u64> {
        let between = |entry: &&Entry| entry.position.offset > after && entry.position.offset < before;
        let brings = |entry: &Entry| entry.publication.is_some().then_some(entry.position.offset);
        self.kept().iter().filter(between).filter_map(brings).collect()
    }
}

fn newest(mut offsets: Vec<u64>, limit: usize) -> Vec<u64> {
    offsets.split_off(offsets.len().saturating_sub(limit))
}

proptest! {
    #[test]
    fn a_span_proves_and_reads_as_a_history_that_forgets_nothing(
        steps in prop::collection::vec(step(), 1..60), limit in 0..10_usize,
        claims in prop::collection::vec(0..70_u64, 4),
    ) {
        let (mut model, mut span) = (Model::default(), Span::default());
        for step in &steps {
            if let Some(entry) = model.take(step) {
                span.push(entry);
            }
            match step {
                Step::Keep(count) => span.keep(*count),
                Step::Trim(count) => span.trim(*count, usize::MAX),
                _ => {}
            }
            prop_assert_eq!(span.len(), model.kept().len());
            prop_assert_eq!(span.bytes(), model.kept().iter().map(Entry::cost).sum::<usize>());
        }
        let count = model.all.len() as u64;
        let head = if count == 0 { Position::origin(EPOCH) } else { at(count) };
        for claim in claims {
            let since = if claim == 0 { Position::origin(EPOCH) } else { at(claim) };
            let proof = span.prove(head, since);
            let holds = claim <= count && model.is_provable(claim as usize);
            prop_assert_eq!(matches!(proof, Proof::Holds(_)), holds, "{:?} {:?}", since, proof);
            if let Proof::Holds(begin) = proof {
                prop_assert_eq!(offsets(&span.publications_from(begin)), model.publications(claim, u64::MAX));
            }
            let forged = Position { mark: Mark(1), ..since };
            prop_assert!(!matches!(span.prove(head, forged), Proof::Holds(_)));

            for before in [None, Some(claim / 2 + 3)] {
                let bound = before.map_or(Since::Nothing, |offset| Since::Position(at(offset)));
                let before = before.unwrap_or(u64::MAX);
                let range = Range { since: Since::Position(since), before: bound, limit: limit as u32 };
                let page = span.page(head, range);
                prop_assert_eq!(page.recovered == Some(Ok(())), holds);
                let expected = if holds {
                    model.publications(claim, before).into_iter().take(limit).collect()
                } else {
                    newest(model.publications(0, before), limit)
                };
                prop_assert_eq!(offsets(&page.publications), expected);
            }
        }
    }

    #[test]
    fn a_list_is_the_last_items_that_fit(
        changes in prop::collection::vec((0..12_u8, 0..20_usize), 1..60), limit in 1..8_u32, max_bytes in 22..80_usize,
    ) {
        let mut state = State::new(retention(Mode::List, limit, max_bytes));
        let mut items: Vec<(u64, String)> = Vec::new();
        for (offset, (kind, size)) in (1..).zip(changes) {
            let (act, item) = match kind {
                0 => (Act::Clear, None),
                1 => (Act::Forget { before: u64::saturating_sub(offset, size as u64 / 4) }, None),
                _ => (Act::Add, Some("7".repeat(size + 1))),
            };
            match act {
                Act::Clear => items.clear(),
                Act::Forget { before } => items.retain(|(offset, _)| *offset >= before),
                Act::Add => {}
            }
            items.extend(item.clone().map(|item| (offset, item)));
            let array = |items: &[(u64, String)]| {
                let texts: Vec<&str> = items.iter().map(|(_, item)| item.as_str()).collect();
                format!("[{}]", texts.join(","))
            };
            while items.len() > limit as usize || array(&items).len() > max_bytes {
                items.remove(0);
            }
            state.apply(&entry(offset, act, item.map(Payload::json)));
            prop_assert_eq!(json(&mut state, offset), Some(array(&items)));
        }
    }

    #[test]
    fn a_map_is_what_was_merged_and_grows_no_further_than_it_may(
        changes in prop::collection::vec((0..10_u8, patch()), 1..60),
        limit in 1..5_u32, max_bytes in 1..20_usize,
    ) {
        let retention = retention(Mode::Map, limit, max_bytes);
        let mut state = State::new(retention.clone());
        let mut members: Map<String, Value> = Map::new();
        for (offset, (kind, patch)) in (1..).zip(changes) {
            let change = match kind { 0 => Change::Clear, 1 => Change::Replace, _ => Change::Publish };
            let payload = Payload::json(serde_json::to_vec(&patch).expect("an object"));
            let envelope = Envelope { to: Recipients::Topic(place().topic), ..place().envelope(payload.clone(), 0) };
            let commit = Commit { envelope, retention: retention.clone(), key: None, change };
            let mut after = if change == Change::Publish { members.clone() } else { Map::new() };
            let patch = if change == Change::Clear { BTreeMap::new() } else { patch };
            for (name, value) in patch {
                match value {
                    Some(value) => after.insert(name, value.into()),
                    None => after.remove(&name),
                };
            }
            let bytes: usize = after.iter().map(|(name, value)| name.len() + value.to_string().len()).sum();
            let fits = after.len() <= limit as usize && bytes <= max_bytes;
            prop_assert_eq!(state.admits(&commit).is_ok(), fits);
            if !fits {
                continue;
            }
            let act = if change == Change::Publish { Act::Add } else { Act::Clear };
            let brings = change != Change::Clear;
            state.apply(&entry(offset, act, brings.then_some(payload)));
            members = after;
            let whole: Value = serde_json::from_str(&json(&mut state, offset).expect("it is set")).expect("an object");
            prop_assert_eq!(whole, Value::Object(members.clone()));
        }
    }
}
