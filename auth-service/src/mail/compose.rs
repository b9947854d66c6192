//! Writing a mail at the moment when it is sent: to whom it concerns now, with a token
//! that is made only then and is nowhere else.

use ihuman_shared::Result;
use sqlx::PgConnection;

use super::{
    Kind, WINDOW,
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
    let is_withdrawn = !store::lock_leased(&mut tx, mail).await?;
    if is_withdrawn || is_outdated(mail, &user) {
        return Ok(Composed::Nothing);
    }
    let own = user.email.as_deref();
    let Some(to) = mail.recipient.as_deref().or(own).filter(|_| mail.kind.concerns(&user)) else {
        return Ok(Composed::Nothing);
    };
    // What was let through once is not held back when it is tried again.
    if mail.attempts == 1
        && let Some(max) = mail.kind.window_max()
        && has_had_enough(&mut tx, context, mail, &user, to, max).await?
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

/// Whether the account is not what it was when its owner asked for another address.
fn is_outdated(mail: &Leased, user: &User) -> bool {
    let is_other = mail.token_version.is_some_and(|it| it != user.token_version);
    mail.kind == Kind::ConfirmEmailChange && is_other
}

/// Whether the account got `max` of them within the window, or the mailbox did for
/// whatever accounts, unless it is proved to be that of the account.
async fn has_had_enough(
    conn: &mut PgConnection,
    context: &Context,
    mail: &Leased,
    user: &User,
    to: &str,
    max: i64,
) -> Result<bool> {
    let since = context.now() - WINDOW;
    if store::count_made(conn, mail, since).await? >= max {
        return Ok(true);
    }
    if mail.recipient.is_none() && user.email_verified_at.is_some() {
        return Ok(false);
    }
    let mailbox_hash = context.mailer.mailboxes.hash(&users::email_key(to));
    store::update_mailbox(conn, mail, &mailbox_hash).await?;
    Ok(store::count_made_to(conn, mail, &mailbox_hash, since).await? >= max)
}

async fn is_taken(conn: &mut PgConnection, email: &str, user: &User) -> Result<bool> {
    let owner = users::store::find_by_email(conn, &users::email_key(email)).await?;
    Ok(owner.is_some_and(|it| it.user_id != user.user_id))
}
