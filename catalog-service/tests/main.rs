//! catalog-service through its front door.

mod access;
mod executions;
mod interleavings;
mod replicas;
mod reports;
mod revocation;
mod scene;
mod support;
mod watches;
mod workers;
