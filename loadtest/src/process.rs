//! What the server costs, as the kernel accounts it in `/proc`.

use std::{fs, ops::Sub};

use anyhow::{Context, Result};

/// CPU time a process has used, in seconds. The kernel tells it in ticks of 10 ms.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Cpu {
    /// In its own code.
    pub user: f64,
    /// In the kernel on its behalf, which includes the loopback delivery to this client's sockets.
    pub system: f64,
}

impl Cpu {
    /// User and system together.
    pub fn total(self) -> f64 {
        self.user + self.system
    }
}

impl Sub for Cpu {
    type Output = Self;

    fn sub(self, earlier: Self) -> Self {
        Self { user: self.user - earlier.user, system: self.system - earlier.system }
    }
}

/// What a process holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Holdings {
    /// Anonymous resident memory in KiB: heap and stacks, without the program's own pages.
    pub anonymous_kib: u64,
    /// Open descriptors; none if the process is somebody else's.
    pub descriptors: Option<u64>,
}

/// The measured server.
#[derive(Debug, Clone, Copy)]
pub struct Server {
    pid: u32,
}

/// A process that works beside the measured server, such as its Redis.
#[derive(Debug, Clone)]
pub struct Beside {
    /// What the report calls it.
    pub name: String,
    /// The process.
    pub server: Server,
}

impl Server {
    /// A running process.
    pub fn new(pid: u32) -> Self {
        Self { pid }
    }

    /// CPU used since it started, by all its threads.
    pub fn cpu(self) -> Result<Cpu> {
        let ticks = rustix::param::clock_ticks_per_second() as f64;
        parse_stat(&self.read("stat")?, ticks).context("/proc stat has an unknown shape")
    }

    /// Anonymous resident memory in KiB: heap and stacks, without the program's own pages.
    pub fn memory_kib(self) -> Result<u64> {
        number(&self.read("status")?, "RssAnon:").context("/proc status has no RssAnon")
    }

    /// What it holds at this moment.
    pub fn holdings(self) -> Result<Holdings> {
        Ok(Holdings { anonymous_kib: self.memory_kib()?, descriptors: self.descriptors() })
    }

    /// Open descriptors; none if they are not for us to see. Since Linux 6.2 the directory's size says how
    /// many, which spares the load reading thousands of names while it should publish.
    fn descriptors(self) -> Option<u64> {
        let path = format!("/proc/{}/fd", self.pid);
        match fs::metadata(&path).ok()?.len() {
            0 => Some(fs::read_dir(&path).ok()?.count() as u64),
            count => Some(count),
        }
    }

    fn read(self, file: &str) -> Result<String> {
        let path = format!("/proc/{}/{file}", self.pid);
        fs::read_to_string(&path)
            .with_context(|| format!("{path} is not readable: is the server still running?"))
    }
}

/// `utime` and `stime` are the 14th and 15th field (`proc_pid_stat(5)`); the second is a name in
/// parentheses which may itself hold spaces and parentheses.
fn parse_stat(stat: &str, ticks: f64) -> Option<Cpu> {
    let (_, behind_name) = stat.rsplit_once(')')?;
    let mut fields =
        behind_name.split_ascii_whitespace().skip(11).map_while(|field| field.parse::<f64>().ok());
    Some(Cpu { user: fields.next()? / ticks, system: fields.next()? / ticks })
}

/// The number behind a name at the start of a line.
fn number(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_is_read_behind_any_process_name() {
        let stat = "12 (a) b (c)) S 1 12 12 0 -1 4194560 5 0 0 0 250 1300 0 0 20 0 1 0 100";
        assert_eq!(parse_stat(stat, 100.0), Some(Cpu { user: 2.5, system: 13.0 }));
    }

    #[test]
    fn anonymous_memory_is_read_in_kib() {
        assert_eq!(number("VmRSS:\t  10 kB\nRssAnon:\t    4321 kB\n", "RssAnon:"), Some(4321));
    }

    #[test]
    fn an_opened_file_is_one_descriptor_more() {
        let server = Server::new(std::process::id());
        let held: Vec<_> = (0..200).map(|_| fs::File::open("/dev/null").unwrap()).collect();
        assert!(server.holdings().unwrap().descriptors.unwrap() > held.len() as u64);
    }

    #[test]
    fn this_very_process_can_be_measured() {
        let server = Server::new(std::process::id());
        assert!(server.memory_kib().unwrap() > 0);
        assert!(server.cpu().unwrap().total() >= 0.0);
    }
}
