//! How peers go.

use std::time::Duration;

use dunlin_protocol::CloseCode;

use super::Hub;
use super::effect::{Effect, PeerKey};
use super::moment::Moment;
use super::outbox::Outbox;
use super::peer::Stage;
use crate::publication::Dialect;

/// How long a peer may take to answer our Close before its connection is ended.
const CLOSE_TIME: Duration = Duration::from_secs(2);

impl Hub {
    /// Ends a peer's stay: it leaves every set, then its Close is sent (L2). Closing twice does nothing.
    pub fn close(&mut self, now: Moment, key: PeerKey, code: CloseCode, reason: &'static str) {
        let Some(index) = self.peer(key) else { return };
        if !self.depart(now, index) {
            return;
        }
        self.tally.closes.push(code.0);
        self.effects.push(Effect::Close { peer: key, code, reason });
    }

    /// The peer began to close (its Close is answered by the transport) or was lost (`ABNORMAL`).
    pub fn closed(&mut self, now: Moment, key: PeerKey, code: CloseCode) {
        let Some(index) = self.peer(key) else { return };
        if self.depart(now, index) {
            self.tally.closes.push(code.0);
        }
    }

    /// The connection is gone: forgets the peer.
    pub fn remove(&mut self, now: Moment, key: PeerKey) {
        let Some(index) = self.peer(key) else { return };
        self.closed(now, key, CloseCode::ABNORMAL);
        self.owed -= self.outboxes[index].owed();
        if let Some(held) = self.outboxes[index].held.take() {
            self.arena.let_go(held);
        }
        self.overflowed.retain(|each| *each as usize != index);
        self.outboxes[index] = Outbox::new(Dialect::Plain, 0);
        self.peers.remove(index);
    }

    /// Takes a peer out of every set; false if it had left them already.
    pub(super) fn depart(&mut self, now: Moment, index: usize) -> bool {
        if matches!(self.peers[index].stage, Stage::Closing(_)) {
            return false;
        }
        self.peers[index].stage = Stage::Closing(now + CLOSE_TIME);
        self.peers[index].paused_until = None;
        self.peers[index].recoveries.clear();
        while let Some(place) = self.peers[index].subscriptions.len().checked_sub(1) {
            self.release(index, place);
        }
        let (namespace, member) = (self.peers[index].namespace as usize, self.peers[index].member);
        let members = &mut self.namespaces[namespace].members;
        members.swap_remove(member as usize);
        if let Some(&moved) = members.get(member as usize) {
            self.peers[moved as usize].member = member;
        }
        let key = self.peers[index].key(index);
        self.namespaces[namespace].openers.retain(|opener| *opener != key);
        self.recounted.push(namespace);
        self.set_alarm(index);
        true
    }

    /// Tells the broker how many peers are in the namespaces that changed, and forgets the empty ones.
    pub(super) fn report_counts(&mut self) {
        let mut recounted = std::mem::take(&mut self.recounted);
        recounted.sort_unstable();
        recounted.dedup();
        for index in recounted.drain(..) {
            let tag = self.namespaces.tag(index);
            let namespace = &mut self.namespaces[index];
            if let Some(peers) = namespace.report() {
                let namespace = namespace.name.clone();
                self.effects.push(Effect::Count { tag, namespace, peers });
            }
            if self.namespaces[index].is_unused() {
                self.namespaces.remove(index);
            } else {
                self.plan_announcement(index);
            }
        }
        self.recounted = recounted;
    }
}
