//! The tests of what both services share, through the front door.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

mod access;
mod contract;
mod server;
mod tidy;
