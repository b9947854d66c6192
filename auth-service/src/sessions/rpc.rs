//! `ihuman.auth.v1.SessionService`.

use std::{net::IpAddr, sync::Arc};

use ihuman_proto::auth::v1::{
    self as pb,
    session_service_server::{SessionService, SessionServiceServer},
};
use ihuman_shared::{access::Principal, page::Page, parse, server::Limited};
use tonic::{Request, Response, Status};
use uuid::Uuid;

use super::{Session, device};
use crate::{context::Context, limits, refusal};

/// The path under which a refused revocation is recorded.
const REVOKE_USER_SESSIONS: &str = "/ihuman.auth.v1.SessionService/RevokeUserSessions";

/// The service behind its limits.
pub(crate) fn server(context: &Arc<Context>) -> Limited<SessionServiceServer<Sessions>> {
    Limited::new(limits::MESSAGE_MAX, |longest| {
        SessionServiceServer::new(Sessions(Arc::clone(context)))
            .accept_compressed(limits::COMPRESSION)
            .max_decoding_message_size(longest)
    })
}

pub(crate) struct Sessions(Arc<Context>);

#[tonic::async_trait]
impl SessionService for Sessions {
    async fn list_sessions(
        &self,
        request: Request<pb::ListSessionsRequest>,
    ) -> Result<Response<pb::ListSessionsResponse>, Status> {
        let caller = Principal::of(&request)?;
        let request = request.into_inner();
        let page =
            Page::parse("ListSessions", request.page_size, &request.page_token, &caller.user_id)?;

        let (sessions, next_page_token) = super::list(&self.0, &caller, page).await?;

        let message = |it| message(&self.0, it, caller.session_id());
        let sessions = sessions.into_iter().map(message).collect();
        Ok(Response::new(pb::ListSessionsResponse { sessions, next_page_token }))
    }

    async fn revoke_other_sessions(
        &self,
        request: Request<pb::RevokeOtherSessionsRequest>,
    ) -> Result<Response<pb::RevokeOtherSessionsResponse>, Status> {
        let caller = Principal::of(&request)?;

        let revoked_session_count = super::revoke_others(&self.0, &caller).await?;

        Ok(Response::new(pb::RevokeOtherSessionsResponse { revoked_session_count }))
    }

    async fn revoke_user_sessions(
        &self,
        request: Request<pb::RevokeUserSessionsRequest>,
    ) -> Result<Response<pb::RevokeUserSessionsResponse>, Status> {
        let caller = Principal::of(&request)?;
        let user_id = parse::uuid("user_id", &request.into_inner().user_id)?;

        let done = super::revoke_all(&self.0, &caller, user_id).await;
        let revoked_session_count =
            refusal::recorded(&self.0, &caller, REVOKE_USER_SESSIONS, done).await?;

        Ok(Response::new(pb::RevokeUserSessionsResponse { revoked_session_count }))
    }

    async fn revoke_session(
        &self,
        request: Request<pb::RevokeSessionRequest>,
    ) -> Result<Response<pb::RevokeSessionResponse>, Status> {
        let caller = Principal::of(&request)?;
        let session_id = parse::uuid("session_id", &request.into_inner().session_id)?;

        super::revoke(&self.0, &caller, session_id).await?;

        Ok(Response::new(pb::RevokeSessionResponse {}))
    }
}

fn message(context: &Context, session: Session, current: Option<Uuid>) -> pb::Session {
    let text = |it: Option<IpAddr>| it.map(|it| it.to_string()).unwrap_or_default();
    pb::Session {
        id: session.session_id.to_string(),
        create_time: Some(parse::timestamp(session.created_at)),
        refresh_time: Some(parse::timestamp(session.refreshed_at)),
        expire_time: Some(parse::timestamp(context.tokens.end_of(&session))),
        latest_expire_time: Some(parse::timestamp(context.tokens.session_end(session.created_at))),
        ip_address: text(session.ip_address),
        refresh_ip_address: text(session.refresh_ip_address),
        device: device::label(&session.user_agent),
        user_agent: session.user_agent,
        current: current == Some(session.session_id),
        amr: session.amr,
    }
}
