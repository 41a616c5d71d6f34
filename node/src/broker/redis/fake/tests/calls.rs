//! Calls of the scripts that keep topics, with what most calls say.

use super::super::resp::Word;
use crate::broker::redis::script::Script;

pub const BIRTH: &str = "birth123";
pub const CHANNEL: &str = "c0";

/// A publication as it is stored: to the scripts only its mark and its id mean something.
pub fn item(mark: &str, mid: &str, payload: &[u8]) -> Word {
    let length = u32::try_from(24 + payload.len()).expect("no test's payload is so long");
    [&length.to_be_bytes(), mark.as_bytes(), format!("{mid:0>16}").as_bytes(), payload].concat()
}

/// A head as it is stored.
pub fn head(mode: char, epoch: &str, mark: &str, offset: u64) -> Word {
    format!("1{mode}{epoch}{mark}{offset}").into_bytes()
}

/// The keys of a topic begin with its name.
pub fn key(topic: &str, kind: char) -> Word {
    format!("{topic}:{kind}").into_bytes()
}

#[derive(Debug, Clone)]
pub struct Commit {
    pub topic: &'static str,
    pub is_idempotent: bool,
    pub mode: char,
    pub limit: usize,
    pub list_ttl_s: u32,
    pub head_ttl_s: u32,
    pub idempotency_ttl_s: u32,
    pub is_renewed: bool,
    pub birth: &'static str,
    pub again: String,
    pub first: String,
    pub items: Vec<Word>,
}

impl Commit {
    pub fn of(items: impl IntoIterator<Item = Word>) -> Self {
        Self {
            topic: "t0",
            is_idempotent: false,
            mode: 'l',
            limit: 100,
            list_ttl_s: 1000,
            head_ttl_s: 2000,
            idempotency_ttl_s: 300,
            is_renewed: false,
            birth: BIRTH,
            again: String::new(),
            first: String::new(),
            items: items.into_iter().collect(),
        }
    }

    pub fn words(&self) -> Vec<Word> {
        let mut keys = vec![key(self.topic, 'h'), key(self.topic, 's')];
        keys.extend(self.is_idempotent.then(|| key(self.topic, 'i')));
        let last_mark = self.items.last().map(|item| item[4..8].to_vec()).unwrap_or_default();
        let mut arguments = vec![
            b"PUBLISH".to_vec(),
            CHANNEL.into(),
            self.mode.to_string().into(),
            text(&self.limit),
            text(&self.list_ttl_s),
            text(&self.head_ttl_s),
            text(&u8::from(self.is_renewed)),
            self.birth.into(),
            self.again.clone().into(),
            text(&self.idempotency_ttl_s),
            last_mark,
            self.first.clone().into(),
        ];
        arguments.extend(self.items.iter().cloned());
        evaluation(Script::Commit, &keys, arguments)
    }
}

/// One page from an offset up.
pub fn read_from(topic: &str, offset: u64, count: usize, bytes: usize) -> Vec<Word> {
    read(topic, vec![b"from".to_vec(), text(&offset), text(&count), text(&bytes)])
}

/// The newest items.
pub fn read_last(topic: &str, count: usize, bytes: usize) -> Vec<Word> {
    read(topic, vec![b"last".to_vec(), text(&count), text(&bytes)])
}

fn read(topic: &str, arguments: Vec<Word>) -> Vec<Word> {
    evaluation(Script::Read, &[key(topic, 'h'), key(topic, 's')], arguments)
}

pub fn birth(topic: &str, mode: char, epoch: &str) -> Vec<Word> {
    let keys = if mode == 'm' { vec![key(topic, 'k')] } else { vec![key(topic, 'h'), key(topic, 's')] };
    evaluation(Script::Birth, &keys, vec![mode.to_string().into(), epoch.into(), text(&3600)])
}

#[derive(Debug, Clone)]
pub struct Merge {
    pub topic: &'static str,
    pub is_idempotent: bool,
    pub ttl_s: u32,
    pub is_renewed: bool,
    pub birth: &'static str,
    pub mark: &'static str,
    pub incarnation: &'static str,
    pub batch: u64,
    pub fields_max: usize,
    pub bytes_max: usize,
    pub is_replaced: bool,
    pub live: &'static str,
    pub item: Word,
    pub pairs: Vec<(String, Word)>,
    pub removed: Vec<String>,
}

impl Merge {
    /// A batch of incarnation `a1`.
    pub fn of(batch: u64, pairs: &[(&str, &str)], removed: &[&str]) -> Self {
        Self {
            topic: "t0",
            is_idempotent: false,
            ttl_s: 1000,
            is_renewed: false,
            birth: BIRTH,
            mark: "mmmm",
            incarnation: "a1",
            batch,
            fields_max: 100,
            bytes_max: 1000,
            is_replaced: false,
            live: "",
            item: item("mmmm", "1", b"{}"),
            pairs: pairs.iter().map(|(key, json)| (format!("f{key}"), (*json).into())).collect(),
            removed: removed.iter().map(|key| format!("f{key}")).collect(),
        }
    }

    pub fn words(&self) -> Vec<Word> {
        let mut keys = vec![key(self.topic, 'k')];
        keys.extend(self.is_idempotent.then(|| key(self.topic, 'i')));
        let mut arguments = vec![
            b"PUBLISH".to_vec(),
            CHANNEL.into(),
            text(&self.ttl_s),
            text(&u8::from(self.is_renewed)),
            self.birth.into(),
            self.mark.into(),
            self.incarnation.into(),
            text(&self.batch),
            text(&self.fields_max),
            text(&self.bytes_max),
            text(&u8::from(self.is_replaced)),
            self.live.into(),
            text(&300),
            self.item.clone(),
            text(&self.pairs.len()),
        ];
        arguments.extend(self.pairs.iter().flat_map(|(field, json)| [field.clone().into(), json.clone()]));
        arguments.extend(self.removed.iter().map(|field| field.clone().into()));
        evaluation(Script::Merge, &keys, arguments)
    }
}

fn text(number: &impl ToString) -> Word {
    number.to_string().into_bytes()
}

fn evaluation(script: Script, keys: &[Word], arguments: Vec<Word>) -> Vec<Word> {
    let mut words = vec![b"eval".to_vec(), script.body().into(), text(&keys.len())];
    words.extend(keys.iter().cloned().chain(arguments));
    words
}
