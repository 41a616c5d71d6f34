//! `churn` and `storm` against the bare loop, and what a server that stands still looks like in the samples.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener},
    process::Command,
    thread,
    time::Duration,
};

use dunlin_loadtest::{
    adapter::Protocol,
    progress::{Progress, Silent},
    record::Verdict,
    scenario::{
        Answers, Topics,
        churn::{self, Churn},
        storm::{self, End, Storm},
    },
    target::Target,
};
use rustix::process::{Pid, Signal, kill_process};

use self::process::Process;

#[path = "../examples/bare_loop.rs"]
mod bare_loop;
#[path = "servers/process.rs"]
mod process;

/// Serves on a free port until the test process ends.
fn serve() -> Target {
    let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(|| bare_loop::BareLoop::new(listener).unwrap().run());
    Target::parse(&format!("ws://{address}/x")).unwrap()
}

fn churn(target: Target) -> Churn {
    Churn {
        target,
        protocol: Protocol::Plain,
        server: None,
        beside: Vec::new(),
        topics: Topics::of_relay("t", 4),
        peers: 40,
        per_second: 100.0,
        duration: Duration::from_secs(2),
        rate: 900.0,
        abrupt: 0.5,
        size: 128,
        concurrency: 8,
        answers: Answers::Nothing,
        seed: 1,
    }
}

fn storm(from: Target, to: Target, end: End) -> Storm {
    Storm {
        from,
        to,
        protocol: Protocol::Plain,
        server: None,
        beside: Vec::new(),
        topics: Topics::of_relay("t", 4),
        peers: 60,
        rate: 600.0,
        end,
        delay: Duration::from_millis(200),
        calm: Duration::from_millis(600),
        size: 128,
        concurrency: 8,
        answers: Answers::Nothing,
        seed: 1,
    }
}

#[test]
fn peers_that_go_in_every_way_are_replaced_and_nobody_is_thrown_out() {
    let process = Process::start();
    let churn = Churn { server: Some(process.server()), ..churn(process.target.clone()) };
    let (churned, record) = churn::run(churn, None, &mut Silent).unwrap();
    assert!(churned.cycles > 100 && churned.deliveries > 500, "{churned:?}");
    assert!(
        churned.ways.goodbye > 20 && churned.ways.reset > 5 && churned.ways.half_frame > 5,
        "{churned:?}"
    );
    assert!(churned.thrown_out.is_empty() && churned.refused == 0 && churned.stray == 0, "{churned:?}");
    let descriptors = churned.descriptors.unwrap();
    assert!(!descriptors.trend.grows && descriptors.trend.last > 30.0, "{descriptors:?}");
    assert!(record.samples.iter().all(|sample| (30..=40).contains(&sample.peers)), "{:?}", record.samples);
    assert!(churned.memory.is_some() && churned.cpu_per_cycle.is_some());
}

/// Upgrades everybody, reads the subscription and closes with 1008.
fn serve_inhospitably() -> Target {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let target = Target::parse(&format!("ws://{}/", listener.local_addr().unwrap())).unwrap();
    thread::spawn(move || {
        for socket in listener.incoming() {
            let (mut socket, mut read) = (socket.unwrap(), [0; 4096]);
            let _request = socket.read(&mut read).unwrap();
            let accept = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";
            write!(socket, "HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: {accept}\r\n\r\n")
                .unwrap();
            let _subscription = socket.read(&mut read).unwrap();
            socket.write_all(&[0x88, 2, 0x03, 0xf0]).unwrap();
        }
    });
    target
}

#[test]
fn who_is_closed_by_the_server_makes_a_churn_bad() {
    let churn =
        Churn { peers: 1, rate: 0.0, duration: Duration::from_millis(300), ..churn(serve_inhospitably()) };
    let (churned, record) = churn::run(churn, None, &mut Silent).unwrap();
    assert!(churned.thrown_out[&1008] > 0, "{churned:?}");
    assert!(matches!(record.verdict, Verdict::Bad { why } if why.contains("with 1008")));
}

