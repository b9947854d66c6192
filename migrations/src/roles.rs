//! Gives the services' login roles their passwords, which the migrations leave out.

use std::{fmt, num::NonZeroU32};

use anyhow::{Context, Result, bail};
use aws_lc_rs::{digest, hmac, pbkdf2, rand};
use base64::{Engine, engine::general_purpose::STANDARD};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, postgres::PgConnectOptions};

use crate::run::connect;

/// What PostgreSQL itself uses.
const ITERATIONS: NonZeroU32 = NonZeroU32::new(4096).expect("4096 is not 0");

/// A role that the migrations create for one program to log in with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LoginRole {
    /// auth-service.
    Auth,
    /// catalog-service.
    Catalog,
    /// Whoever reads the audit trail in the database itself.
    Audit,
}

impl LoginRole {
    /// Every role there is.
    pub const ALL: [Self; 3] = [Self::Auth, Self::Catalog, Self::Audit];

    /// The role's name in the database.
    pub fn name(self) -> &'static str {
        match self {
            Self::Auth => "ihuman_auth",
            Self::Catalog => "ihuman_catalog",
            Self::Audit => "ihuman_audit",
        }
    }
}

/// A password that a role can be given.
#[derive(Clone)]
pub struct Password(String);

impl Password {
    /// Takes 1 to 128 visible ASCII characters: both ends read those alike, while
    /// others go through SASLprep (RFC 4013), which not every client does.
    ///
    /// # Errors
    ///
    /// If there are other characters, none, or more.
    pub fn parse(password: &str) -> Result<Self> {
        let allowed = (1..=128).contains(&password.len())
            && password.bytes().all(|byte| byte.is_ascii_graphic());
        if !allowed {
            bail!("a database password must be 1 to 128 visible ASCII characters");
        }
        Ok(Self(password.to_owned()))
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(..)")
    }
}

/// Sets the role's password. What goes over the wire is its SCRAM verifier (RFC
/// 5803), so the password is in no log and no statistics of the server.
///
/// # Errors
///
/// If the database cannot be reached, or the role is not there.
#[expect(clippy::disallowed_methods, reason = "the server itself quotes what is executed")]
pub async fn set_password(
    database: &PgConnectOptions,
    role: LoginRole,
    password: &Password,
) -> Result<()> {
    let mut salt = [0; 16];
    rand::fill(&mut salt).context("no random numbers")?;
    let verifier = verifier(&password.0, &salt);

    let mut conn = connect(database).await?;
    // A role cannot be a parameter, so the server quotes both.
    let statement: String =
        sqlx::query_scalar("select format('alter role %I password %L', $1, $2)")
            .bind(role.name())
            .bind(verifier)
            .fetch_one(&mut conn)
            .await?;
    sqlx::raw_sql(AssertSqlSafe(statement))
        .execute(&mut conn)
        .await
        .with_context(|| format!("cannot set the password of {}", role.name()))?;
    conn.close().await?;
    Ok(())
}

/// The URL that the program of this role opens the database with.
pub fn login_url(database: &PgConnectOptions, role: LoginRole, password: &str) -> String {
    database.clone().username(role.name()).password(password).to_url_lossy().into()
}

/// `SCRAM-SHA-256$<iterations>:<salt>$<StoredKey>:<ServerKey>` (RFC 5803, RFC 7677).
fn verifier(password: &str, salt: &[u8]) -> String {
    let mut salted = [0; digest::SHA256_OUTPUT_LEN];
    pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, ITERATIONS, salt, password.as_bytes(), &mut salted);
    let key = hmac::Key::new(hmac::HMAC_SHA256, &salted);
    let client_key = hmac::sign(&key, b"Client Key");
    let stored_key = digest::digest(&digest::SHA256, client_key.as_ref());
    let server_key = hmac::sign(&key, b"Server Key");
    format!(
        "SCRAM-SHA-256${ITERATIONS}:{}${}:{}",
        STANDARD.encode(salt),
        STANDARD.encode(stored_key),
        STANDARD.encode(server_key),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The salt and password of the example in RFC 7677 section 3.
    #[test]
    fn a_verifier_is_what_postgresql_computes() {
        let salt = STANDARD.decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap();

        assert_eq!(
            verifier("pencil", &salt),
            "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$\
             WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:\
             wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="
        );
    }

    #[test]
    fn a_password_has_only_visible_ascii_characters() {
        assert!(Password::parse("a'b\\c\"$%").is_ok());
        for refused in ["", "a b", "pässwort", "a\n", &"a".repeat(129)] {
            assert!(Password::parse(refused).is_err(), "{refused:?}");
        }
    }

    #[test]
    fn a_password_is_not_shown() {
        assert_eq!(format!("{:?}", Password::parse("hunter2").unwrap()), "Password(..)");
    }
}
