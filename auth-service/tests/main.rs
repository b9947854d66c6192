//! auth-service through its front door.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

mod access;
mod administrator;
mod api_keys;
mod auth;
mod housekeeping;
mod locks;
mod passwords;
mod refresh;
mod sessions;
mod settings;
mod signing_keys;
mod support;
mod tokens;
mod user_imports;
mod users;
