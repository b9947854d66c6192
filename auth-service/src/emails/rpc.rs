//! `ihuman.auth.v1.EmailService`.

use std::sync::Arc;

use ihuman_proto::auth::v1::{
    self as pb,
    email_service_server::{EmailService, EmailServiceServer},
};
use ihuman_shared::access::{Origin, Principal};
use tonic::{Request, Response, Status};

use super::EmailToken;
use crate::{context::Context, limits, users::Email};

/// The service behind its limits.
pub(crate) fn server(context: &Arc<Context>) -> EmailServiceServer<Emails> {
    EmailServiceServer::new(Emails(Arc::clone(context)))
        .accept_compressed(limits::COMPRESSION)
        .max_decoding_message_size(limits::MESSAGE_MAX)
}

pub(crate) struct Emails(Arc<Context>);

#[tonic::async_trait]
impl EmailService for Emails {
    async fn send_email_verification(
        &self,
        request: Request<pb::SendEmailVerificationRequest>,
    ) -> Result<Response<pb::SendEmailVerificationResponse>, Status> {
        let origin = Origin::of(&request);
        let email = Email::parse("email", request.into_inner().email)?;

        super::send_verification(&self.0, &email, &origin).await?;

        Ok(Response::new(pb::SendEmailVerificationResponse {}))
    }

    async fn verify_email(
        &self,
        request: Request<pb::VerifyEmailRequest>,
    ) -> Result<Response<pb::VerifyEmailResponse>, Status> {
        let origin = Origin::of(&request);
        let token = EmailToken::parse("token", request.into_inner().token)?;

        super::verify(&self.0, &token, &origin).await?;

        Ok(Response::new(pb::VerifyEmailResponse {}))
    }

    async fn change_email(
        &self,
        request: Request<pb::ChangeEmailRequest>,
    ) -> Result<Response<pb::ChangeEmailResponse>, Status> {
        let caller = Principal::of(&request)?;
        let new_email = Email::parse("new_email", request.into_inner().new_email)?;

        super::change(&self.0, &caller, new_email).await?;

        Ok(Response::new(pb::ChangeEmailResponse {}))
    }

    async fn confirm_email_change(
        &self,
        request: Request<pb::ConfirmEmailChangeRequest>,
    ) -> Result<Response<pb::ConfirmEmailChangeResponse>, Status> {
        let origin = Origin::of(&request);
        let token = EmailToken::parse("token", request.into_inner().token)?;

        super::confirm_change(&self.0, &token, &origin).await?;

        Ok(Response::new(pb::ConfirmEmailChangeResponse {}))
    }
}
