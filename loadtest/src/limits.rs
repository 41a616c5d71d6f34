//! What the operating system allows this process.

use anyhow::{Result, ensure};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Descriptors kept for everything that is not a peer.
const SPARE: u64 = 64;

/// Raises the soft limit of open files to the hard one and answers it.
pub fn raise_open_files() -> Result<u64> {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })?;
    Ok(limit.maximum.unwrap_or(u64::MAX))
}

/// Raises the limit and refuses a run with more peers at once than it allows.
pub fn make_room_for(peers: u64) -> Result<()> {
    let limit = raise_open_files()?;
    ensure!(
        peers + SPARE <= limit,
        "{peers} connections at once take {} open files, and this process may have {limit} \
         (RLIMIT_NOFILE, ulimit -Hn): raise that; fanout, topics and cross can also be spread with --agents",
        peers + SPARE
    );
    Ok(())
}
