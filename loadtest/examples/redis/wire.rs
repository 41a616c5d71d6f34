//! A plain connection to a Redis (RESP2).

use std::{
    io::{ErrorKind, Read, Write},
    net::{SocketAddr, TcpStream},
};

use anyhow::{Context, Result, bail};

/// One connection, never waited for.
pub(super) struct Wire {
    socket: TcpStream,
    pub(super) unread: Vec<u8>,
    pub(super) outbox: Vec<u8>,
    intake: Box<[u8]>,
}

/// What one read asks for.
const READ_BYTES: usize = 256 * 1024;

impl Wire {
    pub(super) fn connect(address: SocketAddr) -> Result<Self> {
        let socket =
            TcpStream::connect(address).with_context(|| format!("{address} can't be connected to"))?;
        socket.set_nodelay(true)?;
        socket.set_nonblocking(true)?;
        let intake = vec![0; READ_BYTES].into_boxed_slice();
        Ok(Self { socket, unread: Vec::new(), outbox: Vec::new(), intake })
    }

    pub(super) fn flush(&mut self) -> Result<()> {
        while !self.outbox.is_empty() {
            match self.socket.write(&self.outbox) {
                Ok(sent) => drop(self.outbox.drain(..sent)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error).context("redis takes nothing more"),
            }
        }
        Ok(())
    }

    /// Appends what has come to `unread`.
    pub(super) fn receive(&mut self) -> Result<()> {
        match self.socket.read(&mut self.intake) {
            Ok(0) => bail!("redis closed the connection"),
            Ok(length) => self.unread.extend_from_slice(&self.intake[..length]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(error).context("redis can't be read"),
        }
        Ok(())
    }
}

/// A RESP array of bulk strings.
pub(super) fn array(words: &[&[u8]]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        bytes.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
        bytes.extend_from_slice(word);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes
}
