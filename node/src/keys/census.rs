//! What was seen, added up. Its size does not grow with the number of keys.

use std::collections::BTreeMap;

use super::class::{Class, Key};
use super::examination::{Facts, Fault, Finding, Verdict};
use super::shown::Shown;

/// All that is told at the end.
#[derive(Debug, Default)]
pub struct Census {
    rows: [Row; Class::ALL.len()],
    findings: BTreeMap<Finding, Found>,
    /// Topics that were written each time they were looked at.
    pub unsettled: u64,
    /// Hashes too big to be read whole.
    pub unchecked: u64,
}

/// The keys of one class.
#[derive(Debug, Default)]
pub struct Row {
    /// How many there are.
    pub keys: u64,
    /// What they take together, as far as Redis told.
    pub bytes: u64,
    /// The one that takes most.
    pub largest: Option<Largest>,
    /// The shortest and the longest lifetime in ms, of those that have one.
    pub ttl: Option<(u64, u64)>,
}

/// A key and what it takes.
#[derive(Debug)]
pub struct Largest {
    /// What it takes.
    pub bytes: u64,
    /// Its name.
    pub key: String,
    /// Whose it is, in plain words.
    pub owner: String,
}

/// One kind of finding.
#[derive(Debug, Default)]
pub struct Found {
    /// How many keys.
    pub keys: u64,
    /// The first of them.
    pub examples: Vec<Example>,
}

/// A key with something wrong.
#[derive(Debug)]
pub struct Example {
    /// Its name, escaped.
    pub key: String,
    /// Whose it is, if it is ours.
    pub owner: Option<String>,
    /// What exactly is wrong.
    pub detail: Option<String>,
}

/// So many examples of each finding are kept.
const EXAMPLES_MAX: usize = 5;

impl Census {
    /// Takes in a key of this cluster.
    pub fn count(&mut self, key: &Key, facts: &Facts) {
        let row = &mut self.rows[key.class as usize];
        row.keys += 1;
        if let Some(bytes) = facts.bytes {
            row.bytes += bytes;
            if row.largest.as_ref().is_none_or(|largest| largest.bytes < bytes) {
                row.largest = Some(Largest { bytes, key: key.name.clone(), owner: key.owner.to_string() });
            }
        }
        if let Some(ttl) = facts.ttl {
            let (min, max) = row.ttl.unwrap_or((ttl, ttl));
            row.ttl = Some((min.min(ttl), max.max(ttl)));
        }
    }

    /// Takes in what both examinations of a key agree about.
    pub fn judge(&mut self, key: &Key, first: &Verdict, second: Verdict) {
        self.unsettled += u64::from(second.is_unsettled);
        let was = |fault: &Fault| first.faults.iter().any(|earlier| earlier.finding == fault.finding);
        // Unsettled the first time: nothing was compared then, so this is the word that counts.
        for fault in second.faults.into_iter().filter(|fault| first.is_unsettled || was(fault)) {
            self.find(fault, key.name.as_bytes(), Some(key.owner.to_string()));
        }
    }

    /// Takes in a key that is not of this cluster.
    pub fn stranger(&mut self, finding: Finding, name: &[u8]) {
        self.find(Fault::plain(finding), name, None);
    }

    fn find(&mut self, fault: Fault, name: &[u8], owner: Option<String>) {
        let found = self.findings.entry(fault.finding).or_default();
        found.keys += 1;
        if found.examples.len() < EXAMPLES_MAX {
            let key = Shown::bytes(name).to_string();
            found.examples.push(Example { key, owner, detail: fault.detail });
        }
    }

    /// Each class with what there is of it.
    pub fn rows(&self) -> impl Iterator<Item = (Class, &Row)> {
        Class::ALL.into_iter().zip(&self.rows)
    }

    /// How many keys of this cluster there are.
    pub fn keys(&self) -> u64 {
        self.rows.iter().map(|row| row.keys).sum()
    }

    /// What they take together.
    pub fn bytes(&self) -> u64 {
        self.rows.iter().map(|row| row.bytes).sum()
    }

    /// What is wrong, most general first.
    pub fn findings(&self) -> impl Iterator<Item = (Finding, &Found)> {
        self.findings.iter().map(|(finding, found)| (*finding, found))
    }

    /// Whether nothing was found.
    pub fn is_clean(&self) -> bool {
        self.findings.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::super::class::{Layout, Sort};
    use super::*;

    fn key(number: u64) -> Key {
        match Layout::new("p", 0).classify(format!("p:1:{{t|/a|{number}}}:h").as_bytes()) {
            Sort::Ours(key) => key,
            other => panic!("{other:?}"),
        }
    }

    fn verdict(findings: &[Finding]) -> Verdict {
        Verdict { faults: findings.iter().copied().map(Fault::plain).collect(), is_unsettled: false }
    }

    #[test]
    fn a_row_knows_sum_largest_and_lifetimes() {
        let mut census = Census::default();
        for (number, bytes, ttl) in [(1, Some(10), Some(5)), (2, Some(30), None), (3, None, Some(9))] {
            census.count(&key(number), &Facts { ttl, bytes, ..Facts::default() });
        }
        let (class, row) = census.rows().next().unwrap();
        assert_eq!((class, row.keys, row.bytes, row.ttl), (Class::Head, 3, 40, Some((5, 9))));
        assert_eq!(row.largest.as_ref().unwrap().key, "p:1:{t|/a|2}:h");
        assert_eq!((census.keys(), census.bytes()), (3, 40));
    }

    #[test]
    fn rows_are_in_the_order_of_classes() {
        assert!(Class::ALL.iter().enumerate().all(|(place, class)| *class as usize == place));
    }

    #[test]
    fn only_what_is_seen_twice_is_a_finding() {
        let mut census = Census::default();
        census.judge(&key(1), &verdict(&[Finding::LoneHistory]), verdict(&[]));
        census.judge(&key(1), &verdict(&[Finding::LoneHistory]), verdict(&[Finding::TooLong]));
        assert!(census.is_clean());
        census.judge(&key(1), &verdict(&[Finding::TooLong]), verdict(&[Finding::TooLong]));
        let moving = Verdict { is_unsettled: true, ..Verdict::default() };
        census.judge(&key(2), &moving, verdict(&[Finding::TooLong]));
        census.judge(&key(3), &moving, moving.clone());
        let found: Vec<_> = census.findings().map(|(finding, found)| (finding, found.keys)).collect();
        assert_eq!((&*found, census.unsettled), (&[(Finding::TooLong, 2)][..], 1));
    }

    #[test]
    fn examples_are_few_however_many_keys() {
        let mut census = Census::default();
        for number in 0..1_000 {
            census.stranger(Finding::Unknown, format!("p:\n{number}").as_bytes());
        }
        let (_, found) = census.findings().next().unwrap();
        assert_eq!((found.keys, found.examples.len()), (1_000, EXAMPLES_MAX));
        assert_eq!(found.examples[1].key, "p:\\n1");
    }
}
