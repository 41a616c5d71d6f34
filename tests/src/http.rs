//! Plain HTTP, just enough to ask a node something.

use std::net::SocketAddr;

use anyhow::Context as _;

use crate::patience::soon;
use crate::raw::Raw;

/// An HTTP answer.
#[derive(Debug)]
pub struct Answer {
    /// Its status.
    pub status: u16,
    /// Its header lines, names in lower case.
    pub headers: Vec<(String, String)>,
    /// Its body.
    pub body: String,
}

impl Answer {
    /// Reads an answer's head; the body is what follows it.
    pub fn parse(text: &str) -> anyhow::Result<Self> {
        let (head, body) = text.split_once("\r\n\r\n").with_context(|| format!("no answer: {text:?}"))?;
        let mut lines = head.lines();
        let status = lines.next().and_then(|line| line.split(' ').nth(1)).context("no status")?;
        let header = |line: &str| {
            let (name, value) = line.split_once(':')?;
            Some((name.to_lowercase(), value.trim().to_owned()))
        };
        Ok(Self {
            status: status.parse()?,
            headers: lines.filter_map(header).collect(),
            body: body.to_owned(),
        })
    }

    /// A header line's value.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(each, _)| each == name).map(|(_, value)| value.as_str())
    }
}

/// Asks for a path, on a connection of its own.
pub async fn get(address: SocketAddr, path: &str) -> anyhow::Result<Answer> {
    let head = format!("GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    soon(format_args!("GET {path}"), async {
        let mut raw = Raw::connect(address).await?;
        raw.write(head.as_bytes()).await?;
        Answer::parse(&String::from_utf8_lossy(&raw.read_to_end().await?))
    })
    .await
}
