//! What all nodes sign grants with: whoever comes first decides, all others take it over (redis.md 2.10).

use std::sync::Arc;

use super::link::Expect;
use super::machine::Machine;
use super::resp::Reply;
use crate::broker::Event;
use crate::grant::Keys;
use crate::hub::Moment;

/// How long it is kept without a node, in seconds.
const SECONDS: &[u8] = b"86400";

impl Machine {
    /// Offers what this node has, or something new, and asks what it is. After a loss of memory the old one is back.
    pub(super) fn agree_on_secret(&mut self, now: Moment) {
        let key = self.settings.names.secret();
        let offer = self.keys.as_ref().map_or(self.settings.secret, |keys| keys.current);
        let words: [&[u8]; 6] = [b"SET", key.as_bytes(), &offer, b"NX", b"EX", SECONDS];
        self.work.call(now, Expect::Echoed, &words);
        self.work.call(now, Expect::Echoed, &[b"EXPIRE", key.as_bytes(), SECONDS]);
        self.work.call(now, Expect::Secret, &[b"GET", key.as_bytes()]);
    }

    /// This is what all sign with.
    pub(super) fn hear_secret(&mut self, reply: &Reply) {
        let Reply::Text(secret) = reply else { return };
        let Ok(current) = <[u8; 32]>::try_from(&secret[..]) else { return };
        let before = self.keys.as_ref().map(|keys| keys.current);
        if before == Some(current) {
            return;
        }
        let keys = Arc::new(Keys { current, previous: before });
        self.keys = Some(keys.clone());
        for shard in 0..self.staged.len() {
            self.stage(shard, Event::Keys(keys.clone()));
        }
    }
}
