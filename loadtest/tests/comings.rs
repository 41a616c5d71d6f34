//! Peers that come back, or go without a word, against a scripted server.

use std::{
    io::{ErrorKind, Read},
    net::TcpListener,
    thread,
};

use anyhow::Result;
use dunlin_loadtest::{
    clock::{self, SECOND},
    fleet::{Cut, Fleet, Listener, Next, Peer, Rest},
    target::Target,
};

use self::by_hand::{OPEN, upgrade};

#[path = "servers/by_hand.rs"]
mod by_hand;

const FULL: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n";

#[derive(Default)]
struct Heard {
    opened: u32,
    closed: u32,
    refused: Vec<String>,
}

impl Listener for Heard {
    fn opened(&mut self, _peer: Peer, _outbox: &mut Vec<u8>) -> Next {
        self.opened += 1;
        Next::Stay
    }

    fn message(&mut self, _peer: Peer, _now: u64, _body: &[u8], _outbox: &mut Vec<u8>) -> Next {
        Next::Stay
    }

    fn closed(&mut self, _peer: Peer, _code: u16) {
        self.closed += 1;
    }

    fn refused(&mut self, _peer: Peer, why: String) -> Result<()> {
        self.refused.push(why);
        Ok(())
    }
}

fn listen() -> (TcpListener, Target) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let target = Target::parse(&format!("ws://{}/", listener.local_addr().unwrap())).unwrap();
    (listener, target)
}

fn turn_until(fleet: &mut Fleet, heard: &mut Heard, done: impl Fn(&Heard) -> bool) {
    let deadline = clock::now() + 10 * SECOND;
    while !done(heard) {
        assert!(clock::now() < deadline, "it never happened");
        fleet.turn(deadline, heard).unwrap();
    }
}

/// What the server reads after the peer was cut.
fn read_after(cut: Cut) -> (Vec<u8>, Option<ErrorKind>) {
    let (listener, target) = listen();
    let server = thread::spawn(move || {
        let mut read = Vec::new();
        let error = upgrade(&listener, OPEN).read_to_end(&mut read).err();
        (read, error.map(|error| error.kind()))
    });
    let mut fleet = Fleet::new(1, Rest::Sleep).unwrap();
    let mut heard = Heard::default();
    fleet.add(&target, 1);
    turn_until(&mut fleet, &mut heard, |heard| heard.opened == 1);
    assert!(fleet.cut(0, cut).unwrap());
    assert!(!fleet.cut(0, cut).unwrap(), "it is gone");
    assert_eq!((heard.closed, fleet.tally().closed), (0, 1), "who cuts need not be told");
    server.join().unwrap()
}

#[test]
fn a_reset_is_a_reset() {
    assert_eq!(read_after(Cut::Reset), (Vec::new(), Some(ErrorKind::ConnectionReset)));
}

#[test]
fn half_a_frame_is_the_start_of_one_and_then_the_end() {
    let (read, error) = read_after(Cut::HalfFrame);
    assert_eq!(error, None);
    let announced = usize::from(read[1] & 0x7f) + 6;
    assert!(read[0] == 0x81 && read.len() > 6 && read.len() < announced, "{} of {announced}", read.len());
}

#[test]
fn who_is_refused_can_come_again_and_so_can_who_left() {
    let (listener, target) = listen();
    let server = thread::spawn(move || {
        drop(upgrade(&listener, FULL));
        drop(upgrade(&listener, OPEN));
        upgrade(&listener, OPEN)
    });
    let mut fleet = Fleet::new(1, Rest::Sleep).unwrap();
    let mut heard = Heard::default();
    fleet.add(&target, 1);
    turn_until(&mut fleet, &mut heard, |heard| !heard.refused.is_empty());
    assert!(heard.refused[0].contains("503"), "{:?}", heard.refused);
    fleet.dial_again(0, clock::now());
    turn_until(&mut fleet, &mut heard, |heard| heard.closed == 1);
    fleet.dial_again(0, clock::now());
    turn_until(&mut fleet, &mut heard, |heard| heard.opened == 2);
    drop(server.join().unwrap());
}

#[test]
fn a_server_that_is_gone_refuses_and_does_not_end_the_run() {
    let (listener, target) = listen();
    drop(listener);
    let mut fleet = Fleet::new(1, Rest::Sleep).unwrap();
    let mut heard = Heard::default();
    let absent = fleet.add_absent(&target, 2);
    assert_eq!(absent, 0);
    fleet.dial_again(1, clock::now());
    turn_until(&mut fleet, &mut heard, |heard| !heard.refused.is_empty());
    assert!(heard.refused[0].contains("refused"), "{:?}", heard.refused);
}
