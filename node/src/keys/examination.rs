//! What is asked about one key, and what its answers mean. Pure: whoever reads puts the questions.
//!
//! **Invariant:** a topic that is written between two reads is no fault: what looks wrong for that reason is
//! unsettled, and asked again.

use std::collections::HashMap;
use std::fmt::Display;
use std::str::FromStr;

use super::class::{Class, Key, Layout, Owner};
use super::shown::Shown;

/// A command, word by word.
pub type Words = Vec<Vec<u8>>;

/// What Redis answered.
#[derive(Debug, Clone, PartialEq)]
pub enum Reply {
    /// There is nothing.
    Absent,
    /// A number.
    Number(i64),
    /// A text or bytes.
    Bytes(Vec<u8>),
    /// A hash.
    Fields(HashMap<Vec<u8>, Vec<u8>>),
    /// A list of answers.
    Many(Vec<Reply>),
    /// An error in Redis' words.
    Error(String),
}

/// What is the matter with a key. The order is that of the report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Finding {
    /// It stays for ever.
    NoLifetime,
    /// Nobody we know wrote it.
    Unknown,
    /// Nodes of another layout wrote it.
    OtherLayout,
    /// It is named for another database.
    OtherDatabase,
    /// Its type is not its class's.
    WrongType,
    /// A history without its head.
    LoneHistory,
    /// A registry of a node that is neither alive nor dead.
    LoneRegistry,
    /// An idempotency key of a topic without a head.
    LoneIdempotency,
    /// A head that no node can read.
    UnreadableHead,
    /// The last item is not the one that the head is about.
    TailDiffers,
    /// There are more items than ever were published.
    TooLong,
    /// A map's own sums are wrong.
    MapSums,
    /// A count's sum is wrong.
    CountSum,
}

impl Finding {
    /// For people, after the number of keys.
    pub fn title(self) -> &'static str {
        match self {
            Self::NoLifetime => "without a lifetime",
            Self::Unknown => "of no known class under the prefix",
            Self::OtherLayout => "of another layout",
            Self::OtherDatabase => "named for another database",
            Self::WrongType => "of the wrong type",
            Self::LoneHistory => "that are histories without a head",
            Self::LoneRegistry => "that are registries of nodes neither live nor gone",
            Self::LoneIdempotency => "that are idempotency keys of topics without a head",
            Self::UnreadableHead => "with a head that can't be read",
            Self::TailDiffers => "whose last item is not the head's",
            Self::TooLong => "with more items than the head's offset",
            Self::MapSums => "of maps that disagree with their own sums",
            Self::CountSum => "of counts that don't add up",
        }
    }

    /// For programs.
    pub fn word(self) -> &'static str {
        match self {
            Self::NoLifetime => "no_lifetime",
            Self::Unknown => "unknown",
            Self::OtherLayout => "other_layout",
            Self::OtherDatabase => "other_database",
            Self::WrongType => "wrong_type",
            Self::LoneHistory => "lone_history",
            Self::LoneRegistry => "lone_registry",
            Self::LoneIdempotency => "lone_idempotency",
            Self::UnreadableHead => "unreadable_head",
            Self::TailDiffers => "tail_differs",
            Self::TooLong => "too_long",
            Self::MapSums => "map_sums",
            Self::CountSum => "count_sum",
        }
    }
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// What.
    pub finding: Finding,
    /// In what way, where the finding does not say it all.
    pub detail: Option<String>,
}

impl Fault {
    /// A fault that says it all.
    pub fn plain(finding: Finding) -> Self {
        Self { finding, detail: None }
    }

    fn because(finding: Finding, detail: String) -> Self {
        Self { finding, detail: Some(detail) }
    }
}

/// How much is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// Names, types, lifetimes, heads.
    Shallow,
    /// Also whether what is stored agrees with itself (redis.md 9.6).
    Deep,
}

/// What every key is asked.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Facts {
    /// Its type, as Redis calls it.
    pub kind: String,
    /// How long it lives, in ms; for ever without.
    pub ttl: Option<u64>,
    /// What it takes, where Redis may be asked.
    pub bytes: Option<u64>,
    /// How many fields it has, if that was asked.
    pub fields: Option<u64>,
}

/// Bigger hashes are not read whole: what is read at once has to fit into memory.
const WHOLE_BYTES_MAX: u64 = 8 * 1024 * 1024;
/// The same where bytes are not known.
const WHOLE_FIELDS_MAX: u64 = 100_000;

