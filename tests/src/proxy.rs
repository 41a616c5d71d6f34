//! What stands between a node and Redis, and fails as networks do.
//!
//! It has a thread of its own, so that it works on while a test waits for something.

use std::net::SocketAddr;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::{io, thread};

use tokio::io::AsyncWriteExt as _;
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// A TCP proxy in front of a server; it ends with this value.
pub struct Proxy {
    /// Where clients connect.
    pub address: SocketAddr,
    line: watch::Sender<Line>,
    carried: Arc<Carried>,
    lost: Arc<Loss>,
    thread: Option<thread::JoinHandle<()>>,
}

/// How the line is.
#[derive(Debug, Clone, Copy)]
struct Line {
    mode: Mode,
    /// Where new connections lead.
    server: SocketAddr,
    /// Connections from before the last cut have ended.
    cuts: u64,
    /// Whether requests were held at the last cut.
    held: bool,
    /// Whether those reach the server after all.
    late: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Pass,
    Refuse,
    Swallow,
    HoldRequests,
    HoldReplies,
    LoseReplies,
    /// The test is over.
    Over,
}

/// What becomes of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Pass,
    /// They wait where they are.
    Hold,
    Lose,
}

/// How many bytes arrived, either way.
#[derive(Debug, Default)]
struct Carried {
    requests: AtomicU64,
    replies: AtomicU64,
}

/// The words of a message that is to be lost, until it is.
#[derive(Debug, Default)]
struct Loss(Mutex<Option<Vec<u8>>>);

impl Loss {
    fn words(&self) -> MutexGuard<'_, Option<Vec<u8>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the message out of what Redis says, if it is there.
    fn take_out_of(&self, said: &mut Vec<u8>) {
        let mut words = self.words();
        let Some(range) = words.as_ref().and_then(|words| push_around(said, words)) else { return };
        said.drain(range);
        *words = None;
    }
}

/// Where a whole pushed message is that has these words in its payload.
fn push_around(said: &[u8], words: &[u8]) -> Option<Range<usize>> {
    const HEAD: &[u8] = b">3\r\n$7\r\nmessage\r\n";
    let find = |from: usize, words: &[u8]| {
        let found = said[from..].windows(words.len()).position(|window| window == words);
        found.map(|place| from + place)
    };
    let place = find(0, words)?;
    let start = said[..place].windows(HEAD.len()).rposition(|window| window == HEAD)?;
    let mut end = start + HEAD.len();
    for _ in ["the channel", "the payload"] {
        let line = find(end, b"\r\n")?;
        let length: usize = std::str::from_utf8(&said[end + 1..line]).ok()?.parse().ok()?;
        end = line + 2 + length + 2;
    }
    (place < end && end <= said.len()).then_some(start..end)
}

impl Line {
    fn requests(&self) -> Fate {
        match self.mode {
            Mode::HoldRequests => Fate::Hold,
            Mode::Swallow => Fate::Lose,
            _ => Fate::Pass,
        }
    }

    fn replies(&self) -> Fate {
        match self.mode {
            Mode::HoldReplies => Fate::Hold,
            Mode::Swallow | Mode::LoseReplies => Fate::Lose,
            _ => Fate::Pass,
        }
    }
}

impl Proxy {
    /// Stands in front of a server from now on, and lets everything pass.
    pub fn start(server: SocketAddr) -> anyhow::Result<Self> {
        let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let (carried, lost) = (Arc::new(Carried::default()), Arc::new(Loss::default()));
        let (line, state) =
            watch::channel(Line { mode: Mode::Pass, server, cuts: 0, held: false, late: false });
        let way = Way { line: state, carried: carried.clone(), lost: lost.clone() };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let run = move || {
            // It ends when the proxy is dropped; before that a test notices that nothing passes.
            let _ = runtime.block_on(way.run(listener));
        };
        let thread = thread::Builder::new().name("proxy".to_owned()).spawn(run)?;
        Ok(Self { address, line, carried, lost, thread: Some(thread) })
    }

    /// Lets everything pass, also what was held.
    pub fn pass(&self) {
        self.turn(Mode::Pass);
    }

    /// Ends every connection at the client. Its end at the server stays if requests were held, until
    /// [`Proxy::deliver_late`]; all else that is on its way is lost.
    pub fn cut(&self) {
        self.line.send_modify(|line| {
            line.cuts += 1;
            (line.held, line.late) = (line.requests() == Fate::Hold, false);
        });
    }

    /// Brings the server what was held when its connection was cut, as if the network had kept it.
    pub fn deliver_late(&self) {
        self.line.send_modify(|line| line.late = true);
    }

    /// Ends every connection; new ones lead to another server.
    pub fn lead_to(&self, server: SocketAddr) {
        self.line.send_modify(|line| line.server = server);
        self.cut();
    }

    /// Leaves out the next message that Redis pushes with these words in it; all else passes, as if nothing had been.
    pub fn lose_message(&self, words: &str) {
        *self.lost.words() = Some(words.as_bytes().to_vec());
    }

