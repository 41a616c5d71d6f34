//! What a shard keeps of a topic that remembers: where it is, and which peers are behind.
//!
//! **Invariant:** who is behind is in the audience, is handed nothing, and is given what it lacks once its outbox has
//! emptied: of a state the newest only, of a log word of the gap.

use std::collections::HashMap;
use std::sync::Arc;

use dunlin_protocol::{GapReason, Position};

use crate::config::{Mode, Retention};
use crate::history::Gap;
use crate::publication::Publication;

/// A topic's memory, as far as one shard's peers are concerned.
#[derive(Debug)]
pub struct Memory {
    /// How it remembers.
    pub retention: Arc<Retention>,
    /// Where the topic was after what was handed out last.
    pub tip: Option<Position>,
    /// The newest state, while it waits to be handed out: those before it in one turn are skipped (H6).
    pub staged: Option<Arc<Publication>>,
    /// What those who are stale are given. None while nobody is behind.
    pub latest: Option<Latest>,
    /// Peers by slab index.
    behind: HashMap<u32, Behind>,
}

/// The newest that a state topic has.
#[derive(Debug, Clone)]
pub enum Latest {
    /// A version.
    Version(Arc<Publication>),
    /// What there was after a gap: a version, or nothing.
    Reset(Position, Option<Arc<Publication>>),
}

/// Why a peer is not handed what comes, and what it is owed.
#[derive(Debug)]
pub enum Behind {
    /// It has the state, but its opening is not complete (W5): this comes behind that.
    Opening {
        /// What came meanwhile.
        held: Vec<Arc<Publication>>,
        /// What was too much to be held.
        missed: Option<Gap>,
    },
    /// It gets the newest state when there is room.
    Stale {
        /// Whether it gets also what it published itself: it asked for the state.
        even_own: bool,
        /// What it was not told of yet; then the state stands in place of all it had.
        gap: Option<Gap>,
        /// Whether it was told of a gap, and not yet what there is instead.
        resets: bool,
    },
    /// It misses publications, and is told when there is room.
    Missing(Gap),
}

/// Publications that wait for a peer's opening, at most.
const HELD_MAX: usize = 256;

impl Latest {
    /// The same, standing in place of all that a peer had.
    pub fn in_place_of_all(self) -> Self {
        match self {
            Self::Version(version) => match version.position {
                Some(position) => Self::Reset(position, Some(version)),
                None => Self::Version(version),
            },
            reset @ Self::Reset(..) => reset,
        }
    }
}

impl Memory {
    pub fn new(retention: Arc<Retention>) -> Self {
        Self { retention, tip: None, staged: None, latest: None, behind: HashMap::new() }
    }

    /// Whether newcomers get a state, not publications.
    pub fn has_state(&self) -> bool {
        self.retention.mode != Mode::Log
    }

    /// Whether everybody has all.
    pub fn is_abreast(&self) -> bool {
        self.behind.is_empty()
    }

    /// Whether a peer is behind.
    pub fn is_behind(&self, peer: u32) -> bool {
        !self.behind.is_empty() && self.behind.contains_key(&peer)
    }

    /// A peer falls behind. What it was owed already stays.
    pub fn fall_behind(&mut self, peer: u32, why: Behind) {
        self.behind.entry(peer).or_insert(why);
    }

    /// What a peer is owed, which is behind no more.
    pub fn catch_up(&mut self, peer: u32) -> Option<Behind> {
        let behind = self.behind.remove(&peer);
        if self.behind.is_empty() {
            self.latest = None;
        }
        behind
    }

    /// Whether a peer waits for its opening.
    pub fn is_opening(&self, peer: u32) -> bool {
        matches!(self.behind.get(&peer), Some(Behind::Opening { .. }))
    }

    /// Notes a publication that is being handed out; says whether this peer can't have it now.
    pub fn keep(&mut self, peer: u32, publication: &Arc<Publication>) -> bool {
        let has_state = self.has_state();
        match self.behind.get_mut(&peer) {
            None => return false,
            Some(Behind::Stale { even_own, .. }) => *even_own = false,
            Some(Behind::Missing(gap)) => gap.to = publication.position,
            Some(Behind::Opening { held, missed }) => {
                // Of a state the newest says it all, whatever was missed.
                if has_state {
                    *held = vec![publication.clone()];
                    return true;
                }
                match missed {
                    Some(gap) => gap.to = publication.position,
                    None if held.len() < HELD_MAX => held.push(publication.clone()),
                    None => {
                        let from = held.last().and_then(|last| last.position);
                        *missed = Some(Gap { from, to: publication.position, reason: GapReason::Slow });
                    }
                }
            }
        }
        true
    }

    /// Notes a gap that is being told; says whether this peer has to be told later.
    pub fn keep_gap(&mut self, peer: u32, gap: Gap) -> bool {
        match self.behind.get_mut(&peer) {
            None => return false,
            Some(Behind::Stale { gap: missed, .. }) => {
                *missed = Some(missed.map_or(gap, |missing| joined(missing, gap)));
            }
            Some(Behind::Missing(missing)) => *missing = joined(*missing, gap),
            Some(Behind::Opening { missed, .. }) => {
                *missed = Some(missed.map_or(gap, |missing| joined(missing, gap)));
            }
        }
        true
    }

    /// Notes that the newest was handed out, for those who could not have it.
    pub fn note_latest(&mut self, latest: Latest) {
        self.latest = (!self.behind.is_empty()).then_some(latest);
    }
}

/// Two gaps as one: from the earlier of their beginnings, if they can be compared, to where the second ends.
fn joined(first: Gap, second: Gap) -> Gap {
    let from = match (first.from, second.from) {
        (Some(first), Some(second)) if first.epoch == second.epoch => {
            Some(if first.offset < second.offset { first } else { second })
        }
        _ => None,
    };
    Gap { from, to: second.to, reason: second.reason }
}

#[cfg(test)]
mod tests {
    use dunlin_protocol::{Epoch, Mark};

    use super::*;

    fn position(epoch: u8, offset: u64) -> Position {
        Position { epoch: Epoch([epoch; 8]), offset, mark: Mark(1) }
    }

    // R1: what holds after both is what held before the earlier one, if the two can be compared.
    #[test]
    fn two_gaps_are_one_from_the_earlier_beginning_to_the_later_end() {
        let at = |epoch, offset| Some(position(epoch, offset));
        let slow = |from, to| Gap { from, to, reason: GapReason::Slow };
        let fork = |from, to| Gap { from, to, reason: GapReason::Forked };
        let table = [
            (slow(at(1, 5), at(1, 8)), fork(at(1, 7), at(1, 9)), fork(at(1, 5), at(1, 9))),
            (slow(at(1, 5), at(1, 8)), fork(at(1, 3), at(1, 9)), fork(at(1, 3), at(1, 9))),
            (slow(at(1, 5), at(1, 8)), fork(None, at(2, 1)), fork(None, at(2, 1))),
            (slow(None, at(1, 8)), fork(at(1, 3), at(1, 9)), fork(None, at(1, 9))),
            (slow(at(1, 5), at(1, 8)), fork(at(2, 3), at(2, 9)), fork(None, at(2, 9))),
        ];
        for (first, second, both) in table {
            assert_eq!(joined(first, second), both);
        }
    }
}
