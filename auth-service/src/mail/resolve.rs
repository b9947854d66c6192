//! Finding out whom a stranger's request for a mail means, beside its answer.

use std::sync::Arc;

use ihuman_shared::{
    Result,
    access::Origin,
    audit::{self, Actor, Change},
};
use serde_json::json;
use sqlx::PgConnection;
use uuid::Uuid;

use super::{
    Kind,
    store::{self, Asked},
};
use crate::{context::Context, users};

/// How many requests are looked at in one transaction.
const BATCH: usize = 100;

/// Gives what was asked for to the accounts that have the addresses, and forgets the
/// rest; until nothing is left, or another replica is at it.
pub(super) async fn resolve(context: &Context) -> Result<()> {
    loop {
        let mut tx = context.db.begin().await?;
        let asked = store::lock_asked(&mut tx, context.now(), BATCH as i64).await?;
        for it in &asked {
            resolve_one(&mut tx, it).await?;
        }
        tx.commit().await?;
        if asked.len() < BATCH {
            return Ok(());
        }
    }
}

async fn resolve_one(conn: &mut PgConnection, asked: &Asked) -> Result<()> {
    let email_key = users::email_key(&asked.recipient);
    let user = users::store::find_by_email(conn, &email_key).await?;
    let Some(user) = user.filter(|it| asked.kind.concerns(it)) else {
        return store::delete(conn, asked.mail_id).await;
    };
    // However long the mail server is away, one of a kind waits for it.
    if store::is_waiting(conn, user.user_id, asked.kind).await? {
        return store::delete(conn, asked.mail_id).await;
    }
    store::update_user(conn, asked.mail_id, user.user_id).await?;
    record(conn, asked, user.user_id).await
}

async fn record(conn: &mut PgConnection, asked: &Asked, user_id: Uuid) -> Result<()> {
    let action = match asked.kind {
        Kind::VerifyEmail => "user.request_email_verification",
        _ => "user.request_password_reset",
    };
    let origin = Arc::new(Origin {
        ip_address: asked.ip_address,
        user_agent: asked.user_agent.clone(),
        request_id: asked.request_id.clone(),
    });
    let change = Change::created(action, "user", user_id, json!({}));
    audit::record(conn, &Actor::nobody(&origin), change).await
}
