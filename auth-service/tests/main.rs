//! auth-service through its front door.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

mod access;
mod administrator;
mod api_keys;
mod auth;
mod authenticator;
mod complete_login;
mod deletion;
mod device;
mod directory;
mod email;
mod email_change;
mod explain;
mod extra_permissions;
mod housekeeping;
mod interleavings;
mod key_rotation;
mod key_terms;
mod locks;
mod mail;
mod mail_delivery;
mod mail_encryption;
mod mfa;
mod passkey_logins;
mod passkey_step_up;
mod passkeys;
mod password_reset;
mod passwords;
mod plans;
mod profiles;
mod rate_limits;
mod reauthentication;
mod refresh;
mod rekey;
mod revocations;
mod rotation;
mod sessions;
mod settings;
mod signing_keys;
mod smtp;
mod start;
mod support;
mod tokens;
mod user_imports;
mod users;
