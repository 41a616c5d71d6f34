//! The way to Redis as an address that moves with the master: what goes through it can be led to another server.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{JoinHandle, spawn};

/// A TCP proxy with threads of its own; it ends with this value.
pub struct Switch {
    port: u16,
    /// Guards where new connections go, and which there are.
    line: Arc<Mutex<Line>>,
    doorman: Option<JoinHandle<()>>,
}

struct Line {
    target: u16,
    open: Vec<TcpStream>,
    /// The words after which what servers say is lost.
    fatal: Vec<u8>,
    /// Whether that has happened on the connections there are.
    mute: Arc<AtomicBool>,
    is_over: bool,
}

impl Switch {
    /// Leads to a server's port from now on.
    pub fn to(target: u16) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback has a free port");
        let port = listener.local_addr().expect("it is bound").port();
        let line = Line { target, open: Vec::new(), fatal: Vec::new(), mute: Arc::default(), is_over: false };
        let line = Arc::new(Mutex::new(line));
        let doorman = spawn({
            let line = line.clone();
            move || open(&listener, &line)
        });
        Self { port, line, doorman: Some(doorman) }
    }

    /// Where clients connect.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Ends all connections; new ones lead to this port.
    pub fn turn(&self, target: u16) {
        let mut line = self.line.lock().expect("nobody panics");
        line.target = target;
        line.cut();
    }

    /// Loses what servers say from the moment on in which a client says this, until the connections are cut: it is
    /// done, and nobody learns of it. Nothing is lost if it is empty.
    pub fn lose_answers_to(&self, words: &[u8]) {
        self.line.lock().expect("nobody panics").fatal = words.to_vec();
    }
}

impl Drop for Switch {
    fn drop(&mut self) {
        let mut line = self.line.lock().expect("nobody panics");
        line.is_over = true;
        line.cut();
        drop(line);
        let _ = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)); // So that the doorman looks up.
        if let Some(doorman) = self.doorman.take() {
            let _ = doorman.join();
        }
    }
}

impl Line {
    fn cut(&mut self) {
        for stream in self.open.drain(..) {
            let _ = stream.shutdown(Shutdown::Both); // It may be closed already.
        }
        self.mute = Arc::default();
    }
}

fn open(listener: &TcpListener, line: &Arc<Mutex<Line>>) {
    for client in listener.incoming() {
        let mut now = line.lock().expect("nobody panics");
        if now.is_over {
            return;
        }
        let server = TcpStream::connect((Ipv4Addr::LOCALHOST, now.target));
        let (Ok(client), Ok(server)) = (client, server) else { continue };
        for socket in [&client, &server] {
            socket.set_nodelay(true).expect("it is TCP");
            now.open.push(copy(socket));
        }
        let (to_client, from_server, mute) = (copy(&client), copy(&server), now.mute.clone());
        spawn(move || carry(from_server, to_client, |_| !mute.load(Ordering::Relaxed)));
        let (line, mute) = (line.clone(), now.mute.clone());
        spawn(move || {
            carry(client, server, |said| {
                let fatal = line.lock().expect("nobody panics").fatal.clone();
                if !fatal.is_empty() && said.windows(fatal.len()).any(|words| *words == *fatal) {
                    mute.store(true, Ordering::Relaxed);
                }
                true
            });
        });
    }
}

fn copy(stream: &TcpStream) -> TcpStream {
    stream.try_clone().expect("there are descriptors")
}

/// Carries what may pass one way until either end is gone, which ends the other.
fn carry(mut from: TcpStream, mut to: TcpStream, may_pass: impl Fn(&[u8]) -> bool) {
    let mut chunk = vec![0; 64 * 1024];
    while let Ok(count @ 1..) = from.read(&mut chunk) {
        if may_pass(&chunk[..count]) && to.write_all(&chunk[..count]).is_err() {
            break;
        }
    }
    let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both)); // They may be closed already.
}
