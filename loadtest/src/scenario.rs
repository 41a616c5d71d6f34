//! What is measured: one module per command, on a shared [`stage`].

pub mod chronicle;
pub mod churn;
pub mod climb;
pub mod connect;
pub mod fanout;
pub mod follower;
pub mod idle;
pub mod resume;
pub mod run;
pub mod share;
pub mod stage;
pub mod storm;

mod audience;
mod mode;
mod publishers;
mod tempo;
mod voice;

use serde::{Deserialize, Serialize};

pub use self::mode::Mode;
use crate::adapter::Protocol;

/// Whether the server answers a frame with `id`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answers {
    /// Yes: a subscription has taken effect when the answer is there.
    Ok,
    /// Not at all (the bare loop): publications are sent until each subscriber has seen one.
    Nothing,
}

impl Answers {
    /// What a message about peers that never got ready adds.
    pub(crate) fn hint(self) -> &'static str {
        match self {
            Self::Ok => " (a server without answers needs --no-ack)",
            Self::Nothing => "",
        }
    }
}

/// When a peer that comes alone, without publishers who could probe for it, is taken to be subscribed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Arrival {
    /// When the server says so.
    Confirmed,
    /// As soon as it has asked.
    AtOnce,
}

impl Arrival {
    /// A protocol that receives its publishers, receives everybody.
    pub(crate) fn of(protocol: Protocol, answers: Answers) -> Self {
        match answers {
            Answers::Nothing if !protocol.receives_publishers() => Self::AtOnce,
            Answers::Nothing | Answers::Ok => Self::Confirmed,
        }
    }
}

/// How far a run is, for whoever looks at other processes at the same moments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// The measured time begins.
    Measuring,
    /// It is over; the rest may still be on its way.
    Measured,
}

/// The topics of a run. Their names have equal length, so a payload's place in a frame is the same for all.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Topics {
    /// What every name starts with.
    pub prefix: String,
    /// How many there are.
    pub count: u32,
    /// What they remember.
    pub mode: Mode,
}

impl Topics {
    /// Topics that remember nothing.
    pub fn of_relay(prefix: &str, count: u32) -> Self {
        Self { prefix: prefix.to_owned(), count, mode: Mode::Relay }
    }

    /// The same topics, which now remember: their names begin with the mode's.
    #[must_use]
    pub fn that_remember(self, mode: Mode) -> Self {
        Self { prefix: format!("{}{}", mode.prefix(), self.prefix), mode, ..self }
    }

    /// The topic of the nth subscriber: they are spread evenly.
    pub fn of(&self, peer: u32) -> u32 {
        peer % self.count
    }

    /// The subscribers of a topic, of so many peers.
    pub fn audience(&self, topic: u32, peers: u32) -> u32 {
        peers / self.count + u32::from(topic < peers % self.count)
    }

    /// The name's fixed number of digits behind the prefix.
    pub(crate) fn write_number(out: &mut [u8], topic: u32) {
        let mut left = topic;
        for digit in out.iter_mut().rev() {
            *digit = b'0' + (left % 10) as u8;
            left /= 10;
        }
    }

    /// A topic's name.
    pub fn name(&self, topic: u32) -> String {
        format!("{}{topic:0DIGITS$}", self.prefix)
    }
}

/// Digits of a topic's number.
pub(crate) const DIGITS: usize = 7;

/// As many topics as have different names.
pub(crate) const TOPICS_MAX: u32 = 10_u32.pow(DIGITS as u32);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_subscriber_is_in_one_audience() {
        let topics = Topics::of_relay("t", 3);
        let mut counted = [0; 3];
        (0..8).for_each(|peer| counted[topics.of(peer) as usize] += 1);
        assert_eq!(counted, [3, 3, 2]);
        assert_eq!([0, 1, 2].map(|topic| topics.audience(topic, 8)), counted);
    }

    #[test]
    fn names_have_equal_length() {
        let topics = Topics::of_relay("t", 3);
        let mut digits = *b"xxxxxxx";
        Topics::write_number(&mut digits, 12);
        assert_eq!((topics.name(12).as_str(), &digits), ("t0000012", b"0000012"));
    }
}
