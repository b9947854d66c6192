//! The server that both services are: one port for gRPC, gRPC-Web, JSON and plain HTTP.
//!
//! A service lists what it offers in a [`Stack`] and hands it to [`serve`];
//! [`Stack::into_router`] is the same stack without a socket. `stack.rs` is the
//! list of layers, with the reason for each.

mod admin;
mod config;
mod connection;
mod cors;
mod deadline;
mod health;
mod json;
mod load;
mod methods;
mod panic;
mod places;
mod record;
mod request_id;
mod serve;
mod shutdown;
mod stack;
mod status;
mod tls;
mod web;

pub use admin::serve_admin;
pub use config::{Origin, ServerConfig};
pub use connection::peer_address;
pub use deadline::Deadline;
pub use health::Readiness;
pub use request_id::RequestId;
pub use serve::serve;
pub use shutdown::Shutdown;
pub use stack::{Limited, Stack};
pub use web::refuse;
