//! What a browser is asked for: a new passkey, or a signature of one.

use ihuman_shared::Result;
use sqlx::PgConnection;
use uuid::Uuid;

use super::{
    COUNT_MAX,
    challenge::Ceremony,
    store::{self, Passkey},
};
use crate::{context::Context, users::store::User};

/// What to make a passkey of.
pub(crate) struct CreationOptions {
    pub(crate) rp_id: String,
    pub(crate) rp_name: String,
    /// What the authenticator knows the account by; its id, which tells nothing.
    pub(crate) user_handle: Vec<u8>,
    pub(crate) user_name: String,
    pub(crate) user_display_name: String,
    pub(crate) challenge: Vec<u8>,
    /// What the account has already.
    pub(crate) exclude: Vec<Descriptor>,
}

/// What to sign, and with what.
pub(crate) struct RequestOptions {
    pub(crate) challenge: Vec<u8>,
    pub(crate) rp_id: String,
    /// The passkeys of the account; none while nobody is known.
    pub(crate) allow: Vec<Descriptor>,
    /// Whether the authenticator must verify its user.
    pub(crate) must_verify_user: bool,
}

/// Which passkey, and how to reach it.
pub(crate) struct Descriptor {
    pub(crate) credential_id: Vec<u8>,
    pub(crate) transports: Vec<String>,
}

/// What `user` makes a new passkey of.
pub(super) fn creation_options(
    context: &Context,
    user: &User,
    ceremony: Ceremony<'_>,
    existing: Vec<Passkey>,
) -> Result<CreationOptions> {
    let display_name = user.display_name.clone();
    Ok(CreationOptions {
        rp_id: context.relying_party.id().to_owned(),
        rp_name: context.relying_party.name().to_owned(),
        user_handle: user.user_id.as_bytes().to_vec(),
        user_name: user.email.clone().unwrap_or_else(|| display_name.clone()),
        user_display_name: display_name,
        challenge: context.challenges.issue(ceremony, context.now())?,
        exclude: existing.into_iter().map(Descriptor::from).collect(),
    })
}

/// What `owner` signs in `ceremony`; none without a passkey.
pub(crate) async fn request_options(
    context: &Context,
    conn: &mut PgConnection,
    ceremony: Ceremony<'_>,
    owner: Uuid,
) -> Result<Option<RequestOptions>> {
    let passkeys = store::list(conn, owner, None, COUNT_MAX).await?;
    if passkeys.is_empty() {
        return Ok(None);
    }
    let allow = passkeys.into_iter().map(Descriptor::from).collect();
    request(context, ceremony, allow).map(Some)
}

/// What anybody signs in `ceremony`, while nobody is known. Nothing is looked up for it.
pub(crate) fn options_for_anybody(
    context: &Context,
    ceremony: Ceremony<'_>,
) -> Result<RequestOptions> {
    request(context, ceremony, Vec::new())
}

fn request(
    context: &Context,
    ceremony: Ceremony<'_>,
    allow: Vec<Descriptor>,
) -> Result<RequestOptions> {
    Ok(RequestOptions {
        challenge: context.challenges.issue(ceremony, context.now())?,
        rp_id: context.relying_party.id().to_owned(),
        allow,
        must_verify_user: matches!(ceremony, Ceremony::Alone { .. }),
    })
}

impl From<Passkey> for Descriptor {
    fn from(passkey: Passkey) -> Self {
        Descriptor { credential_id: passkey.credential_id, transports: passkey.transports }
    }
}
