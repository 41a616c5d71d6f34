//! The client against the bare loop, over real sockets.

use std::{
    net::{SocketAddr, TcpListener},
    thread,
    time::Duration,
};

use dunlin_loadtest::{
    adapter::{Losses, Protocol},
    clock::SECOND,
    fleet::Rest,
    process::{Beside, Server},
    progress::{Progress, Silent},
    record::{Record, Verdict},
    report::step_line,
    scenario::{
        Answers, Topics,
        chronicle::Chronicle,
        climb::{self, Climb, Fault},
        connect::{self, Arrivals},
        fanout::{self, Outcome, Pace, Plan},
        idle,
        stage::{Cast, Stage},
    },
    target::Target,
};

#[path = "../examples/bare_loop.rs"]
mod bare_loop;

/// Serves on a free port until the test process ends.
fn serve() -> Target {
    let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(|| bare_loop::BareLoop::new(listener).unwrap().run());
    Target {
        subprotocol: Some("dunlin.plain.v1".to_owned()),
        ..Target::parse(&format!("ws://{address}/x")).unwrap()
    }
}

fn cast(topics: u32, peers: u32, size: usize) -> Cast {
    Cast {
        server: Some(Server::new(std::process::id())),
        topics: Topics::of_relay("t", topics),
        peers,
        publishers: 2,
        size,
        concurrency: 8,
        answers: Answers::Nothing,
        ..Cast::new(serve())
    }
}

fn plan(pace: Pace) -> Plan {
    Plan { pace, warmup: Duration::from_millis(50), duration: Duration::from_millis(300) }
}

/// Runs the plan, taking a sample ten times a second.
fn run(cast: Cast, plan: Plan) -> Outcome {
    run_and_record(cast, plan, &mut Silent).0
}

fn run_and_record(cast: Cast, plan: Plan, progress: &mut dyn Progress) -> (Outcome, Record) {
    let title = cast.title();
    let mut chronicle = Chronicle::new(&cast, SECOND / 10, progress).announcing();
    let mut stage = Stage::open(cast, &mut chronicle).unwrap();
    let outcome = fanout::run(&mut stage, plan, &mut chronicle).unwrap();
    let record = outcome.record("fanout", title, chronicle.into_sampler());
    (outcome, record)
}

/// Keeps what is said.
#[derive(Default)]
struct Said {
    phases: Vec<String>,
    lines: Vec<String>,
    times: u32,
}

impl Progress for Said {
    fn phase(&mut self, text: &str, _total: Option<u64>) {
        self.phases.push(text.to_owned());
    }

    fn at(&mut self, _done: u64, _figures: &str) {
        self.times += 1;
    }

    fn line(&mut self, text: &str) {
        self.lines.push(text.to_owned());
    }
}

#[test]
fn a_paced_fan_out_loses_nothing() {
    let outcome = run(cast(3, 20, 128), plan(Pace::Deliveries(5000.0)));
    assert!(outcome.is_clean(), "{outcome:?}");
    assert!(outcome.deliveries > 0, "{outcome:?}");
    assert!(outcome.latency.max_ms > 0.0, "{outcome:?}");
}

#[test]
fn a_client_that_never_sleeps_loses_nothing_either() {
    let cast = Cast { rest: Rest::Spin, ..cast(2, 6, 64) };
    let outcome = run(cast, plan(Pace::Deliveries(1000.0)));
    assert!(outcome.is_clean(), "{outcome:?}");
    assert!(outcome.deliveries > 0, "{outcome:?}");
}

#[test]
fn processes_beside_the_server_are_measured_over_the_same_time() {
    let this = Beside { name: "this".to_owned(), server: Server::new(std::process::id()) };
    let cast = Cast { beside: vec![this], rest: Rest::Spin, ..cast(1, 6, 64) };
    let outcome = run(cast, plan(Pace::Window(8)));
    let beside = outcome.beside["this"].total_us;
    assert!(beside > 0.0, "{outcome:?}");
    assert!((beside / outcome.cpu.unwrap().total_us - 1.0).abs() < 0.5, "server and process are the same");
    let per_publication = outcome.cpu_per_publication.unwrap().total_us;
    assert!((per_publication / beside / 6.0 - 1.0).abs() < 0.5, "each publication has six deliveries");
}

#[test]
fn payloads_beyond_the_socket_buffers_arrive_whole() {
    let outcome = run(cast(1, 5, 20_000), plan(Pace::Window(200)));
    assert!(outcome.is_clean(), "{outcome:?}");
    assert!(outcome.deliveries > 0, "{outcome:?}");
}

