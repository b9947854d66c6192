//! `ihuman.auth.v1.SessionService`.

use std::sync::Arc;

use ihuman_proto::auth::v1::{
    self as pb,
    session_service_server::{SessionService, SessionServiceServer},
};
use ihuman_shared::{access::Principal, page::Page, parse};
use tonic::{Request, Response, Status};
use uuid::Uuid;

use super::store::Session;
use crate::{context::Context, limits};

/// The service behind its limits.
pub(crate) fn server(context: &Arc<Context>) -> SessionServiceServer<Sessions> {
    SessionServiceServer::new(Sessions(Arc::clone(context)))
        .accept_compressed(limits::COMPRESSION)
        .max_decoding_message_size(limits::MESSAGE_MAX)
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
        let page = Page::parse(request.page_size, &request.page_token, &caller.user_id)?;

        let (sessions, next_page_token) = super::list(&self.0, &caller, page).await?;

        let sessions = sessions.into_iter().map(|it| message(it, caller.session_id())).collect();
        Ok(Response::new(pb::ListSessionsResponse { sessions, next_page_token }))
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

fn message(session: Session, current: Option<Uuid>) -> pb::Session {
    pb::Session {
        id: session.session_id.to_string(),
        create_time: Some(parse::timestamp(session.created_at)),
        refresh_time: Some(parse::timestamp(session.refreshed_at)),
        expire_time: Some(parse::timestamp(session.expires_at)),
        ip_address: session.ip_address.map(|it| it.to_string()).unwrap_or_default(),
        user_agent: session.user_agent,
        current: current == Some(session.session_id),
    }
}
