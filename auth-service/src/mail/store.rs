//! The `mails` table.

use std::net::IpAddr;

use chrono::{DateTime, Utc};
use ihuman_shared::{Result, access::Origin};
use sqlx::PgConnection;
use uuid::Uuid;

/// How many requests of strangers wait at the most until it is known whom they mean, and
/// how many mails that come last until they are sent.
const WAITING_MAX: i64 = 10_000;

/// What a mail says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, sqlx::Type)]
#[sqlx(type_name = "text", rename_all = "snake_case")]
pub(crate) enum Kind {
    VerifyEmail,
    RegistrationAttempt,
    ResetPassword,
    PasswordChanged,
    ConfirmEmailChange,
    EmailChangeRequested,
    EmailChanged,
    AuthenticatorAdded,
    AuthenticatorRemoved,
    PasskeyAdded,
    PasskeyRemoved,
    SecondFactorsReset,
    RecoveryCodeUsed,
    RecoveryCodesReplaced,
    NewDevice,
}

/// What somebody asked for who said no more than an address.
pub(crate) struct Asked {
    pub(crate) mail_id: Uuid,
    pub(crate) kind: Kind,
    pub(crate) recipient: String,
    pub(crate) ip_address: Option<IpAddr>,
    pub(crate) user_agent: String,
    pub(crate) request_id: String,
}

/// A mail that nobody else sends until the lease ends.
#[derive(Clone, Debug)]
pub(crate) struct Leased {
    pub(crate) mail_id: Uuid,
    pub(crate) kind: Kind,
    pub(crate) user_id: Uuid,
    pub(crate) recipient: Option<String>,
    pub(crate) attempts: i32,
    /// The account's when the mail was posted.
    pub(crate) token_version: Option<i64>,
    /// Whether anybody can cause it who invents an address.
    pub(crate) comes_last: bool,
    pub(crate) created_at: DateTime<Utc>,
}

/// Adds what somebody asked for, unless the same still waits.
pub(crate) async fn ask(
    conn: &mut PgConnection,
    kind: Kind,
    recipient: &str,
    origin: &Origin,
    now: DateTime<Utc>,
) -> Result<()> {
    let Origin { ip_address, user_agent, request_id } = origin;
    sqlx::query_file!(
        "src/mail/store/ask.sql",
        Uuid::now_v7(),
        kind as Kind,
        recipient,
        *ip_address as Option<IpAddr>,
        user_agent,
        request_id,
        now,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Adds a mail to an account, unless one of the kind to the same place still waits.
pub(crate) async fn post(
    conn: &mut PgConnection,
    kind: Kind,
    user_id: Uuid,
    recipient: Option<&str>,
    now: DateTime<Utc>,
) -> Result<()> {
    let mail_id = Uuid::now_v7();
    sqlx::query_file!("src/mail/store/post.sql", mail_id, kind as Kind, user_id, recipient, now,)
        .execute(conn)
        .await?;
    Ok(())
}

/// Whether more wait to be found than anybody asks for.
pub(crate) async fn is_crowded(conn: &mut PgConnection) -> Result<bool> {
    let crowded = sqlx::query_scalar!(
        r#"select exists (
               select from mails where next_attempt_at is not null and user_id is null offset $1
           ) as "crowded!""#,
        WAITING_MAX,
    );
    Ok(crowded.fetch_one(conn).await?)
}

/// Whether more of those that come last wait to be sent than anybody causes.
pub(crate) async fn is_full(conn: &mut PgConnection) -> Result<bool> {
    let full = sqlx::query_scalar!(
        r#"select exists (
               select from mails
               where next_attempt_at is not null and user_id is not null
                   and comes_last
               offset $1
           ) as "full!""#,
        WAITING_MAX,
    );
    Ok(full.fetch_one(conn).await?)
}

/// The oldest of what was asked for, which nobody else looks at until the transaction ends.
pub(crate) async fn lock_asked(
    conn: &mut PgConnection,
    now: DateTime<Utc>,
    limit: i64,
) -> Result<Vec<Asked>> {
    let asked = sqlx::query_as!(
        Asked,
        r#"select mail_id, kind as "kind: Kind", recipient as "recipient!",
               ip_address as "ip_address: IpAddr", user_agent, request_id
           from mails
           where next_attempt_at <= $1 and user_id is null
           order by mail_id
           limit $2
           for update skip locked"#,
        now,
        limit,
    )
    .fetch_all(conn)
    .await?;
    Ok(asked)
}

/// Whether such a mail to the account's own address waits.
pub(crate) async fn is_waiting(conn: &mut PgConnection, user_id: Uuid, kind: Kind) -> Result<bool> {
    let waiting = sqlx::query_scalar!(
        r#"select exists (
               select from mails
               where user_id = $1 and kind = $2 and recipient is null and next_attempt_at is not null
           ) as "waiting!""#,
        user_id,
        kind as Kind,
    );
    Ok(waiting.fetch_one(conn).await?)
}

