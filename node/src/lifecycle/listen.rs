//! Ports, and descriptors enough for the peers behind them.

use std::io;
use std::net::{SocketAddr, TcpListener};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use socket2::{Domain, Protocol, Socket, Type};

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 4096;

/// A port can't be had.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Somebody has it.
    #[error("{address} is in use; choose another address with {flag}, or end what listens there")]
    InUse {
        /// What was asked for.
        address: SocketAddr,
        /// The flag that chooses it.
        flag: &'static str,
    },
    /// The system refuses it.
    #[error("can't listen on {address} ({flag}): {error}")]
    Refused {
        /// What was asked for.
        address: SocketAddr,
        /// The flag that chooses it.
        flag: &'static str,
        /// The system's answer.
        error: io::Error,
    },
}

/// Binds one listener.
pub(super) fn bind(address: SocketAddr, flag: &'static str) -> Result<TcpListener, BindError> {
    let bound = socket(address).and_then(|socket| listening(socket, address));
    bound.map_err(|error| bind_error(address, flag, error))
}

/// Binds `count` listeners to one address, among which the kernel spreads connections.
///
/// The first is bound without `SO_REUSEPORT`, because with it a second start would succeed and take half of
/// the connections; only then it allows the others.
pub(super) fn bind_shared(
    address: SocketAddr,
    count: usize,
    flag: &'static str,
) -> Result<(SocketAddr, Vec<TcpListener>), BindError> {
    let bind_all = || {
        let first = socket(address)?;
        first.bind(&address.into())?;
        first.set_reuse_port(true)?;
        let bound = first.local_addr()?.as_socket().ok_or(io::ErrorKind::InvalidInput)?;
        let mut listeners = Vec::with_capacity(count);
        first.listen(BACKLOG)?;
        listeners.push(first.into());
        for _ in 1..count {
            let next = socket(bound)?;
            next.set_reuse_port(true)?;
            listeners.push(listening(next, bound)?);
        }
        Ok((bound, listeners))
    };
    bind_all().map_err(|error| bind_error(address, flag, error))
}

fn socket(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

fn listening(socket: Socket, address: SocketAddr) -> io::Result<TcpListener> {
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

fn bind_error(address: SocketAddr, flag: &'static str, error: io::Error) -> BindError {
    match error.kind() {
        io::ErrorKind::AddrInUse => BindError::InUse { address, flag },
        _ => BindError::Refused { address, flag, error },
    }
}

/// Lets the process have as many descriptors as the system allows it: one peer is one descriptor.
pub(super) fn raise_descriptor_limit() {
    let limit = getrlimit(Resource::Nofile);
    let wanted = Rlimit { current: limit.maximum, maximum: limit.maximum };
    if let Err(error) = setrlimit(Resource::Nofile, wanted) {
        tracing::warn!(%error, limit = limit.current, "the limit of open descriptors stays as it is");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn anywhere() -> SocketAddr {
        "127.0.0.1:0".parse().expect("an address")
    }

    #[test]
    fn a_second_start_finds_the_address_in_use() {
        let (address, _listeners) = bind_shared(anywhere(), 3, "--listen").expect("a free port");
        let second = bind_shared(address, 3, "--listen").expect_err("taken").to_string();
        assert!(second.contains(&address.to_string()) && second.contains("--listen"), "{second}");
        assert!(matches!(bind(address, "--internal"), Err(BindError::InUse { .. })));
    }

    #[test]
    fn all_listeners_of_a_node_share_one_port() {
        let (address, listeners) = bind_shared(anywhere(), 4, "--listen").expect("a free port");
        assert!(listeners.iter().all(|listener| listener.local_addr().expect("bound") == address));
    }
}
