//! The namespaces with peers on this shard: who is there, and how many everywhere (behaviours C1).

use std::collections::HashMap;
use std::time::Duration;

use dunlin_protocol::{Namespace, Topic};
use slab::Slab;

use super::effect::{PeerKey, Tag};
use super::moment::Moment;

/// One namespace.
#[derive(Debug)]
pub struct NamespaceState {
    /// Its name.
    pub name: Namespace,
    /// Peers of this shard, by slab index.
    pub members: Vec<u32>,
    /// Topics of this shard, by name.
    pub topics: HashMap<Topic, usize>,
    /// Peers whose opening waits for the first count.
    pub openers: Vec<PeerKey>,
    /// Peers connected elsewhere, once the broker has said it.
    elsewhere: Option<u64>,
    /// What the broker was told last.
    reported: Option<u64>,
    /// What this shard's peers were told last.
    announced: u64,
    announced_at: Moment,
    /// Whether a newcomer was told something else since.
    strayed: bool,
    /// Whether an alarm for the next announcement is set.
    alarm_set: bool,
    serial: u32,
}

impl NamespaceState {
    /// Peers connected everywhere; none while the broker has not answered.
    pub fn users(&self) -> Option<u64> {
        self.elsewhere.map(|elsewhere| elsewhere + self.members.len() as u64)
    }

    /// Takes the broker's word about the rest of the cluster.
    pub fn count(&mut self, elsewhere: u64) {
        self.elsewhere = Some(elsewhere);
    }

    /// What to tell the broker, if it was not told yet.
    pub fn report(&mut self) -> Option<u64> {
        let peers = self.members.len() as u64;
        (self.reported != Some(peers)).then(|| {
            self.reported = Some(peers);
            peers
        })
    }

    /// When to tell the peers, if there is something new and no alarm is set yet: at most once in
    /// `interval` or 0.1 ms a peer, whichever is longer (C1).
    pub fn next_announcement(&mut self, interval: Duration) -> Option<Moment> {
        let users = self.news()?;
        if self.alarm_set {
            return None;
        }
        self.alarm_set = true;
        Some(self.announced_at + interval.max(Duration::from_micros(users.saturating_mul(100))))
    }

    /// The alarm rang: what to tell, if it is still news.
    pub fn announce(&mut self, now: Moment) -> Option<u64> {
        self.alarm_set = false;
        let users = self.news()?;
        self.announced = users;
        self.announced_at = now;
        self.strayed = false;
        Some(users)
    }

    /// What a newcomer is told at once.
    pub fn users_for_newcomer(&mut self) -> Option<u64> {
        let users = self.users()?;
        self.strayed |= users != self.announced;
        Some(users)
    }

    /// The number of users, if somebody may have been told another one last.
    fn news(&self) -> Option<u64> {
        self.users().filter(|users| *users != self.announced || self.strayed)
    }

    /// Whether nothing on this shard needs the namespace.
    pub fn is_unused(&self) -> bool {
        self.members.is_empty() && self.topics.is_empty()
    }
}

/// The namespaces of a shard.
#[derive(Debug, Default)]
pub struct Namespaces {
    states: Slab<NamespaceState>,
    by_name: HashMap<Namespace, usize>,
    serial: u32,
}

impl Namespaces {
    /// The namespace's index; it is added if it was not there.
    pub fn enter(&mut self, name: &Namespace) -> usize {
        if let Some(index) = self.by_name.get(name) {
            return *index;
        }
        self.serial = self.serial.wrapping_add(1);
        let index = self.states.insert(NamespaceState {
            name: name.clone(),
            members: Vec::new(),
            topics: HashMap::new(),
            openers: Vec::new(),
            elsewhere: None,
            reported: None,
            announced: 0,
            announced_at: Moment::default(),
            strayed: false,
            alarm_set: false,
            serial: self.serial,
        });
        self.by_name.insert(name.clone(), index);
        index
    }

    /// Forgets a namespace.
    pub fn remove(&mut self, index: usize) {
        let namespace = self.states.remove(index);
        self.by_name.remove(&namespace.name);
    }

    /// The namespace's tag.
    pub fn tag(&self, index: usize) -> Tag {
        Tag::new(index, self.states[index].serial)
    }

    /// The namespace that a tag names, if it still lives.
    pub fn find(&self, tag: Tag) -> Option<usize> {
        let index = tag.index();
        self.states.get(index).filter(|namespace| Tag::new(index, namespace.serial) == tag).map(|_| index)
    }

    /// The namespace of this name, if it has peers here.
    pub fn get(&self, name: &str) -> Option<&NamespaceState> {
        self.by_name.get(name).map(|index| &self.states[*index])
    }

    /// The peers of all namespaces together.
    pub fn peers(&self) -> usize {
        self.states.iter().map(|(_, namespace)| namespace.members.len()).sum()
    }
}

impl std::ops::Index<usize> for Namespaces {
    type Output = NamespaceState;

    fn index(&self, index: usize) -> &NamespaceState {
        &self.states[index]
    }
}

impl std::ops::IndexMut<usize> for Namespaces {
    fn index_mut(&mut self, index: usize) -> &mut NamespaceState {
        &mut self.states[index]
    }
}
