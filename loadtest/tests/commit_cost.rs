//! What commits cost, told by a Redis that is played and by a real one.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use dunlin_loadtest::clock::{self, SECOND};

use self::commit_cost::{Cost, Options, run};

#[path = "../examples/commit_cost.rs"]
mod commit_cost;

fn options(redis: SocketAddr) -> Options {
    Options {
        redis,
        batches: vec![1, 4],
        rate: 0.0,
        pipeline: 8,
        topics: 2,
        limit: 20,
        size: 128,
        heard: false,
        rounds: 2,
        duration: Duration::from_millis(100),
    }
}

/// A Redis that claims 10 µs for a `PUBLISH`, and for a script 20 and 5 for each of its items; it answers
/// scripts with this.
fn serve(script_answer: &'static [u8]) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let used_us = Arc::new(AtomicU64::new(0));
    thread::spawn(move || {
        for socket in listener.incoming() {
            let used_us = Arc::clone(&used_us);
            thread::spawn(move || converse(BufReader::new(socket.unwrap()), &used_us, script_answer));
        }
    });
    address
}

fn converse(mut socket: BufReader<TcpStream>, used_us: &AtomicU64, script_answer: &[u8]) {
    while let Some(words) = read_command(&mut socket) {
        let answer = match words[0].as_slice() {
            b"SCRIPT" => format!("$40\r\n{}\r\n", "0".repeat(40)).into_bytes(),
            b"PUBLISH" => {
                used_us.fetch_add(10, Ordering::SeqCst);
                b":0\r\n".to_vec()
            }
            b"EVALSHA" => {
                used_us.fetch_add(20 + 5 * (words.len() as u64 - 17), Ordering::SeqCst);
                script_answer.to_vec()
            }
            b"INFO" => {
                let used = used_us.load(Ordering::SeqCst) as f64 / 1e6;
                let text = format!("used_cpu_user:{used}\r\nused_cpu_sys:0\r\n");
                format!("${}\r\n{text}\r\n", text.len()).into_bytes()
            }
            b"DEL" => b":2\r\n".to_vec(),
            other => panic!("{}", other.escape_ascii()),
        };
        if socket.get_mut().write_all(&answer).is_err() {
            return;
        }
    }
}

/// Reads an array of bulk strings, or a line.
fn read_command(socket: &mut impl BufRead) -> Option<Vec<Vec<u8>>> {
    let line = read_line(socket)?;
    let Some(count) = line.strip_prefix('*') else { return Some(vec![line.split(' ').next()?.into()]) };
    (0..count.parse().unwrap())
        .map(|_| {
            let length: usize = read_line(socket)?.strip_prefix('$')?.parse().ok()?;
            let mut word = vec![0; length + 2];
            socket.read_exact(&mut word).ok()?;
            word.truncate(length);
            Some(word)
        })
        .collect()
}

fn read_line(socket: &mut impl BufRead) -> Option<String> {
    let mut line = String::new();
    (socket.read_line(&mut line).ok()? > 0).then(|| line.trim_end().to_owned())
}

fn names(costs: &[Cost]) -> Vec<&str> {
    costs.iter().map(|cost| cost.call.as_str()).collect()
}

#[test]
fn what_redis_used_is_divided_by_what_was_called_and_compared() {
    let costs = run(&options(serve(b"*2\r\n$2\r\nOK\r\n$9\r\n8\r\n\r\nte.1\r\n"))).unwrap();
    assert_eq!(names(&costs), ["PUBLISH", "commit of 1", "commit of 4"]);
    for (cost, [call, publication, ratio]) in
        costs.iter().zip([[10.0, 10.0, 1.0], [25.0, 25.0, 2.5], [40.0, 10.0, 1.0]])
    {
        let figures = [cost.cpu_us_per_call, cost.cpu_us_per_publication, cost.to_a_publish];
        let is_near = |(figure, expected): (&f64, f64)| (figure - expected).abs() < 0.01;
        assert!(figures.iter().zip([call, publication, ratio]).all(is_near), "{cost:?}");
    }
}

#[test]
fn a_pace_is_in_publications_and_not_in_calls() {
    let paced = Options { rate: 800.0, ..options(serve(b"*2\r\n$2\r\nOK\r\n$1\r\nx\r\n")) };
    for cost in run(&paced).unwrap() {
        assert!(cost.publications_per_second < 900.0, "four in each call would be 3200: {cost:?}");
    }
}

#[test]
fn a_commit_that_was_not_one_ends_the_run() {
    for answer in [b"*1\r\n$7\r\nCORRUPT\r\n".as_slice(), b"-NOSCRIPT No matching script.\r\n"] {
        let error = run(&options(serve(answer))).unwrap_err().to_string();
        assert!(error.contains("CORRUPT") || error.contains("NOSCRIPT"), "{error}");
    }
}

struct RealRedis(Child);

impl Drop for RealRedis {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

/// A Redis of its own, on a port that was free a moment ago.
fn start_redis() -> (RealRedis, SocketAddr) {
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let child = Command::new("redis-server")
        .args([
            "--bind",
            "127.0.0.1",
            "--save",
            "",
            "--appendonly",
            "no",
            "--port",
            &address.port().to_string(),
        ])
        .current_dir(env!("CARGO_TARGET_TMPDIR"))
        .stdout(Stdio::null())
        .spawn()
        .expect("the redis-server command is needed");
    let redis = RealRedis(child);
    let deadline = clock::now() + 20 * SECOND;
    while TcpStream::connect(address).is_err() {
        assert!(clock::now() < deadline, "redis does not start");
        thread::yield_now();
    }
    (redis, address)
}

#[test]
fn redis_takes_the_commits_and_a_batch_costs_as_few_commands_as_one() {
    let (_redis, address) = start_redis();
    let costs = run(&Options { heard: true, ..options(address) }).unwrap();
    assert!((costs[0].commands_per_call - 1.0).abs() < 0.01, "{costs:?}");
    for commit in &costs[1..] {
        assert!(
            (5.0..7.5).contains(&commit.commands_per_call),
            "the script's call and what it does: {commit:?}"
        );
        assert!(commit.cpu_us_per_publication > 0.0, "{commit:?}");
    }
    let mut asked = TcpStream::connect(address).unwrap();
    asked.write_all(b"DBSIZE\r\n").unwrap();
    let mut answer = [0; 4];
    asked.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b":0\r\n", "it leaves nothing behind");
}
