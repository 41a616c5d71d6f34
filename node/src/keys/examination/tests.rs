use super::super::class::Sort;
use super::*;

const DAY: Option<u64> = Some(86_400_000);

fn key(kind: &str) -> Key {
    let name = format!("p:1:{{{kind}");
    match Layout::new("p", 0).classify(name.as_bytes()) {
        Sort::Ours(key) => key,
        other => panic!("{name}: {other:?}"),
    }
}

fn facts(key: &Key) -> Facts {
    Facts { kind: key.expected.to_owned(), ttl: DAY, ..Facts::default() }
}

fn bytes(text: &[u8]) -> Reply {
    Reply::Bytes(text.to_vec())
}

fn hash(fields: &[(&str, &str)]) -> Reply {
    Reply::Fields(
        fields.iter().map(|(name, value)| (name.as_bytes().into(), value.as_bytes().into())).collect(),
    )
}

/// The findings of a healthy-looking key with these answers.
fn found(kind: &str, answers: &[Reply]) -> Vec<Finding> {
    let key = key(kind);
    let verdict = judge(&key, &facts(&key), answers);
    assert!(!verdict.is_unsettled, "{kind}");
    verdict.faults.iter().map(|fault| fault.finding).collect()
}

#[test]
fn a_key_that_stays_or_has_the_wrong_type_is_found() {
    let key = key("c|}:c");
    let verdict = judge(&key, &Facts { ttl: None, ..facts(&key) }, &[]);
    assert_eq!(verdict.faults, [Fault::plain(Finding::NoLifetime)]);
    let verdict = judge(&key, &Facts { kind: "set".to_owned(), ..facts(&key) }, &[]);
    assert_eq!(verdict.faults[0].finding, Finding::WrongType);
    assert_eq!(verdict.faults[0].detail.as_deref(), Some("it is a set, not a hash"));
    assert!(judge(&key, &facts(&key), &[]).is_clean());
}

#[test]
fn a_head_is_read_or_told() {
    let table: [(&[u8], bool); 11] = [
        (b"1vEEEEEEEEMMMM0", true),
        (b"1lEEEEEEEEMMMM7", true),
        (b"1aEEEEEEEE\0\xff\0\x0199999999999999", true),
        (b"1mEEEEEEEEMMMM12", true),
        (b"2vEEEEEEEEMMMM0", false),
        (b"1xEEEEEEEEMMMM0", false),
        (b"1vEEEEEEEEMMMM", false),
        (b"1vEEEEEEEEMMMM-1", false),
        (b"1vEEEEEEEEMMMM1e5", false),
        (b"1vEEEEEEEEMMMM100000000000000", false),
        (b"1v", false),
    ];
    for (head, is_good) in table {
        let wrong: &[Finding] = if is_good { &[] } else { &[Finding::UnreadableHead] };
        assert_eq!(found("t|/a|b}:h", &[bytes(head)]), wrong, "{}", String::from_utf8_lossy(head));
    }
    assert_eq!(found("t|/a|b}:k", &[Reply::Absent]), [Finding::UnreadableHead]);
}

// redis 9.6 (a)
#[test]
fn a_history_ends_where_its_head_says() {
    let head = b"1lEEEEEEEEMMMM3";
    let answers = |length, tail: &[u8]| [bytes(head), Reply::Number(length), bytes(tail), bytes(head)];
    assert_eq!(found("t|/a|b}:s", &answers(3, b"lenbMMMMrest")), []);
    assert_eq!(found("t|/a|b}:s", &answers(2, b"lenbMMMM")), []);
    assert_eq!(found("t|/a|b}:s", &answers(3, b"lenbMMMNrest")), [Finding::TailDiffers]);
    assert_eq!(found("t|/a|b}:s", &answers(3, b"lenbMMM")), [Finding::TailDiffers]);
    assert_eq!(found("t|/a|b}:s", &answers(4, b"lenbMMMMrest")), [Finding::TooLong]);
    assert_eq!(found("t|/a|b}:s", &[bytes(b"")]), [Finding::LoneHistory]);
    assert_eq!(found("t|/a|b}:s", &[bytes(head)]), []);
}

