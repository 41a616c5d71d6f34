//! What a node says about itself: its page of metrics over plain HTTP, read between measurements.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream, ToSocketAddrs},
    time::Duration,
};

use anyhow::{Context, Result, ensure};

/// How long a page may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// No page is longer.
const PAGE_BYTES_MAX: u64 = 8 << 20;

/// Where a node's metrics are, parsed from `http://127.0.0.1:8081/metrics`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// The URL as it was given.
    pub url: String,
    address: SocketAddr,
    host: String,
    path: String,
}

impl Page {
    /// Reads a URL and looks its host up. Without a path it is `/metrics`.
    pub fn parse(url: &str) -> Result<Self> {
        let rest =
            url.strip_prefix("http://").with_context(|| format!("{url} does not start with http://"))?;
        let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let address = host.to_socket_addrs().ok().and_then(|mut all| all.next());
        Ok(Self {
            url: url.to_owned(),
            address: address.with_context(|| format!("{host} is not HOST:PORT of a node's metrics"))?,
            host: host.to_owned(),
            path: if path.len() > 1 { path.to_owned() } else { "/metrics".to_owned() },
        })
    }

    /// How many times a command has gone to Redis since the node started.
    pub fn redis_commands(&self, command: &str) -> Result<u64> {
        let series = format!("dunlin_redis_command_seconds_count{{command=\"{command}\"}}");
        let count =
            value_of(&self.text()?, &series).with_context(|| format!("{} has no {series}", self.url))?;
        Ok(count as u64)
    }

    fn text(&self) -> Result<String> {
        let mut stream = TcpStream::connect_timeout(&self.address, PATIENCE)
            .with_context(|| format!("{} doesn't take a connection", self.url))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        write!(stream, "GET {} HTTP/1.0\r\nHost: {}\r\n\r\n", self.path, self.host)?;
        let mut page = String::new();
        stream
            .take(PAGE_BYTES_MAX)
            .read_to_string(&mut page)
            .with_context(|| format!("{} can't be read", self.url))?;
        let status = page.lines().next().unwrap_or_default();
        ensure!(status.contains(" 200"), "{} answers {status:?}", self.url);
        Ok(page)
    }
}

/// The value of a series, by its name with labels.
fn value_of(page: &str, series: &str) -> Option<f64> {
    page.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' ')?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use std::{net::TcpListener, thread};

    use super::*;

    /// A node that answers once with this.
    fn answering(answer: &'static str) -> Page {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let page = Page::parse(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
        thread::spawn(move || {
            let (mut socket, _) = listener.accept().unwrap();
            let mut request = [0; 1024];
            let length = socket.read(&mut request).unwrap();
            assert!(request[..length].starts_with(b"GET /metrics HTTP/1.0\r\n"));
            socket.write_all(answer.as_bytes()).unwrap();
        });
        page
    }

    #[test]
    fn a_count_is_read_from_its_own_line() {
        let text = "HTTP/1.0 200 OK\r\n\r\n\
            dunlin_redis_command_seconds_count{command=\"reads\"} 8\n\
            dunlin_redis_command_seconds_sum{command=\"read\"} 9\n\
            dunlin_redis_command_seconds_count{command=\"read\"} 17\n";
        assert_eq!(answering(text).redis_commands("read").unwrap(), 17);
        let error = answering(text).redis_commands("merge").unwrap_err();
        assert!(error.to_string().contains("has no dunlin_redis_command"), "{error}");
    }

    #[test]
    fn who_has_no_metrics_is_told() {
        let error = answering("HTTP/1.1 404 Not Found\r\n\r\n").redis_commands("read").unwrap_err();
        assert!(error.to_string().contains("404"), "{error}");
        assert!(Page::parse("127.0.0.1:1").is_err() && Page::parse("http://nowhere").is_err());
    }
}
