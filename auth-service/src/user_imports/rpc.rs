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
    parse::{self, Fields},
    server::Limited,
};
use tonic::{Request, Response, Status};

use super::{Entry, ForeignHash, Outcome, Read};
use crate::{
    context::Context,
    limits, refusal,
    users::{DisplayName, Email},
};

/// The path under which a refused import is recorded.
const IMPORT_USERS: &str = "/ihuman.auth.v1.UserImportService/ImportUsers";
/// How many accounts a batch has at the most.
const USERS_MAX: usize = 500;
/// The greatest batch in bytes: each account has less than two kilobytes.
const MESSAGE_MAX: usize = 1 << 20;

/// The service behind its limits.
pub(crate) fn server(context: &Arc<Context>) -> Limited<UserImportServiceServer<UserImports>> {
    Limited::new(MESSAGE_MAX, |longest| {
        UserImportServiceServer::new(UserImports(Arc::clone(context)))
            .accept_compressed(limits::COMPRESSION)
            .max_decoding_message_size(longest)
    })
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
        let entries = users.map(|(at, user)| entry(at, user)).collect::<Result<_>>()?;

        let done = super::import(&self.0, &caller, entries, key).await;
        let outcomes = refusal::recorded(&self.0, &caller, IMPORT_USERS, done).await?;

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

fn entry(at: usize, user: pb::ImportedUser) -> Result<Read> {
    let path = |field: &str| format!("users[{at}].{field}");
    let email_verified = user.email_verified;
    let mut fields = Fields::default();
    let email = fields.take(Email::parse(&path("email"), user.email));
    let name = DisplayName::parse(&path("display_name"), user.display_name);
    let display_name = fields.take(name);
    let role = fields.take(Role::from_optional(&path("role"), user.role));
    let role = role.map(|it| it.unwrap_or(Role::Viewer));
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

fn password(
    path: &impl Fn(&str) -> String,
    password_hash: Option<PasswordHash>,
) -> Result<Option<ForeignHash>> {
    let Some(password_hash) = password_hash else { return Ok(None) };
    let foreign = match password_hash {
        PasswordHash::Argon2(text) => ForeignHash::argon2(&path("argon2"), &text),
        PasswordHash::Bcrypt(text) => ForeignHash::bcrypt(&path("bcrypt"), &text),
        PasswordHash::Sha256(sha256) => {
            let of_position = path("sha256.salt_position");
            let position = parse::optional_enum(&of_position, sha256.salt_position);
            let is_suffix = position.map(|it| match it.unwrap_or_default() {
                pb::SaltPosition::Unspecified => None,
                pb::SaltPosition::Prefix => Some(false),
                pb::SaltPosition::Suffix => Some(true),
            });
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
