//! `ihuman.auth.v1.RevocationService`.

use std::pin::Pin;

use futures_util::{Stream, StreamExt as _};
use ihuman_proto::auth::v1::{
    self as pb,
    revocation_service_server::{RevocationService, RevocationServiceServer},
};
use ihuman_shared::{access::Principal, parse, platform::Platform, server::Limited};
use tonic::{Request, Response, Status};

use super::{
    Kind, Revocation,
    cursor::Cursor,
    watch::{Source, Update},
};
use crate::limits;

/// The service behind its limits.
pub(crate) fn server(platform: &Platform) -> Limited<RevocationServiceServer<Revocations>> {
    Limited::new(limits::MESSAGE_MAX, |longest| {
        RevocationServiceServer::new(Revocations(Source::new(platform)))
            .accept_compressed(limits::COMPRESSION)
            .max_decoding_message_size(longest)
    })
}

pub(crate) struct Revocations(Source);

#[tonic::async_trait]
impl RevocationService for Revocations {
    type WatchRevocationsStream =
        Pin<Box<dyn Stream<Item = Result<pb::WatchRevocationsResponse, Status>> + Send>>;

    async fn watch_revocations(
        &self,
        request: Request<pb::WatchRevocationsRequest>,
    ) -> Result<Response<Self::WatchRevocationsStream>, Status> {
        let caller = Principal::of(&request)?;
        let cursor = Cursor::parse("cursor", &request.into_inner().cursor)?;

        let updates = self.0.watch(&caller, cursor).await?;

        let updates = updates.map(|it| it.map(Into::into).map_err(Into::into));
        Ok(Response::new(Box::pin(updates)))
    }
}

impl From<Update> for pb::WatchRevocationsResponse {
    fn from(update: Update) -> Self {
        let (revocation, cursor) = (update.revocation.map(Into::into), update.cursor.text());
        pb::WatchRevocationsResponse { revocation, cursor }
    }
}

impl From<Revocation> for pb::Revocation {
    fn from(revocation: Revocation) -> Self {
        let kind = match revocation.kind {
            Kind::Session => pb::RevocationKind::Session,
            Kind::User => pb::RevocationKind::User,
            Kind::ApiKey => pb::RevocationKind::ApiKey,
            Kind::ApiKeyChange => pb::RevocationKind::ApiKeyChange,
            Kind::SigningKey => pb::RevocationKind::SigningKey,
        };
        // Nobody but us knows the version of an API key.
        let min_version = revocation.token_version.filter(|_| revocation.kind == Kind::User);
        pb::Revocation {
            kind: kind as i32,
            subject_id: revocation.subject_id.to_string(),
            min_version: min_version.unwrap_or_default(),
            expire_time: Some(parse::timestamp(revocation.expires_at)),
        }
    }
}
