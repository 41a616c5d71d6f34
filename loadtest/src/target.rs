//! Which server is measured.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs};

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};

/// Connections per source address: the default ephemeral range holds 28,232 ports.
const PEERS_PER_SOURCE: u32 = 20_000;

/// An address and path, parsed from `ws://127.0.0.1:8080/path`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    /// Where to connect.
    pub address: SocketAddr,
    /// What the URL calls it: the `Host` of requests.
    pub host: String,
    /// The request target, query included.
    pub path: String,
    /// What to offer as `Sec-WebSocket-Protocol`; none offers nothing.
    pub subprotocol: Option<String>,
    /// How many peers other processes of this machine connect there: the ports they take are gone.
    pub peers_elsewhere: u32,
}

impl Target {
    /// Reads a `ws://` address of this machine. Others take [`Target::parse_anywhere`]: a mistyped
    /// address must not flood a stranger, and a stranger's CPU can't be read from `/proc`.
    pub fn parse(url: &str) -> Result<Self> {
        let target = Self::parse_anywhere(url)?;
        ensure!(
            target.address.ip().is_loopback(),
            "{} is {}, which is not this machine: a load is an attack on whoever did not ask for it, so other \
             machines take --allow-remote (and their CPU can't be read from here)",
            target.host,
            target.address.ip()
        );
        Ok(target)
    }

    /// Reads a `ws://` address and resolves its host, wherever that is.
    pub fn parse_anywhere(url: &str) -> Result<Self> {
        if url.starts_with("wss://") {
            bail!("{url}: TLS is not spoken here; put a proxy that ends TLS in front, or measure behind it");
        }
        let rest = url.strip_prefix("ws://").with_context(|| format!("{url} does not start with ws://"))?;
        let cut = rest.find(['/', '?']).unwrap_or(rest.len());
        let (host, path) = rest.split_at(cut);
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        Ok(Self {
            address: resolve(host)?,
            host: host.to_owned(),
            path,
            subprotocol: None,
            peers_elsewhere: 0,
        })
    }

    /// The same server at another path.
    #[must_use]
    pub fn at(&self, path: String) -> Self {
        Self { path, ..self.clone() }
    }

    /// The source address of the nth peer of this machine; none while the kernel's own choice still has
    /// ports left, and for other machines.
    pub fn source_of(&self, peer: u32) -> Option<SocketAddr> {
        let block = ((self.peers_elsewhere + peer) / PEERS_PER_SOURCE) as u8;
        (block > 0 && self.address.is_ipv4() && self.address.ip().is_loopback())
            .then(|| SocketAddr::new(IpAddr::V4(Ipv4Addr::new(127, 0, 0, 1 + block)), 0))
    }
}

/// Looks a host up; its port is 80 if it names none. IPv4 is preferred, for it has many loopback addresses.
fn resolve(host: &str) -> Result<SocketAddr> {
    let has_port = host.rsplit_once(':').is_some_and(|(_, port)| !port.ends_with(']'));
    let authority = if has_port { host.to_owned() } else { format!("{host}:80") };
    let found: Vec<SocketAddr> =
        authority.to_socket_addrs().with_context(|| format!("{authority} can't be looked up"))?.collect();
    let first = found.iter().find(|address| address.is_ipv4()).or(found.first());
    first.copied().with_context(|| format!("{authority} has no address"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_and_path_are_read() {
        let target = Target::parse("ws://localhost:9100/room?a=b").unwrap();
        assert_eq!(target.address.to_string(), "127.0.0.1:9100");
        assert_eq!((target.host.as_str(), target.path.as_str()), ("localhost:9100", "/room?a=b"));
        assert_eq!(Target::parse("ws://127.0.0.1:1").unwrap().path, "/");
        assert_eq!(Target::parse("ws://127.0.0.1:1?a").unwrap().path, "/?a");
        assert_eq!(Target::parse("ws://[::1]/").unwrap().address.to_string(), "[::1]:80");
        assert_eq!(Target::parse("ws://127.0.0.1").unwrap().address.port(), 80);
    }

    #[test]
    fn strangers_are_refused_unless_meant() {
        let refused = Target::parse("ws://192.0.2.1:80/").unwrap_err().to_string();
        assert!(refused.contains("--allow-remote"), "{refused}");
        assert_eq!(Target::parse_anywhere("ws://192.0.2.1:80/").unwrap().host, "192.0.2.1:80");
    }

    #[test]
    fn tls_is_refused_with_a_way_out() {
        let refused = Target::parse_anywhere("wss://127.0.0.1:443/").unwrap_err().to_string();
        assert!(refused.contains("proxy"), "{refused}");
        assert!(Target::parse("http://127.0.0.1/").is_err());
    }

    #[test]
    fn a_new_source_address_is_used_before_ports_run_out() {
        let target = Target::parse("ws://127.0.0.1:80/").unwrap();
        assert_eq!(target.source_of(19_999), None);
        assert_eq!(target.source_of(20_000).unwrap().to_string(), "127.0.0.2:0");
        let beside = Target { peers_elsewhere: 20_000, ..target };
        assert_eq!(beside.source_of(0).unwrap().to_string(), "127.0.0.2:0");
        assert_eq!(Target::parse_anywhere("ws://192.0.2.1:80/").unwrap().source_of(20_000), None);
    }
}
