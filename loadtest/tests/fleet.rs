//! The client's side of the protocol against a scripted server.

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    thread::{self, JoinHandle},
    time::Duration,
};

use dunlin_loadtest::{
    clock::{self, SECOND},
    fleet::{Fleet, Listener, Next, Peer, Rest},
    process::Server,
    progress::Silent,
    scenario::{
        Topics,
        chronicle::Chronicle,
        fanout::{self, Pace, Plan},
        idle,
        stage::{Cast, Stage},
    },
    target::Target,
};

use self::by_hand::{OPEN, upgrade};

#[path = "servers/by_hand.rs"]
mod by_hand;

const LATER: &[u8] = b"HTTP/1.1 429 Too Many Requests\r\nRetry-After: 0\r\nContent-Length: 0\r\n\r\n";

#[derive(Default)]
struct Heard {
    messages: Vec<Vec<u8>>,
    codes: Vec<u16>,
}

impl Listener for Heard {
    fn opened(&mut self, _peer: Peer, _outbox: &mut Vec<u8>) -> Next {
        Next::Stay
    }

    fn message(&mut self, _peer: Peer, _now: u64, body: &[u8], _outbox: &mut Vec<u8>) -> Next {
        self.messages.push(body.to_vec());
        Next::Stay
    }

    fn closed(&mut self, _peer: Peer, code: u16) {
        self.codes.push(code);
    }
}

/// Runs the script for one server.
fn serve(script: impl FnOnce(TcpListener) + Send + 'static) -> (Target, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let target = Target::parse(&format!("ws://{}/", listener.local_addr().unwrap())).unwrap();
    (target, thread::spawn(move || script(listener)))
}

/// Runs the script, and one peer against it until its connection is over.
fn play(script: impl FnOnce(TcpListener) + Send + 'static) -> (Heard, Fleet) {
    let (target, server) = serve(script);
    let mut fleet = Fleet::new(1, Rest::Sleep).unwrap();
    let mut heard = Heard::default();
    fleet.add(&target, 1);
    let deadline = clock::now() + 10 * SECOND;
    while heard.codes.is_empty() {
        assert!(clock::now() < deadline, "the connection never ended");
        fleet.turn(deadline, &mut heard).unwrap();
    }
    server.join().unwrap();
    (heard, fleet)
}

/// Reads a short masked frame: its first byte and its body.
fn read_frame(socket: &mut TcpStream) -> (u8, Vec<u8>) {
    let mut head = [0; 6];
    socket.read_exact(&mut head).unwrap();
    let mut body = vec![0; usize::from(head[1] & 0x7f)];
    socket.read_exact(&mut body).unwrap();
    (head[0], body.iter().zip(head[2..].iter().cycle()).map(|(byte, mask)| byte ^ mask).collect())
}

fn cast(target: Target) -> Cast {
    Cast {
        server: Some(Server::new(std::process::id())),
        topics: Topics::of_relay("t", 1),
        peers: 1,
        size: 0,
        concurrency: 1,
        ..Cast::new(target)
    }
}

#[test]
fn a_ping_is_answered_and_a_close_is_returned() {
    let (heard, _) = play(|listener| {
        let mut socket = upgrade(&listener, &[OPEN, &[0x81, 2, b'o', b'k', 0x89, 2, b'h', b'i']].concat());
        assert_eq!(read_frame(&mut socket), (0x8a, b"hi".to_vec()));
        socket.write_all(&[0x88, 2, 0x03, 0xe9]).unwrap();
        assert_eq!(read_frame(&mut socket).0, 0x88);
    });
    assert_eq!(heard.messages, [b"ok"]);
    assert_eq!(heard.codes, [1001]);
}

#[test]
fn every_peer_connects_where_it_was_added() {
    let (subscribers, first) = serve(|listener| {
        for _ in 0..2 {
            upgrade(&listener, OPEN);
        }
    });
    let (publishers, second) = serve(|listener| drop(upgrade(&listener, &[OPEN, &[0x81, 1, b'p']].concat())));
    let mut fleet = Fleet::new(1, Rest::Sleep).unwrap();
    let mut heard = Heard::default();
    fleet.add(&subscribers, 2);
    fleet.add(&publishers, 1);
    let deadline = clock::now() + 10 * SECOND;
    while heard.codes.len() < 3 {
        assert!(clock::now() < deadline, "only {} connections have ended", heard.codes.len());
        fleet.turn(deadline, &mut heard).unwrap();
    }
    first.join().unwrap();
    second.join().unwrap();
    assert_eq!(heard.messages, [b"p"]);
}

