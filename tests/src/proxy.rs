//! What stands between a node and Redis, and fails as networks do.
//!
//! It has a thread of its own, so that it works on while a test waits for something.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
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
    thread: Option<thread::JoinHandle<()>>,
}

/// How the line is.
#[derive(Debug, Clone, Copy)]
struct Line {
    mode: Mode,
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
        let carried = Arc::new(Carried::default());
        let (line, state) = watch::channel(Line { mode: Mode::Pass, cuts: 0, held: false, late: false });
        let way = Way { server, line: state, carried: carried.clone() };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let run = move || {
            // It ends when the proxy is dropped; before that a test notices that nothing passes.
            let _ = runtime.block_on(way.run(listener));
        };
        let thread = thread::Builder::new().name("proxy".to_owned()).spawn(run)?;
        Ok(Self { address, line, carried, thread: Some(thread) })
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
    server: SocketAddr,
    line: watch::Receiver<Line>,
    carried: Arc<Carried>,
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
                    let cuts = self.line.borrow_and_update().cuts;
                    // Either end may go at any time; that ends this connection and nothing else.
                    connections.spawn(async move { drop(way.serve(client, cuts).await) });
                }
                Some(_) = connections.join_next() => {}
                _ = line.wait_for(|line| line.mode == Mode::Over) => return Ok(()),
            }
        }
    }

    async fn serve(mut self, mut client: TcpStream, cuts: u64) -> io::Result<()> {
        if self.line.borrow().mode == Mode::Refuse {
            return client.set_zero_linger();
        }
        let mut server = TcpStream::connect(self.server).await?;
        client.set_nodelay(true)?;
        server.set_nodelay(true)?;
        let (from_client, to_client) = client.split();
        let (from_server, to_server) = server.split();
        let (line, carried) = (self.line.clone(), &self.carried);
        tokio::select! {
            biased; // A cut comes before what passes after it.
            _ = self.line.wait_for(|line| line.cuts != cuts) => {}
            _ = pump(from_client, to_server, line.clone(), Line::requests, &carried.requests) => {}
            _ = pump(from_server, to_client, line.clone(), Line::replies, &carried.replies) => {}
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
            to.write_all(&buffer[..count]).await?;
        }
    }
}