/// Gives the mail to the account, whose own address it goes to, whatever was typed.
pub(crate) async fn update_user(
    conn: &mut PgConnection,
    mail_id: Uuid,
    user_id: Uuid,
) -> Result<()> {
    sqlx::query!(
        "update mails m
         set user_id = $2, recipient = null, ip_address = null, user_agent = '', request_id = '',
             token_version = u.token_version,
             comes_last = m.kind = 'verify_email' or u.email_verified_at is null
         from users u
         where m.mail_id = $1 and u.user_id = $2",
        mail_id,
        user_id,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Takes those whose time has come, until `lease_until`: those that come last after all
/// others, and only so many of them.
pub(crate) async fn lease(
    conn: &mut PgConnection,
    now: DateTime<Utc>,
    lease_until: DateTime<Utc>,
    limit: i64,
    last_max: i64,
) -> Result<Vec<Leased>> {
    let leased = sqlx::query_file_as!(
        Leased,
        "src/mail/store/lease.sql",
        now,
        lease_until,
        limit,
        last_max,
    );
    Ok(leased.fetch_all(conn).await?)
}

/// Whether the mail is still to be sent under this lease, which then stays so until the
/// transaction ends.
pub(crate) async fn lock_leased(conn: &mut PgConnection, mail: &Leased) -> Result<bool> {
    let found = sqlx::query_scalar!(
        "select mail_id from mails
         where mail_id = $1 and attempts = $2 and next_attempt_at is not null
         for update",
        mail.mail_id,
        mail.attempts,
    );
    Ok(found.fetch_optional(conn).await?.is_some())
}

/// How many earlier ones of the kind were made for the account after `since`.
pub(crate) async fn count_made(
    conn: &mut PgConnection,
    mail: &Leased,
    since: DateTime<Utc>,
) -> Result<i64> {
    let count = sqlx::query_scalar!(
        r#"select count(*) as "count!" from mails
           where user_id = $1 and kind = $2 and created_at > $3 and mail_id < $4 and attempts > 0"#,
        mail.user_id,
        mail.kind as Kind,
        since,
        mail.mail_id,
    );
    Ok(count.fetch_one(conn).await?)
}

/// Remembers whose mailbox it goes to; until the transaction ends, no other that goes
/// there is counted.
pub(crate) async fn update_mailbox(
    conn: &mut PgConnection,
    mail: &Leased,
    mailbox_hash: &[u8],
) -> Result<()> {
    sqlx::query!(
        "select pg_advisory_xact_lock(hashtextextended(encode($1::bytea, 'hex'), 0))",
        mailbox_hash,
    )
    .execute(&mut *conn)
    .await?;
    sqlx::query!(
        "update mails set mailbox_hash = $2 where mail_id = $1",
        mail.mail_id,
        mailbox_hash,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// How many others of the kind were made for the mailbox after `since`.
pub(crate) async fn count_made_to(
    conn: &mut PgConnection,
    mail: &Leased,
    mailbox_hash: &[u8],
    since: DateTime<Utc>,
) -> Result<i64> {
    let count = sqlx::query_scalar!(
        r#"select count(*) as "count!" from mails
           where mailbox_hash = $1 and kind = $2 and created_at > $3 and mail_id <> $4"#,
        mailbox_hash,
        mail.kind as Kind,
        since,
        mail.mail_id,
    );
    Ok(count.fetch_one(conn).await?)
}

/// Nothing is left to do; what is personal is forgotten, but what was printed is kept.
pub(crate) async fn update_sent(
    conn: &mut PgConnection,
    mail: &Leased,
    printed: Option<(&str, &str)>,
    now: DateTime<Utc>,
) -> Result<()> {
    let (recipient, text) = printed.unzip();
    sqlx::query!(
        "update mails
         set sent_at = $3, next_attempt_at = null, last_error = '', recipient = $4, printed = $5
         where mail_id = $1 and attempts = $2",
        mail.mail_id,
        mail.attempts,
        now,
        recipient,
        text,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// When to try again; never, if that is not set.
pub(crate) async fn update_failed(
    conn: &mut PgConnection,
    mail: &Leased,
    class: &str,
    next_attempt_at: Option<DateTime<Utc>>,
) -> Result<()> {
    sqlx::query!(
        "update mails
         set last_error = $3, next_attempt_at = $4,
             recipient = case when $4::timestamptz is null then null else recipient end
         where mail_id = $1 and attempts = $2",
        mail.mail_id,
        mail.attempts,
        class,
        next_attempt_at,
    )
    .execute(conn)
    .await?;
    Ok(())
}

pub(crate) async fn delete(conn: &mut PgConnection, mail_id: Uuid) -> Result<()> {
    sqlx::query!("delete from mails where mail_id = $1", mail_id).execute(conn).await?;
    Ok(())
}

/// Deletes those of the kind to an account that are not gone; returns how many.
pub(crate) async fn delete_waiting(
    conn: &mut PgConnection,
    kind: Kind,
    user_id: Uuid,
) -> Result<u64> {
    let deleted = sqlx::query!(
        "delete from mails where user_id = $1 and kind = $2 and next_attempt_at is not null",
        user_id,
        kind as Kind,
    );
    Ok(deleted.execute(conn).await?.rows_affected())
}

/// Deletes those that were made before `before` and are gone.
pub(crate) async fn delete_gone(
    conn: &mut PgConnection,
    before: DateTime<Utc>,
    limit: i64,
) -> Result<u64> {
    let deleted = sqlx::query!(
        "delete from mails
         where created_at < $1 and next_attempt_at is null and ctid = any(array(
             select ctid from mails where created_at < $1 and next_attempt_at is null limit $2))",
        before,
        limit,
    );
    Ok(deleted.execute(conn).await?.rows_affected())
}

/// Deletes those to a user, sent or not.
pub(crate) async fn delete_of_user(conn: &mut PgConnection, user_id: Uuid) -> Result<()> {
    sqlx::query!("delete from mails where user_id = $1", user_id).execute(conn).await?;
    Ok(())
}
