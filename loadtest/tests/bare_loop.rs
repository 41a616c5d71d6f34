//! The client against the bare loop, over real sockets.

use std::{
    net::{SocketAddr, TcpListener},
    thread,
    time::Duration,
};

use dunlin_loadtest::{
    fleet::Rest,
    process::{Beside, Server},
    scenario::{
        Answers, Moment, Topics,
        connect::{self, Arrivals},
        fanout::{self, Pace, Plan},
        idle,
        stage::Cast,
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
    let target = serve();
    Cast {
        publishing: target.clone(),
        target,
        beside: Vec::new(),
        server: Some(Server::new(std::process::id())),
        topics: Topics { prefix: "t".to_owned(), count: topics },
        peers,
        publishers: 2,
        size,
        concurrency: 8,
        answers: Answers::Nothing,
        rest: Rest::Sleep,
    }
}

fn plan(pace: Pace) -> Plan {
    Plan { pace, warmup: Duration::from_millis(50), duration: Duration::from_millis(300) }
}

#[test]
fn a_paced_fan_out_loses_nothing() {
    let outcome = fanout::run(cast(3, 20, 128), plan(Pace::Deliveries(5000.0)), |_| {}).unwrap();
    assert!(outcome.is_clean(), "{outcome:?}");
    assert!(outcome.deliveries > 0, "{outcome:?}");
    assert!(outcome.latency.max_ms > 0.0, "{outcome:?}");
}

#[test]
fn a_client_that_never_sleeps_loses_nothing_either() {
    let cast = Cast { rest: Rest::Spin, ..cast(2, 6, 64) };
    let outcome = fanout::run(cast, plan(Pace::Deliveries(1000.0)), |_| {}).unwrap();
    assert!(outcome.is_clean(), "{outcome:?}");
    assert!(outcome.deliveries > 0, "{outcome:?}");
}

#[test]
fn processes_beside_the_server_are_measured_over_the_same_time() {
    let this = Beside { name: "this".to_owned(), server: Server::new(std::process::id()) };
    let cast = Cast { beside: vec![this], rest: Rest::Spin, ..cast(1, 6, 64) };
    let mut moments = Vec::new();
    let outcome = fanout::run(cast, plan(Pace::Window(8)), |moment| moments.push(moment)).unwrap();
    assert_eq!(moments, [Moment::Measuring, Moment::Measured]);
    let beside = outcome.beside["this"].total_us;
    assert!(beside > 0.0, "{outcome:?}");
    assert!((beside / outcome.cpu.unwrap().total_us - 1.0).abs() < 0.5, "server and process are the same");
    let per_publication = outcome.cpu_per_publication.unwrap().total_us;
    assert!((per_publication / beside / 6.0 - 1.0).abs() < 0.5, "each publication has six deliveries");
}

#[test]
fn payloads_beyond_the_socket_buffers_arrive_whole() {
    let outcome = fanout::run(cast(1, 5, 20_000), plan(Pace::Window(200)), |_| {}).unwrap();
    assert!(outcome.is_clean(), "{outcome:?}");
    assert!(outcome.deliveries > 0, "{outcome:?}");
}

#[test]
fn idle_peers_are_connected_and_none_is_closed() {
    let report = idle::run(cast(1, 30, 0), Duration::from_millis(10), |_| {}).unwrap();
    assert_eq!((report.peers, report.closed, report.retried), (30, 0, 0));
}

#[test]
fn everybody_who_connects_leaves_with_a_close_frame() {
    let arrivals = Arrivals {
        target: serve(),
        server: None,
        count: 50,
        concurrency: 8,
        topics: Topics { prefix: "t".to_owned(), count: 1 },
        answers: Answers::Nothing,
    };
    let report = connect::run(&arrivals).unwrap();
    assert_eq!((report.count, report.abrupt), (50, 0));
    assert!(report.cycle.per_second > 0.0);
}
