//! A well-behaved client.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context as _, bail, ensure};
use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error, Message, error::ProtocolError};
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

use crate::patience::soon;

/// A stream with or without TLS.
trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

/// A client's end of one connection.
pub struct Peer {
    socket: WebSocketStream<Box<dyn Stream>>,
    /// How many answers were asked for; the last one's id.
    asked: u64,
    /// What came while an answer was awaited.
    early: VecDeque<Message>,
}

/// How a connection ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// The code of the node's Close, or 1006 without one.
    pub code: u16,
    /// Its reason.
    pub reason: String,
}

impl Peer {
    /// Connects to a path; without a subprotocol, so the plain dialect is spoken.
    pub async fn connect(address: SocketAddr, path: &str) -> anyhow::Result<Self> {
        Self::connect_with(address, path, &[]).await
    }

    /// Connects with more header lines.
    pub async fn connect_with(
        address: SocketAddr,
        path: &str,
        headers: &[(&'static str, &str)],
    ) -> anyhow::Result<Self> {
        soon(format!("an upgrade of {path}"), async {
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            Self::over(Box::new(stream), &format!("ws://{address}{path}"), headers).await
        })
        .await
    }

    /// Connects over TLS, as to `localhost`.
    pub async fn connect_secure(address: SocketAddr, path: &str, tls: &TlsConnector) -> anyhow::Result<Self> {
        soon(format_args!("a secure upgrade of {path}"), async {
            let stream = TcpStream::connect(address).await?;
            let stream = tls.connect("localhost".try_into()?, stream).await?;
            Self::over(Box::new(stream), &format!("wss://localhost:{}{path}", address.port()), &[]).await
        })
        .await
    }

    async fn over(
        stream: Box<dyn Stream>,
        url: &str,
        headers: &[(&'static str, &str)],
    ) -> anyhow::Result<Self> {
        let mut request = url.into_client_request()?;
        for (name, value) in headers {
            request.headers_mut().insert(*name, value.parse()?);
        }
        let config = WebSocketConfig::default().read_buffer_size(16 * 1024);
        let (socket, _) = client_async_with_config(request, stream, Some(config)).await?;
        Ok(Self { socket, asked: 0, early: VecDeque::new() })
    }

    /// Sends a frame.
    pub async fn send(&mut self, frame: Value) -> anyhow::Result<()> {
        self.send_text(frame.to_string()).await
    }

    /// Sends text as it is.
    pub async fn send_text(&mut self, text: impl Into<String>) -> anyhow::Result<()> {
        Ok(self.socket.send(Message::text(text.into())).await?)
    }

    /// Sends bytes as they are.
    pub async fn send_binary(&mut self, bytes: Vec<u8>) -> anyhow::Result<()> {
        Ok(self.socket.send(Message::binary(bytes)).await?)
    }

    /// Queues text; it goes out with the next thing that is sent.
    pub async fn feed(&mut self, text: String) -> anyhow::Result<()> {
        Ok(self.socket.feed(Message::text(text)).await?)
    }

    /// The next message, whatever it is; pings are answered meanwhile.
    pub async fn message(&mut self) -> anyhow::Result<Message> {
        match self.early.pop_front() {
            Some(message) => Ok(message),
            None => self.receive().await,
        }
    }

    async fn receive(&mut self) -> anyhow::Result<Message> {
        soon("a message", async {
            loop {
                match self.socket.next().await.context("the connection ended")?? {
                    Message::Ping(_) | Message::Pong(_) => {}
                    Message::Close(frame) => bail!("the node closed: {frame:?}"),
                    message => return Ok(message),
                }
            }
        })
        .await
    }

    /// The next message's text.
    pub async fn text(&mut self) -> anyhow::Result<String> {
        match self.message().await? {
            Message::Text(text) => Ok(text.as_str().to_owned()),
            other => bail!("not text: {other:?}"),
        }
    }

    /// The next message as JSON.
    ///
    /// A grant may come whenever nodes have agreed on what to sign it with, and is passed over.
    pub async fn next(&mut self) -> anyhow::Result<Value> {
        loop {
            let text = self.text().await?;
            let frame: Value = serde_json::from_str(&text).with_context(|| format!("not JSON: {text:?}"))?;
            if frame["type"] != "grant" {
                return Ok(frame);
            }
        }
    }

    /// Sends a frame under an id and gives its answer. What comes before that stays to be read.
    pub async fn ask(&mut self, mut frame: Value) -> anyhow::Result<Value> {
        self.asked += 1;
        frame["id"] = self.asked.into();
        self.send(frame).await?;
        loop {
            let message = self.receive().await?;
            let answer: Value =
                message.to_text().ok().and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
            if answer["id"] == self.asked {
                return Ok(answer);
            }
            self.early.push_back(message);
        }
    }

    /// Subscribes, and waits until it has taken effect.
    pub async fn subscribe(&mut self, topic: &str) -> anyhow::Result<()> {
        let answer = self.ask(json!({ "type": "subscribe", "topic": topic })).await?;
        ensure!(answer["type"] == "ok", "subscribing to {topic}: {answer}");
        Ok(())
    }

    /// Publishes, and waits until the node has taken it.
    pub async fn publish(&mut self, topic: &str, payload: Value) -> anyhow::Result<()> {
        let answer = self.ask(json!({ "type": "publish", "topic": topic, "payload": payload })).await?;
        ensure!(answer["type"] == "ok", "publishing to {topic}: {answer}");
        Ok(())
    }

    /// What has been published for this peer before now. It has its own publication come back through the
    /// broker, behind everything that was there before.
    pub async fn heard_by_now(&mut self) -> anyhow::Result<Vec<Value>> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let fence = format!("heard-by-now:{}", NEXT.fetch_add(1, Ordering::Relaxed));
        self.subscribe(&fence).await?;
        let frame = json!({ "type": "publish", "topic": fence, "payload": 0, "self": true });
        self.send(frame).await?;
        let own = json!({ "topic": fence, "payload": 0 });
        let mut heard = Vec::new();
        loop {
            match self.next().await? {
                last if last == own => break,
                other => heard.push(other),
            }
        }
        self.send(json!({ "type": "unsubscribe", "topic": fence })).await?;
        Ok(heard)
    }

    /// Reads on until the connection ends.
    pub async fn ended(&mut self) -> anyhow::Result<Ended> {
        soon("the connection's end", async {
            let mut ended = Ended { code: 1006, reason: String::new() };
            loop {
                match self.socket.next().await {
                    Some(Ok(Message::Close(Some(frame)))) => {
                        ended = Ended { code: frame.code.into(), reason: frame.reason.as_str().to_owned() };
                    }
                    Some(Ok(Message::Close(None))) => ended.code = 1005,
                    Some(Ok(_)) => {}
                    None | Some(Err(Error::ConnectionClosed)) => return Ok(ended),
                    Some(Err(
                        Error::Io(_) | Error::Protocol(ProtocolError::ResetWithoutClosingHandshake),
                    )) => {
                        return Ok(ended);
                    }
                    Some(Err(error)) => return Err(error.into()),
                }
            }
        })
        .await
    }

    /// Says goodbye and waits until the node has answered.
    pub async fn leave(mut self) -> anyhow::Result<()> {
        self.socket.close(None).await?;
        self.ended().await.map(drop)
    }
}
