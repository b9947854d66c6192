//! What a service that stops does before it has.

use std::time::Duration;

use crate::support::{Auth, EMAIL};

#[tokio::test]
async fn a_service_that_stops_records_what_it_has_refused() {
    let auth = Auth::start().await;
    auth.register(EMAIL).await;
    let mut lock = auth.database.superuser.begin().await.unwrap();
    let no_insert = "lock table audit.audit_logs in share row exclusive mode";
    sqlx::raw_sql(no_insert).execute(&mut *lock).await.unwrap();

    auth.login_with(EMAIL, "a wrong password, long enough").await.unwrap_err();
    let Auth { service, database, .. } = auth;
    let stopping = service.stop();
    tokio::pin!(stopping);
    let early = tokio::time::timeout(Duration::from_millis(300), &mut stopping).await;
    lock.commit().await.unwrap();
    assert!(early.is_err(), "it stopped without a record");
    stopping.await;

    let refusals = "select count(*) from audit.audit_logs where reason = 'LOGIN_FAILED'";
    let refusals: i64 = sqlx::query_scalar(refusals).fetch_one(&database.superuser).await.unwrap();
    assert_eq!(refusals, 1);
}
