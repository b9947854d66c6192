//! The `users` table.

pub(crate) mod addresses;
pub(crate) mod erasure;
pub(crate) mod login;
pub(crate) mod profile;
pub(crate) mod search;
pub(crate) mod statistics;

use chrono::{DateTime, Utc};
use ihuman_shared::{
    Error, Result,
    access::{Permission, Permissions, Role},
    error::OnConstraint as _,
};
use sqlx::PgConnection;
use uuid::Uuid;

/// What stands behind an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, sqlx::Type)]
#[sqlx(type_name = "text", rename_all = "snake_case")]
#[serde(rename_all = "snake_case")]
pub(crate) enum Kind {
    Person,
    ServiceAccount,
}

/// Whether an account may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, sqlx::Type)]
#[sqlx(type_name = "text", rename_all = "snake_case")]
#[serde(rename_all = "snake_case")]
pub(crate) enum State {
    Active,
    Deactivated,
    Deleted,
}

/// Begins the transaction that accounts are listed in. Each list is planned for the
/// filters that are set: one plan for all would use no index of theirs. Accounts are few
/// enough to be in memory, where a page costs the same wherever it is.
pub(crate) const READ: &str = "begin read only; set local plan_cache_mode = 'force_custom_plan'; \
     set local random_page_cost = 1.1";

#[derive(Clone, Debug)]
pub(crate) struct User {
    pub(crate) user_id: Uuid,
    pub(crate) kind: Kind,
    pub(crate) email: Option<String>,
    pub(crate) email_verified_at: Option<DateTime<Utc>>,
    pub(crate) display_name: String,
    pub(crate) role: Role,
    pub(crate) permissions: Vec<String>,
    pub(crate) avatar_url: String,
    pub(crate) mfa_enabled: bool,
    pub(crate) state: State,
    pub(crate) token_version: i64,
    pub(crate) last_login_at: Option<DateTime<Utc>>,
    pub(crate) created_at: DateTime<Utc>,
    pub(crate) updated_at: DateTime<Utc>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct NewUser<'a> {
    pub(crate) user_id: Uuid,
    pub(crate) kind: Kind,
    pub(crate) email: Option<&'a str>,
    /// What it is compared by.
    pub(crate) email_key: Option<&'a str>,
    pub(crate) display_name: &'a str,
    pub(crate) password_hash: Option<&'a str>,
    pub(crate) role: Role,
}

/// What a login is checked against.
pub(crate) struct Login {
    pub(crate) user_id: Uuid,
    pub(crate) password_hash: Option<String>,
    pub(crate) state: State,
    pub(crate) is_verified: bool,
    pub(crate) mfa_enabled: bool,
    pub(crate) token_version: i64,
    pub(crate) factors_version: i64,
    pub(crate) last_login_at: Option<DateTime<Utc>>,
}

/// Which accounts to list; what is not set does not matter.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Filter {
    pub(crate) role: Option<Role>,
    pub(crate) kind: Option<Kind>,
    pub(crate) state: Option<State>,
}

impl User {
    /// What the account may do.
    pub(crate) fn rights(&self) -> Permissions {
        self.role.permissions().union(Permissions::from_texts(&self.permissions))
    }

    /// Whether the account may do everything.
    pub(crate) fn is_administrator(&self) -> bool {
        self.rights().contains(Permission::ADMIN_FULL)
    }
}

/// # Errors
/// `AlreadyExists`, when the e-mail address is taken.
pub(crate) async fn insert(conn: &mut PgConnection, new: NewUser<'_>) -> Result<User> {
    sqlx::query_as!(
        User,
        r#"insert into users (user_id, kind, email, email_key, display_name, password_hash, role)
           values ($1, $2, $3, $7, $4, $5, $6)
           returning user_id, kind as "kind: Kind", email, email_verified_at, display_name, role as "role: Role",
               permissions, avatar_url, mfa_enabled, state as "state: State", token_version, last_login_at, created_at, updated_at"#,
        new.user_id,
        new.kind as Kind,
        new.email,
        new.display_name,
        new.password_hash,
        new.role as Role,
        new.email_key,
    )
    .fetch_one(conn)
    .await
    .on_constraint("users_email_key", Error::AlreadyExists("user"))
}

/// # Errors
/// `NotFound`
pub(crate) async fn get(conn: &mut PgConnection, user_id: Uuid) -> Result<User> {
    let user = sqlx::query_as!(
        User,
        r#"select user_id, kind as "kind: Kind", email, email_verified_at, display_name, role as "role: Role",
               permissions, avatar_url, mfa_enabled, state as "state: State", token_version, last_login_at, created_at, updated_at
           from users where user_id = $1"#,
        user_id,
    )
    .fetch_optional(conn)
    .await?;
    user.ok_or(Error::NotFound("user"))
}

pub(crate) async fn find_by_email(
    conn: &mut PgConnection,
    email_key: &str,
) -> Result<Option<User>> {
    let user = sqlx::query_as!(
        User,
        r#"select user_id, kind as "kind: Kind", email, email_verified_at, display_name, role as "role: Role",
               permissions, avatar_url, mfa_enabled, state as "state: State", token_version, last_login_at, created_at, updated_at
           from users where email_key = $1"#,
        email_key,
    )
    .fetch_optional(conn)
    .await?;
    Ok(user)
}

pub(crate) async fn find_login(conn: &mut PgConnection, email_key: &str) -> Result<Option<Login>> {
    let login = sqlx::query_as!(
        Login,
        r#"select user_id, password_hash, state as "state: State", mfa_enabled, token_version,
               factors_version, last_login_at, email_verified_at is not null as "is_verified!"
           from users where email_key = $1"#,
        email_key,
    )
    .fetch_optional(conn)
    .await?;
    Ok(login)
}

