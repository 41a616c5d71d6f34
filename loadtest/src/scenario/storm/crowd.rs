//! The peers of a storm, as they hear themselves.
//!
//! Their numbers say who they are: first those who will lose their node, then three who are on the other
//! node all along (the publisher, the control publisher, the control subscriber), then the first again, as
//! they come back.
//!
//! **Invariant:** no clock and no chance. What must be decided is left in `news`, in the order it happened.

use anyhow::Result;

use super::super::{
    Arrival,
    voice::{Ear, Word},
};
use crate::{
    adapter::Protocol,
    clock::Nanos,
    fleet::{Listener, Next, Peer},
    roll::Roll,
    statistics::Latencies,
};

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum News {
    /// A peer's connection to the first node is over.
    Orphaned(u32, u16),
    /// It was back, and the other node ended its connection.
    ThrownOut(u32, u16),
    /// The other node did not let it in.
    Refused(u32),
}

/// Who a peer number is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// A subscriber on the first node.
    Home(u32),
    /// Publishes to those, on the other node.
    Publisher,
    /// Publishes to the control subscriber.
    ControlPublisher,
    /// Hears nothing but that.
    Control,
    /// A subscriber on the other node, who was on the first.
    Return(u32),
}

/// What those of the storm hear, and those of the control stream: what a node leaves unfinished is told apart
/// by the numbers of peers, which begin anew for each.
#[derive(Debug)]
struct Ears {
    storm: Ear,
    control: Ear,
}

/// Everybody.
#[derive(Debug)]
pub(super) struct Crowd {
    peers: u32,
    arrival: Arrival,
    ears: Ears,
    /// Empty between two messages.
    words: Vec<Word>,
    /// Whether a peer of the storm is subscribed, wherever it is.
    subscribed: Vec<bool>,
    /// Publishers that can't publish yet.
    unreceived: u32,
    control_is_ready: bool,
    pub(super) news: Vec<News>,
    pub(super) here: u32,
    pub(super) delivered: u64,
    pub(super) errors: u64,
    /// The control stream's latencies since they were cleared.
    pub(super) latencies: Latencies,
    /// When the control subscriber heard something last, and its longest silence since that was cleared.
    pub(super) heard_at: Nanos,
    pub(super) silence: Nanos,
    /// The first thing that went wrong.
    pub(super) complaint: Option<String>,
}

impl Crowd {
    /// Nobody is there yet: who loses its node, and the two of the control stream.
    pub(super) fn new(protocol: Protocol, arrival: Arrival, storm: Roll, control: Roll) -> Self {
        Self {
            peers: storm.peers,
            arrival,
            subscribed: vec![false; storm.peers as usize],
            ears: Ears { storm: Ear::new(protocol, storm), control: Ear::new(protocol, control) },
            words: Vec::new(),
            unreceived: if protocol.receives_publishers() { 2 } else { 0 },
            control_is_ready: false,
            news: Vec::new(),
            here: 0,
            delivered: 0,
            errors: 0,
            latencies: Latencies::new(),
            heard_at: 0,
            silence: 0,
            complaint: None,
        }
    }

    /// Who that is.
    pub(super) fn role(&self, peer: Peer) -> Role {
        match peer.checked_sub(self.peers) {
            None => Role::Home(peer),
            Some(0) => Role::Publisher,
            Some(1) => Role::ControlPublisher,
            Some(2) => Role::Control,
            Some(further) => Role::Return(further - 3),
        }
    }

    /// The peer number of a role.
    pub(super) fn peer(&self, role: Role) -> Peer {
        match role {
            Role::Home(index) => index,
            Role::Publisher => self.peers,
            Role::ControlPublisher => self.peers + 1,
            Role::Control => self.peers + 2,
            Role::Return(index) => self.peers + 3 + index,
        }
    }

    /// Whether everybody who must be there before the storm is.
    pub(super) fn is_complete(&self) -> bool {
        self.control_is_ready && self.unreceived == 0 && self.here == self.peers
    }

    /// A peer of the storm no longer is where it was.
    pub(super) fn lose(&mut self, index: u32) {
        self.here -= u32::from(std::mem::take(&mut self.subscribed[index as usize]));
    }

    /// Keeps the first complaint.
    pub(super) fn complain(&mut self, text: impl FnOnce() -> String) {
        self.complaint.get_or_insert_with(text);
    }

    /// Who hears for a peer, and what number it has there.
    fn ear(&mut self, role: Role) -> (&mut Ear, Peer) {
        match role {
            Role::Home(index) | Role::Return(index) => (&mut self.ears.storm, index),
            Role::Publisher => (&mut self.ears.storm, self.peers),
            Role::Control => (&mut self.ears.control, 0),
            Role::ControlPublisher => (&mut self.ears.control, 1),
        }
    }

