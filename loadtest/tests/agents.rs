//! The program itself against the bare loop: exit codes, and loads spread over several processes.

use std::{
    fs,
    io::{BufRead, BufReader, Read},
    net::{SocketAddr, TcpListener},
    process::{Child, Command, Output, Stdio},
    thread,
    time::Duration,
};

use dunlin_loadtest::{
    agents::Agents,
    clock::SECOND,
    progress::Silent,
    scenario::{
        Answers, Topics,
        chronicle::Chronicle,
        fanout::{Pace, Performer, Plan},
        share::Share,
        stage::{Cast, Stage},
    },
    target::Target,
};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open},
};
use serde_json::Value;

#[path = "../examples/bare_loop.rs"]
mod bare_loop;

/// Serves on a free port until the test process ends.
fn serve() -> String {
    let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(|| bare_loop::BareLoop::new(listener).unwrap().run());
    format!("ws://{address}/x")
}

/// The program, with a load for the bare loop at `url`.
fn load(url: &str, arguments: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dunlin-loadtest"));
    command
        .args(["fanout", "--no-ack", "--json", "--url", url])
        .args(arguments.split_ascii_whitespace())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

fn run(arguments: &str) -> Output {
    load(&serve(), arguments).output().unwrap()
}

/// The report of a run that was clean.
fn clean(arguments: &str) -> Value {
    let output = run(arguments);
    assert!(output.status.success(), "{output:?}");
    reported(&output)
}

fn reported(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
}

fn count(report: &Value, name: &str) -> u64 {
    report[name].as_u64().unwrap_or_else(|| panic!("{name} is missing in {report}"))
}

const SHORT: &str = "--topics 3 --peers 20 --rate 5000 --warmup 100ms --duration 300ms";

/// The children of a process, once it has so many.
fn children_of(load: &mut Child, stderr: &mut impl BufRead, until: &str) -> Vec<Pid> {
    let mut line = String::new();
    while !line.contains(until) {
        line.clear();
        assert!(stderr.read_line(&mut line).unwrap() > 0, "it ended: {:?}", load.wait());
    }
    let children = fs::read_to_string(format!("/proc/{0}/task/{0}/children", load.id())).unwrap();
    children.split_ascii_whitespace().map(|pid| Pid::from_raw(pid.parse().unwrap()).unwrap()).collect()
}

/// Waits until a process that isn't ours to wait for has ended.
fn assert_ends(pidfd: &impl std::os::fd::AsFd) {
    let patience = Timespec { tv_sec: 20, tv_nsec: 0 };
    let mut polled = [PollFd::new(pidfd, PollFlags::IN)];
    assert_eq!(poll(&mut polled, Some(&patience)).unwrap(), 1, "it lives on");
}

#[test]
fn faults_made_on_purpose_turn_the_exit_code_red() {
    clean(SHORT);
    for losses in ["drop=0.05", "double=0.05", "swap=0.05"] {
        let output = run(&format!("{SHORT} --lossy {losses}"));
        let report = reported(&output);
        let faults = ["lost", "duplicated", "reordered"].map(|name| count(&report, name));
        assert!(faults.iter().sum::<u64>() > 0, "{losses}: {report}");
        assert_eq!(output.status.code(), Some(3), "{losses}: {report}");
    }
}

/// What a performer of this cast sees of a run, each of whose deliveries is in one sample.
fn share_of(url: &str, agents: usize) -> Share {
    let cast = Cast {
        peers: 20,
        publishers: 2,
        topics: Topics::of_relay("t", 3),
        answers: Answers::Nothing,
        ..Cast::new(Target::parse(url).unwrap())
    };
    let plan = Plan {
        pace: Pace::Deliveries(5010.0),
        warmup: Duration::from_millis(400),
        duration: Duration::from_millis(400),
    };
    let mut silent = Silent;
    let mut chronicle = Chronicle::new(&cast, SECOND / 10, &mut silent);
    let command = format!("exec {} agent", env!("CARGO_BIN_EXE_dunlin-loadtest"));
    let mut performer: Box<dyn Performer> = match agents {
        0 => Box::new(Stage::open(cast, &mut chronicle).unwrap()),
        _ => Box::new(Agents::open(cast, 0, &vec![command; agents], SECOND / 10, &mut chronicle).unwrap()),
    };
    let share = performer.perform(plan, &mut chronicle).unwrap();
    let sampled: f64 = chronicle
        .into_sampler()
        .samples()
        .iter()
        .map(|sample| sample.deliveries_per_second * sample.span_s)
        .sum();
    // Samples go on while the last deliveries are waited for, which the measured time doesn't count.
    let (measured, all) = (share.deliveries as f64, share.delivered as f64);
    assert!((measured - 1.0..all + 1.0).contains(&sampled), "{sampled} sampled, {share:?}");
    share
}

#[test]
fn several_agents_see_what_one_process_would() {
    let url = serve();
    for agents in [0, 1, 2, 3] {
        let share = share_of(&url, agents);
        assert_eq!(share.faults(), 0, "{share:?}");
        // With 20 peers on 3 topics 5,010 deliveries take 751.5 publications a second: 602 in 800 ms, half of
        // them in the second half. Each publisher in turn puts 101 on the first topic, 100 on the others.
        assert_eq!((share.publications, share.delivered), (301, 202 * 7 + 200 * 13), "{share:?}");
        assert_eq!(share.latencies.count(), share.delivered / 2, "{share:?}");
        assert!(share.latencies.summary().max_ms < 5_000.0, "clocks are set right: {share:?}");
    }
}

#[test]
fn every_kind_of_load_can_be_spread() {
    clean(&format!("{SHORT} --agents 2 --publishers 2"));
    clean("--topics 2 --peers 9 --rate 0 --window 8 --warmup 50ms --duration 200ms --agents 2");
    let steps = "--climb --from 2000 --factor 2 --limit-p99 1ms --warmup 50ms --duration 150ms";
    let climb = clean(&format!("--topics 2 --peers 9 --agents 2 {steps}"));
    assert!(!climb["steps"].as_array().unwrap().is_empty(), "{climb}");
}

#[test]
fn agents_may_be_commands() {
    let command = format!("exec {} agent", env!("CARGO_BIN_EXE_dunlin-loadtest"));
    let arguments = "--peers 7 --rate 2000 --warmup 50ms --duration 200ms";
    let output = load(&serve(), arguments).args(["--agent", &command, "--agent", &command]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn an_agent_that_is_killed_ends_the_run_and_is_named() {
    let mut load = load(&serve(), "--peers 10 --rate 1000 --duration 60s --agents 2").spawn().unwrap();
    let mut stderr = BufReader::new(load.stderr.take().unwrap());
    let children = children_of(&mut load, &mut stderr, "measuring");
    assert_eq!(children.len(), 2);
    kill_process(children[1], Signal::KILL).unwrap();
    let mut said = String::new();
    stderr.read_to_string(&mut said).unwrap();
    assert!(said.contains("agent 2 ("), "{said}");
    assert_eq!(load.wait().unwrap().code(), Some(1), "{said}");
}

#[test]
fn agents_end_with_their_coordinator() {
    let mut load = load(&serve(), "--peers 10 --rate 1000 --duration 60s --agents 2").spawn().unwrap();
    let mut stderr = BufReader::new(load.stderr.take().unwrap());
    let children = children_of(&mut load, &mut stderr, "measuring");
    let children: Vec<_> =
        children.into_iter().map(|pid| pidfd_open(pid, PidfdFlags::empty()).unwrap()).collect();
    load.kill().unwrap();
    load.wait().unwrap();
    assert_eq!(children.len(), 2);
    children.iter().for_each(assert_ends);
}

#[test]
fn an_agent_that_isn_t_one_is_named_with_what_it_is() {
    let output = load(&serve(), "--peers 2").args(["--agent", "echo hello"]).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("agent 1 (echo hello)"), "{said}");
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn an_agent_says_why_it_can_t_go_on() {
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let output = load(&format!("ws://{closed}/x"), "--peers 2 --agents 2").output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("agent ") && said.contains("can't connect"), "{said}");
    assert_eq!(output.status.code(), Some(1));
}
