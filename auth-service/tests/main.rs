//! auth-service through its front door.

mod access;
mod support;
