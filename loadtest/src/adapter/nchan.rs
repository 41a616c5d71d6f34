//! nchan: one path to subscribe to a topic, one to publish on it.

use super::Heard;
use crate::{fleet::Peer, roll::Roll};

/// Unless configured otherwise nchan answers each publication with the channel's status as text.
pub(super) fn hear(roll: &Roll, peer: Peer, heard: &mut dyn FnMut(Heard<'_>)) {
    if roll.publishes(peer) {
        heard(Heard::Answer { local: false });
    }
}

/// The URL's own path says nothing here.
pub(super) fn path(roll: &Roll, peer: Peer) -> String {
    let role = if roll.publishes(peer) { "pub" } else { "sub" };
    format!("/{role}/{}", roll.topics.name(roll.place_of(peer)))
}
