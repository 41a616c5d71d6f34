//! The bare Redis round trip against a scripted Redis.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    thread,
    time::Duration,
};

use self::bare_redis::{Options, run};

#[path = "../examples/bare_redis.rs"]
mod bare_redis;

/// Answers like Redis with one subscriber, to whom `forward` decides how often each payload goes.
fn serve(forward: impl Fn(usize) -> usize + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        let (mut publisher, _) = listener.accept().unwrap();
        let (mut subscriber, _) = listener.accept().unwrap();
        let [_, channel] = read_array(&mut subscriber).unwrap().try_into().unwrap();
        subscriber.write_all(&[b"*3\r\n".to_vec(), bulk(b"subscribe"), bulk(&channel)].concat()).unwrap();
        subscriber.write_all(b":1\r\n").unwrap();
        let mut count = 0;
        while let Some(words) = read_array(&mut publisher) {
            assert_eq!(words[0], b"PUBLISH");
            let message = [b"*3\r\n".to_vec(), bulk(b"message"), bulk(&words[1]), bulk(&words[2])].concat();
            (0..forward(count)).for_each(|_| subscriber.write_all(&message).unwrap());
            publisher.write_all(b":1\r\n").unwrap();
            count += 1;
        }
    });
    address
}

/// Reads an array of bulk strings; none at the end of the stream.
fn read_array(socket: &mut TcpStream) -> Option<Vec<Vec<u8>>> {
    let count = read_number(socket, b'*')?;
    (0..count)
        .map(|_| {
            let mut word = vec![0; read_number(socket, b'$')? + 2];
            socket.read_exact(&mut word).ok()?;
            word.truncate(word.len() - 2);
            Some(word)
        })
        .collect()
}

fn read_number(socket: &mut TcpStream, kind: u8) -> Option<usize> {
    let mut line = Vec::new();
    while !line.ends_with(b"\r\n") {
        let mut byte = [0];
        socket.read_exact(&mut byte).ok()?;
        line.extend(byte);
    }
    assert_eq!(line[0], kind);
    std::str::from_utf8(&line[1..line.len() - 2]).unwrap().parse().ok()
}

fn bulk(word: &[u8]) -> Vec<u8> {
    [format!("${}\r\n", word.len()).as_bytes(), word, b"\r\n"].concat()
}

fn options(redis: SocketAddr) -> Options {
    Options {
        redis,
        rate: 500.0,
        size: 128,
        warmup: Duration::from_millis(20),
        duration: Duration::from_millis(200),
    }
}

#[test]
fn every_message_that_was_meant_for_the_measured_time_is_counted_once() {
    let outcome = run(&options(serve(|_| 1))).unwrap();
    assert_eq!((outcome.lost, outcome.duplicated, outcome.reordered), (0, 0, 0), "{outcome:?}");
    assert_eq!(outcome.deliveries, 100, "{outcome:?}");
    assert!(outcome.latency.p50_ms > 0.0 && outcome.latency.p50_ms < 200.0, "{outcome:?}");
}

#[test]
fn lost_and_doubled_messages_are_told() {
    let outcome = run(&options(serve(|index| [1, 0, 2, 1][index.min(3)]))).unwrap();
    assert_eq!((outcome.lost, outcome.duplicated), (1, 1), "{outcome:?}");
}

#[test]
fn an_answer_that_is_no_round_trip_ends_the_run() {
    let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        let (_publisher, _) = listener.accept().unwrap();
        let (mut subscriber, _) = listener.accept().unwrap();
        read_array(&mut subscriber).unwrap();
        subscriber.write_all(&[b'-'; 64]).unwrap();
        let _ = subscriber.read(&mut [0]);
    });
    let error = run(&options(address)).unwrap_err();
    assert!(error.to_string().starts_with("redis answered SUBSCRIBE with -----"), "{error}");
}
