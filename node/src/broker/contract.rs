//! The promises of [`super`] as functions, one each, for every broker there is.
//!
//! A broker is made by a factory, because each promise wants a fresh one. Nothing sleeps: whoever expects
//! something waits to be woken, and gives up after [`PATIENCE`].

mod commits;
mod keeping;
mod promises;
mod recoveries;
pub(super) mod remembering;

use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use dunlin_protocol::{Envelope, Namespace, Payload, Recipients, Topic};

use super::redis::tests::{Cluster, node};
use super::{Broker, Command, Event, MemoryBroker};
use crate::hub::Tag;

/// How long a promise may take; only a broken one takes so long.
const PATIENCE: Duration = Duration::from_secs(10);

/// Runs each promise against each broker, as a test of its own.
macro_rules! contract {
    ($($broker:ident: $make:expr => [$($promise:ident),* $(,)?];)*) => {
        $(mod $broker {
            use super::*;

            $(#[test]
            fn $promise() {
                all::$promise(&$make);
            })*
        })*
    };
}

contract! {
    memory: || Arc::new(MemoryBroker::default()) as Arc<dyn Broker> => [
        b1_a_join_is_answered_once_with_its_tag,
        b2_what_is_accepted_after_the_answer_arrives_once_until_the_shard_leaves,
        b3_every_shard_hears_a_topic_in_one_order,
        b4_every_publish_is_settled_once_also_where_nothing_was_joined,
        b5_a_publish_to_several_topics_is_a_copy_for_each_that_is_joined,
        b5_a_publish_without_a_topic_reaches_who_counted_peers,
        b6_the_first_count_is_answered_and_later_changes_are_told,
        b7_names_that_differ_in_one_byte_never_meet,
        b8_what_exceeds_the_bound_is_refused_and_reaches_nobody,
        b9_a_shard_is_woken_when_something_waits,
        b10_topics_that_are_joined_are_counted_once_each,
        b8_a_commit_whose_state_does_not_fit_is_refused_and_changes_nothing,
        b11_each_commit_is_answered_once_with_a_position_behind_the_last,
        b11_what_is_refused_changes_nothing,
        b12_every_shard_hears_every_commit_once_in_one_order_and_its_own_before_the_answer,
        b12_a_list_is_heard_whole_and_never_older_after_newer,
        b12_who_published_hears_the_state_and_may_be_spared_the_entry,
        b13_a_recovery_is_answered_in_its_place,
        b13_a_position_of_the_history_is_continued,
        b13_a_position_that_is_not_in_the_history_is_never_claimed_to_be,
        b13_a_topic_that_nobody_wrote_has_a_position,
        b13_a_newcomer_to_a_log_gets_as_many_as_it_asks_for,
        b13_more_than_may_be_sent_at_once_is_not_claimed_to_be_all,
        b13_a_state_is_sent_unless_it_is_there_already,
        b14_forty_concurrent_appends_leave_forty,
        b14_members_are_merged_one_by_one,
        b15_a_log_keeps_its_limit,
        b15_a_value_is_the_last_payload,
        b15_a_list_keeps_its_last_items_within_its_bytes,
        b15_a_map_refuses_what_exceeds_its_bounds,
        b16_a_repeated_key_happens_once,
        b16_a_key_that_two_shards_bring_at_once_happens_once,
        b17_a_topic_is_neither_written_nor_read_in_another_mode,
        b18_publications_are_read_in_pages_exclusive_of_both_bounds,
        b18_a_page_says_whether_it_follows,
        b18_what_has_a_state_is_read_too,
        b19_a_clearing_of_a_state_takes_its_place,
        b19_a_clearing_and_a_forgetting_of_a_log_are_told_in_their_place,
        b19_a_replacement_takes_the_place_of_all_members,
        b19_a_list_forgets_what_is_older,
        b19_only_a_position_of_the_history_can_be_forgotten_before,
    ];
    // One node of a cluster, on a real Redis.
    redis: || node() as Arc<dyn Broker> => [
        b1_a_join_is_answered_once_with_its_tag,
        b2_what_is_accepted_after_the_answer_arrives_once_until_the_shard_leaves,
        b3_every_shard_hears_a_topic_in_one_order,
        b4_every_publish_is_settled_once_also_where_nothing_was_joined,
        b5_a_publish_to_several_topics_is_a_copy_for_each_that_is_joined,
        b5_a_publish_without_a_topic_reaches_who_counted_peers,
        b6_the_first_count_is_answered_and_later_changes_are_told,
        b7_names_that_differ_in_one_byte_never_meet,
        b8_what_exceeds_the_bound_is_refused_and_reaches_nobody,
        b9_a_shard_is_woken_when_something_waits,
        b10_topics_that_are_joined_are_counted_once_each,
        b8_a_commit_whose_state_does_not_fit_is_refused_and_changes_nothing,
        b11_each_commit_is_answered_once_with_a_position_behind_the_last,
        b11_what_is_refused_changes_nothing,
        b12_every_shard_hears_every_commit_once_in_one_order_and_its_own_before_the_answer,
        b12_a_list_is_heard_whole_and_never_older_after_newer,
        b12_who_published_hears_the_state_and_may_be_spared_the_entry,
        b13_a_recovery_is_answered_in_its_place,
        b13_a_position_of_the_history_is_continued,
        b13_a_position_that_is_not_in_the_history_is_never_claimed_to_be,
        b13_a_topic_that_nobody_wrote_has_a_position,
        b13_a_newcomer_to_a_log_gets_as_many_as_it_asks_for,
        b13_more_than_may_be_sent_at_once_is_not_claimed_to_be_all,
        b13_a_state_is_sent_unless_it_is_there_already,
        b14_forty_concurrent_appends_leave_forty,
        b14_members_are_merged_one_by_one,
        b15_a_log_keeps_its_limit,
        b15_a_value_is_the_last_payload,
        b15_a_list_keeps_its_last_items_within_its_bytes,
        b15_a_map_refuses_what_exceeds_its_bounds,
        b16_a_repeated_key_happens_once,
        b16_a_key_that_two_shards_bring_at_once_happens_once,
        b17_a_topic_is_neither_written_nor_read_in_another_mode,
        b18_publications_are_read_in_pages_exclusive_of_both_bounds,
        b18_a_page_says_whether_it_follows,
        b18_what_has_a_state_is_read_too,
        b19_a_clearing_of_a_state_takes_its_place,
        b19_a_clearing_and_a_forgetting_of_a_log_are_told_in_their_place,
        b19_a_replacement_takes_the_place_of_all_members,
        b19_a_list_forgets_what_is_older,
        b19_only_a_position_of_the_history_can_be_forgotten_before,
    ];
    // Two nodes, whose shards are one broker's here; what a node refuses or counts is its own.
    cluster: || Arc::new(Cluster::default()) as Arc<dyn Broker> => [
        b1_a_join_is_answered_once_with_its_tag,
        b2_what_is_accepted_after_the_answer_arrives_once_until_the_shard_leaves,
        b3_every_shard_hears_a_topic_in_one_order,
        b4_every_publish_is_settled_once_also_where_nothing_was_joined,
        b5_a_publish_to_several_topics_is_a_copy_for_each_that_is_joined,
        b5_a_publish_without_a_topic_reaches_who_counted_peers,
        b6_the_first_count_is_answered_and_later_changes_are_told,
        b7_names_that_differ_in_one_byte_never_meet,
        b9_a_shard_is_woken_when_something_waits,
        b11_each_commit_is_answered_once_with_a_position_behind_the_last,
        b11_what_is_refused_changes_nothing,
        b12_every_shard_hears_every_commit_once_in_one_order_and_its_own_before_the_answer,
        b12_a_list_is_heard_whole_and_never_older_after_newer,
        b12_who_published_hears_the_state_and_may_be_spared_the_entry,
        b13_a_recovery_is_answered_in_its_place,
        b13_a_position_of_the_history_is_continued,
        b13_a_position_that_is_not_in_the_history_is_never_claimed_to_be,
        b13_a_topic_that_nobody_wrote_has_a_position,
        b13_a_newcomer_to_a_log_gets_as_many_as_it_asks_for,
        b13_more_than_may_be_sent_at_once_is_not_claimed_to_be_all,
        b13_a_state_is_sent_unless_it_is_there_already,
        b14_forty_concurrent_appends_leave_forty,
        b14_members_are_merged_one_by_one,
        b15_a_log_keeps_its_limit,
        b15_a_value_is_the_last_payload,
        b15_a_list_keeps_its_last_items_within_its_bytes,
        b15_a_map_refuses_what_exceeds_its_bounds,
        b16_a_repeated_key_happens_once,
        b16_a_key_that_two_shards_bring_at_once_happens_once,
        b17_a_topic_is_neither_written_nor_read_in_another_mode,
        b18_publications_are_read_in_pages_exclusive_of_both_bounds,
        b18_a_page_says_whether_it_follows,
        b18_what_has_a_state_is_read_too,
        b19_a_clearing_of_a_state_takes_its_place,
        b19_a_clearing_and_a_forgetting_of_a_log_are_told_in_their_place,
        b19_a_replacement_takes_the_place_of_all_members,
        b19_a_list_forgets_what_is_older,
        b19_only_a_position_of_the_history_can_be_forgotten_before,
    ];
}