/// Newest first: the ids are UUIDv7, so they sort by time.
pub(crate) async fn list(
    conn: &mut PgConnection,
    filter: Filter,
    after: Option<Uuid>,
    limit: i64,
) -> Result<Vec<User>> {
    let users = sqlx::query_as!(
        User,
        r#"select user_id, kind as "kind: Kind", email, email_verified_at, display_name, role as "role: Role",
               permissions, avatar_url, mfa_enabled, state as "state: State", token_version, last_login_at, created_at, updated_at
           from users
           where ($1::text is null or role = $1)
               and ($2::text is null or kind = $2)
               and ($3::text is null or state = $3)
               and ($4::uuid is null or user_id < $4)
           order by user_id desc
           limit $5"#,
        filter.role as Option<Role>,
        filter.kind as Option<Kind>,
        filter.state as Option<State>,
        after,
        limit,
    )
    .fetch_all(conn)
    .await?;
    Ok(users)
}

/// The account, whose limits nobody else uses up until the transaction ends.
///
/// # Errors
/// `NotFound`
pub(crate) async fn lock(conn: &mut PgConnection, user_id: Uuid) -> Result<User> {
    let user = sqlx::query_as!(
        User,
        r#"select user_id, kind as "kind: Kind", email, email_verified_at, display_name, role as "role: Role",
               permissions, avatar_url, mfa_enabled, state as "state: State", token_version, last_login_at, created_at, updated_at
           from users where user_id = $1 for no key update"#,
        user_id,
    )
    .fetch_optional(conn)
    .await?;
    user.ok_or(Error::NotFound("user"))
}

/// The account if it is there, and every active administrator. They are locked in
/// the order of their ids, so that two changes at the same time wait for one
/// another and never deadlock.
pub(crate) async fn lock_with_administrators(
    conn: &mut PgConnection,
    user_id: Uuid,
) -> Result<Vec<User>> {
    let users = sqlx::query_as!(
        User,
        r#"select user_id, kind as "kind: Kind", email, email_verified_at, display_name, role as "role: Role",
               permissions, avatar_url, mfa_enabled, state as "state: State", token_version, last_login_at, created_at, updated_at
           from users
           where user_id = $1 or (role = 'admin' and state = 'active')
           order by user_id
           for no key update"#,
        user_id,
    )
    .fetch_all(conn)
    .await?;
    Ok(users)
}

/// Remembers a login by the password alone, unless the account was closed, got another
/// password or a second factor since `password_hash` was read.
pub(crate) async fn update_login(
    conn: &mut PgConnection,
    user_id: Uuid,
    password_hash: &str,
    now: DateTime<Utc>,
) -> Result<Option<User>> {
    let user = sqlx::query_as!(
        User,
        r#"update users set last_login_at = $3
           where user_id = $1 and password_hash = $2 and not mfa_enabled and state = 'active'
           returning user_id, kind as "kind: Kind", email, email_verified_at, display_name, role as "role: Role",
               permissions, avatar_url, mfa_enabled, state as "state: State", token_version, last_login_at, created_at, updated_at"#,
        user_id,
        password_hash,
        now,
    )
    .fetch_optional(conn)
    .await?;
    Ok(user)
}

/// Stores the password in another form, unless it was replaced since `old` was read.
pub(crate) async fn update_password_form(
    conn: &mut PgConnection,
    user_id: Uuid,
    old: &str,
    new: &str,
) -> Result<()> {
    sqlx::query!(
        "update users set password_hash = $3 where user_id = $1 and password_hash = $2",
        user_id,
        old,
        new,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Replaces the password, unless it was replaced since `old` was read, or the new one is
/// too short for an account that has lost its second factor since; returns the new
/// token version.
pub(crate) async fn update_password(
    conn: &mut PgConnection,
    user_id: Uuid,
    old: &str,
    new: &str,
    is_short: bool,
) -> Result<Option<i64>> {
    let token_version = sqlx::query_scalar!(
        "update users
         set password_hash = $3, password_is_short = $4, token_version = token_version + 1
         where user_id = $1 and password_hash = $2 and (mfa_enabled or not $4)
         returning token_version",
        user_id,
        old,
        new,
        is_short,
    )
    .fetch_optional(conn)
    .await?;
    Ok(token_version)
}

/// Gives the account another role, and its tokens another version.
pub(crate) async fn update_role(
    conn: &mut PgConnection,
    user_id: Uuid,
    role: Role,
) -> Result<User> {
    let user = sqlx::query_as!(
        User,
        r#"update users set role = $2, token_version = token_version + 1 where user_id = $1
           returning user_id, kind as "kind: Kind", email, email_verified_at, display_name, role as "role: Role",
               permissions, avatar_url, mfa_enabled, state as "state: State", token_version, last_login_at, created_at, updated_at"#,
        user_id,
        role as Role,
    )
    .fetch_one(conn)
    .await?;
    Ok(user)
}

/// Opens or closes the account, and gives its tokens another version.
pub(crate) async fn update_state(
    conn: &mut PgConnection,
    user_id: Uuid,
    state: State,
) -> Result<User> {
    let user = sqlx::query_as!(
        User,
        r#"update users set state = $2, token_version = token_version + 1 where user_id = $1
           returning user_id, kind as "kind: Kind", email, email_verified_at, display_name, role as "role: Role",
               permissions, avatar_url, mfa_enabled, state as "state: State", token_version, last_login_at, created_at, updated_at"#,
        user_id,
        state as State,
    )
    .fetch_one(conn)
    .await?;
    Ok(user)
}