#[test]
fn a_bad_churn_exits_3_and_its_report_says_why() {
    let target = serve_inhospitably();
    let folder = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("bad-churn");
    let load = Command::new(env!("CARGO_BIN_EXE_dunlin-loadtest"))
        .args(["churn", "--url", &format!("ws://{}/", target.address), "--peers", "1", "--rate", "0"])
        .args(["--duration", "300ms", "--no-ack", "--report"])
        .arg(&folder)
        .output()
        .unwrap();
    let (told, page) = (String::from_utf8(load.stderr).unwrap(), folder.join("report.html"));
    assert_eq!(load.status.code(), Some(3), "{told}");
    let moments: Vec<_> = told.lines().filter(|line| line.starts_with("measur")).collect();
    assert_eq!(moments, ["measuring", "measured"], "scripts read other counters at these lines");
    assert!(
        std::fs::read_to_string(page).unwrap().contains("closed by the server (")
            && told.contains("report.html")
    );
}

#[test]
fn all_who_are_cut_come_back_to_the_other_node() {
    let storm = storm(serve(), serve(), End::Cut);
    let (stormed, record) = storm::run(storm, None, &mut Silent).unwrap();
    let back = stormed.back;
    assert!(back.half_s <= back.most_s && back.most_s <= back.all_s && back.all_s.is_some(), "{back:?}");
    assert!(back.all_s.unwrap() > 0.1, "delays of up to 200 ms are drawn: {back:?}");
    assert_eq!((record.verdict, record.marks.len()), (Verdict::Good, 2), "{:?}", record.marks);
    assert_eq!(record.samples.last().unwrap().peers, 60);
    assert!(
        stormed.control_before.latency.max_ms > 0.0 && stormed.control_before.silence_ms > 5.0,
        "{stormed:?}"
    );
}

#[test]
fn all_whose_node_is_killed_come_back_to_the_other_node() {
    let (doomed, other) = (Process::start(), Process::start());
    let storm = storm(doomed.target.clone(), other.target.clone(), End::Signal(doomed.pid(), Signal::KILL));
    let storm = Storm { server: Some(other.server()), ..storm };
    let (stormed, record) = storm::run(storm, None, &mut Silent).unwrap();
    assert!(stormed.back.all_s.is_some() && stormed.cpu_per_return.is_some(), "{stormed:?}");
    assert_eq!(record.verdict, Verdict::Good);
    assert_eq!(record.samples.last().unwrap().peers, 60);
}

/// Stops a process for [`FREEZE`] when the third sample of the measured time was taken.
struct Freezer {
    pid: Pid,
    is_measured: bool,
    samples: u32,
    thaw: Option<thread::JoinHandle<()>>,
}

const FREEZE: Duration = Duration::from_millis(300);

impl Progress for Freezer {
    fn phase(&mut self, text: &str, _total: Option<u64>) {
        self.is_measured = text == "churning";
    }

    fn at(&mut self, _done: u64, _figures: &str) {
        self.samples += u32::from(self.is_measured);
        if self.samples == 3 && self.thaw.is_none() {
            let pid = self.pid;
            kill_process(pid, Signal::STOP).unwrap();
            // How long it stands still is what the test is about; nothing is waited for.
            self.thaw = Some(thread::spawn(move || {
                thread::park_timeout(FREEZE);
                kill_process(pid, Signal::CONT).unwrap();
            }));
        }
    }

    fn line(&mut self, _text: &str) {}
}

#[test]
fn a_server_that_stands_still_shows_in_one_interval() {
    let process = Process::start();
    // Lives are so long that nobody comes or goes.
    let churn = Churn { per_second: 0.001, ..churn(process.target.clone()) };
    let mut freezer = Freezer { pid: process.pid(), is_measured: false, samples: 0, thaw: None };
    let (_, record) = churn::run(churn, None, &mut freezer).unwrap();
    freezer.thaw.unwrap().join().unwrap();
    let on_time = record.samples.iter().filter(|sample| sample.behind_ms < 100.0);
    let slow: Vec<_> =
        on_time.filter(|sample| sample.latency.is_some_and(|latency| latency.p99_ms >= 250.0)).collect();
    assert_eq!(slow.len(), 1, "{:#?}", record.samples);
    assert!(slow[0].latency.unwrap().max_ms < 2000.0, "{slow:?}");
}
