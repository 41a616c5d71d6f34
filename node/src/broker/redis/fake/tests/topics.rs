//! What nodes do to topics, by chance: few topics, epochs, marks and ids, so that all often meet.

use std::collections::BTreeSet;

use super::super::resp::Word;
use super::beside::{CLIENTS, Place, Twins};
use super::calls::{self, Commit, Merge, head, item, key};
use super::sequence::{Author, say};
use crate::broker::redis::script::Script;
use crate::broker::redis::tests::server::Server;

/// How many sequences, and how many steps each has.
const SEEDS: u64 = 200;
const STEPS: usize = 120;
/// All keys that are touched.
const KEYS: [&str; 12] =
    ["t0:h", "t0:s", "t0:k", "t0:i", "t1:h", "t1:s", "t1:k", "t1:i", "t2:h", "t2:s", "t2:k", "t2:i"];

const TOPICS: &[(&str, char)] = &[("t0", 'l'), ("t1", 'v'), ("t2", 'm')];
const EPOCHS: &[&str] = &["birth123", "birth123", "birth123", "other456"];
const MARKS: &[&str] = &["aaaa", "bbbb"];
const KEYS_OF_MAPS: &[&str] = &["", "0", "1", "two", "#h"];
const JSON: &[&str] = &["1", "{}", "\"some text\"", "\"\0\u{ff}\""];
const HEADS: &[&str] = &[
    "",
    "1",
    "1lbirth123aaaa",
    "1lbirth123aaaa-5",
    "1lbirth123aaaa5x",
    "2lbirth123aaaa5",
    "1lbirth123aaaa99999999999998",
    "1mbirth123aaaa99999999999998",
    "1lbirth123aaaa100000000000000",
];

impl Author {
    /// A call of a script, or what spoils a topic.
    pub fn on_topics(&mut self) -> Vec<Word> {
        let (topic, mode) = self.one(TOPICS);
        let mode = if self.below(12) == 0 { self.one(&['v', 'l', 'a', 'm']) } else { mode };
        match self.below(12) {
            0 => self.spoiling(topic),
            1 => calls::birth(topic, mode, self.one(EPOCHS)),
            2 => {
                let (count, bytes) = (self.below(8), self.one(&[0, 60, 1000]));
                calls::read_last(topic, count, bytes)
            }
            3 => {
                let (offset, count) = (self.below(20) as u64, self.below(8));
                calls::read_from(topic, offset, count, self.one(&[0, 60, 1000]))
            }
            _ if mode == 'm' => self.merge(topic),
            _ => self.commit(topic, mode),
        }
    }

    fn spoiling(&mut self, topic: &str) -> Vec<Word> {
        let kind = self.one(&['h', 's', 'k', 'i']);
        let (any, wrong) = (key(topic, kind), self.one(HEADS));
        match self.below(8) {
            0..3 => say("del", &[&any]),
            3 => say("set", &[&any, wrong.as_bytes()]),
            4 => say("hset", &[&key(topic, 'k'), b"#h", wrong.as_bytes()]),
            5 => {
                let field = self.one(&["#n", "#b", "ia1", "fx"]);
                say("hset", &[&any, field.as_bytes(), self.one(&["x", "7", "3:birth123aaaa5"]).as_bytes()])
            }
            6 => say("rpush", &[&any, b"no item"]),
            _ => say("set", &[&key(topic, 'h'), &head('l', self.one(EPOCHS), "aaaa", self.below(3) as u64)]),
        }
    }

    fn commit(&mut self, topic: &'static str, mode: char) -> Vec<Word> {
        let count = self.one(&[1, 1, 2, 3, 7]);
        let items: Vec<Word> = (0..count).map(|_| self.item()).collect();
        let mut commit = Commit::of(items);
        (commit.topic, commit.mode, commit.birth) = (topic, mode, self.one(EPOCHS));
        commit.limit = self.one(&[1, 2, 8]);
        commit.is_idempotent = self.below(4) == 0;
        commit.is_renewed = self.below(4) == 0;
        let offset = self.below(24);
        commit.again = match self.below(6) {
            0 => "?".to_owned(),
            1 | 2 => format!("{}{}{offset}", self.one(EPOCHS), self.one(MARKS)),
            _ => String::new(),
        };
        commit.first = match self.below(8) {
            0 => "clear".to_owned(),
            1 | 2 => format!("before{}{}{offset}", self.one(EPOCHS), self.one(MARKS)),
            _ => String::new(),
        };
        commit.words()
    }

    fn item(&mut self) -> Word {
        let (mark, mid, size) = (self.one(MARKS), self.below(12).to_string(), self.one(&[0, 5, 100]));
        item(mark, &mid, &vec![b'.'; size])
    }

    fn merge(&mut self, topic: &'static str) -> Vec<Word> {
        let pairs: Vec<_> = (0..self.below(4)).map(|_| (self.one(KEYS_OF_MAPS), self.one(JSON))).collect();
        let removed: Vec<_> = (0..self.below(3)).map(|_| self.one(KEYS_OF_MAPS)).collect();
        let mut merge = Merge::of(1 + self.below(30) as u64, &pairs, &removed);
        (merge.topic, merge.birth, merge.mark) = (topic, self.one(EPOCHS), self.one(MARKS));
        merge.incarnation = self.one(&["a1", "b2", "c3"]);
        merge.is_idempotent = self.below(6) == 0;
        merge.is_renewed = self.below(4) == 0;
        merge.is_replaced = self.below(6) == 0;
        merge.live = self.one(&["", "", "a1", "b2,c3"]);
        (merge.fields_max, merge.bytes_max) = (self.one(&[3, 100]), self.one(&[20, 1000]));
        merge.item = self.item();
        merge.words()
    }
}

#[test]
fn whatever_happens_to_topics_the_fake_does_what_redis_does() {
    let (real, mut answers) = (Server::start(), BTreeSet::new());
    for seed in 0..SEEDS {
        let mut place = Place(seed, 0);
        let (mut twins, mut author) = (Twins::new(&real), Author::new(seed, CLIENTS));
        twins.listen(calls::CHANNEL);
        for step in 0..STEPS {
            place.1 = step;
            let words = author.on_topics();
            let answer = twins.answer(&words);
            let script = Script::ALL.into_iter().find(|script| script.body().as_bytes() == words[1]);
            answers.extend(script.map(|script| format!("{script:?} {}", answer[0])));
        }
        twins.check(&KEYS);
    }
    let missing: Vec<&str> = ANSWERS.iter().filter(|answer| !answers.contains(**answer)).copied().collect();
    assert!(missing.is_empty(), "the scripts gave every answer at least once, except {missing:?}");
}

const ANSWERS: &[&str] = &[
    "Commit OK",
    "Commit DONE",
    "Commit UNKNOWN",
    "Commit MODE",
    "Commit STALE",
    "Commit CORRUPT",
    "Read CORRUPT",
    "Birth OK",
    "Birth MODE",
    "Birth CORRUPT",
    "Merge OK",
    "Merge DONE",
    "Merge LIMIT",
    "Merge MODE",
    "Merge CORRUPT",
];