#[test]
fn publications_leave_as_they_are_answered_and_missing_or_local_answers_are_faults() {
    let (target, server) = serve(|listener| {
        let mut socket = upgrade(&listener, OPEN);
        for answer in [r#"{"type":"ok","id":1}"#, r#"{"type":"ok","id":1,"local":true}"#] {
            assert!(read_frame(&mut socket).1.ends_with(br#","id":1}"#));
            let head = [0x81, answer.len() as u8];
            socket.write_all(&[&head, answer.as_bytes()].concat()).unwrap();
        }
        let mut rest = Vec::new();
        socket.read_to_end(&mut rest).unwrap();
    });
    let cast = Cast { peers: 0, publishers: 1, asks: true, ..cast(target) };
    let plan = Plan { pace: Pace::Answers(3), warmup: Duration::ZERO, duration: Duration::from_millis(200) };
    let mut silent = Silent;
    let mut chronicle = Chronicle::new(&cast, SECOND, &mut silent);
    let mut stage = Stage::open(cast, &mut chronicle).unwrap();
    let outcome = fanout::run(&mut stage, plan, &mut chronicle).unwrap();
    // The server reads until its peer hangs up.
    drop(stage);
    server.join().unwrap();
    assert_eq!((outcome.publications, outcome.unanswered, outcome.local), (2, 3, 1), "{outcome:?}");
    assert!(!outcome.is_clean() && outcome.cpu.is_none(), "{outcome:?}");
}

#[test]
fn a_publisher_that_is_closed_ends_the_run_with_the_reason() {
    let (target, server) = serve(|listener| {
        let mut socket = upgrade(&listener, OPEN);
        read_frame(&mut socket);
        let (ok, close) = (b"\x81\x14{\"type\":\"ok\",\"id\":1}", [0x88, 2, 0x03, 0xf0]);
        socket.write_all(&[ok.as_slice(), &close].concat()).unwrap();
    });
    let cast = Cast { peers: 0, publishers: 1, asks: true, ..cast(target) };
    let plan = Plan { pace: Pace::Answers(1), warmup: Duration::ZERO, duration: Duration::from_secs(20) };
    let mut silent = Silent;
    let mut chronicle = Chronicle::new(&cast, SECOND, &mut silent);
    let mut stage = Stage::open(cast, &mut chronicle).unwrap();
    let error = fanout::run(&mut stage, plan, &mut chronicle).unwrap_err();
    server.join().unwrap();
    assert_eq!(format!("{error:#}"), "peer 0 was closed with 1008: peer 0 was disconnected");
}

#[test]
fn what_a_client_does_between_two_waits_is_its_stall() {
    let mut fleet = Fleet::new(1, Rest::Sleep).unwrap();
    fleet.turn(clock::now(), &mut Heard::default()).unwrap();
    let until = clock::now() + SECOND / 50;
    while clock::now() < until {}
    fleet.turn(clock::now(), &mut Heard::default()).unwrap();
    assert!(fleet.tally().stall >= SECOND / 50, "{:?}", fleet.tally());
}

#[test]
fn a_refused_upgrade_is_tried_again_and_counted() {
    let (heard, fleet) = play(|listener| {
        upgrade(&listener, LATER);
        upgrade(&listener, OPEN);
    });
    assert_eq!((fleet.tally().retried, fleet.tally().opened), (1, 1));
    assert_eq!(heard.codes, [1006], "the server hung up without a Close frame");
}

#[test]
fn a_subscription_has_taken_effect_when_its_id_is_answered() {
    let (target, server) = serve(|listener| {
        let mut socket = upgrade(&listener, OPEN);
        let (_, body) = read_frame(&mut socket);
        assert_eq!(body, br#"{"type":"subscribe","topic":"t0000000","id":1}"#);
        socket.write_all(b"\x81\x14{\"type\":\"ok\",\"id\":1}").unwrap();
        assert_eq!(socket.read(&mut [0]).unwrap(), 0, "the peer stays until the run is over");
    });
    let report = idle::run(cast(target), Duration::ZERO, None, &mut Silent).unwrap().0;
    server.join().unwrap();
    assert_eq!((report.peers, report.closed), (1, 0));
}

#[test]
fn an_objection_to_a_subscription_ends_the_run_with_its_text() {
    let (target, server) = serve(|listener| {
        let mut socket = upgrade(&listener, OPEN);
        read_frame(&mut socket);
        socket.write_all(b"\x81\x1f{\"type\":\"error\",\"code\":\"limit\"}").unwrap();
    });
    let error = idle::run(cast(target), Duration::ZERO, None, &mut Silent).unwrap_err();
    server.join().unwrap();
    assert!(error.to_string().contains(r#""code":"limit""#), "{error}");
}
