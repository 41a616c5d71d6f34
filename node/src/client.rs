//! `dunlin publish` and `dunlin subscribe`: a peer on the command line, speaking `dunlin.json.v1`.

use std::io::{Read as _, Write as _};
use std::sync::Arc;

use anyhow::{Context as _, anyhow, bail};
use futures_util::{SinkExt as _, StreamExt as _};
use http::{HeaderValue, Uri, header};
use serde_json::value::RawValue;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Error, Message, Utf8Bytes};
use tokio_tungstenite::{WebSocketStream, client_async};

use crate::cli::{Publish, Subscribe};
use crate::transport::tls;

/// A stream with or without TLS.
trait Stream: AsyncRead + AsyncWrite + Unpin {}
impl<S: AsyncRead + AsyncWrite + Unpin> Stream for S {}

/// How we leave.
const NORMAL: CloseFrame = CloseFrame { code: CloseCode::Normal, reason: Utf8Bytes::from_static("") };

type Socket = WebSocketStream<Box<dyn Stream>>;

/// Publishes once; returns when the node has accepted it.
pub fn publish(publish: Publish) -> anyhow::Result<()> {
    let payload = payload_of(&publish)?;
    block_on(async move {
        let mut socket = connect(&publish.url, publish.origin.as_deref()).await?;
        let topic = serde_json::to_string(publish.topic.as_str())?;
        // Put together as text, so that the payload stays as it was given.
        let frame = format!(r#"{{"type":"publish","topic":{topic},"id":1,"payload":{}}}"#, payload.get());
        socket.send(Message::text(frame)).await?;
        while let Some(frame) = next(&mut socket).await? {
            if is_answer(&frame)? {
                socket.close(Some(NORMAL)).await?;
                return Ok(());
            }
        }
        bail!("the node closed before it answered")
    })
}

/// Prints each publication's payload on a line of its own, until `--count` are printed or the node closes.
pub fn subscribe(subscribe: Subscribe) -> anyhow::Result<()> {
    block_on(async move {
        let mut socket = connect(&subscribe.url, subscribe.origin.as_deref()).await?;
        let topic = subscribe.topic.as_str();
        let frame = json!({ "type": "subscribe", "topic": topic, "id": 1 });
        socket.send(Message::text(frame.to_string())).await?;
        let mut left = subscribe.count.unwrap_or(u64::MAX);
        while let Some(frame) = next(&mut socket).await? {
            if is_answer(&frame)? {
                eprintln!("subscribed to {topic}");
            } else if let Some(line) = payload_on(topic, &frame)? {
                writeln!(std::io::stdout(), "{line}")?;
                left -= 1;
                if left == 0 {
                    socket.close(Some(NORMAL)).await?;
                    return Ok(());
                }
            }
        }
        bail!("the node closed the connection")
    })
}

fn payload_of(publish: &Publish) -> anyhow::Result<Box<RawValue>> {
    let mut text = publish.payload.clone();
    if publish.reads_stdin() {
        text.clear();
        std::io::stdin().read_to_string(&mut text).context("standard input")?;
    }
    if publish.text {
        text = serde_json::to_string(&text)?;
    }
    RawValue::from_string(text.trim().to_owned())
        .context("the payload is not JSON; use --text to publish it as text")
}

fn block_on(work: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(work)
}

async fn connect(url: &Uri, origin: Option<&str>) -> anyhow::Result<Socket> {
    let host = url.host().ok_or_else(|| anyhow!("{url} names no host"))?;
    let secure = url.scheme_str() == Some("wss");
    let port = url.port_u16().unwrap_or(if secure { 443 } else { 80 });
    let bare_host = host.trim_matches(['[', ']']);
    let stream =
        TcpStream::connect((bare_host, port)).await.with_context(|| format!("no node at {host}:{port}"))?;
    stream.set_nodelay(true)?;
    let stream: Box<dyn Stream> = if secure { encrypted(stream, bare_host).await? } else { Box::new(stream) };
    let mut request = url.into_client_request()?;
    let headers = request.headers_mut();
    headers.insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static("dunlin.json.v1"));
    if let Some(origin) = origin {
        headers.insert(header::ORIGIN, HeaderValue::from_str(origin).context("--origin")?);
    }
    match client_async(request, stream).await {
        Ok((socket, _)) => Ok(socket),
        Err(Error::Http(response)) => {
            let detail = response.body().as_deref().map(String::from_utf8_lossy).unwrap_or_default();
            bail!("the node refused: {} {detail}", response.status())
        }
        Err(error) => Err(error.into()),
    }
}

async fn encrypted(stream: TcpStream, host: &str) -> anyhow::Result<Box<dyn Stream>> {
    let config = tls::client_config()?;
    let name = rustls::pki_types::ServerName::try_from(host.to_owned())?;
    let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await;
    Ok(Box::new(stream.with_context(|| format!("TLS with {host}"))?))
}

/// The next frame's text; none once the node has closed.
async fn next(socket: &mut Socket) -> anyhow::Result<Option<String>> {
    while let Some(message) = socket.next().await {
        match message? {
            Message::Text(text) => return Ok(Some(text.as_str().to_owned())),
            Message::Close(Some(close)) => bail!("the node closed: {} {}", close.code, close.reason),
            _ => {}
        }
    }
    Ok(None)
}

fn text_of(value: &Value) -> &str {
    value.as_str().unwrap_or("error")
}

/// Whether the frame answers our request; an error it brings is ours.
fn is_answer(frame: &str) -> anyhow::Result<bool> {
    let frame: Value = serde_json::from_str(frame)?;
    match frame["type"].as_str() {
        Some("ok") => Ok(true),
        Some("error") => bail!("{}: {}", text_of(&frame["code"]), text_of(&frame["error"])),
        _ => Ok(false),
    }
}

/// The payload of a publication on the topic, as it was published.
fn payload_on(topic: &str, frame: &str) -> anyhow::Result<Option<String>> {
    #[derive(serde::Deserialize)]
    struct Publication<'a> {
        topic: Option<String>,
        #[serde(borrow)]
        payload: Option<&'a RawValue>,
        base64: Option<String>,
    }
    let frame: Publication<'_> = serde_json::from_str(frame)?;
    let payload = frame.payload.map(|payload| payload.get().to_owned()).or(frame.base64);
    Ok(payload.filter(|_| frame.topic.as_deref() == Some(topic)))
}
