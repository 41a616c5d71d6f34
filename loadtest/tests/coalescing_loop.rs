//! The coalescing loop: it loses nothing, and what came together leaves together.

use std::{
    io::{ErrorKind, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    process::Command,
    thread,
};

use dunlin_loadtest::frame::{self, Frames};
use serde_json::Value;

use self::coalescing_loop::CoalescingLoop;

#[path = "../examples/coalescing_loop.rs"]
mod coalescing_loop;

fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// The load program's report of a scenario against a loop of its own.
fn report(scenario: &str, options: &str) -> Value {
    let (listener, address) = listener();
    thread::spawn(|| CoalescingLoop::new(listener).unwrap().run());
    let done = Command::new(env!("CARGO_BIN_EXE_dunlin-loadtest"))
        .args([scenario, "--json", "--no-ack", "--url", &format!("ws://{address}/x")])
        .args(options.split_whitespace())
        .output()
        .unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    serde_json::from_slice(&done.stdout).unwrap()
}

/// A peer that speaks by hand, with the loop in this thread, too.
struct ByHand {
    socket: TcpStream,
    server: CoalescingLoop,
}

impl ByHand {
    fn open() -> Self {
        let (listener, address) = listener();
        let mut server = CoalescingLoop::new(listener).unwrap();
        let mut socket = TcpStream::connect(address).unwrap();
        socket.write_all(b"GET / HTTP/1.1\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n").unwrap();
        socket.set_nonblocking(true).unwrap();
        // One wake-up takes the connection, the next its request.
        server.take_in().unwrap();
        server.take_in().unwrap();
        server.write_out();
        let mut this = Self { socket, server };
        assert!(this.read().unwrap().starts_with(b"HTTP/1.1 101 "));
        this
    }

    fn read(&mut self) -> Result<Vec<u8>, ErrorKind> {
        let mut bytes = vec![0; 4096];
        let length = self.socket.read(&mut bytes).map_err(|error| error.kind())?;
        bytes.truncate(length);
        Ok(bytes)
    }

    fn ping(&mut self, bodies: &[&[u8]]) {
        let mut frames = Vec::new();
        // A pong is what a client may send unasked; its first byte makes it a ping.
        for body in bodies {
            let start = frames.len();
            frame::push_pong(&mut frames, body);
            frames[start] = 0x89;
        }
        self.socket.write_all(&frames).unwrap();
    }
}

fn bodies(bytes: &[u8]) -> Vec<&[u8]> {
    let mut frames = Frames::new(bytes);
    let whole = std::iter::from_fn(|| frames.next_frame().unwrap()).map(|frame| frame.body).collect();
    assert!(frames.rest().is_empty());
    whole
}

#[test]
fn nothing_is_sent_before_all_that_was_ready_is_handled() {
    let mut peer = ByHand::open();
    peer.ping(&[b"one", b"two", b"three"]);
    peer.server.take_in().unwrap();
    assert_eq!(peer.read(), Err(ErrorKind::WouldBlock));
    peer.server.write_out();
    assert_eq!(bodies(&peer.read().unwrap()), [b"one".as_slice(), b"two", b"three"]);
}

#[test]
fn the_next_wake_up_sends_what_came_since() {
    let mut peer = ByHand::open();
    for body in [b"one", b"two"] {
        peer.ping(&[body]);
        peer.server.take_in().unwrap();
        peer.server.write_out();
        assert_eq!(bodies(&peer.read().unwrap()), [body]);
    }
}

/// A lost, doubled or swapped delivery would be exit code 3.
#[test]
fn a_paced_fan_out_loses_nothing() {
    let crowd = "--topics 3 --peers 20 --publishers 2 --rate 5000 --warmup 50ms --duration 300ms";
    assert!(report("fanout", crowd)["deliveries"].as_u64().unwrap() > 0);
}

#[test]
fn payloads_beyond_the_socket_buffers_arrive_whole() {
    let crowd = "--peers 5 --size 20000 --rate 0 --window 200 --warmup 50ms --duration 300ms";
    assert!(report("fanout", crowd)["deliveries"].as_u64().unwrap() > 0);
}

#[test]
fn everybody_who_connects_leaves_with_a_close_frame() {
    let report = report("connect", "--count 50 --concurrency 8");
    assert_eq!((report["count"].as_u64(), report["abrupt"].as_u64()), (Some(50), Some(0)));
}
