//! `ihuman.auth.v1.AccessService`.

use std::sync::Arc;

use ihuman_proto::auth::v1::{
    self as pb,
    access_service_server::{AccessService, AccessServiceServer},
    explain_access_request::Subject as PbSubject,
};
use ihuman_shared::{
    Result,
    access::{Permission, Principal, Role, UndeclaredAccess},
    parse,
    server::Limited,
};
use tonic::{Request, Response, Status};

use super::{Allowed, Denied, Explainer, Subject};
use crate::{context::Context, limits, refusal};

/// The path under which a refused question is recorded.
const EXPLAIN_ACCESS: &str = "/ihuman.auth.v1.AccessService/ExplainAccess";
/// No path of an RPC is longer.
const METHOD_MAX: usize = 200;

/// The service behind its limits.
///
/// # Errors
/// When an RPC declares no access rule.
pub(crate) fn server(
    context: &Arc<Context>,
) -> Result<Limited<AccessServiceServer<Access>>, UndeclaredAccess> {
    let access = Access(Explainer::new(context)?);
    Ok(Limited::new(limits::MESSAGE_MAX, |longest| {
        AccessServiceServer::new(access)
            .accept_compressed(limits::COMPRESSION)
            .max_decoding_message_size(longest)
    }))
}

pub(crate) struct Access(Explainer);

#[tonic::async_trait]
impl AccessService for Access {
    async fn list_roles(
        &self,
        _: Request<pb::ListRolesRequest>,
    ) -> Result<Response<pb::ListRolesResponse>, Status> {
        let grant = |role: Role| pb::RoleGrant {
            role: role.to_contract(),
            permissions: role.permissions().texts(),
        };

        Ok(Response::new(pb::ListRolesResponse { roles: Role::ALL.map(grant).into() }))
    }

    async fn list_my_methods(
        &self,
        request: Request<pb::ListMyMethodsRequest>,
    ) -> Result<Response<pb::ListMyMethodsResponse>, Status> {
        let caller = Principal::of(&request)?;

        let methods = self.0.methods(&caller).await?;

        let methods = methods.into_iter().map(method).collect();
        Ok(Response::new(pb::ListMyMethodsResponse { methods }))
    }

    async fn explain_access(
        &self,
        request: Request<pb::ExplainAccessRequest>,
    ) -> Result<Response<pb::ExplainAccessResponse>, Status> {
        let caller = Principal::of(&request)?;
        let request = request.into_inner();
        let path = parse::text("method", request.method, 1, METHOD_MAX)?;
        let subject = match request.subject {
            None => Subject::Caller,
            Some(PbSubject::UserId(id)) => Subject::User(parse::uuid("user_id", &id)?),
            Some(PbSubject::ApiKeyId(id)) => Subject::ApiKey(parse::uuid("api_key_id", &id)?),
        };

        let done = self.0.explain(&caller, &path, subject).await;
        let explained = refusal::recorded(&self.0.context, &caller, EXPLAIN_ACCESS, done).await?;

        Ok(Response::new(explained.map_or_else(denied, allowed)))
    }
}

fn method((path, allowed): (&str, Allowed)) -> pb::AllowedMethod {
    let permission = match allowed {
        Allowed::Role(it) | Allowed::ExtraPermissions(it) => it.text(),
        Allowed::Public | Allowed::Authenticated => String::new(),
    };
    pb::AllowedMethod { method: path.to_owned(), granted_by: granted_by(allowed), permission }
}

fn granted_by(allowed: Allowed) -> i32 {
    (match allowed {
        Allowed::Public => pb::AccessGrant::Public,
        Allowed::Authenticated => pb::AccessGrant::Authenticated,
        Allowed::Role(_) => pb::AccessGrant::Role,
        Allowed::ExtraPermissions(_) => pb::AccessGrant::ExtraPermissions,
    }) as i32
}

fn allowed(by: Allowed) -> pb::ExplainAccessResponse {
    pb::ExplainAccessResponse {
        allowed: true,
        granted_by: granted_by(by),
        ..pb::ExplainAccessResponse::default()
    }
}

fn denied(by: Denied) -> pb::ExplainAccessResponse {
    let (denied_by, missing) = match by {
        Denied::AccountClosed => (pb::AccessDenial::AccountClosed, None),
        Denied::ApiKeyEnded => (pb::AccessDenial::ApiKeyEnded, None),
        Denied::Permissions(it) => (pb::AccessDenial::Permissions, Some(it)),
        Denied::ApiKeyScopes(it) => (pb::AccessDenial::ApiKeyScopes, Some(it)),
        Denied::SessionRequired => (pb::AccessDenial::SessionRequired, None),
        Denied::ApiKeyRequired => (pb::AccessDenial::ApiKeyRequired, None),
        Denied::RecentAuthenticationRequired => {
            (pb::AccessDenial::RecentAuthenticationRequired, None)
        }
    };
    pb::ExplainAccessResponse {
        denied_by: denied_by as i32,
        missing_permission: missing.map(Permission::text).unwrap_or_default(),
        ..pb::ExplainAccessResponse::default()
    }
}
