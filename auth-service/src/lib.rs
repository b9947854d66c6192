//! auth-service: accounts, sessions, tokens, API keys, users and settings.

mod access;
mod api_keys;
mod auth;
pub mod config;
mod context;
mod emails;
#[cfg(any(test, feature = "fuzz"))]
pub mod fuzz;
mod housekeeping;
mod limits;
mod locks;
mod mail;
mod mfa;
mod opaque;
mod passkeys;
mod password_resets;
mod passwords;
mod refusal;
mod rekey;
mod revocations;
mod sessions;
mod settings;
mod signing_keys;
mod user_imports;
mod users;

use ihuman_shared::{platform::Platform, server::Stack, service::Service};

use self::{config::IdentityConfig, context::Context};
pub use self::{
    housekeeping::sweep,
    rekey::{Rekeyed, claim_master_key, rekey},
    signing_keys::rotation::rotate_due,
    users::{
        administrator::{CreatedAdmin, create_admin},
        recovery::recover,
    },
};

/// What names the service.
pub const SERVICE: Service = Service {
    name: "auth-service",
    schema: "auth",
    own_table: "auth.users",
    package: "ihuman.auth.v1",
};

/// The list of what the service serves.
///
/// # Errors
/// Whatever keeps a part from starting.
pub async fn stack(platform: &Platform, config: &IdentityConfig) -> anyhow::Result<Stack> {
    // Before anything is sealed.
    claim_master_key(platform).await?;
    let context = Context::new(platform, config).await?;
    revocations::lifetimes::start(platform, &context).await?;
    housekeeping::start(platform);
    signing_keys::rotation::start(platform, &context);
    mail::sender::start(platform, &context);
    Ok(Stack::new()
        .service(auth::rpc::server(&context))
        .service(emails::rpc::server(&context))
        .service(password_resets::rpc::server(&context))
        .service(sessions::rpc::server(&context))
        .service(api_keys::rpc::server(&context))
        .service(users::rpc::server(&context))
        .service(user_imports::rpc::server(&context))
        .service(locks::rpc::server(&context))
        .service(mfa::rpc::server(&context))
        .service(passkeys::rpc::server(&context))
        .service(access::rpc::server(&context)?)
        .service(settings::rpc::server(&context))
        .service(revocations::rpc::server(platform))
        .service(signing_keys::rpc::server(&context))
        .web(signing_keys::web::router(&context)))
}