/// Every promise, whichever file tells it.
mod all {
    pub use super::commits::*;
    pub use super::keeping::*;
    pub use super::promises::*;
    pub use super::recoveries::*;
}

/// Makes a broker without shards.
type Factory<'a> = &'a dyn Fn() -> Arc<dyn Broker>;

/// One shard, as the broker knows it.
pub(super) struct Shard {
    broker: Arc<dyn Broker>,
    number: usize,
    woken: Mutex<Receiver<()>>,
    waiting: VecDeque<Event>,
}

impl Shard {
    pub(super) fn attach(broker: &Arc<dyn Broker>) -> Self {
        let (wake, woken) = sync_channel(1);
        // Woken twice before it looks is woken.
        let wake = Arc::new(move || {
            let _ = wake.try_send(());
        });
        let number = broker.attach(wake);
        let woken = Mutex::new(woken);
        let mut shard = Self { broker: broker.clone(), number, woken, waiting: VecDeque::new() };
        shard.join(MARK, "/mark", &number.to_string());
        shard
    }

    pub(super) fn submit(&self, commands: impl Into<Vec<Command>>) {
        let mut commands = commands.into();
        self.broker.submit(self.number, &mut commands);
        assert!(commands.is_empty(), "the broker takes all commands");
    }

    /// Whether a wake-up came in time.
    pub(super) fn is_woken(&self, patience: Duration) -> bool {
        self.woken.lock().expect("one thread looks").recv_timeout(patience).is_ok()
    }

