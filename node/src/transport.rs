//! What carries a peer's bytes: sockets, the HTTP upgrade, WebSocket. Nothing here knows the hub's state.

pub mod scanner;
pub mod socket;
pub mod tls;
pub mod upgrade;
pub mod websocket;
