//! Looks at the headers of a client's WebSocket frames as they stream in (RFC 6455 section 5.2).
//!
//! tungstenite decides what is right; this only knows what it does not tell: whether a message or frame is
//! under way, and of how many fragments.

/// Follows the frame boundaries of one direction of a connection.
#[derive(Debug, Default, Clone)]
pub struct Scanner {
    /// Header bytes seen of the frame whose payload has not begun; the longest is 14 bytes.
    header: [u8; 14],
    seen: u8,
    /// Payload bytes of the current frame that are still to come.
    payload_left: u64,
    /// Fragments of the current message; 0 between messages.
    fragments: u32,
    /// Whether the current frame is the last of its message.
    is_last: bool,
    /// The code of a Close, and how many of its two bytes were seen.
    close: [u8; 2],
    close_seen: u8,
}

/// A message has more fragments than allowed. Before `at` is all that is within the limit, and so much of
/// the next frame's header that it is no frame yet.
#[derive(Debug, PartialEq, Eq)]
pub struct TooManyFragments {
    /// Offset in the scanned bytes.
    pub at: usize,
}

impl Scanner {
    /// Follows more bytes of the stream.
    pub fn scan(&mut self, bytes: &[u8], fragments_max: usize) -> Result<(), TooManyFragments> {
        let mut at = 0;
        while at < bytes.len() {
            if self.payload_left > 0 {
                let skipped = self.payload_left.min((bytes.len() - at) as u64);
                self.note_close_code(&bytes[at..at + skipped as usize]);
                self.payload_left -= skipped;
                at += skipped as usize;
            } else {
                self.header[usize::from(self.seen)] = bytes[at];
                self.seen += 1;
                at += 1;
                if usize::from(self.seen) == self.header_len() {
                    self.begin_payload();
                    if self.fragments as usize > fragments_max {
                        return Err(TooManyFragments { at: at - 1 });
                    }
                }
            }
            self.end_frame();
        }
        Ok(())
    }

    /// Whether a frame or message has begun that is not complete.
    pub fn is_within_message(&self) -> bool {
        self.seen > 0 || self.fragments > 0
    }

    /// The code of the Close that was seen, if it had one.
    pub fn close_code(&self) -> Option<u16> {
        (self.close_seen == 2).then(|| u16::from_be_bytes(self.close))
    }

    fn note_close_code(&mut self, payload: &[u8]) {
        const CLOSE: u8 = 0x8;
        if self.header[0] & 0x0f != CLOSE {
            return;
        }
        let mask = self.header_len() - 4;
        for byte in payload.iter().take(2 - usize::from(self.close_seen)) {
            let place = usize::from(self.close_seen);
            self.close[place] = byte ^ self.header[mask + place];
            self.close_seen += 1;
        }
    }

    /// How long the header is, as far as can be told by now.
    fn header_len(&self) -> usize {
        if self.seen < 2 {
            return 2;
        }
        let length = match self.header[1] & 0x7f {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        let mask = if self.header[1] & 0x80 == 0 { 0 } else { 4 };
        2 + length + mask
    }

    fn begin_payload(&mut self) {
        let number = |bytes: &[u8]| bytes.iter().fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte));
        self.payload_left = match self.header[1] & 0x7f {
            126 => number(&self.header[2..4]),
            127 => number(&self.header[2..10]),
            short => u64::from(short),
        };
        let is_data = self.header[0] & 0x08 == 0;
        if is_data {
            self.fragments += 1;
            self.is_last = self.header[0] & 0x80 != 0;
        }
    }

    /// Closes the frame if all of it has been seen.
    fn end_frame(&mut self) {
        if self.seen == 0 || self.payload_left > 0 || usize::from(self.seen) < self.header_len() {
            return;
        }
        let is_data = self.header[0] & 0x08 == 0;
        self.seen = 0;
        if is_data && self.is_last {
            self.fragments = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A masked client frame with a zero mask.
    fn frame(first: u8, length: usize) -> Vec<u8> {
        let mut bytes = vec![first];
        match length {
            0..=125 => bytes.push(0x80 | length as u8),
            126..=0xffff => {
                bytes.push(0x80 | 0x7e);
                bytes.extend_from_slice(&(length as u16).to_be_bytes());
            }
            _ => {
                bytes.push(0x80 | 0x7f);
                bytes.extend_from_slice(&(length as u64).to_be_bytes());
            }
        }
        bytes.extend_from_slice(&[0; 4]);
        bytes.resize(bytes.len() + length, b'x');
        bytes
    }

    #[test]
    fn whole_frames_leave_nothing_under_way_however_they_are_split() {
        let stream =
            [frame(0x81, 3), frame(0x89, 0), frame(0x82, 70_000), frame(0x81, 300), frame(0x8a, 125)]
                .concat();
        for step in [1, 2, 3, 7, 1000, stream.len()] {
            let mut scanner = Scanner::default();
            for part in stream.chunks(step) {
                scanner.scan(part, 1).expect("no fragments");
            }
            assert!(!scanner.is_within_message(), "in steps of {step}");
        }
    }

    #[test]
    fn a_message_is_under_way_from_its_first_byte_to_its_last() {
        let stream = [frame(0x01, 5), frame(0x89, 2), frame(0x00, 0), frame(0x80, 5)].concat();
        let mut scanner = Scanner::default();
        for byte in &stream[..stream.len() - 1] {
            scanner.scan(std::slice::from_ref(byte), 10).expect("three fragments");
            assert!(scanner.is_within_message());
        }
        scanner.scan(&stream[stream.len() - 1..], 10).expect("three fragments");
        assert!(!scanner.is_within_message());
    }

    #[test]
    fn fragments_are_counted_per_message_and_control_frames_are_not() {
        let message = [frame(0x01, 1), frame(0x00, 1), frame(0x89, 1), frame(0x80, 1)].concat();
        let mut scanner = Scanner::default();
        for _ in 0..5 {
            assert_eq!(scanner.scan(&message, 3), Ok(()));
        }
        let within = frame(0x01, 1).len() + 5;
        assert_eq!(scanner.scan(&message, 1), Err(TooManyFragments { at: within }));
    }
}
