//! `ihuman.auth.v1.PasswordResetService`.

use std::sync::Arc;

use ihuman_proto::auth::v1::{
    self as pb,
    password_reset_service_server::{PasswordResetService, PasswordResetServiceServer},
};
use ihuman_shared::access::Origin;
use tonic::{Request, Response, Status};

use crate::{context::Context, emails::EmailToken, limits, passwords::Proposal, users::Email};

/// The service behind its limits.
pub(crate) fn server(context: &Arc<Context>) -> PasswordResetServiceServer<PasswordResets> {
    PasswordResetServiceServer::new(PasswordResets(Arc::clone(context)))
        .accept_compressed(limits::COMPRESSION)
        .max_decoding_message_size(limits::MESSAGE_MAX)
}

pub(crate) struct PasswordResets(Arc<Context>);

#[tonic::async_trait]
impl PasswordResetService for PasswordResets {
    async fn request_password_reset(
        &self,
        request: Request<pb::RequestPasswordResetRequest>,
    ) -> Result<Response<pb::RequestPasswordResetResponse>, Status> {
        let origin = Origin::of(&request);
        let email = Email::parse("email", request.into_inner().email)?;

        super::request(&self.0, &email, &origin).await?;

        Ok(Response::new(pb::RequestPasswordResetResponse {}))
    }

    async fn reset_password(
        &self,
        request: Request<pb::ResetPasswordRequest>,
    ) -> Result<Response<pb::ResetPasswordResponse>, Status> {
        let origin = Origin::of(&request);
        let request = request.into_inner();
        let token = EmailToken::parse("token", request.token)?;
        let new = Proposal::parse("new_password", request.new_password)?;

        super::reset(&self.0, &token, new, &origin).await?;

        Ok(Response::new(pb::ResetPasswordResponse {}))
    }
}
