//! Proving a second factor.

use ihuman_shared::{
    Error, Result,
    audit::{self, Actor, Change},
};
use serde_json::json;
use sqlx::PgConnection;
use uuid::Uuid;

use super::{
    recovery::RecoveryCode,
    store,
    totp::{TotpCode, TotpSecret},
};
use crate::context::Context;

/// How a session of a password alone proved who it is (RFC 8176).
pub(crate) const PASSWORD_ALONE: &[&str] = &["pwd"];
/// The same of a password and a code of an authenticator.
pub(super) const WITH_TOTP: &[&str] = &["pwd", "otp", "mfa"];
/// The same of a password and a recovery code, for which the standard has no word.
const WITH_RECOVERY_CODE: &[&str] = &["pwd", "mfa"];
/// What every way has that proves a second factor.
pub(super) const MFA: &str = "mfa";

/// What proves a second factor beside a password.
pub(crate) enum FactorProof {
    Totp(TotpCode),
    RecoveryCode(RecoveryCode),
}

impl FactorProof {
    /// The refusal of a proof whose field of the request is the caller's to correct.
    pub(crate) fn refused(&self) -> Error {
        match self {
            FactorProof::Totp(_) => Error::invalid("totp_code", super::NOT_THE_CODE),
            FactorProof::RecoveryCode(_) => {
                Error::invalid("recovery_code", "must be one of the account that was not used")
            }
        }
    }
}

/// Uses a proof up; returns how the account's owner has then proved who they are, beside
/// the password: none if it proves nothing.
pub(crate) async fn prove(
    conn: &mut PgConnection,
    context: &Context,
    user_id: Uuid,
    proof: &FactorProof,
    actor: &Actor,
) -> Result<Option<&'static [&'static str]>> {
    match proof {
        FactorProof::Totp(code) => {
            let proved = use_totp(conn, context, user_id, code).await?;
            Ok(proved.then_some(WITH_TOTP))
        }
        FactorProof::RecoveryCode(code) => {
            let (hash, now) = (code.hash(user_id), context.now());
            if !store::use_recovery_code(conn, user_id, &hash, now).await? {
                return Ok(None);
            }
            let left = store::get_state(conn, user_id).await?.recovery_codes_left;
            let new = json!({"recovery_codes_left": left});
            let change = Change::created("mfa.use_recovery_code", "user", user_id, new);
            audit::record(conn, actor, change).await?;
            Ok(Some(WITH_RECOVERY_CODE))
        }
    }
}

/// Whether `code` is one of the account's authenticator that was not used. Of two uses
/// at the same time, one is.
async fn use_totp(
    conn: &mut PgConnection,
    context: &Context,
    user_id: Uuid,
    code: &TotpCode,
) -> Result<bool> {
    let Some(sealed) = store::find_secret(conn, user_id).await? else { return Ok(false) };
    let secret = open(context, user_id, &sealed)?;
    match secret.step_of(code, context.now()) {
        Some(step) => store::update_last_step(conn, user_id, step).await,
        None => Ok(false),
    }
}

/// The secret that [`seal`] sealed.
pub(super) fn open(context: &Context, user_id: Uuid, sealed: &[u8]) -> Result<TotpSecret> {
    TotpSecret::read(&context.mfa_secrets.open(&user_id.to_string(), sealed)?)
}

/// What is stored of a secret.
pub(super) fn seal(context: &Context, user_id: Uuid, secret: &TotpSecret) -> Result<Vec<u8>> {
    context.mfa_secrets.seal(&user_id.to_string(), secret.bytes())
}
