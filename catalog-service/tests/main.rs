//! catalog-service through its front door.

mod executions;
mod interleavings;
mod replicas;
mod reports;
mod scene;
mod support;
mod watches;
mod workers;
