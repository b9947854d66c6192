//! Everything that differs between one deployment of auth-service and another.

mod mail;

use std::{net::SocketAddr, ops::RangeInclusive, path::PathBuf, time::Duration};

use clap::{Parser, Subcommand, ValueEnum};
use ihuman_shared::{
    config::MasterKeyConfig, credentials::MasterKey, platform::PlatformConfig,
    telemetry::TelemetryConfig,
};

pub use self::mail::{EmailVerification, MailConfig, MailTransport, SmtpTls};
pub(crate) use self::mail::{MailSettings, SmtpServer};
use crate::{
    passkeys::{RelyingParty, is_domain},
    passwords::stored::{LANES_MAX, MEMORY_MAX, PASSES_MAX},
};

/// Accounts, sessions, tokens, API keys, users and settings over gRPC, gRPC-Web and JSON.
#[derive(Parser)]
#[command(name = "auth-service", version)]
pub struct Config {
    /// The address to serve at.
    #[arg(long, env, default_value = "127.0.0.1:50051")]
    pub listen: SocketAddr,

    /// What both services are configured with.
    #[command(flatten)]
    pub platform: PlatformConfig,

    /// What to log, and where to send traces.
    #[command(flatten)]
    pub telemetry: TelemetryConfig,

    /// The rules of accounts and credentials.
    #[command(flatten)]
    pub identity: IdentityConfig,

    /// What to do instead of serving.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// The rules of accounts and credentials.
#[derive(clap::Args, Clone)]
#[command(next_help_heading = "Identity")]
pub struct IdentityConfig {
    /// How long an access token lasts, as in "1h".
    #[arg(long, env, default_value = "1h", value_parser = lifetime)]
    pub jwt_expires_in: Duration,

    /// How long a refresh token lasts, as in "7d": a session that is not refreshed for
    /// so long has ended.
    #[arg(long, env, default_value = "7d", value_parser = lifetime)]
    pub jwt_refresh_expires_in: Duration,

    /// How long a session lasts, as in "90d", however often it is refreshed.
    #[arg(long, env, default_value = "90d", value_parser = lifetime)]
    pub session_max_lifetime: Duration,

    /// What API keys begin with: 1 to 16 characters of a-z and 0-9.
    #[arg(long, env, default_value = "ihk", value_parser = api_key_prefix)]
    pub api_key_prefix: String,

    /// How many days an API key lasts when its creation does not say.
    #[arg(long, env, default_value_t = 90, value_parser = clap::value_parser!(u32).range(1..=3650))]
    pub api_key_expiry_days: u32,

    /// How long a signing key signs before the next one does, as in "30d".
    #[arg(long, env, default_value = "30d", value_parser = rotation)]
    pub signing_key_rotation: Duration,

    /// How long a signing key is published before it signs, as in "1h": longer than
    /// anybody keeps a copy of the public keys.
    #[arg(long, env, default_value = "1h", value_parser = publish_ahead)]
    pub signing_key_publish_ahead: Duration,

    /// What authenticators show beside an account's address: 1 to 64 characters.
    #[arg(long, env, default_value = "ihuman", value_parser = mfa_issuer)]
    pub mfa_issuer: String,

    /// Whether people open accounts by themselves.
    #[arg(long, env, default_value = "open")]
    pub registration: Registration,

    /// How passwords are stored.
    #[command(flatten)]
    pub passwords: PasswordConfig,

    /// Where passkeys work.
    #[command(flatten)]
    pub passkeys: PasskeyConfig,

    /// Whether mail is sent, and what for.
    #[command(flatten)]
    pub mail: MailConfig,
}

/// Who opens accounts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Registration {
    /// Whoever wants one.
    Open,
    /// Administrators, who import them.
    Closed,
}

impl IdentityConfig {
    /// Checks what the values say together.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn check(&self) -> Result<(), String> {
        RelyingParty::new(&self.passkeys)?;
        self.mail.check()
    }
}

/// How passwords are stored: with Argon2id, and no weaker than the first choice of
/// the OWASP Password Storage Cheat Sheet. Passwords that are stored in another way
/// are stored in this one at the next login.
#[derive(clap::Args, Clone, Debug)]
#[command(next_help_heading = "Passwords")]
pub struct PasswordConfig {
    /// How much memory the hash of a password takes, in KiB: 19456 to 131072.
    #[arg(long, env, default_value_t = 19_456, value_parser = clap::value_parser!(u32).range(19_456..=i64::from(MEMORY_MAX)))]
    pub argon2_memory_kib: u32,

    /// How many passes the hash of a password makes over its memory: 2 to 10.
    #[arg(long, env, default_value_t = 2, value_parser = clap::value_parser!(u32).range(2..=i64::from(PASSES_MAX)))]
    pub argon2_passes: u32,

    /// How many lanes the hash of a password has: 1 to 8.
    #[arg(long, env, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=i64::from(LANES_MAX)))]
    pub argon2_lanes: u32,

    /// Whether passwords are hashed under a key derived from the master key, so that
    /// whoever has only the database can't even guess. With another master key they
    /// are worth nothing.
    #[arg(long, env = "IHUMAN_PASSWORD_PEPPER")]
    pub password_pepper: bool,
}

