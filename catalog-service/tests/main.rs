//! catalog-service through its front door.

mod access;
mod revocation;
mod support;
