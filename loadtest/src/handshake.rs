//! The HTTP upgrade from the client's side (RFC 6455 section 4.1), as text in and text out.

use std::time::Duration;

use crate::target::Target;

/// The key of every request and the accept it must get, from RFC 6455 section 1.3. A constant pair keeps
/// SHA-1 out of the client; what is measured is the server's.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// What a 429 without `Retry-After` is taken to say.
const RETRY_DEFAULT: Duration = Duration::from_secs(1);

/// No server is waited for any longer, whatever its `Retry-After`.
const RETRY_MAX: Duration = Duration::from_hours(1);

/// An answer whose head is longer is none.
const HEAD_BYTES_MAX: usize = 64 * 1024;

/// What the server's bytes so far mean.
#[derive(Debug, PartialEq, Eq)]
pub enum Answer {
    /// The head isn't complete.
    Partial,
    /// Upgraded; frames start behind this many bytes.
    Open(usize),
    /// 429: dial again after this long.
    Later(Duration),
    /// Anything else, as its status line or what is wrong with it.
    Refused(String),
}

/// The upgrade request for the target.
pub fn request(target: &Target) -> Vec<u8> {
    let offer = target
        .subprotocol
        .as_ref()
        .map_or(String::new(), |name| format!("Sec-WebSocket-Protocol: {name}\r\n"));
    format!(
        "GET {} HTTP/1.1\r\nHost: {}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n{offer}\r\n",
        target.path, target.host
    )
    .into_bytes()
}

/// Judges what the server has answered so far.
pub fn answer(bytes: &[u8]) -> Answer {
    let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else {
        return match bytes.len() {
            ..HEAD_BYTES_MAX => Answer::Partial,
            length => Answer::Refused(format!("{length} bytes without the end of a head")),
        };
    };
    let head = String::from_utf8_lossy(&bytes[..end]);
    let status = head.lines().next().unwrap_or_default();
    match status.split(' ').nth(1) {
        Some("101") if header(&head, "sec-websocket-accept") == Some(ACCEPT) => Answer::Open(end + 4),
        Some("101") => Answer::Refused("101 with the wrong sec-websocket-accept".to_owned()),
        Some("429") => Answer::Later(
            header(&head, "retry-after")
                .and_then(|seconds| seconds.parse().ok())
                .map_or(RETRY_DEFAULT, Duration::from_secs)
                .min(RETRY_MAX),
        ),
        _ => Answer::Refused(status.to_owned()),
    }
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(key, _)| key.eq_ignore_ascii_case(name))
        .map(|(_, value)| value.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPEN: &str =
        "HTTP/1.1 101 Switching Protocols\r\nsec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

    #[test]
    fn an_upgrade_is_open_where_its_head_ends_and_not_before() {
        let bytes = [OPEN.as_bytes(), b"frames"].concat();
        assert_eq!(answer(&bytes), Answer::Open(OPEN.len()));
        for cut in 0..OPEN.len() {
            assert_eq!(answer(&bytes[..cut]), Answer::Partial, "{cut} bytes");
        }
    }

    #[test]
    fn a_wrong_accept_is_refused() {
        assert!(matches!(answer(OPEN.replace("s3p", "xxx").as_bytes()), Answer::Refused(_)));
    }

    #[test]
    fn a_429_says_when_to_come_back() {
        assert_eq!(
            answer(b"HTTP/1.1 429 Too Many Requests\r\nRetry-After: 3\r\n\r\n"),
            Answer::Later(Duration::from_secs(3))
        );
        assert_eq!(answer(b"HTTP/1.1 429 Slow\r\n\r\n"), Answer::Later(RETRY_DEFAULT));
        let never = format!("HTTP/1.1 429 Slow\r\nRetry-After: {}\r\n\r\n", u64::MAX);
        assert_eq!(answer(never.as_bytes()), Answer::Later(RETRY_MAX));
    }

    #[test]
    fn a_head_without_end_is_refused() {
        assert_eq!(answer(&vec![b'x'; HEAD_BYTES_MAX - 1]), Answer::Partial);
        assert!(matches!(answer(&vec![b'x'; HEAD_BYTES_MAX]), Answer::Refused(_)));
    }

    #[test]
    fn any_other_status_is_told() {
        assert_eq!(
            answer(b"HTTP/1.1 404 Not Found\r\n\r\n"),
            Answer::Refused("HTTP/1.1 404 Not Found".to_owned())
        );
    }
}
