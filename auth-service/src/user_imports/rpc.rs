//! `ihuman.auth.v1.UserImportService`.

use std::sync::Arc;

use ihuman_proto::auth::v1::{
    self as pb,
    imported_user::PasswordHash,
    user_import_service_server::{UserImportService, UserImportServiceServer},
};
use ihuman_shared::{
    Error, Result,
    access::{Principal, Role},
    idempotency::Key,
    parse::Fields,
};
use tonic::{Request, Response, Status};

use super::{Entry, ForeignHash, Outcome, Read};
use crate::{
    context::Context,
    limits,
    users::{DisplayName, Email},
};

/// How many accounts a batch has at the most.
const USERS_MAX: usize = 500;
/// The greatest batch in bytes: each account has less than two kilobytes.
const MESSAGE_MAX: usize = 1 << 20;

/// The service behind its limits.
pub(crate) fn server(context: &Arc<Context>) -> UserImportServiceServer<UserImports> {
    UserImportServiceServer::new(UserImports(Arc::clone(context)))
        .accept_compressed(limits::COMPRESSION)
        .max_decoding_message_size(MESSAGE_MAX)
}

pub(crate) struct UserImports(Arc<Context>);

#[tonic::async_trait]
impl UserImportService for UserImports {
    async fn import_users(
        &self,
        request: Request<pb::ImportUsersRequest>,
    ) -> Result<Response<pb::ImportUsersResponse>, Status> {
        let caller = Principal::of(&request)?;
        let request = request.into_inner();
        if !(1..=USERS_MAX).contains(&request.users.len()) {
            let problem = format!("must have 1 to {USERS_MAX} accounts");
            return Err(Error::invalid("users", problem).into());
        }
        let key = key(&caller, &request)?;
        let users = request.users.into_iter().enumerate();
        let entries = users.map(|(at, user)| entry(&caller, at, user)).collect::<Result<_>>()?;

        let outcomes = super::import(&self.0, &caller, entries, key).await?;

        let results = outcomes.into_iter().map(Into::into).collect();
        Ok(Response::new(pb::ImportUsersResponse { results }))
    }
}

/// Without password hashes, so that no hash of them is stored with the key.
fn key(caller: &Principal, request: &pb::ImportUsersRequest) -> Result<Option<Key>> {
    let public = |user: &pb::ImportedUser| pb::ImportedUser {
        email: user.email.clone(),
        display_name: user.display_name.clone(),
        role: user.role,
        email_verified: user.email_verified,
        password_hash: None,
    };
    let users = request.users.iter().map(public).collect();
    let compared = pb::ImportUsersRequest { users, request_id: request.request_id.clone() };
    Key::of(caller.user_id, "ImportUsers", &request.request_id, &compared)
}

fn entry(caller: &Principal, at: usize, user: pb::ImportedUser) -> Result<Read> {
    let path = |field: &str| format!("users[{at}].{field}");
    let email_verified = user.email_verified;
    let mut fields = Fields::default();
    let email = fields.take(Email::parse(&path("email"), user.email));
    let name = DisplayName::parse(&path("display_name"), user.display_name);
    let display_name = fields.take(name);
    let role = fields.take(role(caller, &path("role"), user.role));
    let password = fields.take(password(&path, user.password_hash));
    let whole = email.zip(display_name).zip(role.zip(password));
    let entry = whole.map(|((email, display_name), (role, password))| Entry {
        email,
        display_name,
        role,
        password,
        email_verified,
    });
    match fields.finish(entry) {
        Ok(entry) => Ok(Ok(entry)),
        Err(Error::InvalidFields(violations)) => Ok(Err(violations)),
        Err(error) => Err(error),
    }
}

fn role(caller: &Principal, field: &str, number: i32) -> Result<Role> {
    match number {
        0 => Ok(Role::Viewer),
        _ => match Role::from_contract(field, number)? {
            Role::Admin if !caller.is_admin() => {
                Err(Error::invalid(field, "only administrators may import an administrator"))
            }
            role => Ok(role),
        },
    }
}

fn password(
    path: &impl Fn(&str) -> String,
    password_hash: Option<PasswordHash>,
) -> Result<Option<ForeignHash>> {
    let Some(password_hash) = password_hash else { return Ok(None) };
    let foreign = match password_hash {
        PasswordHash::Argon2(text) => ForeignHash::argon2(&path("argon2"), &text),
        PasswordHash::Bcrypt(text) => ForeignHash::bcrypt(&path("bcrypt"), &text),
        PasswordHash::Sha256(sha256) => {
            let is_suffix = match sha256.salt_position() {
                pb::SaltPosition::Unspecified => None,
                pb::SaltPosition::Prefix => Some(false),
                pb::SaltPosition::Suffix => Some(true),
            };
            ForeignHash::sha256(&path("sha256"), &sha256.hex, sha256.salt, is_suffix)
        }
    };
    foreign.map(Some)
}

impl From<Outcome> for pb::ImportUserResult {
    fn from(outcome: Outcome) -> Self {
        use pb::ImportUserOutcome::{AlreadyExists, Created, Refused};
        let (outcome, user_id, violations) = match outcome {
            Outcome::Created(user_id) => (Created, user_id.to_string(), Vec::new()),
            Outcome::AlreadyExists(user_id) => (AlreadyExists, user_id.to_string(), Vec::new()),
            Outcome::Refused(violations) => (Refused, String::new(), violations),
        };
        let violation = |(field, description)| pb::ImportUserViolation { field, description };
        let violations = violations.into_iter().map(violation).collect();
        pb::ImportUserResult { outcome: outcome as i32, user_id, violations }
    }
}
