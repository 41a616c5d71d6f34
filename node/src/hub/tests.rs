//! The hub as peers see it, in a world without sockets, threads or time of its own.

mod alone;
mod frames;
mod heartbeat;
mod limits;
mod model;
mod msgpack;
mod order;
mod policy;
mod purity;
mod remembered;
mod remembering;
mod resuming;
mod scripted;
mod session;
mod slow;
mod topics;
pub mod wire;
pub mod world;
