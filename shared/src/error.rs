//! The one way to fail: what went wrong in the words of the domain, and its gRPC status.

use std::{collections::HashMap, time::Duration};

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

pub use ihuman_proto::error::v1::ErrorReason as Reason;

use crate::access::Permission;

/// The result of everything that may fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The `domain` of every `google.rpc.ErrorInfo` (AIP-193).
const DOMAIN: &str = "ihuman.dev";

/// What a session calls to prove its factors again.
const STEP_UP: &str = "ihuman.auth.v1.AuthService/Reauthenticate";

/// Why a request failed. A variant exists where a client would act on the difference.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Fields of the request are not allowed as they are.
    #[error("{}", describe(.0))]
    InvalidFields(Vec<Violation>),
    /// The message could not be read at all.
    #[error("the request can't be read: {0}")]
    Malformed(String),
    /// The credentials are missing or not good, for the given reason.
    #[error("{}", unauthenticated(*.0))]
    Unauthenticated(Reason),
    /// The caller lacks a permission.
    #[error("permission {} is missing", .0.text())]
    PermissionMissing(Permission),
    /// Only an access token of a session may be used here.
    #[error("an access token of a session is required")]
    SessionRequired,
    /// Only an API key may be used here.
    #[error("an API key is required")]
    ApiKeyRequired,
    /// The API key may not be used from where the request came from.
    #[error("the API key may not be used from this address")]
    AddressNotAllowed,
    /// The session must have proved its factors within this time.
    #[error("the session must have authenticated within the last {} seconds", .0.as_secs())]
    RecentAuthenticationRequired(Duration),
    /// A rule about whom the caller may act upon forbids it.
    #[error("{0}")]
    NotAllowed(&'static str),
    /// There is no such thing, or it is not the caller's to see.
    #[error("{0} not found")]
    NotFound(&'static str),
    /// The name of such a thing is taken.
    #[error("{0} already exists")]
    AlreadyExists(&'static str),
    /// The `request_id` came before with another request.
    #[error("request_id was used with another request")]
    RequestIdReused,
    /// The thing is in a state that does not allow the change.
    #[error("{subject} {description}")]
    WrongState {
        /// The kind of thing.
        subject: &'static str,
        /// What it is, as in "is archived".
        description: String,
    },
    /// The change would leave no active administrator.
    #[error("the last active administrator can't be demoted, deactivated or removed")]
    LastAdministrator,
    /// One may have only so many.
    #[error("{subject}: {description}")]
    QuotaExceeded {
        /// What is counted.
        subject: &'static str,
        /// The limit, in words.
        description: String,
    },
    /// Too many requests from this subject.
    #[error("too many requests: retry in {} ms", .retry_after.as_millis())]
    RateLimited {
        /// How long to wait.
        retry_after: Duration,
    },
    /// Too many failures in a row to prove a credential.
    #[error("too many failures: retry in {} ms", .retry_after.as_millis())]
    TooManyFailures {
        /// How long to wait.
        retry_after: Duration,
    },
    /// Nobody opens an account by themselves.
    #[error("this service does not open accounts by itself: ask whoever runs it")]
    RegistrationClosed,
    /// The passkey is right, but the address must be verified before the login.
    #[error("the e-mail address must be verified first")]
    EmailNotVerified,
    /// Mail is needed, and the service sends none.
    #[error("this service is not configured to send mail")]
    MailNotConfigured,
    /// The token of a mail can't be used, or not any more.
    #[error("the token is not valid, or not any more")]
    EmailTokenInvalid,
    /// The service has as much of this work as it can take.
    #[error("the service is overloaded: retry in {} ms", .retry_after.as_millis())]
    Overloaded {
        /// How long to wait.
        retry_after: Duration,
    },
    /// The request did not end in time.
    #[error("deadline exceeded")]
    DeadlineExceeded,
    /// The change met another one at the same time.
    #[error("the change met another one at the same time: retry")]
    Conflict,
    /// There is no such RPC.
    #[error("unknown method")]
    UnknownMethod,
    /// The service can't work just now.
    #[error("the service is unavailable: retry")]
    Unavailable,
    /// A fault of the service. It is logged where it becomes a status, and hidden.
    #[error("internal error")]
    Internal(#[source] anyhow::Error),
}

/// What is wrong with one field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The path of the field, as in `skill.tags[2]`.
    pub field: String,
    /// What is allowed.
    pub description: String,
}

impl Error {
    /// One field is not allowed as it is; `description` says what is.
    pub fn invalid(field: impl Into<String>, description: impl Into<String>) -> Self {
        let violation = Violation { field: field.into(), description: description.into() };
        Error::InvalidFields(vec![violation])
    }

    /// A fault of the service, with what is known of it.
    pub fn internal(source: impl Into<anyhow::Error>) -> Self {
        Error::Internal(source.into())
    }

    /// The error for our log, with what it hides from callers.
    pub fn with_cause(&self) -> String {
        match self {
            Error::Internal(source) => format!("{self}: {source:#}"),
            _ => self.to_string(),
        }
    }

    /// The reason that clients match on.
    pub fn reason(&self) -> Reason {
        match self {
            Error::InvalidFields(_) => Reason::InvalidField,
            Error::Malformed(_) => Reason::MalformedRequest,
            Error::Unauthenticated(reason) => *reason,
            Error::PermissionMissing(_) => Reason::PermissionMissing,
            Error::SessionRequired => Reason::SessionRequired,
            Error::ApiKeyRequired => Reason::ApiKeyRequired,
            Error::AddressNotAllowed => Reason::AddressNotAllowed,
            Error::RecentAuthenticationRequired(_) => Reason::RecentAuthenticationRequired,
            Error::NotAllowed(_) => Reason::NotAllowed,
            Error::NotFound(_) => Reason::NotFound,
            Error::AlreadyExists(_) => Reason::AlreadyExists,
            Error::RequestIdReused => Reason::RequestIdReused,
            Error::WrongState { .. } => Reason::WrongState,
            Error::LastAdministrator => Reason::LastAdministrator,
            Error::QuotaExceeded { .. } => Reason::QuotaExceeded,
            Error::RateLimited { .. } => Reason::RateLimited,
            Error::TooManyFailures { .. } => Reason::TooManyFailures,
            Error::RegistrationClosed => Reason::RegistrationClosed,
            Error::EmailNotVerified => Reason::EmailNotVerified,
            Error::MailNotConfigured => Reason::MailNotConfigured,
            Error::EmailTokenInvalid => Reason::EmailTokenInvalid,
            Error::Overloaded { .. } => Reason::Overloaded,
            Error::DeadlineExceeded => Reason::DeadlineExceeded,
            Error::Conflict => Reason::Conflict,
            Error::UnknownMethod => Reason::UnknownMethod,
            Error::Unavailable => Reason::Unavailable,
            Error::Internal(_) => Reason::Internal,
        }
    }

    fn code(&self) -> Code {
        match self {
            Error::InvalidFields(_) | Error::Malformed(_) => Code::InvalidArgument,
            Error::Unauthenticated(_) => Code::Unauthenticated,
            Error::PermissionMissing(_)
            | Error::SessionRequired
            | Error::ApiKeyRequired
            | Error::AddressNotAllowed
            | Error::RecentAuthenticationRequired(_)
            | Error::NotAllowed(_) => Code::PermissionDenied,
            Error::NotFound(_) => Code::NotFound,
            Error::AlreadyExists(_) | Error::RequestIdReused => Code::AlreadyExists,
            Error::WrongState { .. }
            | Error::LastAdministrator
            | Error::RegistrationClosed
            | Error::EmailNotVerified
            | Error::MailNotConfigured
            | Error::EmailTokenInvalid => Code::FailedPrecondition,
            Error::QuotaExceeded { .. }
            | Error::RateLimited { .. }
            | Error::TooManyFailures { .. }
            | Error::Overloaded { .. } => Code::ResourceExhausted,
            Error::DeadlineExceeded => Code::DeadlineExceeded,
            Error::Conflict => Code::Aborted,
            Error::UnknownMethod => Code::Unimplemented,
            Error::Unavailable => Code::Unavailable,
            Error::Internal(_) => Code::Internal,
        }
    }

    fn details(&self) -> ErrorDetails {
        let mut metadata = HashMap::new();
        match self {
            Error::PermissionMissing(permission) => {
                metadata.insert("permission".to_owned(), permission.text());
            }
            Error::RecentAuthenticationRequired(max_age) => {
                metadata.insert("max_age_seconds".to_owned(), max_age.as_secs().to_string());
                metadata.insert("method".to_owned(), STEP_UP.to_owned());
            }
            Error::NotFound(kind) | Error::AlreadyExists(kind) => {
                metadata.insert("kind".to_owned(), (*kind).to_owned());
            }
            _ => {}
        }
        let mut details = error_info(self.reason(), metadata);
        match self {
            Error::InvalidFields(violations) => {
                for it in violations {
                    details.add_bad_request_violation(&it.field, &it.description);
                }
            }
            Error::WrongState { subject, description } => {
                details.add_precondition_failure_violation("STATE", *subject, description);
            }
            Error::LastAdministrator => {
                details.add_precondition_failure_violation("STATE", "user", self.to_string());
            }
            Error::QuotaExceeded { subject, description } => {
                details.add_quota_failure_violation(*subject, description);
            }
            Error::RateLimited { retry_after } => {
                details.add_quota_failure_violation("requests", self.to_string());
                details.set_retry_info(Some(*retry_after));
            }
            Error::TooManyFailures { retry_after } | Error::Overloaded { retry_after } => {
                details.set_retry_info(Some(*retry_after));
            }
            _ => {}
        }
        details
    }
}

/// What every error carries (AIP-193).
pub(crate) fn error_info(reason: Reason, metadata: HashMap<String, String>) -> ErrorDetails {
    ErrorDetails::with_error_info(name(reason), DOMAIN, metadata)
}

/// The text form of a reason: its name without the prefix of the enum.
pub fn name(reason: Reason) -> &'static str {
    reason.as_str_name().trim_start_matches("ERROR_REASON_")
}

/// The first few in words. The details name all of them; both travel in headers,
/// of which clients take no more than 8 to 16 KiB.
fn describe(violations: &[Violation]) -> String {
    let first = violations.iter().take(3);
    let mut each: Vec<_> = first.map(|it| format!("{}: {}", it.field, it.description)).collect();
    if violations.len() > each.len() {
        each.push(format!("and {} more", violations.len() - each.len()));
    }
    each.join("; ")
}

fn unauthenticated(reason: Reason) -> &'static str {
    match reason {
        Reason::CredentialsMissing => "credentials are missing",
        Reason::CredentialsExpired => "the credentials have expired",
        Reason::CredentialsRevoked => "the credentials were revoked",
        Reason::LoginFailed => "the e-mail address and password do not belong together",
        Reason::SecondFactorFailed => "the second factor was not proved",
        Reason::ChallengeInvalid => "the challenge of the login is not valid: log in again",
        Reason::RefreshTokenReused => "the refresh token was used before; its session is revoked",
        _ => "the credentials are not valid",
    }
}

