//! What a server that is played by a test says first.

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
};

/// The answer to every upgrade of the load.
pub(crate) const OPEN: &[u8] =
    b"HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

/// Accepts a connection, reads its request and answers it.
#[allow(dead_code, reason = "not every test that includes this file plays one connection at a time")]
pub(crate) fn upgrade(listener: &TcpListener, answer: &[u8]) -> TcpStream {
    let (mut socket, _) = listener.accept().unwrap();
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        socket.read_exact(&mut byte).unwrap();
        request.extend(byte);
    }
    socket.write_all(answer).unwrap();
    socket
}
