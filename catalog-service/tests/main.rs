//! catalog-service through its front door.

mod access;
mod audit;
mod executions;
mod interleavings;
mod replicas;
mod reports;
mod revocation;
mod scene;
mod skills;
mod support;
mod watches;
mod workers;
