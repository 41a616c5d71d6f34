//! Bytes on a socket, for what no WebSocket client would send.

use std::net::SocketAddr;

use anyhow::{Context as _, bail, ensure};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};

use crate::http::Answer;
use crate::patience::soon;
use crate::peer::Ended;

/// A TCP connection to a node.
pub struct Raw {
    stream: TcpStream,
    /// What has been read and not been looked at.
    unread: Vec<u8>,
}

impl Raw {
    /// Connects, and says nothing.
    pub async fn connect(address: SocketAddr) -> anyhow::Result<Self> {
        Self::over(TcpSocket::new_v4()?, address).await
    }

    /// Connects from one of this machine's own addresses.
    pub async fn connect_from(from: [u8; 4], address: SocketAddr) -> anyhow::Result<Self> {
        let socket = TcpSocket::new_v4()?;
        socket.bind((from, 0).into())?;
        Self::over(socket, address).await
    }

    async fn over(socket: TcpSocket, address: SocketAddr) -> anyhow::Result<Self> {
        let stream = socket.connect(address).await.with_context(|| format!("connect to {address}"))?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, unread: Vec::new() })
    }

    /// Connects and asks for something with a head; gives the answer.
    pub async fn ask(address: SocketAddr, head: &[u8]) -> anyhow::Result<Answer> {
        let mut raw = Self::connect(address).await?;
        raw.write(head).await?;
        raw.answer().await
    }

    /// Connects and becomes a peer.
    pub async fn upgraded(address: SocketAddr, path: &str) -> anyhow::Result<Self> {
        let mut raw = Self::connect(address).await?;
        raw.write(upgrade_head(address, path, &[]).as_bytes()).await?;
        let answer = raw.answer().await?;
        ensure!(answer.status == 101, "the upgrade of {path} was refused: {answer:?}");
        Ok(raw)
    }

    /// Writes all of it.
    pub async fn write(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        Ok(self.stream.write_all(bytes).await?)
    }

    /// The head of the next HTTP answer; its body stays unread.
    pub async fn answer(&mut self) -> anyhow::Result<Answer> {
        soon("an HTTP answer", async {
            loop {
                if let Some(end) = self.unread.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
                    let head: Vec<u8> = self.unread.drain(..end + 4).collect();
                    return Answer::parse(&String::from_utf8_lossy(&head));
                }
                self.read_more().await?;
            }
        })
        .await
    }

    /// The next frame from the node: its opcode and payload.
    pub async fn frame(&mut self) -> anyhow::Result<(u8, Vec<u8>)> {
        soon("a frame", async {
            loop {
                if let Some(frame) = self.take_frame() {
                    return Ok(frame);
                }
                self.read_more().await?;
            }
        })
        .await
    }

    /// The Close from the node; frames before it are passed over.
    pub async fn closed(&mut self) -> anyhow::Result<Ended> {
        soon("a Close frame", async {
            loop {
                if let (8, payload) = self.frame().await? {
                    let code = payload.first_chunk().map_or(1005, |code| u16::from_be_bytes(*code));
                    let reason = payload.get(2..).unwrap_or_default();
                    return Ok(Ended { code, reason: String::from_utf8_lossy(reason).into_owned() });
                }
            }
        })
        .await
    }

    /// Everything until the node closes.
    pub async fn read_to_end(&mut self) -> anyhow::Result<Vec<u8>> {
        self.stream.read_to_end(&mut self.unread).await?;
        Ok(std::mem::take(&mut self.unread))
    }

    /// Resets the connection instead of closing it.
    pub fn reset(self) -> anyhow::Result<()> {
        Ok(self.stream.set_zero_linger()?)
    }

    async fn read_more(&mut self) -> anyhow::Result<()> {
        if self.stream.read_buf(&mut self.unread).await? == 0 {
            bail!("the node closed the connection");
        }
        Ok(())
    }

    /// A whole unmasked frame from what was read, if it is there.
    fn take_frame(&mut self) -> Option<(u8, Vec<u8>)> {
        let (&first, &second) = (self.unread.first()?, self.unread.get(1)?);
        let number = |bytes: &[u8]| bytes.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte));
        let (length, start) = match second {
            126 => (number(self.unread.get(2..4)?), 4),
            127 => (number(self.unread.get(2..10)?), 10),
            short => (usize::from(short), 2),
        };
        let payload = self.unread.get(start..start + length)?.to_vec();
        self.unread.drain(..start + length);
        Some((first & 0x0f, payload))
    }
}

/// A client's frame, masked with zeros. `first` is its first byte: FIN, reserved bits, opcode.
pub fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    let length = payload.len();
    match length {
        0..=125 => bytes.push(0x80 | length as u8),
        126..=0xffff => {
            bytes.push(0x80 + 126);
            bytes.extend_from_slice(&(length as u16).to_be_bytes());
        }
        _ => {
            bytes.push(0x80 + 127);
            bytes.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
    bytes.extend_from_slice(&[0; 4]);
    bytes.extend_from_slice(payload);
    bytes
}

/// An upgrade request's head. `more` are header lines that replace the usual ones or come after them.
pub fn upgrade_head(address: SocketAddr, path: &str, more: &[(&str, &str)]) -> String {
    let host = address.to_string();
    let usual = [
        ("host", host.as_str()),
        ("upgrade", "websocket"),
        ("connection", "Upgrade"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "AAAAAAAAAAAAAAAAAAAAAA=="),
    ];
    let kept = usual.into_iter().filter(|(name, _)| more.iter().all(|(other, _)| other != name));
    let lines = kept.chain(more.iter().copied()).map(|(name, value)| format!("{name}: {value}\r\n"));
    format!("GET {path} HTTP/1.1\r\n{}\r\n", lines.collect::<String>())
}
