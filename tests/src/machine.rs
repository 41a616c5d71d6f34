//! What tests share with everything else on the machine: cores and descriptors.

use std::fs::File;

use anyhow::Context as _;
use rustix::fs::{FlockOperation, flock};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// A share of the machine's cores, given back when dropped.
///
/// Latency can't be measured beside another test's flood, and a test runner may run files as processes side
/// by side; so the share is a lock on a file, not in memory.
#[derive(Debug)]
pub(crate) struct Share(#[expect(dead_code, reason = "the lock is held while the file is open")] File);

impl Share {
    /// Beside other tests.
    pub(crate) fn some() -> anyhow::Result<Self> {
        Self::of(FlockOperation::LockShared)
    }

    /// Without other tests; waits until they are done.
    pub(crate) fn all() -> anyhow::Result<Self> {
        Self::of(FlockOperation::LockExclusive)
    }

    fn of(operation: FlockOperation) -> anyhow::Result<Self> {
        let path = std::env::temp_dir().join("dunlin-tests.lock");
        let file = File::create(&path).with_context(|| format!("can't lock {}", path.display()))?;
        flock(&file, operation)?;
        Ok(Self(file))
    }
}

/// Lets this process open as many sockets as the system allows it, and says how many that are.
pub fn raise_descriptor_limit() -> anyhow::Result<u64> {
    let maximum = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })?;
    Ok(maximum.unwrap_or(u64::MAX))
}
