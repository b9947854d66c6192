//! auth-service through its front door.

mod access;
mod administrator;
mod api_keys;
mod auth;
mod housekeeping;
mod passwords;
mod refresh;
mod sessions;
mod settings;
mod signing_keys;
mod support;
mod tokens;
mod users;
