//! What both services must do alike.

pub mod server;
pub mod telemetry;
