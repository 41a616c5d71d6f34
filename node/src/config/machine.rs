//! What the configuration leaves to the machine: cores and memory.

use std::fs;
use std::num::NonZero;
use std::path::Path;
use std::thread;

use super::quantity;
use super::setting::{Setting, quoted};

/// How many shards the node runs; each is one thread with its own peers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shards {
    /// One per core this process may use: its affinity and cgroup quota count.
    PerCore,
    /// This many, at most [`SHARDS_MAX`].
    Exactly(NonZero<usize>),
}

impl Shards {
    /// The number, asking the system where it is left to it; at least 1.
    pub fn count(self) -> usize {
        match self {
            Self::PerCore => thread::available_parallelism().map_or(1, NonZero::get).min(SHARDS_MAX),
            Self::Exactly(count) => count.get(),
        }
    }
}

/// A shard's number is one byte of each peer's id.
pub const SHARDS_MAX: usize = 256;

impl Setting for Shards {
    type Value = Self;

    fn parse(text: &str) -> Result<Self, String> {
        let refused =
            || format!("{text:?} is not a number of shards; use 1 to {SHARDS_MAX}, or 0 for one per core");
        let count: usize = text.parse().map_err(|_| refused())?;
        match NonZero::new(count) {
            None => Ok(Self::PerCore),
            Some(count) if count.get() <= SHARDS_MAX => Ok(Self::Exactly(count)),
            Some(_) => Err(refused()),
        }
    }

    fn print(value: &Self) -> String {
        match value {
            Self::PerCore => "0".to_owned(),
            Self::Exactly(count) => count.to_string(),
        }
    }
}

/// How many bytes a node may owe to all its peers together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutboxTotal {
    /// A quarter of the memory this process may use, at most 1 GiB.
    Auto,
    /// This many; `usize::MAX` where the file says 0, no limit.
    Bytes(usize),
}

impl OutboxTotal {
    /// The number of bytes, asking the system where it is left to it.
    pub fn bytes(self) -> usize {
        match self {
            Self::Auto => share_of(memory()),
            Self::Bytes(bytes) => bytes,
        }
    }
}

/// A quarter, at most 1 GiB; 1 GiB where the memory isn't known.
fn share_of(memory: Option<u64>) -> usize {
    const MOST: u64 = 1 << 30;
    memory.map_or(MOST, |bytes| (bytes / 4).min(MOST)) as usize
}

/// The least of the machine's memory and the limits of the process's cgroups.
/// Outside Linux nothing is known.
fn memory() -> Option<u64> {
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let limit = |file: String| fs::read_to_string(file).ok()?.trim().parse().ok();
    let limits = limit_files(&groups).into_iter().filter_map(limit);
    let machine = fs::read_to_string("/proc/meminfo").ok().and_then(|text| total_of(&text));
    limits.chain(machine).min()
}

/// Where limits may stand: at the process's own group of cgroup version 2 or 1
/// and at each above it. In a container the own path is often the host's and
/// isn't there; the root then is the container's group.
fn limit_files(groups: &str) -> Vec<String> {
    let mut files = Vec::new();
    for line in groups.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (root, name) = match fields.next() {
            Some("") => ("/sys/fs/cgroup", "memory.max"),
            Some("memory") => ("/sys/fs/cgroup/memory", "memory.limit_in_bytes"),
            _ => continue,
        };
        let group = Path::new(fields.next().unwrap_or("/"));
        let above = group.ancestors().map(|group| group.display().to_string());
        files.extend(above.map(|group| format!("{root}{}/{name}", group.trim_end_matches('/'))));
    }
    files
}

/// `MemTotal:  4028792 kB` of `/proc/meminfo`.
fn total_of(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

impl Setting for OutboxTotal {
    type Value = Self;

    fn parse(text: &str) -> Result<Self, String> {
        if text == "auto" {
            return Ok(Self::Auto);
        }
        let bytes = quantity::parse_size(text).map_err(|problem| format!("{problem}, or `auto`"))?;
        Ok(Self::Bytes(if bytes == 0 { usize::MAX } else { bytes as usize }))
    }

    fn print(value: &Self) -> String {
        match value {
            Self::Auto => quoted("auto"),
            Self::Bytes(usize::MAX) => quoted(quantity::print_size(0)),
            Self::Bytes(bytes) => quoted(quantity::print_size(*bytes as u64)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_outboxes_share_a_quarter_of_the_memory_up_to_a_gibibyte() {
        assert_eq!(share_of(Some(400)), 100);
        assert_eq!(share_of(Some(64 << 30)), 1 << 30);
        assert_eq!(share_of(None), 1 << 30);
    }

    #[test]
    fn the_machines_memory_is_read_in_kibibytes() {
        assert_eq!(total_of("MemTotal:        4028792 kB\nMemFree: 1 kB\n"), Some(4_028_792 * 1024));
        assert_eq!(total_of("MemFree: 1 kB\n"), None);
    }

    #[test]
    fn the_memory_limit_is_looked_for_from_the_own_group_up() {
        let files = limit_files("8:pids:/a\n4:memory:/b\n0::/c/d\n");
        let (one, two) = ("/sys/fs/cgroup/memory", "/sys/fs/cgroup");
        assert_eq!(
            files[..2],
            [format!("{one}/b/memory.limit_in_bytes"), format!("{one}/memory.limit_in_bytes")]
        );
        let expected = ["/c/d", "/c", ""].map(|group| format!("{two}{group}/memory.max"));
        assert_eq!(files[2..], expected);
    }

    #[test]
    fn there_is_always_a_shard() {
        assert!(Shards::PerCore.count() >= 1);
        assert_eq!(Shards::Exactly(NonZero::new(3).unwrap()).count(), 3);
    }
}
