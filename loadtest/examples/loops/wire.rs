//! What is on the wire: the upgrade's head and the frames behind it.

use base64::{Engine, engine::general_purpose::STANDARD};
use sha1::{Digest, Sha1};

use super::Over;

/// The answer to a request that isn't an upgrade.
pub(super) const BAD_REQUEST: &[u8] = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n";

/// The answer to an upgrade; none if the request is something else.
pub(super) fn upgrade(head: &[u8]) -> Result<Option<String>, Over> {
    let head = std::str::from_utf8(head).map_err(|_| Over)?;
    let Some(key) = header(head, "sec-websocket-key") else { return Ok(None) };
    let accept = STANDARD.encode(Sha1::digest(format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11")));
    let offered = header(head, "sec-websocket-protocol").unwrap_or_default();
    let is_plain = offered.split(',').any(|name| name.trim() == "dunlin.plain.v1");
    let protocol = if is_plain { "Sec-WebSocket-Protocol: dunlin.plain.v1\r\n" } else { "" };
    Ok(Some(format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {accept}\r\n{protocol}\r\n"
    )))
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let mut fields = head.lines().filter_map(|line| line.split_once(':'));
    fields.find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
}

/// Unmasks the first frame in place: its opcode, where its body starts and where it ends.
pub(super) fn take_frame(bytes: &mut [u8]) -> Result<Option<(u8, usize, usize)>, Over> {
    let [first, second, ..] = *bytes else { return Ok(None) };
    if first & 0xf0 != 0x80 || second & 0x80 == 0 {
        return Err(Over);
    }
    let (mask, length) = match (second & 0x7f, &bytes[2..]) {
        (126, [high, low, ..]) => (4, usize::from(u16::from_be_bytes([*high, *low]))),
        (127, rest) if rest.len() >= 8 => return Err(Over),
        (126 | 127, _) => return Ok(None),
        (short, _) => (2, usize::from(short)),
    };
    let (body, end) = (mask + 4, mask + 4 + length);
    if bytes.len() < end {
        return Ok(None);
    }
    let key: [u8; 4] = bytes[mask..body].try_into().map_err(|_| Over)?;
    bytes[body..end].iter_mut().zip(key.iter().cycle()).for_each(|(byte, key)| *byte ^= key);
    Ok(Some((first & 0x0f, body, end)))
}

/// The head of a server's frame.
pub(super) fn head(first: u8, length: usize) -> Vec<u8> {
    let mut head = Vec::with_capacity(length + 10);
    match length {
        ..126 => head.extend([first, length as u8]),
        126..=0xffff => {
            head.extend([first, 126]);
            head.extend((length as u16).to_be_bytes());
        }
        _ => {
            head.extend([first, 127]);
            head.extend((length as u64).to_be_bytes());
        }
    }
    head
}

pub(super) fn up_to_quote(text: &[u8]) -> Option<&[u8]> {
    text.iter().position(|&byte| byte == b'"').map(|end| &text[..end])
}
