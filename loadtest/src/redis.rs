//! What a Redis says about itself: `INFO` over a plain connection, asked without waiting for the answer.
//!
//! **Invariant:** what asking costs is left out. The calls of `INFO` are no commands here, and the time
//! Redis says it spent on them is taken off its CPU.

use std::{
    collections::HashMap,
    io::{ErrorKind, Read, Write},
    net::{TcpStream, ToSocketAddrs},
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};

use crate::process::Cpu;

/// How long an answer that is waited for may take.
const PATIENCE: Duration = Duration::from_secs(2);

/// No `INFO` is longer.
const ANSWER_BYTES_MAX: usize = 1 << 20;

/// A connection to a Redis.
#[derive(Debug)]
pub struct Redis {
    stream: TcpStream,
    unread: Vec<u8>,
}

/// What Redis has done since it started.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Info {
    /// Commands executed, those of scripts included.
    pub commands: u64,
    /// CPU of all threads, in seconds.
    pub cpu: Cpu,
    /// CPU of the thread that executes commands; the same as `cpu` before Redis 6.2.
    pub main_thread: Cpu,
}

impl Redis {
    /// Connects to `HOST:PORT`.
    pub fn connect(address: &str) -> Result<Self> {
        let place = address
            .to_socket_addrs()
            .ok()
            .and_then(|mut all| all.next())
            .with_context(|| format!("{address} is not HOST:PORT of a Redis"))?;
        let stream = TcpStream::connect_timeout(&place, PATIENCE)
            .with_context(|| format!("redis at {address} doesn't take a connection"))?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, unread: Vec::new() })
    }

    /// Asks and waits.
    pub fn info(&mut self) -> Result<Info> {
        self.ask()?;
        self.answer()
    }

    /// Asks; [`Redis::poll`] or [`Redis::answer`] has the answer later. One question at a time.
    pub fn ask(&mut self) -> Result<()> {
        self.stream.write_all(b"INFO all\r\n").context("redis can't be asked")
    }

    /// The answer, if it has come.
    pub fn poll(&mut self) -> Result<Option<Info>> {
        self.stream.set_nonblocking(true)?;
        let polled = self.read_answer();
        self.stream.set_nonblocking(false)?;
        polled
    }

    /// Waits for the answer.
    pub fn answer(&mut self) -> Result<Info> {
        self.stream.set_read_timeout(Some(PATIENCE))?;
        self.read_answer()?.context("redis doesn't answer")
    }

    fn read_answer(&mut self) -> Result<Option<Info>> {
        loop {
            if let Some((text, end)) = take_bulk(&self.unread)? {
                let info = parse_info(&String::from_utf8_lossy(text));
                self.unread.drain(..end);
                return info.map(Some);
            }
            ensure!(self.unread.len() < ANSWER_BYTES_MAX, "redis answers INFO with more than a megabyte");
            let mut bytes = [0; 16 * 1024];
            match self.stream.read(&mut bytes) {
                Ok(0) => bail!("redis hung up"),
                Ok(length) => self.unread.extend_from_slice(&bytes[..length]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error).context("redis can't be read"),
            }
        }
    }
}

/// The first bulk string (RESP `$`) and where it ends; none if it isn't whole yet.
fn take_bulk(bytes: &[u8]) -> Result<Option<(&[u8], usize)>> {
    let Some(line_end) = bytes.windows(2).position(|two| two == b"\r\n") else { return Ok(None) };
    let line = String::from_utf8_lossy(&bytes[..line_end]);
    let Some(length) = line.strip_prefix('$').and_then(|length| length.parse::<usize>().ok()) else {
        bail!("redis doesn't answer INFO but says: {line}");
    };
    ensure!(length <= ANSWER_BYTES_MAX, "redis announces an INFO of {length} bytes");
    let start = line_end + 2;
    Ok(bytes.get(start..start + length + 2).map(|text| (&text[..length], start + length + 2)))
}

