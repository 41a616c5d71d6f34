//! A shard's state: its hub and its peers' connections, and what one turn does with them.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;

use dunlin_protocol::{CloseCode, Namespace};
use futures_util::FutureExt as _;
use tokio::sync::Notify;

use super::Common;
use super::connection::{APPETITE_MAX, Connection, Reading};
use crate::broker::{Command, Event};
use crate::exchange;
use crate::hub::{Effect, Hub, PeerKey, Tally, Wrote};
use crate::metrics::Snapshot;

/// So many effects wait for a turn at most before peers are read on.
const EFFECTS_MAX: usize = 8192;

pub(super) struct Core {
    pub(super) hub: Hub,
    /// By the peers' index.
    pub(super) connections: Vec<Option<Box<Connection>>>,
    /// Connections that only wait for their outbox to empty.
    pub(super) ending: Vec<PeerKey>,
    /// Room to read into, shared by all peers.
    pub(super) scratch: Box<[u8]>,
    /// Room for control frames on their way to an outbox.
    pub(super) replies: Vec<u8>,
    effects: Vec<Effect>,
    commands: Vec<Command>,
    events: VecDeque<Event>,
    tally: Tally,
}

impl Core {
    pub(super) fn new(hub: Hub) -> Self {
        Self {
            hub,
            connections: Vec::new(),
            ending: Vec::new(),
            scratch: vec![0; APPETITE_MAX as usize].into(),
            replies: Vec::new(),
            effects: Vec::new(),
            commands: Vec::new(),
            events: VecDeque::new(),
            tally: Tally::default(),
        }
    }

    /// Whether peers may be read before what they said so far has been passed on: what a node can't write it
    /// should not read.
    pub(super) fn reading(&self) -> Reading {
        let saturated = !self.events.is_empty() || self.hub.effect_count() >= EFFECTS_MAX;
        if saturated { Reading::PutOff } else { Reading::Allowed }
    }

    /// Does what waits: deadlines, effects, the broker's events; then writes the outboxes that have waited
    /// longest. Says whether there is more to do. `wanted` is how turns are asked for.
    pub(super) fn turn(&mut self, shard: usize, common: &Common, wanted: &Notify) -> bool {
        let now = common.clock.now();
        self.hub.timeout(now);
        self.hub.shed(now);
        self.carry_out(shard, common);
        let behind = !self.events.is_empty();
        if !behind {
            // Whoever asked for a turn up to now gets it here; so does the broker, for what this very turn gave it.
            let _ = wanted.notified().now_or_never();
            common.broker.collect(shard, &mut self.events);
        }
        self.take_in();
        self.hub.shed(now);
        self.carry_out(shard, common);
        self.flush();
        self.wake_ended();
        self.hand_over_counts(common);
        // Who was behind has not collected: the broker woke this shard for what still waits there.
        behind || !self.events.is_empty() || self.hub.has_work()
    }

    /// Hands over to the metrics what was counted.
    pub(super) fn hand_over_counts(&mut self, common: &Common) {
        self.hub.take_tally(&mut self.tally);
        common.metrics.absorb(&mut self.tally, common.clock.now());
    }

    /// Does what the hub wants done.
    fn carry_out(&mut self, shard: usize, common: &Common) {
        let mut effects = std::mem::take(&mut self.effects);
        self.hub.take_effects(&mut effects);
        for effect in effects.drain(..) {
            match exchange::command(effect) {
                Ok(command) => self.commands.push(command),
                Err(Effect::Read(peer)) => self.wake(peer),
                Err(Effect::Close { peer, code, reason }) => self.close(peer, code, reason),
                Err(Effect::Terminate(peer)) => self.terminate(peer),
                Err(other) => debug_assert!(false, "the broker obeys {other:?}"),
            }
        }
        self.effects = effects;
        common.broker.submit(shard, &mut self.commands);
    }

    /// Takes in what the broker has, as much as one turn may.
    fn take_in(&mut self) {
        while !self.hub.is_full() || self.is_within_publish() {
            let Some(event) = self.events.pop_front() else { return };
            exchange::tell(&mut self.hub, event);
        }
    }

    /// Whether the next event is a further copy of a publish to several topics: between two copies no peer
    /// may change its subscriptions, or it would get both or none (T4).
    fn is_within_publish(&self) -> bool {
        let next = self.events.front();
        next.is_some_and(
            |next| matches!(next, Event::Publication(_, copy) if !copy.earlier_topics().is_empty()),
        )
    }

    fn flush(&mut self) {
        let connections = &mut self.connections;
        self.hub.flush(|peer, write| match connections.get_mut(peer.index as usize) {
            Some(Some(connection)) => connection.write(write),
            _ => Wrote::Blocked,
        });
    }

    fn close(&mut self, peer: PeerKey, code: CloseCode, reason: &str) {
        let Self { hub, connections, replies, .. } = self;
        if let Some(Some(connection)) = connections.get_mut(peer.index as usize) {
            replies.clear();
            connection.close(code, reason, replies);
            hub.send_control(peer, replies);
        }
    }

    fn terminate(&mut self, peer: PeerKey) {
        if let Some(Some(connection)) = self.connections.get_mut(peer.index as usize) {
            connection.abandon();
        }
    }

    fn wake(&mut self, peer: PeerKey) {
        if let Some(Some(connection)) = self.connections.get_mut(peer.index as usize) {
            connection.wake();
        }
    }

    /// Wakes the connections whose last bytes have been written.
    fn wake_ended(&mut self) {
        let Self { hub, connections, ending, .. } = self;
        ending.retain(|peer| {
            let Some(Some(connection)) = connections.get_mut(peer.index as usize) else { return false };
            let empty = hub.owed_to(*peer) == 0;
            if empty {
                connection.wake();
            }
            !empty
        });
    }

    pub(super) fn connections_are_gone(&self) -> bool {
        self.connections.iter().all(Option::is_none)
    }

    pub(super) fn snapshot(&self, named: &[Namespace]) -> Snapshot {
        Snapshot {
            named_peers: named.iter().map(|name| self.hub.peers_in(name.as_str())).collect(),
            peers: self.hub.peer_count(),
            subscriptions: self.hub.subscription_count(),
            owed: self.hub.owed(),
        }
    }
}

/// Whether the node is leaving.
pub(super) fn is_draining(common: &Common) -> bool {
    common.draining.load(Ordering::Relaxed)
}
