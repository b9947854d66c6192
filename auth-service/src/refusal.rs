//! Refusals that only a room can decide on, recorded like those of the gate.

use ihuman_shared::{
    Error, Result,
    access::Principal,
    audit::{self, Actor},
};

use crate::context::Context;

/// Records that `caller` was refused the RPC at `path`, if that is what `result`
/// says, and counts it before. The transaction of the attempt must have ended.
pub(crate) async fn recorded<T>(
    context: &Context,
    caller: &Principal,
    path: &str,
    result: Result<T>,
) -> Result<T> {
    if let Err(
        error @ (Error::NotAllowed(_)
        | Error::PermissionMissing(_)
        | Error::RecentAuthenticationRequired(_)),
    ) = &result
    {
        context.limiter.deny(caller.user_id).await?;
        let mut conn = context.db.acquire().await?;
        audit::refuse(&mut conn, &Actor::from(caller), path, error.reason()).await?;
    }
    result
}
