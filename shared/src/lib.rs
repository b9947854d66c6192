//! What both services must do alike.

pub mod access;
pub mod audit;
pub mod clock;
pub mod config;
pub mod credentials;
pub mod database;
pub mod error;
pub mod idempotency;
pub mod notifications;
pub mod page;
pub mod parse;
pub mod platform;
pub mod probe;
pub mod server;
pub mod service;
pub mod tasks;
pub mod telemetry;
#[cfg(feature = "testing")]
pub mod testing;

pub use self::error::{Error, Result};