#[test]
fn a_history_that_was_written_meanwhile_is_unsettled() {
    let key = key("t|/a|b}:s");
    let (before, after) = (bytes(b"1lEEEEEEEEMMMM3"), bytes(b"1lEEEEEEEENNNN4"));
    let verdict = judge(&key, &facts(&key), &[before, Reply::Number(4), bytes(b"lenbNNNN"), after]);
    assert!(verdict.is_unsettled && verdict.faults.is_empty(), "{verdict:?}");
}

#[test]
fn what_belongs_to_nothing_is_found() {
    assert_eq!(found("t|/a|b}:i:00", &[Reply::Number(0)]), [Finding::LoneIdempotency]);
    assert_eq!(found("t|/a|b}:i:00", &[Reply::Number(1)]), []);
    let registry = "n|0011223344556677}:r";
    assert_eq!(found(registry, &[Reply::Absent, Reply::Absent]), [Finding::LoneRegistry]);
    assert_eq!(found(registry, &[bytes(b"1"), Reply::Absent]), []);
    assert_eq!(found(registry, &[Reply::Absent, bytes(b"-1")]), []);
}

// redis 1.7
#[test]
fn a_map_agrees_with_its_sums() {
    let head = ("#h", "1mEEEEEEEEMMMM3");
    let map = |more: &[(&str, &str)]| found("t|/a|b}:k", &[hash(&[&[head], more].concat())]);
    let fields = [("fab", "12"), ("f", "{}"), ("i0011223344556677", "4:…")];
    let with = |sums: &[(&'static str, &'static str)]| map(&[&fields[..], sums].concat());
    assert_eq!(with(&[("#n", "2"), ("#b", "6")]), []);
    assert_eq!(with(&[("#n", "1"), ("#b", "6")]), [Finding::MapSums]);
    assert_eq!(with(&[("#n", "2"), ("#b", "7")]), [Finding::MapSums]);
    assert_eq!(with(&[("#n", "two"), ("#b", "6")]), [Finding::MapSums]);
    assert_eq!(with(&[]), [Finding::MapSums]);
    assert_eq!(map(&[]), []);
    assert_eq!(found("t|/a|b}:k", &[hash(&[("#n", "0")])]), [Finding::UnreadableHead]);
}

// redis 9.6 (d)
#[test]
fn counts_add_up() {
    let nodes = [("iA", "3"), ("iB", "4"), ("iC", "x1700000000"), ("#v", "9")];
    let with = |sum: &[(&'static str, &'static str)]| found("c|/a}:c", &[hash(&[&nodes[..], sum].concat())]);
    assert_eq!(with(&[("#s", "7")]), []);
    assert_eq!(with(&[("#s", "8")]), [Finding::CountSum]);
    assert_eq!(with(&[]), [Finding::CountSum]);
    let key = key("c|/a}:c");
    let detail = judge(&key, &facts(&key), &[hash(&[("iA", "3"), ("#s", "-1")])]).faults.remove(0).detail;
    assert_eq!(detail.as_deref(), Some("#s is -1, there are 3 peers"));
}

#[test]
fn big_hashes_are_not_read_whole() {
    let key = key("t|/a|b}:k");
    let layout = Layout::new("p", 0);
    let first_word = |facts: &Facts| questions(&layout, &key, facts, Depth::Deep)[0][0].clone();
    assert_eq!(first_word(&facts(&key)), b"HGETALL");
    assert_eq!(first_word(&Facts { bytes: Some(WHOLE_BYTES_MAX + 1), ..facts(&key) }), b"HGET");
    assert_eq!(first_word(&Facts { fields: Some(WHOLE_FIELDS_MAX + 1), ..facts(&key) }), b"HGET");
}

#[test]
fn a_key_of_the_wrong_type_is_asked_nothing() {
    let key = key("t|/a|b}:h");
    let wrong = Facts { kind: "list".to_owned(), ..facts(&key) };
    assert!(questions(&Layout::new("p", 0), &key, &wrong, Depth::Deep).is_empty());
}
