//! catalog-service through its front door.

mod executions;
mod scene;
mod support;
mod workers;
