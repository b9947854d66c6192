//! Who may call what: declared in the contract, enforced by one layer, denied by default.

mod gate;
mod permission;
mod principal;
mod proxies;
mod rate_limit;
mod rule;

pub(crate) use self::rate_limit::HEADERS as RATE_LIMIT_HEADERS;
pub use self::{
    gate::{Admission, Gate},
    permission::{Permission, Permissions, Role, Scope},
    principal::{Credential, Origin, Principal},
    proxies::{TrustedProxies, canonical},
    rate_limit::{Quota, RateLimit, RateLimitConfig, Standing, Subject, subscriber},
    rule::{Grant, RECENT_AUTHENTICATION, Rule, Rules, UndeclaredAccess},
};
