//! Who may call what: declared in the contract, enforced by one layer, denied by default.

mod gate;
mod permission;
mod principal;
mod rate_limit;
mod rule;

pub use self::{
    gate::{Admission, Gate, TrustedProxies},
    permission::{Permission, Permissions, Role, Scope},
    principal::{Credential, Origin, Principal},
    rate_limit::{RateLimit, RateLimitConfig, Subject},
    rule::{Grant, RECENT_AUTHENTICATION, Rule, Rules, UndeclaredAccess},
};