/// The only place where a failure becomes a gRPC status.
impl From<Error> for Status {
    fn from(error: Error) -> Self {
        if let Error::Internal(source) = &error {
            tracing::error!(error = format!("{source:#}"), "request failed");
        }
        Status::with_error_details(error.code(), error.to_string(), error.details())
    }
}

/// Serialization failures and deadlocks can be retried; a statement may take only so
/// long; a lost database is unavailable; everything else is a fault of ours.
impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        match &error {
            sqlx::Error::Database(database) => match database.code().as_deref() {
                Some("40001" | "40P01" | "55P03") => Error::Conflict,
                // The statement took longer than `statement_timeout`. Not what clients
                // retry by themselves, which would make a slow database slower.
                Some("57014") => {
                    tracing::warn!(%error, "the database takes too long");
                    Error::DeadlineExceeded
                }
                // The server is starting, stopping, or ended our connection; or it has
                // no connection, memory or disk left (class 53).
                Some(code)
                    if matches!(code, "57P01" | "57P02" | "57P03") || code.starts_with("53") =>
                {
                    tracing::warn!(%error, "the database is unavailable");
                    Error::Unavailable
                }
                _ => Error::internal(error),
            },
            sqlx::Error::Io(_) | sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed => {
                tracing::warn!(%error, "the database is unavailable");
                Error::Unavailable
            }
            _ => Error::internal(error),
        }
    }
}

/// Gives the violation of a named constraint its meaning.
pub trait OnConstraint<T> {
    /// The violation of constraint `name` is `error`; other failures stay as they are.
    fn on_constraint(self, name: &str, error: Error) -> Result<T>;
}

impl<T> OnConstraint<T> for sqlx::Result<T> {
    fn on_constraint(self, name: &str, error: Error) -> Result<T> {
        self.map_err(|source| match &source {
            sqlx::Error::Database(database) if database.constraint() == Some(name) => error,
            _ => source.into(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_is_told_what_a_caller_is_not() {
        let error = Error::internal(anyhow::anyhow!("no such table").context("can't count"));

        assert_eq!(error.to_string(), "internal error");
        assert_eq!(error.with_cause(), "internal error: can't count: no such table");
        assert_eq!(Error::NotFound("skill").with_cause(), "skill not found");
    }
}