impl Facts {
    /// Whether a hash may be read whole.
    pub fn fits(&self) -> bool {
        self.bytes.is_none_or(|bytes| bytes <= WHOLE_BYTES_MAX)
            && self.fields.is_none_or(|fields| fields <= WHOLE_FIELDS_MAX)
    }
}

/// Whether the deep look at this class reads all of a key.
pub fn is_read_whole(class: Class) -> bool {
    matches!(class, Class::Map | Class::Counts)
}

/// What an examination comes to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Verdict {
    /// What is wrong.
    pub faults: Vec<Fault>,
    /// It was written meanwhile.
    pub is_unsettled: bool,
}

impl Verdict {
    /// Whether there is no reason to look again.
    pub fn is_clean(&self) -> bool {
        self.faults.is_empty() && !self.is_unsettled
    }
}

/// More of a head is not read: a longer one is none.
const HEAD_END: &str = "63";

/// What to ask about a key of the right type, beyond the facts.
pub fn questions(layout: &Layout, key: &Key, facts: &Facts, depth: Depth) -> Vec<Words> {
    let name = &*key.name;
    let head = |of: &str| words(&["GETRANGE", of, "0", HEAD_END]);
    let is_deep = depth == Depth::Deep;
    match (key.class, &key.owner) {
        _ if facts.kind != key.expected => Vec::new(),
        (Class::Head, _) => vec![head(name)],
        (Class::History, _) if is_deep => {
            let of = key.sibling("h");
            vec![head(&of), words(&["LLEN", name]), words(&["LINDEX", name, "-1"]), head(&of)]
        }
        (Class::History, _) => vec![head(&key.sibling("h"))],
        (Class::Idempotency, _) => vec![words(&["EXISTS", &key.sibling("h"), &key.sibling("k")])],
        (Class::Registry, Owner::Node(incarnation)) => {
            ["live", "gone"].map(|kind| words(&["ZSCORE", &layout.of_cluster(kind), incarnation])).into()
        }
        (Class::Map | Class::Counts, _) if is_deep && facts.fits() => vec![words(&["HGETALL", name])],
        (Class::Map, _) => vec![words(&["HGET", name, "#h"])],
        _ => Vec::new(),
    }
}

/// A command of plain words.
pub fn words(all: &[&str]) -> Words {
    all.iter().map(|word| word.as_bytes().to_vec()).collect()
}

/// What facts and answers mean.
pub fn judge(key: &Key, facts: &Facts, answers: &[Reply]) -> Verdict {
    let mut verdict = Verdict::default();
    if facts.ttl.is_none() {
        verdict.faults.push(Fault::plain(Finding::NoLifetime));
    }
    if facts.kind != key.expected {
        let detail = format!("it is a {}, not a {}", facts.kind, key.expected);
        verdict.faults.push(Fault::because(Finding::WrongType, detail));
        return verdict;
    }
    match (key.class, answers) {
        (Class::Head, [Reply::Bytes(head)]) if !head.is_empty() => verdict.faults.extend(judge_head(head)),
        (Class::History, [head, rest @ ..]) => judge_history(&mut verdict, head, rest),
        (Class::Idempotency, [Reply::Number(0)]) => {
            verdict.faults.push(Fault::plain(Finding::LoneIdempotency));
        }
        (Class::Registry, [Reply::Absent, Reply::Absent]) => {
            verdict.faults.push(Fault::plain(Finding::LoneRegistry));
        }
        (Class::Map, [Reply::Fields(fields)]) if !fields.is_empty() => judge_map(&mut verdict, fields),
        (Class::Map, [Reply::Bytes(head)]) => verdict.faults.extend(judge_head(head)),
        (Class::Map, [Reply::Absent]) => verdict.faults.extend(judge_head(b"")),
        (Class::Counts, [Reply::Fields(fields)]) => verdict.faults.extend(judge_counts(fields)),
        _ => {}
    }
    verdict
}

/// What a head says: where its topic is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Head {
    mark: [u8; 4],
    offset: u64,
}

/// From here on Redis' scripts can't count (redis.md 0.4).
const OFFSET_END: u64 = 100_000_000_000_000;

