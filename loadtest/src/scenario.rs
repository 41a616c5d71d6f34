//! What is measured: one module per command, on a shared [`stage`].

pub mod connect;
pub mod fanout;
pub mod idle;
pub mod most;
pub mod stage;

mod audience;
mod publishers;

/// Whether the server answers a frame with `id`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answers {
    /// With `{"type":"ok"}`: a subscription has taken effect when it is there.
    Ok,
    /// Not at all (the bare loop): publications are sent until each subscriber has seen one.
    Nothing,
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
#[derive(Debug, Clone)]
pub struct Topics {
    /// What every name starts with.
    pub prefix: String,
    /// How many there are.
    pub count: u32,
}

impl Topics {
    /// The topic of the nth subscriber: they are spread evenly.
    pub fn of(&self, peer: u32) -> u32 {
        peer % self.count
    }

    /// The subscribers of a topic.
    pub fn audience(&self, topic: u32, peers: u32) -> u32 {
        peers / self.count + u32::from(topic < peers % self.count)
    }

    /// The name's fixed number of digits behind the prefix.
    fn write_number(out: &mut [u8], topic: u32) {
        let mut left = topic;
        for digit in out.iter_mut().rev() {
            *digit = b'0' + (left % 10) as u8;
            left /= 10;
        }
    }

    fn subscribe_frame(&self, topic: u32) -> String {
        format!(r#"{{"type":"subscribe","topic":"{}{topic:0DIGITS$}","id":1}}"#, self.prefix)
    }
}

/// Whether a frame holds these words.
fn has(body: &[u8], words: &[u8]) -> bool {
    body.windows(words.len()).any(|window| window == words)
}

/// Digits of a topic's number.
const DIGITS: usize = 7;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_subscriber_is_in_one_audience() {
        let topics = Topics { prefix: "t".to_owned(), count: 3 };
        let mut counted = [0; 3];
        (0..8).for_each(|peer| counted[topics.of(peer) as usize] += 1);
        assert_eq!(counted, [3, 3, 2]);
        assert_eq!([0, 1, 2].map(|topic| topics.audience(topic, 8)), counted);
    }

    #[test]
    fn names_have_equal_length() {
        let topics = Topics { prefix: "t".to_owned(), count: 3 };
        assert_eq!(topics.subscribe_frame(12), r#"{"type":"subscribe","topic":"t0000012","id":1}"#);
    }
}