/// Where passkeys work. With another id, those that were registered work no more.
#[derive(clap::Args, Clone, Debug)]
#[command(next_help_heading = "Passkeys")]
pub struct PasskeyConfig {
    /// The domain that passkeys are made for, as in "example.com": they work at its
    /// pages and those of the domains below it.
    #[arg(long, env, default_value = "localhost", value_parser = rp_id)]
    pub webauthn_rp_id: String,

    /// What people are shown when they make a passkey: 1 to 64 characters.
    #[arg(long, env, default_value = "ihuman", value_parser = rp_name)]
    pub webauthn_rp_name: String,

    /// The origins that passkeys are accepted from, separated by commas, as in
    /// `https://example.com,https://login.example.com`. When left out, https:// and
    /// the domain, or http://localhost with any port. An Android app is
    /// "android:apk-key-hash:" and the hash of its certificate.
    #[arg(long, env, value_delimiter = ',')]
    pub webauthn_origins: Vec<String>,
}

/// Where the new master key is.
#[derive(clap::Args)]
#[group(required = true, multiple = false)]
pub struct NewMasterKeyConfig {
    /// 32 random bytes in base64.
    #[arg(long, env = "IHUMAN_NEW_MASTER_KEY", hide_env_values = true)]
    pub new_master_key: Option<MasterKey>,

    /// A file that holds the new master key.
    #[arg(long, env = "IHUMAN_NEW_MASTER_KEY_FILE")]
    pub new_master_key_file: Option<PathBuf>,
}

impl NewMasterKeyConfig {
    /// The key, from the variable or the file.
    ///
    /// # Errors
    /// What is wrong with the file.
    pub fn read(self) -> Result<MasterKey, String> {
        let (master_key, master_key_file) = (self.new_master_key, self.new_master_key_file);
        MasterKeyConfig { master_key, master_key_file }.read()
    }
}

/// What to do instead of serving.
#[derive(Subcommand)]
pub enum Command {
    /// Opens the account of an administrator; the password is read from standard
    /// input. An account that is there already is left as it is.
    CreateAdmin {
        /// The e-mail address to log in with.
        #[arg(long)]
        email: String,
    },
    /// Gives an account back to its owner when nobody who could help can log in, or no
    /// mail is sent: a new password, read from standard input, in place of the old one
    /// and of every second factor. Its sessions end; its API keys stay.
    Recover {
        /// The e-mail address of the account.
        #[arg(long)]
        email: String,
    },
    /// Puts everything that is sealed under a new master key, in one transaction.
    /// Stop auth-service before, and start both services with the new key after.
    /// API keys stay as they are.
    Rekey {
        /// Where the new key is.
        #[command(flatten)]
        new: NewMasterKeyConfig,
    },
    /// Asks the service at the configured address whether it is ready, for a
    /// container's health check.
    Probe,
}

/// The shortest and the longest lifetime of a token.
const LIFETIMES: RangeInclusive<Duration> =
    Duration::from_secs(1)..=Duration::from_secs(366 * 24 * 60 * 60);

/// The shortest and the longest use of a signing key.
const ROTATIONS: RangeInclusive<Duration> =
    Duration::from_secs(60 * 60)..=Duration::from_secs(366 * 24 * 60 * 60);

/// The shortest and the longest time between publishing a signing key and using it.
/// /.well-known/jwks.json may be kept for 5 minutes.
const PUBLISHED_AHEAD: RangeInclusive<Duration> =
    Duration::from_secs(10 * 60)..=Duration::from_secs(30 * 24 * 60 * 60);

fn lifetime(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(lifetime) if LIFETIMES.contains(&lifetime) => Ok(lifetime),
        _ => Err("must be from 1s to 366d".to_owned()),
    }
}

fn rotation(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(rotation) if ROTATIONS.contains(&rotation) => Ok(rotation),
        _ => Err("must be from 1h to 366d".to_owned()),
    }
}

fn publish_ahead(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(ahead) if PUBLISHED_AHEAD.contains(&ahead) => Ok(ahead),
        _ => Err("must be from 10m to 30d".to_owned()),
    }
}

fn rp_id(text: &str) -> Result<String, String> {
    match is_domain(text) {
        true => Ok(text.to_owned()),
        false => Err("must be a domain in lower case, without scheme and port".to_owned()),
    }
}

fn rp_name(text: &str) -> Result<String, String> {
    let allowed = (1..=64).contains(&text.chars().count()) && !text.chars().any(char::is_control);
    match allowed {
        true => Ok(text.to_owned()),
        false => Err("must have 1 to 64 characters on one line".to_owned()),
    }
}

fn api_key_prefix(text: &str) -> Result<String, String> {
    let allowed = |it: u8| it.is_ascii_lowercase() || it.is_ascii_digit();
    match (1..=16).contains(&text.len()) && text.bytes().all(allowed) {
        true => Ok(text.to_owned()),
        false => Err("must have 1 to 16 characters of a-z and 0-9".to_owned()),
    }
}

/// A colon would end the name in what authenticators read.
fn mfa_issuer(text: &str) -> Result<String, String> {
    let allowed = |it: char| !it.is_control() && it != ':';
    match (1..=64).contains(&text.chars().count()) && text.chars().all(allowed) {
        true => Ok(text.to_owned()),
        false => Err("must have 1 to 64 characters without control characters and :".to_owned()),
    }
}
