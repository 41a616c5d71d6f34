//! What the tests of the `dunlin` binary stand on: a node as a process, peers on real sockets, and raw bytes
//! for what no well-behaved client would send.
//!
//! **Invariant:** nothing here waits without a deadline, and nothing guesses how long something takes: every
//! wait is for a condition, and says what was missing when its time is up.

mod chatter;
mod cluster;
mod http;
mod machine;
mod node;
mod patience;
mod peer;
mod proxy;
mod raw;
mod redis;
mod scrape;
mod siege;
mod tls;

pub use self::chatter::{Chatter, Latency};
pub use self::cluster::{
    Cluster, Distance, Doors, Fate, Follower, Health, Heard, LEASE, Listener, NODES, PREFIX, Publisher,
    Stretches, Talked, Talker, Traffic, check, connect_v1, holds,
};
pub use self::http::{Answer, get};
pub use self::machine::raise_descriptor_limit;
pub use self::node::{Exit, Node, OPEN, Starting, run, run_in};
pub use self::patience::{PATIENCE, soon, until};
pub use self::peer::{Ended, Peer};
pub use self::proxy::Proxy;
pub use self::raw::{Raw, frame, upgrade_head};
pub use self::redis::{Key, Redis};
pub use self::scrape::Scrape;
pub use self::siege::{Rise, Siege};
pub use self::tls::{certificate, trusting};
