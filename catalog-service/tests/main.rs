//! catalog-service through its front door.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

mod access;
mod audit;
mod executions;
mod interleavings;
mod replicas;
mod reports;
mod revocation;
mod scene;
mod skills;
mod start;
mod support;
mod watches;
mod workers;
