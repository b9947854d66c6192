//! The first account, which nobody is there yet to make.

use ihuman_shared::{
    Result,
    access::Role,
    audit::{self, Actor, Change},
    platform::Platform,
};
use uuid::Uuid;

use super::{
    DisplayName, Email,
    store::{self, Kind, NewUser},
};
use crate::{
    config::IdentityConfig,
    passwords::{Candidate, Hasher, Owner},
};

/// What came of opening the account of an administrator.
#[derive(Debug, PartialEq, Eq)]
pub enum CreatedAdmin {
    /// It is open.
    Created,
    /// An account with the address was there, with this role. It is as it was.
    Exists(Role),
}

/// Opens the account of an administrator who logs in with `email` and `password`.
///
/// # Errors
/// `InvalidFields`, when either is not allowed.
pub async fn create_admin(
    platform: &Platform,
    config: &IdentityConfig,
    email: String,
    password: String,
) -> Result<CreatedAdmin> {
    let email = Email::parse("email", email)?;
    let candidate = Candidate::parse("password", password)?;
    let local_part: String = email.local_part().chars().take(100).collect();
    let display_name = DisplayName::parse("email", local_part)?;
    let password = candidate.of(Owner::new(&email, &display_name))?;
    let hasher = Hasher::new(&config.passwords, &platform.master_key);
    let hasher = hasher.map_err(ihuman_shared::Error::internal)?;

    let mut tx = platform.db.begin().await?;
    if let Some(user) = store::find_by_email(&mut tx, email.key()).await? {
        return Ok(CreatedAdmin::Exists(user.role));
    }
    let password_hash = hasher.hash(&password).await?;
    let user_id = Uuid::now_v7();
    let new = NewUser {
        user_id,
        kind: Kind::Person,
        email: Some(email.as_str()),
        email_key: Some(email.key()),
        display_name: display_name.as_str(),
        password_hash: Some(&password_hash),
        role: Role::Admin,
    };
    store::insert(&mut tx, new).await?;
    // Whoever runs the service says so; there may be no mail yet.
    store::addresses::update_verified(&mut tx, user_id, platform.clock.now()).await?;
    let change = Change::created("user.create_admin", "user", user_id, new.recorded());
    audit::record(&mut tx, &Actor::system(), change).await?;
    tx.commit().await?;
    Ok(CreatedAdmin::Created)
}
