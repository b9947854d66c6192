//! Writing a mail at the moment when it is sent: to whom it concerns now, with a token
//! that is made only then and is nowhere else.

use chrono::TimeDelta;
use ihuman_shared::Result;

use super::{
    Kind,
    letter::{Letter, Stationery},
    store::{self, Leased},
};
use crate::{
    context::Context,
    emails::{self, Issue},
    users::{self, store::User},
};

/// What a mail comes to.
pub(super) enum Composed {
    Letter(Letter),
    /// It counts as if it had been sent, or whoever asked for it could tell from what
    /// they get next that it was not.
    Unsaid,
    /// There is nobody any more who should get it, or who has not had enough of them.
    Nothing,
}

pub(super) async fn compose(
    context: &Context,
    stationery: &Stationery,
    mail: &Leased,
) -> Result<Composed> {
    let now = context.now();
    let mut tx = context.db.begin().await?;
    // Locked, so that of two mails to one account each counts the other.
    let user = users::store::lock(&mut tx, mail.user_id).await?;
    let own = user.email.as_deref();
    let Some(to) = mail.recipient.as_deref().or(own).filter(|_| mail.kind.concerns(&user)) else {
        return Ok(Composed::Nothing);
    };
    // What was let through once is not held back when it is tried again.
    if mail.attempts == 1
        && let Some(max) = mail.kind.hourly_max()
        && store::count_made(&mut tx, mail, now - TimeDelta::hours(1)).await? >= max
    {
        return Ok(Composed::Nothing);
    }
    let token = match mail.kind.token() {
        None => None,
        Some(kind) => {
            let issue = Issue { kind, mail_id: mail.mail_id, user: &user, email: to };
            let token = emails::issue(&mut tx, context, issue).await?;
            // A later mail of the same kind was faster, or this one arrived after all
            // and its token was used.
            let Some(token) = token else { return Ok(Composed::Nothing) };
            Some(token)
        }
    };
    if mail.kind == Kind::ConfirmEmailChange && is_taken(&mut tx, to, &user).await? {
        // Its token ended the one before, as it would have if the address were free.
        tx.commit().await?;
        return Ok(Composed::Unsaid);
    }
    let letter = stationery.write(mail, to, token.as_ref(), now);
    tx.commit().await?;
    Ok(Composed::Letter(letter))
}

async fn is_taken(conn: &mut sqlx::PgConnection, email: &str, user: &User) -> Result<bool> {
    let owner = users::store::find_by_email(conn, email).await?;
    Ok(owner.is_some_and(|it| it.user_id != user.user_id))
}
