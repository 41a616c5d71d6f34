//! The program itself: what it refuses, what it says about servers that misbehave, and that nothing which
//! stands still looks well.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    path::Path,
    process::{Child, ChildStderr, Command, Output, Stdio},
    thread,
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use self::{by_hand::OPEN, process::Process};

#[path = "servers/by_hand.rs"]
mod by_hand;
#[path = "servers/process.rs"]
mod process;

/// The program with these arguments, split at spaces.
fn program(arguments: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dunlin-loadtest"));
    command.args(arguments.split_ascii_whitespace()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// What the program says to stderr and how it exits.
fn said(arguments: &str) -> (String, Option<i32>) {
    told(&program(arguments).output().unwrap())
}

fn told(output: &Output) -> (String, Option<i32>) {
    (String::from_utf8_lossy(&output.stderr).into_owned(), output.status.code())
}

#[test]
fn arguments_that_make_no_sense_are_refused_with_a_reason() {
    for (arguments, reason) in [
        ("fanout --rate NaN", "a rate is from 0"),
        ("fanout --rate inf", "a rate is from 0"),
        ("fanout --rate=-5", "a rate is from 0"),
        ("fanout --duration 0s", "nothing to measure"),
        ("fanout --duration 99999999m", "30 days"),
        ("fanout --window 0 --rate 0", "--window"),
        ("fanout --size 99999999999", "--size"),
        ("fanout --agents 100000", "--agents"),
        ("fanout --climb --limit-loss 2", "a part is from 0"),
        ("churn --abrupt NaN", "a part is from 0"),
        ("churn --duration 0s", "nothing to measure"),
    ] {
        let (said, code) = said(arguments);
        assert!(said.contains(reason) && code == Some(2), "{arguments}: {code:?} {said}");
    }
    for (arguments, reason) in [
        ("fanout --peers 0", "without subscribers"),
        ("fanout --publishers 0", "--publishers is 0"),
        ("fanout --topics 0", "there must be a topic"),
        ("fanout --topics 4294967295", "7 digits"),
        ("fanout --publishers 1000 --topics 10000000", "streams"),
        ("fanout --answered", "--answered takes --rate 0"),
        ("fanout --climb --factor 1", "--factor"),
        ("fanout --climb --factor inf", "--factor"),
        ("fanout --climb --from 0", "--from"),
        ("fanout --peers 4000000000", "ulimit -Hn"),
        ("fanout --adapter raw --topics 100000 --publishers 2000", "ulimit -Hn"),
        ("idle --peers 10", "--server-pid"),
        ("connect --count 0", "there must be a connection"),
        ("connect --lossy drop=0.1", "--lossy is for"),
        ("churn --peers 0", "there must be a peer"),
        ("churn --per-second 0", "nobody leaves"),
        ("churn --adapter nchan", "--rate 0"),
        ("storm --cut --to ws://127.0.0.1:1/ --adapter nchan", "nchan does not allow"),
        ("storm --cut --to ws://127.0.0.1:1/ --topics 10000000", "too many"),
        ("fanout --mode log --adapter nats", "the adapter nats knows none"),
        ("fanout --mode map --publishers 2", "only one publisher's"),
        ("fanout --mode list --rate 0", "takes --answered"),
        ("resume --peers 0", "there must be a peer"),
        ("resume --rate 0", "--rate is 0"),
    ] {
        let (said, code) = said(arguments);
        assert!(said.contains(reason) && code == Some(1), "{arguments}: {code:?} {said}");
    }
}

#[test]
fn a_report_that_can_t_be_written_is_told_before_the_run() {
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join("a-file");
    std::fs::write(&file, "").unwrap();
    let output = program("fanout --url ws://127.0.0.1:1/ --report").arg(file.join("x")).output().unwrap();
    let (said, code) = told(&output);
    assert!(said.contains("a-file/x can't be made") && code == Some(1), "{said}");
}

/// A server that says this to everybody and then reads on.
fn serve_always(answer: Vec<u8>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("ws://{}/", listener.local_addr().unwrap());
    let answer_one = move |mut socket: TcpStream| {
        let mut bytes = [0; 4096];
        // A client that has heard enough hangs up.
        if socket.read(&mut bytes).is_ok() && socket.write_all(&answer).is_ok() {
            while socket.read(&mut bytes).is_ok_and(|length| length > 0) {}
        }
    };
    thread::spawn(move || {
        for socket in listener.incoming() {
            let answer_one = answer_one.clone();
            thread::spawn(move || answer_one(socket.unwrap()));
        }
    });
    url
}

#[test]
fn a_server_that_misbehaves_is_told_and_never_a_panic() {
    let behind_open = |bytes: &[u8]| [OPEN, bytes].concat();
    // Who only connects gets no messages, and is closed often enough.
    for (answer, reason, commands) in [
        (vec![b'x'; 100_000], "without the end of a head", 2),
        (b"SSH-2.0-x\r\n\r\n".to_vec(), "SSH-2.0-x", 2),
        (b"HTTP/1.1 404 Not Found\r\n\r\n".to_vec(), "404 Not Found", 2),
        (behind_open(&[0x01, 0]), "fragments", 2),
        (behind_open(&[0x81, 0x80, 0, 0, 0, 0]), "masked", 2),
        (behind_open(&[0x82, 127, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]), "announced a frame", 2),
        (behind_open(&[0x88, 2, 0x03, 0xf0]), "closed with 1008", 1),
        (behind_open(b"\x81\x10{\"type\":\"error\"}"), r#"{"type":"error"}"#, 1),
    ] {
        for command in &["fanout --peers 2", "connect --count 2"][..commands] {
            let url = serve_always(answer.clone());
            let (said, code) = said(&format!("{command} --url {url}"));
            assert!(said.contains(reason) && code == Some(1), "{command}: {code:?} {said}");
        }
    }
}

#[test]
fn a_server_that_lets_nobody_in_is_told_at_once() {
    let url = serve_always(b"HTTP/1.1 403 Forbidden\r\n\r\n".to_vec());
    for command in ["churn --peers 2 --rate 0".to_owned(), format!("storm --peers 2 --cut --to {url}")] {
        let (said, code) = said(&format!("{command} --url {url}"));
        assert!(said.contains("403 Forbidden") && code == Some(1), "{command}: {code:?} {said}");
    }
}

#[test]
fn who_is_closed_while_it_connects_makes_the_exit_code_red() {
    let url = serve_always([OPEN, &[0x88, 2, 0x03, 0xf5]].concat());
    let output = program(&format!("connect --count 5 --no-ack --json --url {url}")).output().unwrap();
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((output.status.code(), &report["thrown_out"]["1013"]), (Some(3), &Value::from(10)));
}

/// Reads what a run says until a line.
fn wait_for(stderr: &mut impl BufRead, line: &str) {
    let mut said = String::new();
    while !said.contains(line) {
        said.clear();
        assert!(stderr.read_line(&mut said).unwrap() > 0, "it never said {line}");
    }
}

/// The report and exit code of a run that is under way.
fn outcome(mut load: Child, mut stderr: impl Read) -> (Value, Option<i32>) {
    let (mut report, mut said) = (String::new(), String::new());
    load.stdout.take().unwrap().read_to_string(&mut report).unwrap();
    stderr.read_to_string(&mut said).unwrap();
    let report = serde_json::from_str(&report).unwrap_or_else(|error| panic!("{error}: {report} {said}"));
    (report, load.wait().unwrap().code())
}

/// A run of 1.5 s, 100 publications a second, and its stderr where it starts to publish.
fn start_publishing(url: &str) -> (Child, BufReader<ChildStderr>) {
    let crowd = "--no-ack --json --peers 10 --rate 1000 --warmup 1s --duration 500ms";
    let mut load = program(&format!("fanout {crowd} --url {url}")).spawn().unwrap();
    let mut stderr = BufReader::new(load.stderr.take().unwrap());
    wait_for(&mut stderr, "warming up");
    (load, stderr)
}

#[test]
fn a_server_that_stands_still_all_the_time_is_a_fault_although_nothing_is_lost() {
    let server = Process::start();
    let url = format!("ws://{}/x", server.target.address);
    let (load, mut stderr) = start_publishing(&url);
    kill_process(server.pid(), Signal::STOP).unwrap();
    wait_for(&mut stderr, "measuring");
    wait_for(&mut stderr, "measured");
    kill_process(server.pid(), Signal::CONT).unwrap();
    let (report, code) = outcome(load, stderr);
    assert_eq!((&report["lost"], &report["silent"], code), (&Value::from(0), &Value::from(true), Some(3)));
    assert!(report["latency"]["p50_ms"].as_f64().unwrap() > 200.0, "{report}");
}

#[test]
fn a_load_that_stands_still_all_the_time_is_behind_and_has_measured_nothing() {
    let server = Process::start();
    let (load, stderr) = start_publishing(&format!("ws://{}/x", server.target.address));
    let pid = Pid::from_child(&load);
    kill_process(pid, Signal::STOP).unwrap();
    // How long it stands still is what the test is about; nothing is waited for.
    let thaw = thread::spawn(move || {
        thread::park_timeout(Duration::from_secs(2));
        kill_process(pid, Signal::CONT).unwrap();
    });
    let (report, code) = outcome(load, stderr);
    thaw.join().unwrap();
    // What was due in the last half second left all the same, and its lateness counts.
    assert_eq!((report["publications"].as_u64(), report["lost"].as_u64()), (Some(50), Some(0)), "{report}");
    assert_eq!((report["silent"].as_bool(), code), (Some(true), Some(3)), "{report}");
    assert!(report["behind_ms"].as_f64().unwrap() > 500.0, "{report}");
    assert!(report["stall_ms"].as_f64().unwrap() > 500.0, "{report}");
    assert!(report["latency"]["p50_ms"].as_f64().unwrap() > 200.0, "{report}");
}
