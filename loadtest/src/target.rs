//! Which server is measured.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use anyhow::{Context, Result, ensure};

/// Connections per source address: the default ephemeral range holds 28,232 ports.
const PEERS_PER_SOURCE: u32 = 20_000;

/// An address and path on this machine, parsed from `ws://127.0.0.1:8080/path`.
#[derive(Debug, Clone)]
pub struct Target {
    /// Where to connect.
    pub address: SocketAddr,
    /// The request target, query included.
    pub path: String,
    /// What to offer as `Sec-WebSocket-Protocol`; none offers nothing.
    pub subprotocol: Option<String>,
}

impl Target {
    /// Reads a `ws://` address. Only loopback is allowed: the server's CPU is read from `/proc`, so it
    /// runs here, and a mistyped address must not flood a stranger.
    pub fn parse(url: &str) -> Result<Self> {
        let rest = url.strip_prefix("ws://").with_context(|| format!("{url} does not start with ws://"))?;
        let cut = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(cut);
        let address: SocketAddr = authority
            .replace("localhost:", "127.0.0.1:")
            .parse()
            .with_context(|| format!("{authority} is not an address and port like 127.0.0.1:8080"))?;
        ensure!(address.ip().is_loopback(), "{} is not a loopback address", address.ip());
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        Ok(Self { address, path, subprotocol: None })
    }

    /// The source address of the nth peer; none while the kernel's own choice still has ports left.
    pub fn source_of(&self, peer: u32) -> Option<SocketAddr> {
        let block = (peer / PEERS_PER_SOURCE) as u8;
        (block > 0 && self.address.is_ipv4())
            .then(|| SocketAddr::new(IpAddr::V4(Ipv4Addr::new(127, 0, 0, 1 + block)), 0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_and_path_are_read() {
        let target = Target::parse("ws://localhost:9100/room?a=b").unwrap();
        assert_eq!(target.address.to_string(), "127.0.0.1:9100");
        assert_eq!(target.path, "/room?a=b");
        assert_eq!(Target::parse("ws://127.0.0.1:1").unwrap().path, "/");
        assert_eq!(Target::parse("ws://127.0.0.1:1?a").unwrap().path, "/?a");
    }

    #[test]
    fn strangers_are_refused() {
        assert!(Target::parse("ws://192.0.2.1:80/").is_err());
        assert!(Target::parse("wss://127.0.0.1:80/").is_err());
    }

    #[test]
    fn a_new_source_address_is_used_before_ports_run_out() {
        let target = Target::parse("ws://127.0.0.1:80/").unwrap();
        assert_eq!(target.source_of(19_999), None);
        assert_eq!(target.source_of(20_000).unwrap().to_string(), "127.0.0.2:0");
    }
}
