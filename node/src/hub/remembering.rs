//! Topics that remember, as one shard sees them.

use std::sync::Arc;

use dunlin_protocol::Position;

use super::Hub;
use super::effect::Tag;
use crate::grant::Keys;
use crate::history::{CommitError, Page, Recovery};
use crate::publication::Publication;

impl Hub {
    /// The broker's answer to a commit.
    pub fn committed(&mut self, _ticket: u32, _outcome: Result<Option<Position>, CommitError>) {}

    /// The broker's answer to a recovery.
    pub fn recovered(&mut self, _ticket: u32, _recovery: Result<Recovery, CommitError>) {}

    /// The broker's answer to a question for stored publications.
    pub fn page(&mut self, _ticket: u32, _page: Result<Page, CommitError>) {}

    /// What a state topic holds after a gap.
    pub fn reset(&mut self, _tag: Tag, _position: Position, _state: Option<Arc<Publication>>) {}

    /// What grants are signed with from now on.
    pub fn set_keys(&mut self, _keys: Arc<Keys>) {}
}
