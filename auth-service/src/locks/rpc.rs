//! `ihuman.auth.v1.LockService`.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use ihuman_proto::auth::v1::{
    self as pb,
    lock_service_server::{LockService, LockServiceServer},
};
use ihuman_shared::{access::Principal, parse, server::Limited};
use tonic::{Request, Response, Status};

use super::{Kind, Lock, Scope};
use crate::{context::Context, limits, refusal};

/// The path under which a refused unlocking is recorded.
const UNLOCK_USER: &str = "/ihuman.auth.v1.LockService/UnlockUser";

/// The service behind its limits.
pub(crate) fn server(context: &Arc<Context>) -> Limited<LockServiceServer<Locks>> {
    Limited::new(limits::MESSAGE_MAX, |longest| {
        LockServiceServer::new(Locks(Arc::clone(context)))
            .accept_compressed(limits::COMPRESSION)
            .max_decoding_message_size(longest)
    })
}

pub(crate) struct Locks(Arc<Context>);

#[tonic::async_trait]
impl LockService for Locks {
    async fn get_lock_state(
        &self,
        request: Request<pb::GetLockStateRequest>,
    ) -> Result<Response<pb::GetLockStateResponse>, Status> {
        let user_id = parse::uuid("user_id", &request.into_inner().user_id)?;

        let locks = super::state(&self.0, user_id).await?;

        let now = self.0.now();
        let locks = locks.into_iter().filter_map(|it| shown(&it, now)).collect();
        Ok(Response::new(pb::GetLockStateResponse { locks }))
    }

    async fn unlock_user(
        &self,
        request: Request<pb::UnlockUserRequest>,
    ) -> Result<Response<pb::UnlockUserResponse>, Status> {
        let caller = Principal::of(&request)?;
        let user_id = parse::uuid("user_id", &request.into_inner().user_id)?;

        let done = super::unlock(&self.0, &caller, user_id).await;
        let ended = refusal::recorded(&self.0, &caller, UNLOCK_USER, done).await?;

        let ended_lock_count = i32::try_from(ended).unwrap_or(i32::MAX);
        Ok(Response::new(pb::UnlockUserResponse { ended_lock_count }))
    }
}

fn shown(lock: &Lock, now: DateTime<Utc>) -> Option<pb::Lock> {
    let kind = match lock.kind {
        Kind::Password => pb::LockKind::Password,
        Kind::SecondFactor => pb::LockKind::SecondFactor,
    };
    let scope = match lock.scope {
        Scope::Account => pb::LockScope::Account,
        Scope::Device => pb::LockScope::Device,
        Scope::Session => pb::LockScope::Session,
        // Belongs to no account.
        Scope::Address => return None,
    };
    Some(pb::Lock {
        kind: kind as i32,
        scope: scope as i32,
        failure_count: lock.failures,
        failure_time: Some(parse::timestamp(lock.failed_at)),
        wait_until_time: (lock.wait_until > now).then(|| parse::timestamp(lock.wait_until)),
    })
}
