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
use crate::{
    context::Context,
    mail,
    passkeys::{self, Assertion, Ceremony},
};

/// How a session of a password alone proved who it is (RFC 8176).
pub(crate) const PASSWORD_ALONE: &[&str] = &["pwd"];
/// The same of a password and a code of an authenticator.
const WITH_TOTP: &[&str] = &["pwd", "otp", MFA];
/// What a code adds to how a session proved who it is.
pub(super) const BY_TOTP: &[&str] = &["otp", MFA];
/// The same of a password and a recovery code, for which the standard has no word.
const WITH_RECOVERY_CODE: &[&str] = &["pwd", MFA];
/// The same of a password and a passkey. Whether its key is in hardware nobody knows.
const WITH_PASSKEY: &[&str] = &["pwd", "pop", "user", MFA];
/// The same of a passkey whose device verified its user: two factors in one.
pub(crate) const PASSKEY_ALONE: &[&str] = &["pop", "user", MFA];
/// What every way has that proves a second factor.
pub(crate) const MFA: &str = "mfa";

/// What proves a second factor beside a password.
pub(crate) enum FactorProof {
    Totp(TotpCode),
    RecoveryCode(RecoveryCode),
    Passkey(Box<Assertion>),
}

/// Who is to be proved, and for what.
pub(crate) struct Claim<'a> {
    pub(crate) user_id: Uuid,
    /// What a passkey signs for.
    pub(crate) ceremony: Ceremony<'a>,
    /// Whether the password was proved; only a passkey may do without.
    pub(crate) with_password: bool,
}

impl FactorProof {
    /// The refusal of a proof whose field of the request is the caller's to correct.
    pub(crate) fn refused(&self) -> Error {
        match self {
            FactorProof::Totp(_) => Error::invalid("totp_code", super::NOT_THE_CODE),
            FactorProof::RecoveryCode(_) => {
                Error::invalid("recovery_code", "must be one of the account that was not used")
            }
            FactorProof::Passkey(_) => {
                let problem = "must be an answer of a passkey of the account to the latest \
                               challenge of the session, and alone of one that verifies its user";
                Error::invalid("passkey", problem)
            }
        }
    }
}

/// Uses a proof up; returns how the account's owner has then proved who they are: none if
/// it proves nothing. Commit even then, as it may have recorded why.
pub(crate) async fn prove(
    conn: &mut PgConnection,
    context: &Context,
    claim: &Claim<'_>,
    proof: &FactorProof,
    actor: &Actor,
) -> Result<Option<&'static [&'static str]>> {
    let user_id = claim.user_id;
    match proof {
        FactorProof::Passkey(assertion) => {
            use_passkey(conn, context, claim, assertion, actor).await
        }
        _ if !claim.with_password => Ok(None),
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
            mail::post(conn, context, mail::Kind::RecoveryCodeUsed, user_id, None).await?;
            Ok(Some(WITH_RECOVERY_CODE))
        }
    }
}

async fn use_passkey(
    conn: &mut PgConnection,
    context: &Context,
    claim: &Claim<'_>,
    assertion: &Assertion,
    actor: &Actor,
) -> Result<Option<&'static [&'static str]>> {
    let Claim { user_id, ceremony, with_password } = *claim;
    let claim = passkeys::Claim { ceremony, owner: Some(user_id), with_password };
    let proof = match passkeys::prove(context, conn, claim, assertion).await? {
        Ok(proof) => proof,
        Err(refusal) => {
            audit::record_all(conn, actor, refusal.changes).await?;
            return Ok(None);
        }
    };
    if !proof.use_up(conn, actor, context.now()).await? {
        return Ok(None);
    }
    Ok(Some(if with_password { WITH_PASSKEY } else { PASSKEY_ALONE }))
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
