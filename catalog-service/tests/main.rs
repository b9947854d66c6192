//! catalog-service through its front door.

mod audit;
mod skills;
mod support;