    /// What waits for the shard, without waiting.
    pub(super) fn collect(&mut self) -> Vec<Event> {
        self.broker.collect(self.number, &mut self.waiting);
        self.waiting.drain(..).filter(|event| !matches!(event, Event::Keys(_))).collect()
    }

    /// The next event, in time.
    pub(super) fn next(&mut self) -> Event {
        loop {
            match self.waiting.pop_front() {
                // Comes when nodes agree, whatever a shard does.
                Some(Event::Keys(_)) => continue,
                Some(event) => return event,
                None => {}
            }
            self.broker.collect(self.number, &mut self.waiting);
            let expected = self.waiting.is_empty();
            assert!(!expected || self.is_woken(PATIENCE), "nothing came for shard {}", self.number);
        }
    }

    /// The events up to a publication of its own to itself, which comes behind all publications that were
    /// settled before.
    fn up_to_a_mark(&mut self) -> Vec<Event> {
        let mut events = self.collect(); // What waits may leave no room.
        self.submit([publish(MARK as u32, "/mark", &self.number.to_string(), "0")]);
        let (mut heard, mut settled) = (false, false);
        while !(heard && settled) {
            match self.next() {
                Event::Publication(Tag(MARK), _) => heard = true,
                Event::Settled(ticket, _) if ticket == MARK as u32 => settled = true,
                event => events.push(event),
            }
        }
        events
    }

    /// The events up to being told this count under this tag.
    fn up_to_a_count(&mut self, tag: u64, peers: u64) -> Vec<Event> {
        let mut events = Vec::new();
        while counts(&events, tag).last() != Some(&peers) {
            events.push(self.next());
        }
        events
    }

    /// Joins a topic and waits for the answer.
    fn join(&mut self, tag: u64, namespace: &str, topic: &str) {
        self.submit([join(tag, namespace, topic)]);
        loop {
            if matches!(self.next(), Event::Joined(joined) if joined == Tag(tag)) {
                return;
            }
        }
    }
}

/// The tag and the ticket of a publish that only marks a place; its success is awaited.
const MARK: u64 = u64::MAX >> 33;

fn namespace(text: &str) -> Namespace {
    Namespace::parse(text).expect("a good namespace")
}

fn topic(text: &str) -> Topic {
    Topic::parse(text).expect("a good topic")
}

fn join(tag: u64, space: &str, name: &str) -> Command {
    Command::Join(Tag(tag), namespace(space), topic(name), None)
}

fn leave(tag: u64, space: &str, name: &str) -> Command {
    Command::Leave(Tag(tag), namespace(space), topic(name))
}

fn count(tag: u64, space: &str, peers: u64) -> Command {
    Command::Count(Tag(tag), namespace(space), peers)
}

fn publish(ticket: u32, space: &str, name: &str, payload: &str) -> Command {
    let payload = Payload::json(Bytes::copy_from_slice(payload.as_bytes()));
    Command::Publish(ticket, envelope(space, Recipients::Topic(topic(name)), payload))
}

fn envelope(space: &str, to: Recipients, payload: Payload) -> Envelope {
    Envelope { origin: None, echo: false, at_us: 0, namespace: namespace(space), to, payload }
}

/// Publications among events: the tag they came under, the topic of this copy, the payload.
fn publications(events: &[Event]) -> Vec<(u64, String, String)> {
    let publication = |event: &Event| match event {
        Event::Publication(tag, publication) | Event::Broadcast(tag, publication) => {
            let topic = publication.topic().map(|topic| topic.as_str().to_owned()).unwrap_or_default();
            let payload = String::from_utf8_lossy(&publication.envelope.payload.bytes).into_owned();
            Some((tag.0, topic, payload))
        }
        _ => None,
    };
    events.iter().filter_map(publication).collect()
}

/// The numbers of peers elsewhere that a tag was told.
fn counts(events: &[Event], tag: u64) -> Vec<u64> {
    let counted = |event: &Event| match event {
        Event::Counted(told, peers) if *told == Tag(tag) => Some(*peers),
        _ => None,
    };
    events.iter().filter_map(counted).collect()
}
