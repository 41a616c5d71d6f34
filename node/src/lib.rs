//! Dunlin: a pub/sub cluster for browsers.
//!
//! A node accepts WebSocket peers and relays what they publish to all who subscribe, on every node. The
//! binary `dunlin` is a thin `main` over this crate; ARCHITECTURE.md at the repository's root is its map.

pub mod admission;
pub mod api;
pub mod broker;
pub mod cli;
pub mod client;
pub mod clock;
pub mod config;
pub mod exchange;
pub mod exit;
pub mod feed;
pub mod grant;
pub mod health;
pub mod history;
pub mod hub;
pub mod keys;
pub mod lifecycle;
pub mod metrics;
pub mod pages;
pub mod publication;
pub mod shaping;
pub mod shard;
pub mod shards;
pub mod telemetry;
pub mod transport;
pub mod wire;
