//! A real `redis-server` of the test's own.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use bytes::Bytes;

use super::super::resp::{self, Decoder, Reply, Said};

/// Ends with the test, also when the test is killed: it lives as long as its standard input is open.
pub struct Server {
    port: u16,
    shell: Child,
    /// Only held.
    life: Option<ChildStdin>,
}

/// How long the server may take for anything; only a broken one takes so long.
const PATIENCE: Duration = Duration::from_secs(10);
/// Somebody else may take the port that was free a moment ago.
const ATTEMPTS: usize = 5;
/// Ends the server when nobody holds the other end of the shell's input. The shell leaves the output to the
/// server, so that it ends if the server does not even start, and clears up behind it.
const SCRIPT: &str = r#"
    redis-server --port "$0" --bind 127.0.0.1 --dir "$1" --save "" --appendonly no --repl-diskless-sync-delay 0 &
    server=$!
    exec >/dev/null
    cat
    kill $server
    wait $server
    rm -r "$1"
"#;

impl Server {
    /// One for all tests of this process that need nothing of it but a prefix of their own.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<Server> = OnceLock::new();
        SHARED.get_or_init(Self::start)
    }

    /// Where it is.
    pub fn url(&self) -> String {
        url(self.port)
    }

    /// Its port on loopback.
    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn start() -> Self {
        let started = (0..ATTEMPTS).find_map(|_| Self::try_start());
        started.expect("redis-server is installed and finds a port")
    }

    fn try_start() -> Option<Self> {
        let port = free_port();
        let directory = std::env::temp_dir().join(format!("dunlin-redis-{}-{port}", std::process::id()));
        std::fs::create_dir_all(&directory).expect("the temporary directory can be written");
        let mut shell = Command::new("sh")
            .args(["-c", SCRIPT, &port.to_string()])
            .arg(&directory)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("there is a shell");
        let (life, output) = (shell.stdin.take(), shell.stdout.take().expect("it is a pipe"));
        let server = Self { port, shell, life };
        let mut lines = BufReader::new(output).lines().map_while(Result::ok);
        lines.any(|line| line.contains("Ready to accept connections")).then_some(server)
    }

    pub fn connect(&self) -> TcpStream {
        let socket = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).expect("the server listens");
        socket.set_nodelay(true).expect("it is TCP");
        socket.set_read_timeout(Some(PATIENCE)).expect("it is not zero");
        socket
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.life = None;
        let _ = self.shell.wait();
    }
}

/// A conversation with a server, which may listen to channels, too.
pub struct Talk {
    socket: TcpStream,
    decoder: Decoder,
    /// What came on channels, and on which.
    pub heard: Vec<(Bytes, Bytes)>,
}

impl Talk {
    pub fn with(server: &Server) -> Self {
        let mut talk = Self { socket: server.connect(), decoder: Decoder::default(), heard: Vec::new() };
        talk.ask(&[b"HELLO", b"3"]);
        talk
    }

    /// Says something, and gives the answer. What was published before it was executed has been heard by then.
    pub fn ask(&mut self, words: &[&[u8]]) -> Reply {
        let mut out = Vec::new();
        resp::command(&mut out, words);
        self.socket.write_all(&out).expect("the server lives");
        loop {
            match self.next() {
                Said::Reply(reply) => return reply,
                Said::Message { channel, payload } => self.heard.push((channel, payload)),
                _ => {}
            }
        }
    }

    /// Listens to a channel from now on.
    pub fn listen(&mut self, channel: &[u8]) {
        let mut out = Vec::new();
        resp::command(&mut out, &[b"SUBSCRIBE", channel]);
        self.socket.write_all(&out).expect("the server lives");
        while !matches!(self.next(), Said::Subscribed(_)) {}
    }

    fn next(&mut self) -> Said {
        let mut chunk = vec![0; 64 * 1024];
        loop {
            if let Some(said) = self.decoder.next().expect("it is RESP3") {
                return said;
            }
            let count = self.socket.read(&mut chunk).expect("the server answers");
            assert!(count > 0, "the server has closed the conversation");
            self.decoder.receive(&chunk[..count]);
        }
    }
}

/// The address of a server on a port of loopback.
pub fn url(port: u16) -> String {
    format!("redis://127.0.0.1:{port}")
}

/// Sends bytes, and reads until what has come is enough or the server has closed.
pub fn exchange(socket: &mut TcpStream, bytes: &[u8], is_enough: impl Fn(&[u8]) -> bool) -> Vec<u8> {
    let mut got = Vec::new();
    // Whoever was killed can't be written to, but what came before can be read.
    let _ = socket.write_all(bytes);
    let mut chunk = [0; 16 * 1024];
    while !is_enough(&got) {
        match socket.read(&mut chunk) {
            Ok(0) => return got,
            Ok(length) => got.extend_from_slice(&chunk[..length]),
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return got,
            Err(error) => panic!("{error}; until then came {}", String::from_utf8_lossy(&got)),
        }
    }
    got
}

fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback has a free port");
    listener.local_addr().expect("it is bound").port()
}