    fn take_word(&mut self, role: Role, now: Nanos, word: Word) {
        match word {
            Word::Delivery(stamp) => {
                self.delivered += 1;
                if role == Role::Control {
                    self.latencies.record(now.saturating_sub(stamp.intended));
                    self.silence = self.silence.max(now.saturating_sub(self.heard_at));
                    self.heard_at = now;
                }
            }
            Word::Ready => self.settle(role),
            Word::Objection(words) => {
                self.errors += 1;
                self.complain(|| words);
            }
        }
    }

    fn settle(&mut self, role: Role) {
        match role {
            Role::Home(index) | Role::Return(index) => {
                self.here += u32::from(!std::mem::replace(&mut self.subscribed[index as usize], true));
            }
            Role::Control => self.control_is_ready = true,
            Role::Publisher | Role::ControlPublisher => self.unreceived = self.unreceived.saturating_sub(1),
        }
    }
}

impl Listener for Crowd {
    fn opened(&mut self, peer: Peer, outbox: &mut Vec<u8>) -> Next {
        let role = self.role(peer);
        let (ear, number) = self.ear(role);
        ear.open(number, outbox);
        if self.arrival == Arrival::AtOnce {
            self.settle(role);
        }
        Next::Stay
    }

    fn message(&mut self, peer: Peer, now: Nanos, body: &[u8], outbox: &mut Vec<u8>) -> Next {
        let role = self.role(peer);
        let mut words = std::mem::take(&mut self.words);
        let (ear, number) = self.ear(role);
        ear.hear(number, body, outbox, &mut words);
        words.drain(..).for_each(|word| self.take_word(role, now, word));
        self.words = words;
        Next::Stay
    }

    fn closed(&mut self, peer: Peer, code: u16) {
        match self.role(peer) {
            Role::Home(index) => {
                self.lose(index);
                self.news.push(News::Orphaned(index, code));
            }
            Role::Return(index) => {
                self.lose(index);
                self.complain(|| format!("a peer that was back was closed with {code}"));
                self.news.push(News::ThrownOut(index, code));
            }
            Role::Publisher | Role::ControlPublisher | Role::Control => {
                self.control_is_ready = false;
                self.complain(|| {
                    format!("a peer that was on the other node all along was closed with {code}")
                });
            }
        }
    }

    fn refused(&mut self, peer: Peer, why: String) -> Result<()> {
        match self.role(peer) {
            Role::Return(index) => {
                self.complain(|| why);
                self.news.push(News::Refused(index));
                Ok(())
            }
            _ => anyhow::bail!(why),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{roll::Binding, scenario::Topics};

    const OK: &[u8] = br#"{"type":"ok","id":1}"#;

    fn crowd() -> Crowd {
        let topics = Topics::of_relay("t", 2);
        let storm = Roll { topics, first: 0, peers: 2, publishers: 1, binding: Binding::Free };
        let control = Roll { first: 2, peers: 1, ..storm.clone() };
        Crowd::new(Protocol::Plain, Arrival::Confirmed, storm, control)
    }

    #[test]
    fn a_peer_number_says_who_it_is() {
        let crowd = crowd();
        for role in [Role::Home(1), Role::Publisher, Role::ControlPublisher, Role::Control, Role::Return(1)] {
            assert_eq!(crowd.role(crowd.peer(role)), role);
        }
    }

    #[test]
    fn a_peer_is_back_once_its_new_subscription_is_answered() {
        let mut crowd = crowd();
        for role in [Role::Home(0), Role::Home(1), Role::Control] {
            crowd.message(crowd.peer(role), 1, OK, &mut Vec::new());
        }
        assert!(crowd.is_complete());
        crowd.closed(crowd.peer(Role::Home(1)), 1001);
        let returning = crowd.peer(Role::Return(1));
        crowd.opened(returning, &mut Vec::new());
        assert_eq!(crowd.here, 1);
        crowd.message(returning, 2, OK, &mut Vec::new());
        assert_eq!(crowd.here, 2);
        assert_eq!(crowd.news, [News::Orphaned(1, 1001)]);
    }

    #[test]
    fn who_is_thrown_out_again_is_not_back() {
        let mut crowd = crowd();
        let returning = crowd.peer(Role::Return(0));
        crowd.message(returning, 2, OK, &mut Vec::new());
        crowd.closed(returning, 1013);
        assert_eq!((crowd.here, crowd.news.last()), (0, Some(&News::ThrownOut(0, 1013))));
        assert!(crowd.complaint.unwrap().contains("1013"));
    }
}
