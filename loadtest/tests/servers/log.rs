//! A node of one log that is played by a test, and what it does wrongly when peers come back.

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
};

use dunlin_loadtest::target::Target;
use serde_json::{Value, json};

use crate::by_hand::{OPEN, upgrade};

/// How it answers who comes back and has missed something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Memory {
    /// With all of it.
    Whole,
    /// With all but the first, and it says that nothing is missing.
    LosesOne,
    /// With all of it, and what the peer had heard last.
    Doubles,
    /// With nothing, and it says so.
    Forgets,
    /// With all of it, after it has refused everybody once.
    Reluctant,
    /// As if the topic were none that remembers.
    None,
}

/// What all connections share. The lock keeps an answer and what is live behind it in one order.
struct Log {
    memory: Memory,
    payloads: Vec<Value>,
    subscribers: Vec<TcpStream>,
    refused: u32,
}

/// Two addresses of one log, served until the test process ends.
pub(crate) fn serve(memory: Memory) -> [Target; 2] {
    let log = Log { memory, payloads: Vec::new(), subscribers: Vec::new(), refused: 0 };
    let log = Arc::new(Mutex::new(log));
    [(); 2].map(|()| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let target = Target::parse(&format!("ws://{}/", listener.local_addr().unwrap())).unwrap();
        let log = Arc::clone(&log);
        thread::spawn(move || {
            loop {
                let (socket, log) = (upgrade(&listener, OPEN), Arc::clone(&log));
                thread::spawn(move || converse(socket, &log));
            }
        });
        target
    })
}

/// Until the peer hangs up.
fn converse(mut socket: TcpStream, log: &Mutex<Log>) {
    while let Some(frame) = read_frame(&mut socket) {
        let mut log = log.lock().unwrap();
        match frame["type"].as_str() {
            Some("subscribe") => log.subscribe(&mut socket, &frame),
            Some("publish") => log.publish(&frame),
            other => panic!("{other:?}"),
        }
    }
}

impl Log {
    fn subscribe(&mut self, socket: &mut TcpStream, frame: &Value) {
        if let (Memory::Reluctant, Some(_), 0..5) = (self.memory, frame["since"].as_str(), self.refused) {
            self.refused += 1;
            send(socket, &json!({"type": "error", "id": 1, "code": "unavailable"}));
            return;
        }
        send(socket, &self.answer(frame["since"].as_str()));
        self.subscribers.push(socket.try_clone().unwrap());
    }

    fn answer(&self, since: Option<&str>) -> Value {
        let cursor = format!("c{}", self.payloads.len());
        let Some(since) = since else {
            return json!({"type": "ok", "id": 1, "cursor": cursor, "publications": []});
        };
        let heard: usize = since.strip_prefix('c').unwrap().parse().unwrap();
        let missed = self.payloads.len() - heard;
        let from = match self.memory {
            Memory::LosesOne => heard + usize::from(missed > 1),
            Memory::Doubles => heard.saturating_sub(1),
            Memory::Forgets => self.payloads.len(),
            Memory::Whole | Memory::Reluctant | Memory::None => heard,
        };
        let publications: Vec<_> = (from..self.payloads.len())
            .map(|at| json!({"cursor": format!("c{}", at + 1), "payload": self.payloads[at], "at": 1}))
            .collect();
        let (recovered, reason) =
            if self.memory == Memory::Forgets { (false, Some("expired")) } else { (true, None) };
        json!({"type": "ok", "id": 1, "cursor": cursor, "recovered": recovered, "reason": reason,
               "publications": publications})
    }

    fn publish(&mut self, frame: &Value) {
        self.payloads.push(frame["payload"].clone());
        // Written by hand, for the order of keys is the node's.
        let cursor = match self.memory {
            Memory::None => String::new(),
            _ => format!(r#","cursor":"c{}""#, self.payloads.len()),
        };
        let body =
            frame_of(&format!(r#"{{"topic":{},"payload":{}{cursor}}}"#, frame["topic"], frame["payload"]));
        self.subscribers.retain_mut(|socket| socket.write_all(&body).is_ok());
    }
}

fn send(socket: &mut TcpStream, frame: &Value) {
    // A peer may be gone already.
    let _ = socket.write_all(&frame_of(&frame.to_string()));
}

fn frame_of(body: &str) -> Vec<u8> {
    let mut frame = vec![0x81];
    match body.len() {
        length @ ..126 => frame.push(length as u8),
        length => {
            frame.push(126);
            frame.extend(u16::try_from(length).unwrap().to_be_bytes());
        }
    }
    frame.extend(body.as_bytes());
    frame
}

/// Reads a masked text frame; none at the end, or at a Close.
fn read_frame(socket: &mut TcpStream) -> Option<Value> {
    let mut head = [0; 2];
    socket.read_exact(&mut head).ok()?;
    let mut length = usize::from(head[1] & 0x7f);
    if length == 126 {
        let mut long = [0; 2];
        socket.read_exact(&mut long).ok()?;
        length = u16::from_be_bytes(long).into();
    }
    let (mut mask, mut body) = ([0; 4], vec![0; length]);
    socket.read_exact(&mut mask).ok()?;
    socket.read_exact(&mut body).ok()?;
    if head[0] != 0x81 {
        // The peer's Close is answered with the same code.
        let _ = socket.write_all(&[0x88, 2, 0x03, 0xe8]);
        return None;
    }
    body.iter_mut().zip(mask.iter().cycle()).for_each(|(byte, mask)| *byte ^= mask);
    Some(serde_json::from_slice(&body).unwrap())
}
