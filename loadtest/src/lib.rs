//! Measures a pub/sub node from outside, over real sockets.
//!
//! One thread and one epoll carry every peer, so that one core of load fills a node on another core.
//! The parts without sockets (frames, stamps, pacer, sequence check, statistics) are pure: bytes and
//! `now` go in, decisions come out. [`fleet`] owns the sockets, [`scenario`] says what is measured,
//! [`report`] shows it.
//!
//! **Invariant:** a latency is counted from the moment a publication was *meant* to leave, so a client
//! or node that stalls makes its own figures worse, never better.

pub mod clock;
pub mod duration;
pub mod fleet;
pub mod frame;
pub mod handshake;
pub mod limits;
pub mod pacer;
pub mod process;
pub mod report;
pub mod scenario;
pub mod sequence;
pub mod stamp;
pub mod statistics;
pub mod target;
