//! Measures a pub/sub node from outside, over real sockets.
//!
//! One thread and one epoll carry every peer, so that one core of load fills a node on another core.
//! The parts without sockets (frames, stamps, pacer, sequence check, statistics) are pure: bytes and
//! `now` go in, decisions come out. [`adapter`] knows how each kind of server is spoken to, [`fleet`] owns
//! the sockets, [`scenario`] says what is measured, [`agents`] spreads it over processes, [`report`] shows it.
//!
//! **Invariant:** a latency is counted from the moment a publication was *meant* to leave, so a client
//! or node that stalls makes its own figures worse, never better.

pub mod adapter;
pub mod agents;
pub mod chance;
pub mod clock;
pub mod duration;
pub mod fleet;
pub mod frame;
pub mod handshake;
pub mod limits;
pub mod metrics;
pub mod pacer;
pub mod process;
pub mod progress;
pub mod record;
pub mod redis;
pub mod report;
pub mod roll;
pub mod sampler;
pub mod scenario;
pub mod sequence;
pub mod stamp;
pub mod statistics;
pub mod target;
pub mod trend;