impl Head {
    /// Reads `1`, the mode, 8 bytes of epoch, 4 of mark, and the offset in decimal.
    fn parse(bytes: &[u8]) -> Result<Self, String> {
        let (fixed, offset) = bytes.split_at_checked(14).ok_or(format!("it has {} bytes", bytes.len()))?;
        let (version, mode) = (fixed[0], fixed[1]);
        if version != b'1' {
            return Err(format!("its version is byte {version}"));
        }
        if !b"vlam".contains(&mode) {
            return Err(format!("its mode is byte {mode}"));
        }
        let is_number = !offset.is_empty() && offset.iter().all(u8::is_ascii_digit);
        let offset = str::from_utf8(offset).ok().filter(|_| is_number).and_then(|text| text.parse().ok());
        let offset =
            offset.filter(|offset| *offset < OFFSET_END).ok_or("its offset is no number below 10^14")?;
        Ok(Self { mark: [fixed[10], fixed[11], fixed[12], fixed[13]], offset })
    }
}

fn judge_head(bytes: &[u8]) -> Option<Fault> {
    Head::parse(bytes).err().map(|detail| Fault::because(Finding::UnreadableHead, detail))
}

/// The head before and after tells whether the list was written in between.
fn judge_history(verdict: &mut Verdict, head: &Reply, rest: &[Reply]) {
    let Reply::Bytes(bytes) = head else { return };
    if rest.last().is_some_and(|again| again != head) {
        verdict.is_unsettled = true;
        return;
    }
    if bytes.is_empty() {
        verdict.faults.push(Fault::plain(Finding::LoneHistory));
        return;
    }
    // A head that can't be read is told where it is itself examined.
    let (Ok(head), [Reply::Number(length), tail, _]) = (Head::parse(bytes), rest) else { return };
    if u64::try_from(*length).is_ok_and(|length| length > head.offset) {
        let detail = format!("it has {length} items, the head's offset is {}", head.offset);
        verdict.faults.push(Fault::because(Finding::TooLong, detail));
    }
    let Reply::Bytes(tail) = tail else { return };
    let detail = match tail.get(4..8) {
        None => format!("its last item has {} bytes", tail.len()),
        Some(mark) if mark != head.mark => {
            format!("its last mark is {mark:02x?}, the head's {:02x?}", head.mark)
        }
        Some(_) => return,
    };
    verdict.faults.push(Fault::because(Finding::TailDiffers, detail));
}

fn judge_map(verdict: &mut Verdict, fields: &HashMap<Vec<u8>, Vec<u8>>) {
    verdict.faults.extend(judge_head(fields.get(b"#h".as_slice()).map_or(b"", Vec::as_slice)));
    let told = |name: &str| match fields.get(name.as_bytes()) {
        None => Some(0),
        Some(text) => number(text),
    };
    let members = fields.iter().filter(|(name, _)| name.starts_with(b"f"));
    let (mut count, mut bytes) = (0, 0);
    for (name, value) in members {
        count += 1;
        bytes += name.len() - 1 + value.len();
    }
    let sums = [("#n", "fields", count), ("#b", "bytes", bytes)];
    let wrong = sums.into_iter().filter(|(name, _, real)| told(name) != Some(*real));
    let wrong: Vec<_> = wrong.map(|(name, what, real)| differs(fields, name, what, real)).collect();
    if !wrong.is_empty() {
        verdict.faults.push(Fault::because(Finding::MapSums, wrong.join(", ")));
    }
}

fn judge_counts(fields: &HashMap<Vec<u8>, Vec<u8>>) -> Option<Fault> {
    if fields.is_empty() {
        return None;
    }
    let of_nodes = fields.iter().filter(|(name, _)| name.starts_with(b"i"));
    let sum = of_nodes.filter_map(|(_, value)| number::<i64>(value)).fold(0, i64::saturating_add);
    let told = fields.get(b"#s".as_slice()).and_then(|text| number(text));
    (told != Some(sum)).then(|| Fault::because(Finding::CountSum, differs(fields, "#s", "peers", sum)))
}

fn differs(fields: &HashMap<Vec<u8>, Vec<u8>>, name: &str, what: &str, real: impl Display) -> String {
    let told = fields.get(name.as_bytes()).map_or("missing".into(), |text| Shown::bytes(text).to_string());
    format!("{name} is {told}, there are {real} {what}")
}

fn number<N: FromStr>(text: &[u8]) -> Option<N> {
    str::from_utf8(text).ok()?.parse().ok()
}

#[cfg(test)]
mod tests;