    /// Whether that has happened.
    pub fn has_lost_it(&self) -> bool {
        self.lost.words().is_none()
    }

    /// Ends every connection, and each new one.
    pub fn refuse(&self) {
        self.turn(Mode::Refuse);
        self.cut();
    }

    /// Takes everything and forwards nothing: half-open, as when a firewall forgets a connection. Those that
    /// lost something so stay as they are, whatever comes.
    pub fn swallow(&self) {
        self.turn(Mode::Swallow);
    }

    /// Keeps back what clients send.
    pub fn hold_requests(&self) {
        self.turn(Mode::HoldRequests);
    }

    /// Keeps back what the server sends.
    pub fn hold_replies(&self) {
        self.turn(Mode::HoldReplies);
    }

    /// Loses what the server sends: it has done what it was told to, and nobody learns of it. Those that lost
    /// something so stay as they are until they are cut.
    pub fn lose_replies(&self) {
        self.turn(Mode::LoseReplies);
    }

    /// How many bytes have reached the server, and how many its clients.
    pub fn carried(&self) -> (u64, u64) {
        let Carried { requests, replies } = &*self.carried;
        (requests.load(Ordering::Relaxed), replies.load(Ordering::Relaxed))
    }

    fn turn(&self, mode: Mode) {
        self.line.send_modify(|line| line.mode = mode);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.turn(Mode::Over);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join(); // A panic of it has been printed.
        }
    }
}

/// The proxy as its thread sees it.
#[derive(Clone)]
struct Way {
    line: watch::Receiver<Line>,
    carried: Arc<Carried>,
    lost: Arc<Loss>,
}

impl Way {
    async fn run(mut self, listener: std::net::TcpListener) -> io::Result<()> {
        let listener = TcpListener::from_std(listener)?;
        let mut connections = JoinSet::new();
        let mut line = self.line.clone();
        loop {
            tokio::select! {
                accepted = listener.accept() => {
                    let (client, way) = (accepted?.0, self.clone());
                    let line = *self.line.borrow_and_update();
                    // Either end may go at any time; that ends this connection and nothing else.
                    connections.spawn(async move { drop(way.serve(client, line).await) });
                }
                Some(_) = connections.join_next() => {}
                _ = line.wait_for(|line| line.mode == Mode::Over) => return Ok(()),
            }
        }
    }

    async fn serve(mut self, mut client: TcpStream, at_first: Line) -> io::Result<()> {
        let Line { mode, server, cuts, .. } = at_first;
        if mode == Mode::Refuse {
            return client.set_zero_linger();
        }
        let mut server = TcpStream::connect(server).await?;
        client.set_nodelay(true)?;
        server.set_nodelay(true)?;
        let (from_client, to_client) = client.split();
        let (from_server, to_server) = server.split();
        let (line, carried, lost) = (self.line.clone(), &self.carried, self.lost.clone());
        tokio::select! {
            biased; // A cut comes before what passes after it.
            _ = self.line.wait_for(|line| line.cuts != cuts) => {}
            _ = pump(from_client, to_server, line.clone(), Line::requests, |_| {}, &carried.requests) => {}
            _ = pump(from_server, to_client, line.clone(), Line::replies, |said| lost.take_out_of(said), &carried.replies) => {}
        }
        let mut held = Vec::new();
        let was_held = self.line.borrow().held;
        while was_held && client.try_read_buf(&mut held).is_ok_and(|count| count > 0) {}
        client.set_zero_linger()?;
        drop(client);
        if !held.is_empty() && self.line.wait_for(|line| line.late).await.is_ok() {
            server.write_all(&held).await?;
        }
        Ok(())
    }
}

/// Carries bytes one way until either end is gone.
async fn pump(
    from: ReadHalf<'_>,
    mut to: WriteHalf<'_>,
    mut line: watch::Receiver<Line>,
    fate: impl Fn(&Line) -> Fate,
    change: impl Fn(&mut Vec<u8>),
    carried: &AtomicU64,
) -> io::Result<()> {
    let mut buffer = vec![0; 64 * 1024];
    // TCP leaves nothing out: where bytes were lost, none may follow.
    let mut has_lost = false;
    loop {
        // Looked at before each read, so that what is held stays in the socket.
        let Ok(state) = line.wait_for(|line| fate(line) != Fate::Hold).await.map(|line| *line) else {
            return Ok(());
        };
        tokio::select! {
            biased; // A change of the line comes before bytes that were sent after it.
            _ = line.changed() => continue,
            ready = from.readable() => ready?,
        }
        let count = match from.try_read(&mut buffer) {
            Ok(0) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
            read => read?,
        };
        has_lost |= fate(&state) == Fate::Lose;
        if !has_lost {
            carried.fetch_add(count as u64, Ordering::Relaxed);
            let mut said = buffer[..count].to_vec();
            change(&mut said);
            to.write_all(&said).await?;
        }
    }
}
