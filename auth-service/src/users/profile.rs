//! How an account presents itself: who may change that, and what is recorded of it.

use ihuman_shared::{
    Result,
    access::Principal,
    audit::{self, Actor, Change},
};
use serde_json::json;
use uuid::Uuid;

use super::{
    AvatarUrl, DisplayName,
    store::{self, User},
};
use crate::context::Context;

/// What to change; what is not set stays as it is.
#[derive(Clone, Debug, Default)]
pub(crate) struct Profile {
    pub(crate) display_name: Option<DisplayName>,
    pub(crate) avatar_url: Option<AvatarUrl>,
}

/// Changes how an account presents itself: the caller's own, or one that the caller
/// manages.
pub(crate) async fn update(
    context: &Context,
    caller: &Principal,
    user_id: Uuid,
    profile: Profile,
) -> Result<User> {
    let mut tx = context.db.begin().await?;
    let user = match user_id == caller.user_id {
        true => store::lock(&mut tx, user_id).await?,
        false => super::lock(&mut tx, caller, user_id).await?.0,
    };
    user.check_not_deleted()?;
    let display_name = profile.display_name.as_ref().map(DisplayName::as_str);
    let avatar_url = profile.avatar_url.as_ref().map(AvatarUrl::as_str);
    let same = display_name.is_none_or(|it| it == user.display_name)
        && avatar_url.is_none_or(|it| it == user.avatar_url);
    if same {
        return Ok(user);
    }
    let old = json!({"display_name": user.display_name, "avatar_url": user.avatar_url});
    let user = store::profile::update(&mut tx, user_id, display_name, avatar_url).await?;
    let new = json!({"display_name": user.display_name, "avatar_url": user.avatar_url});
    let change = Change::changed("user.update", "user", user_id, old, new);
    audit::record(&mut tx, &Actor::from(caller), change).await?;
    tx.commit().await?;
    Ok(user)
}