#[test]
fn a_run_says_where_it_is_and_leaves_a_record() {
    let mut said = Said::default();
    let (outcome, record) = run_and_record(cast(3, 20, 128), plan(Pace::Deliveries(5000.0)), &mut said);
    assert_eq!(said.phases, ["connecting", "warming up", "under load"]);
    assert_eq!(said.lines, ["measuring", "measured"]);
    assert!(said.times >= 2, "{}", said.times);
    assert_eq!((record.scenario.as_str(), record.verdict), ("fanout", Verdict::Good));
    assert_eq!(
        record.marks.iter().map(|mark| mark.text.as_str()).collect::<Vec<_>>(),
        ["measuring", "measured"]
    );
    let measured = record
        .samples
        .iter()
        .filter(|sample| record.marks[0].at_s < sample.at_s && sample.at_s <= record.marks[1].at_s + 0.05);
    let deliveries: f64 = measured.map(|sample| sample.deliveries_per_second * sample.span_s).sum();
    let part = deliveries / outcome.deliveries as f64;
    assert!((0.9..1.1).contains(&part), "{deliveries} sampled, {} counted", outcome.deliveries);
    assert!(record.samples.iter().any(|sample| sample.latency.is_some() && sample.peers == 22));
}

#[test]
fn a_climb_ends_with_its_first_bad_step_and_has_a_mark_for_each() {
    let cast = cast(1, 20, 128);
    let climb = Climb {
        from: 2000.0,
        factor: 2.0,
        warmup: Duration::from_millis(20),
        duration: Duration::from_millis(100),
        p99_limit: Duration::from_nanos(1),
        loss_limit: 0.0,
    };
    let mut said = Said::default();
    let mut chronicle = Chronicle::new(&cast, SECOND / 10, &mut said);
    let mut stage = Stage::open(cast, &mut chronicle).unwrap();
    let ascent = climb::run(&mut stage, climb, &mut chronicle, step_line).unwrap();
    let record = ascent.record("fanout", String::new(), chronicle.into_sampler());
    assert_eq!((ascent.knee, ascent.steps.len()), (None, 1));
    // No delivery takes less than a nanosecond; a machine with much else to do is also behind.
    let fault = ascent.steps[0].fault;
    assert!(matches!(fault, Some(Fault::Slow | Fault::Behind)), "{fault:?}");
    assert_eq!((said.lines.len(), record.marks.len(), record.steps.len()), (1, 1, 1));
    assert!(matches!(record.verdict, Verdict::Bad { .. }));
    assert_eq!(record.marks[0].text, "2000/s");
}

/// What a run against a faultless server finds lost, doubled and swapped when these faults are made on
/// purpose; also whether it was clean.
fn faults_of(losses: &str) -> (bool, [u64; 3]) {
    let losses = Some(Losses::parse(losses).unwrap());
    let outcome = run(Cast { losses, ..cast(1, 20, 64) }, plan(Pace::Deliveries(20_000.0)));
    assert!(outcome.deliveries > 0, "{outcome:?}");
    (outcome.is_clean(), [outcome.lost, outcome.duplicated, outcome.reordered])
}

#[test]
fn every_fault_made_on_purpose_is_noticed() {
    assert_eq!(faults_of("seed=1"), (true, [0, 0, 0]));
    let dropped = faults_of("drop=0.01");
    assert!(matches!(dropped, (false, [(1..), 0, 0])), "{dropped:?}");
    let doubled = faults_of("double=0.01");
    assert!(matches!(doubled, (false, [0, (1..), 0])), "{doubled:?}");
    // Each of the 20 peers may hold back the last delivery of each of 2 publishers when the run ends.
    let swapped = faults_of("swap=0.01");
    assert!(matches!(swapped, (false, [(..=40), 0, (1..)])), "{swapped:?}");
}

#[test]
fn idle_peers_are_connected_and_none_is_closed() {
    let beside = |name: &str, pid| Beside { name: name.to_owned(), server: Server::new(pid) };
    let beside = vec![beside("this", std::process::id()), beside("gone", u32::MAX)];
    let cast = Cast { beside, ..cast(1, 30, 0) };
    let report = idle::run(cast, Duration::from_millis(10), None, &mut Silent).unwrap().0;
    assert_eq!((report.peers, report.closed, report.retried), (30, 0, 0));
    assert!(report.beside_cpu_percent["this"].is_some());
    assert_eq!(report.beside_cpu_percent["gone"], None);
}

#[test]
fn everybody_who_connects_leaves_with_a_close_frame() {
    let arrivals = Arrivals {
        target: serve(),
        protocol: Protocol::Plain,
        server: None,
        count: 50,
        concurrency: 8,
        topics: Topics::of_relay("t", 1),
        answers: Answers::Nothing,
    };
    let report = connect::run(&arrivals, &mut Silent).unwrap().0;
    assert_eq!((report.count, report.abrupt), (50, 0));
    assert!(report.cycle.per_second > 0.0);
}