fn parse_info(text: &str) -> Result<Info> {
    let fields: HashMap<&str, &str> =
        text.lines().filter_map(|line| line.trim_end().split_once(':')).collect();
    let number = |name: &str| fields.get(name).and_then(|value| value.parse::<f64>().ok());
    let cpu = |suffix: &str| {
        let user = number(&format!("used_cpu_user{suffix}"))?;
        Some(Cpu { user, system: number(&format!("used_cpu_sys{suffix}"))? })
    };
    let commands: f64 = fields
        .iter()
        .filter(|(name, _)| name.starts_with("cmdstat_") && **name != "cmdstat_info")
        .filter_map(|(_, value)| stat(value, "calls"))
        .sum();
    let asking = fields.get("cmdstat_info").and_then(|value| stat(value, "usec")).unwrap_or_default() / 1e6;
    let all = cpu("").context("INFO has no used_cpu_user and used_cpu_sys")?;
    let without_asking = |cpu: Cpu| Cpu { user: cpu.user - asking, ..cpu };
    Ok(Info {
        commands: commands as u64,
        cpu: without_asking(all),
        main_thread: without_asking(cpu("_main_thread").unwrap_or(all)),
    })
}

/// One number of `calls=12,usec=34,…`.
fn stat(value: &str, name: &str) -> Option<f64> {
    value.split(',').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('=')?.parse().ok())
}

#[cfg(test)]
mod tests {
    use std::{net::TcpListener, thread};

    use super::*;

    const TEXT: &str = "# CPU\r\nused_cpu_sys:2.5\r\nused_cpu_user:7.5\r\nused_cpu_sys_main_thread:2.0\r\n\
        used_cpu_user_main_thread:7.0\r\n# Stats\r\npubsub_channels:12\r\npubsub_patterns:1\r\n# Commandstats\r\n\
        cmdstat_publish:calls=900,usec=4000,usec_per_call=4.4,rejected_calls=0,failed_calls=0\r\n\
        cmdstat_evalsha:calls=100,usec=9,usec_per_call=1\r\ncmdstat_info:calls=50,usec=500000,usec_per_call=1\r\n";

    fn bulk(text: &str) -> Vec<u8> {
        format!("${}\r\n{text}\r\n", text.len()).into_bytes()
    }

    #[test]
    fn an_info_is_read_and_what_asking_costs_is_left_out() {
        let info = parse_info(TEXT).unwrap();
        assert_eq!(info.commands, 1000);
        assert_eq!(info.cpu, Cpu { user: 7.0, system: 2.5 });
        assert_eq!(info.main_thread, Cpu { user: 6.5, system: 2.0 });
    }

    #[test]
    fn an_old_redis_tells_all_threads_only() {
        let info = parse_info("used_cpu_sys:1\r\nused_cpu_user:2\r\n").unwrap();
        assert_eq!((info.main_thread, info.commands), (Cpu { user: 2.0, system: 1.0 }, 0));
        assert!(parse_info("redis_version:1\r\n").is_err());
    }

    #[test]
    fn an_answer_is_whole_at_its_last_byte_and_not_before() {
        let bytes = bulk(TEXT);
        for cut in 0..bytes.len() {
            assert_eq!(take_bulk(&bytes[..cut]).unwrap(), None, "{cut} bytes");
        }
        assert_eq!(take_bulk(&bytes).unwrap(), Some((TEXT.as_bytes(), bytes.len())));
    }

    #[test]
    fn a_redis_that_refuses_is_told_in_its_own_words() {
        let error = take_bulk(b"-NOAUTH Authentication required.\r\n").unwrap_err();
        assert!(error.to_string().contains("NOAUTH"), "{error}");
        assert!(take_bulk(b"$99999999\r\n").is_err());
    }

    #[test]
    fn asking_does_not_wait_for_the_answer() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let mut redis = Redis::connect(&address).unwrap();
        let (mut served, _) = listener.accept().unwrap();
        redis.ask().unwrap();
        assert_eq!(redis.poll().unwrap(), None);
        let mut head = bulk(TEXT);
        let tail = head.split_off(50);
        served.write_all(&head).unwrap();
        let late = thread::spawn(move || {
            served.write_all(&tail).unwrap();
            served
        });
        assert_eq!(redis.answer().unwrap().commands, 1000);
        drop(late.join().unwrap());
    }
}
