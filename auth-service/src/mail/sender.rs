//! Sending what waits, on every replica, a few at a time.
//!
//! A mail is leased, written, sent and marked, each by itself, and no transaction or
//! connection to the database is held while a mail server is talked to. Who stops in
//! between leaves a lease that ends: the mail is sent again, with the same token and
//! the same message id. So a mail arrives at least once, and seldom twice. A service that
//! stops leases no more, and finishes what it is at.

use std::{sync::Arc, time::Duration};

use chrono::{DateTime, TimeDelta, Utc};
use ihuman_shared::{Result, notifications::Channel, platform::Platform};
use tokio::{sync::Semaphore, task::JoinSet, time::sleep};

use super::{
    Kind,
    compose::{Composed, compose},
    letter::Undeliverable,
    resolve::resolve,
    store::{self, Leased},
    transport::{Failure, Transport},
};
use crate::context::Context;

/// How often to look without a hint.
const EVERY: Duration = Duration::from_secs(2);
/// How many mails are sent at once.
const AT_ONCE: usize = 4;
/// How many of them are mails that come last: strangers can cause as many of those as
/// they like, to servers that never answer.
const LAST_AT_ONCE: usize = 2;
/// How long a replica has for one mail: longer than the longest timeout.
const LEASE: TimeDelta = TimeDelta::minutes(5);
/// How long to wait after the first failure, the second and so on; the last goes on.
const WAITS: [TimeDelta; 8] = [
    TimeDelta::seconds(10),
    TimeDelta::seconds(30),
    TimeDelta::minutes(1),
    TimeDelta::minutes(5),
    TimeDelta::minutes(15),
    TimeDelta::minutes(30),
    TimeDelta::hours(1),
    TimeDelta::hours(3),
];
/// How old a mail gets before it is given up.
const AGE_MAX: TimeDelta = TimeDelta::hours(24);

/// Sends until the service stops, if mail is on. What is being sent then is finished, as
/// far as there is time; the rest is sent by others when its lease ends.
pub(crate) fn start(platform: &Platform, context: &Arc<Context>) {
    if context.mailer.office.is_none() {
        return;
    }
    let (shutdown, context) = (platform.shutdown.clone(), Arc::clone(context));
    let mut hints = platform.notifications.subscribe(Channel::Mails);
    context.tasks.clone().spawn(async move {
        let mut sending = JoinSet::new();
        let last = Arc::new(Semaphore::new(LAST_AT_ONCE));
        loop {
            if let Err(error) = begin(&context, &mut sending, &last).await {
                tracing::warn!(error = error.with_cause(), "can't look for mails to send");
            }
            tokio::select! {
                biased;
                () = shutdown.begun() => break,
                () = hints.next_batch() => {}
                Some(_) = sending.join_next() => {}
                () = sleep(EVERY) => {}
            }
        }
        while sending.join_next().await.is_some() {}
    });
}

async fn begin(
    context: &Arc<Context>,
    sending: &mut JoinSet<()>,
    last: &Arc<Semaphore>,
) -> Result<()> {
    while sending.try_join_next().is_some() {}
    resolve(context).await?;
    let free = AT_ONCE - sending.len();
    if free == 0 {
        return Ok(());
    }
    let now = context.now();
    let mails = {
        let mut conn = context.db.acquire().await?;
        let last_max = last.available_permits() as i64;
        store::lease(&mut conn, now, now + LEASE, free as i64, last_max).await?
    };
    for mail in mails {
        let context = Arc::clone(context);
        // There is one: no more were leased, and nobody else takes any.
        let permit = mail.comes_last.then(|| Arc::clone(last));
        let permit = permit.and_then(|it| it.try_acquire_owned().ok());
        sending.spawn(async move {
            let _permit = permit;
            if let Err(error) = deliver(&context, &mail).await {
                // The lease ends, and somebody tries again.
                tracing::warn!(error = error.with_cause(), mail_id = %mail.mail_id, "can't send a mail");
            }
        });
    }
    Ok(())
}

async fn deliver(context: &Context, mail: &Leased) -> Result<()> {
    let Some(office) = &context.mailer.office else { return Ok(()) };
    if mail.created_at + AGE_MAX < context.now() {
        // Who was at it last did not get as far as to give it up.
        return fail(context, mail, &Failure::ours("too_old")).await;
    }
    let letter = match compose(context, &office.stationery, mail).await? {
        Composed::Letter(letter) => letter,
        Composed::Unsaid => {
            count(mail.kind, "dropped");
            let mut conn = context.db.acquire().await?;
            return store::update_failed(&mut conn, mail, "unsaid", None).await;
        }
        Composed::Nothing => {
            count(mail.kind, "dropped");
            let mut conn = context.db.acquire().await?;
            return store::delete(&mut conn, mail.mail_id).await;
        }
    };
    let done = match office.stationery.message(&letter) {
        Ok(message) => office.transport.send(&letter, message).await,
        Err(Undeliverable) => Err(Failure::ours("address")),
    };
    match done {
        Ok(()) => {
            count(mail.kind, "sent");
            tracing::info!(mail_id = %mail.mail_id, kind = mail.kind.text(), attempts = mail.attempts, "sent a mail");
            let printed = matches!(office.transport, Transport::Print);
            let printed = printed.then_some((letter.to.as_str(), letter.text.as_str()));
            let mut conn = context.db.acquire().await?;
            store::update_sent(&mut conn, mail, printed, context.now()).await
        }
        Err(failure) => fail(context, mail, &failure).await,
    }
}

async fn fail(context: &Context, mail: &Leased, failure: &Failure) -> Result<()> {
    let again_at = again_at(mail, failure, context.now());
    let outcome = if again_at.is_some() { "failed" } else { "given_up" };
    count(mail.kind, outcome);
    let Failure { class, code, ref detail, .. } = *failure;
    let (mail_id, kind, attempts) = (mail.mail_id, mail.kind.text(), mail.attempts);
    tracing::warn!(%mail_id, kind, attempts, class, code, detail, outcome, "a mail was not taken");
    let mut conn = context.db.acquire().await?;
    store::update_failed(&mut conn, mail, class, again_at).await
}

/// None when nobody will try again.
fn again_at(mail: &Leased, failure: &Failure, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
    let nth = usize::try_from(mail.attempts).unwrap_or(1).clamp(1, WAITS.len());
    let at = now + WAITS[nth - 1];
    (!failure.is_final && at < mail.created_at + AGE_MAX).then_some(at)
}

fn count(kind: Kind, outcome: &'static str) {
    metrics::counter!("ihuman_mails_total", "kind" => kind.text(), "outcome" => outcome)
        .increment(1);
}
