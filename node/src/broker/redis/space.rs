//! One namespace's count across the cluster, as this node knows it (redis.md 7).
//!
//! Redis tells sums; what a node needs is the sum without its own part, and that is exact only while it is
//! known which part of its own a sum includes. So a sum that comes while a write is under way, or while this
//! node may have been declared dead, is held until that is settled.

use dunlin_protocol::Namespace;
use smallvec::SmallVec;

use super::channels::Ear;
use crate::hub::Moment;

/// What Redis said about a namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sum {
    /// Which life of the hash it is from.
    pub epoch: String,
    /// The higher, the later.
    pub version: u64,
    /// Peers on all nodes.
    pub peers: u64,
}

/// How far the namespace is from being written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It is not in this incarnation's registry.
    Unregistered,
    /// It is about to be.
    Registering,
    /// Its count may be written.
    Registered,
}

/// One shard's part.
#[derive(Debug)]
pub struct Part {
    /// Which shard, and what it calls the namespace.
    pub ear: Ear,
    /// Its peers.
    pub peers: u64,
    /// What it was told last.
    pub told: Option<u64>,
}

/// One namespace.
#[derive(Debug)]
pub struct Space {
    /// Its name; none for the count of everything.
    pub name: Option<Namespace>,
    /// The channel that carries its sums, for as long as there are peers here or it is pinned.
    pub channel: usize,
    /// Tells it from others that had its place.
    pub serial: u32,
    /// What shards have.
    pub parts: SmallVec<[Part; 2]>,
    /// What all shards have together.
    pub own: u64,
    /// Kept although no shard has peers in it.
    pub pinned: bool,
    /// How far it is from being written.
    pub standing: Standing,
    /// When it may be written next.
    pub write_at: Moment,
    /// When what is owed is to be told, if this node was asked to.
    pub flush_at: Option<Moment>,
    /// When it may be forgotten.
    pub forget_at: Option<Moment>,
    /// Whether this incarnation may have written it, so that it has to be undone.
    touched: bool,
    /// A write under way.
    flying: Option<u64>,
    /// What Redis has of this incarnation, once it has said so.
    written: Option<u64>,
    known: Option<Sum>,
    held: Option<Sum>,
    /// Peers on other nodes, as far as shards may know.
    elsewhere: Option<u64>,
}

/// What a sum means beside what was known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum News {
    /// All is as it should be.
    Fine,
    /// Redis has forgotten what it knew: what it says is not the whole yet.
    Amnesia,
}

impl Space {
    /// A namespace that nobody has counted yet.
    pub fn new(name: Option<Namespace>, channel: usize, serial: u32) -> Self {
        Self {
            name,
            channel,
            serial,
            parts: SmallVec::new(),
            own: 0,
            pinned: false,
            standing: Standing::Unregistered,
            write_at: Moment::default(),
            flush_at: None,
            forget_at: None,
            touched: false,
            flying: None,
            written: None,
            known: None,
            held: None,
            elsewhere: None,
        }
    }

    /// Notes what a shard has. 0 ends its part.
    pub fn set(&mut self, ear: Ear, peers: u64) {
        let place = self.parts.iter().position(|part| part.ear == ear);
        match place {
            Some(place) if peers == 0 => {
                self.parts.swap_remove(place);
            }
            Some(place) => self.parts[place].peers = peers,
            None if peers == 0 => {}
            None => self.parts.push(Part { ear, peers, told: None }),
        }
        self.own = self.parts.iter().map(|part| part.peers).sum();
        if !self.is_followed() {
            // Sums are not followed any more; who comes next waits for a new one.
            (self.known, self.held, self.elsewhere) = (None, None, None);
        }
    }

    /// Whether this node has to write it: it has peers there, or may have had.
    pub fn is_wanted(&self) -> bool {
        self.is_followed() || self.touched
    }

    /// Whether nothing of it would be missed.
    pub fn is_forgettable(&self) -> bool {
        let done = self.written == Some(0) && self.flying.is_none();
        !self.is_followed() && (done || !self.touched)
    }

    /// Whether Redis has another number, or none, or has not said what it makes of it.
    pub fn is_stale(&self) -> bool {
        let unknown = self.known.is_none() && self.is_followed();
        self.flying.is_none() && (self.written != Some(self.own) || unknown)
    }

    /// Whether its sums are followed: somebody here wants to know them.
    fn is_followed(&self) -> bool {
        self.own > 0 || self.pinned
    }

    /// A write of what this node has now is under way; says what that is.
    pub fn write(&mut self) -> u64 {
        self.touched = true;
        self.flying = Some(self.own);
        self.own
    }

    /// The write failed; it is stale again.
    pub fn write_failed(&mut self) {
        self.flying = None;
        self.written = None;
    }

    /// Redis answered a write.
    pub fn written(&mut self, sum: Sum) -> News {
        self.written = self.flying.take();
        let news = self.compare(&sum);
        self.known = Some(sum);
        if let (Some(held), Some(known)) = (self.held.take(), &self.known)
            && held.epoch == known.epoch
            && held.version > known.version
        {
            self.known = Some(held);
        }
        news
    }

    /// Redis told everybody a sum. `fresh`: this node's lease is known to hold.
    pub fn told(&mut self, sum: Sum, fresh: bool) -> News {
        let news = self.compare(&sum);
        if news == News::Amnesia {
            self.written = None;
        }
        if self.flying.is_some() || self.written.is_none() || !fresh {
            let newer = |held: &Sum| held.epoch != sum.epoch || held.version < sum.version;
            if self.held.as_ref().is_none_or(newer) {
                self.held = Some(sum);
            }
        } else if self
            .known
            .as_ref()
            .is_none_or(|known| known.epoch != sum.epoch || known.version < sum.version)
        {
            self.known = Some(sum);
        }
        news
    }

    /// The lease is known to hold again: what was held because of that counts now.
    pub fn settle(&mut self) {
        if self.flying.is_none()
            && self.written.is_some()
            && let Some(held) = self.held.take()
        {
            self.told(held, true);
        }
    }

    fn compare(&self, sum: &Sum) -> News {
        match &self.known {
            // An empty namespace's hash may just have expired.
            Some(known) if known.epoch != sum.epoch && known.peers > 0 => News::Amnesia,
            _ => News::Fine,
        }
    }

    /// What Redis has of this node is unknown: another link, another incarnation, an empty Redis.
    pub fn forget_writes(&mut self) {
        self.flying = None;
        self.written = None;
        self.held = None;
        self.flush_at = None;
        self.write_at = Moment::default();
        self.standing = Standing::Unregistered;
    }

    /// Another incarnation writes from now on; what the last one wrote, others take away.
    pub fn begin_again(&mut self) {
        self.forget_writes();
        self.touched = false;
    }

    /// The peers of the whole cluster, as far as anybody may know.
    pub fn users(&self) -> Option<u64> {
        self.elsewhere.map(|elsewhere| elsewhere + self.own)
    }

    /// Takes over what is known as what shards may know. `holding`: the known may not be the whole yet, so only
    /// who knows nothing takes it.
    pub fn reveal(&mut self, holding: bool) {
        if !self.is_followed() || holding && self.elsewhere.is_some() {
            return;
        }
        if let (Some(known), Some(written)) = (&self.known, self.written) {
            self.elsewhere = Some(known.peers.saturating_sub(written));
        }
    }

    /// There is no link: who knows nothing takes what is here for everything.
    pub fn assume(&mut self) {
        self.elsewhere.get_or_insert(0);
    }

    /// What to tell shards: to whom, and the peers elsewhere.
    pub fn announcements(&mut self) -> SmallVec<[(Ear, u64); 2]> {
        let Some(elsewhere) = self.elsewhere else { return SmallVec::new() };
        let own = self.own;
        let news = self.parts.iter_mut().filter_map(|part| {
            let told = elsewhere + own - part.peers;
            (part.told.replace(told) != Some(told)).then_some((part.ear, told))
        });
        news.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::Tag;

    fn sum(epoch: &str, version: u64, peers: u64) -> Sum {
        Sum { epoch: epoch.to_owned(), version, peers }
    }

    /// A namespace with 2 peers here, which Redis knows, and 3 elsewhere.
    fn space() -> Space {
        let mut space = Space::new(None, 0, 0);
        space.set((0, Tag(1)), 2);
        assert_eq!(space.write(), 2);
        assert_eq!(space.written(sum("e", 7, 5)), News::Fine);
        space.reveal(false);
        assert_eq!(space.announcements().as_slice(), [((0, Tag(1)), 3)]);
        space
    }

    // redis 7.3
    #[test]
    fn a_sum_that_overtakes_the_answer_to_a_write_is_counted_once() {
        let mut space = space();
        space.set((0, Tag(1)), 4);
        space.write();
        // It includes the 4, but that can't be known before the answer says at which version they came.
        assert_eq!(space.told(sum("e", 9, 8), true), News::Fine);
        space.reveal(false);
        assert!(space.announcements().is_empty(), "3 elsewhere as before");
        space.written(sum("e", 8, 7));
        space.reveal(false);
        assert_eq!(space.announcements().as_slice(), [((0, Tag(1)), 4)]);
    }

    #[test]
    fn a_sum_from_before_the_write_is_ignored_after_it() {
        let mut space = space();
        space.set((0, Tag(1)), 4);
        space.write();
        space.told(sum("e", 8, 6), true);
        space.written(sum("e", 9, 8));
        space.reveal(false);
        assert_eq!(space.announcements().as_slice(), [((0, Tag(1)), 4)]);
        space.told(sum("e", 8, 6), true);
        space.reveal(false);
        assert!(space.announcements().is_empty(), "late");
    }

    // C2
    #[test]
    fn a_node_that_may_be_dead_believes_no_sum() {
        let mut space = space();
        space.told(sum("e", 8, 3), false);
        space.reveal(false);
        assert!(space.announcements().is_empty(), "the 3 are others, this node was taken away");
        space.begin_again();
        space.write();
        space.written(sum("e", 9, 5));
        space.reveal(false);
        assert!(space.announcements().is_empty(), "3 elsewhere as before");
    }

    #[test]
    fn what_another_life_of_the_hash_says_waits_for_a_write() {
        let mut space = space();
        assert_eq!(space.told(sum("f", 1, 1), true), News::Amnesia);
        assert!(space.is_stale(), "it has to be written again");
        space.reveal(true);
        assert!(space.announcements().is_empty());
        space.write();
        space.written(sum("f", 2, 3));
        space.reveal(true);
        assert!(space.announcements().is_empty(), "while others have not written again");
        space.told(sum("f", 3, 5), true);
        space.reveal(false);
        assert!(space.announcements().is_empty(), "3 elsewhere as before");
    }

    #[test]
    fn shards_of_one_node_hear_of_each_other_without_redis() {
        let mut space = space();
        space.set((1, Tag(9)), 10);
        assert_eq!(space.announcements().as_slice(), [((0, Tag(1)), 13), ((1, Tag(9)), 5)]);
        space.set((1, Tag(9)), 0);
        assert_eq!(space.announcements().as_slice(), [((0, Tag(1)), 3)]);
    }
}
