//! What is forgotten when it has no use any more.

use chrono::{TimeDelta, Utc};
use ihuman_proto::auth::v1::{self as pb, imported_user::PasswordHash};
use ihuman_shared::{Error, access::Role};
use uuid::Uuid;

use crate::support::{Auth, EMAIL};

/// Of nothing that anybody remembers.
const BCRYPT: &str = "$2b$04$abcdefghijklmnopqrstuuZCtgzaVsLoLZuPAbPXBWTzv5WZVcuz6";

impl Auth {
    async fn counts(&self) -> (i64, i64, i64, i64) {
        (
            self.scalar("select count(*) from auth.revocations").await,
            self.scalar("select count(*) from auth.idempotency_keys").await,
            self.scalar("select count(*) from auth.sessions").await,
            self.scalar("select count(*) from auth.refresh_tokens").await,
        )
    }

    pub(crate) async fn sweep(&self, later: TimeDelta) {
        self.try_sweep(later).await.unwrap();
    }

    async fn try_sweep(&self, later: TimeDelta) -> Result<u64, Error> {
        let options = self.database.superuser.connect_options().as_ref().clone();
        let options = options.options([("search_path", "auth"), ("lock_timeout", "1s")]);
        let db = sqlx::PgPool::connect_with(options).await.unwrap();
        auth_service::sweep(&db, Utc::now() + later).await
    }
}

#[tokio::test]
async fn failures_and_imports_are_forgotten_when_nobody_can_ask_for_them() {
    let auth = Auth::start().await;
    let admin = auth.credentials.person(Role::Admin).await;
    auth.register(EMAIL).await;
    let import = pb::ImportUsersRequest {
        users: vec![pb::ImportedUser {
            email: "bob@example.com".to_owned(),
            display_name: "Bob".to_owned(),
            role: 0,
            email_verified: false,
            password_hash: Some(PasswordHash::Bcrypt(BCRYPT.to_owned())),
        }],
        request_id: Uuid::new_v4().to_string(),
    };
    let mut imports = auth.user_imports(&admin);
    let first = imports.import_users(import.clone()).await.unwrap().into_inner();
    auth.login_with(EMAIL, "a wrong password, long enough").await.unwrap_err();
    let counts = async || {
        let locks: i64 = auth.scalar("select count(*) from auth.locks").await;
        let imports: i64 = auth.scalar("select count(*) from auth.user_imports").await;
        (locks, imports)
    };
    let of_account_and_address = counts().await.0;
    assert!(of_account_and_address > 0);

    // An answer can be asked for again for as long as its request_id is remembered.
    auth.sweep(TimeDelta::minutes(24 * 60 - 1)).await;
    assert_eq!(imports.import_users(import).await.unwrap().into_inner(), first);
    let keys = "select count(*) from auth.idempotency_keys";
    auth.sweep(TimeDelta::minutes(24 * 60 + 1)).await;
    assert_eq!((auth.scalar::<i64>(keys).await, counts().await.1), (0, 1));
    auth.sweep(TimeDelta::days(29)).await;
    assert_eq!(counts().await, (of_account_and_address, 0));
    auth.sweep(TimeDelta::days(31)).await;
    assert_eq!(counts().await, (0, 0));
}

#[tokio::test]
async fn only_what_has_no_use_any_more_is_forgotten() {
    let auth = Auth::start().await;
    let (user, tokens) = auth.person(EMAIL).await;
    let caller = crate::support::bearer(&user, &tokens);
    auth.refresh(&tokens.refresh_token, "").await.unwrap();
    auth.auth_as(&caller).logout(pb::LogoutRequest {}).await.unwrap();
    auth.login(EMAIL).await;
    let developer = auth.credentials.person(Role::Developer).await;
    let create = pb::CreateApiKeyRequest {
        name: "ci".to_owned(),
        scopes: vec!["skills:read".to_owned()],
        request_id: Uuid::new_v4().to_string(),
        ..pb::CreateApiKeyRequest::default()
    };
    auth.api_keys(&developer).create_api_key(create).await.unwrap();

    auth.sweep(TimeDelta::zero()).await;
    assert_eq!(auth.counts().await, (1, 1, 3, 3));
    auth.sweep(TimeDelta::minutes(62)).await;
    assert_eq!(auth.counts().await, (0, 1, 3, 3));
    // The one that was logged out ended at once, the others a week later.
    auth.sweep(TimeDelta::days(31)).await;
    assert_eq!(auth.counts().await, (0, 0, 2, 1));
    auth.sweep(TimeDelta::days(38)).await;
    assert_eq!(auth.counts().await, (0, 0, 0, 0));
}

#[tokio::test]
async fn what_can_not_be_cleaned_up_holds_up_neither_a_request_nor_the_rest() {
    let auth = Auth::start().await;
    let db = &auth.database.superuser;
    let ended = "insert into auth.rate_limits values ('user:any', 1, 1, now() - interval '1 hour')";
    sqlx::raw_sql(ended).execute(db).await.unwrap();
    auth.credentials.revoke("session", Some(Uuid::now_v7())).await;
    let mut lock = db.begin().await.unwrap();
    sqlx::raw_sql("lock table auth.locks").execute(&mut *lock).await.unwrap();

    let sweeping = auth.try_sweep(TimeDelta::hours(2));
    let leasing = async {
        // The row is deleted while the sweep waits for the lock.
        let left = "select count(*) from auth.rate_limits";
        while auth.scalar::<i64>("select count(*) from pg_locks where not granted").await == 0 {
            tokio::task::yield_now().await;
        }
        let lease = "set local statement_timeout = '500ms';
                     select * from auth.lease_requests('user:any', 1, 10, 60000)";
        let leased = sqlx::raw_sql(lease).execute(db).await;
        (leased, auth.scalar::<i64>(left).await)
    };
    let (swept, (leased, left)) = tokio::join!(sweeping, leasing);
    drop(lock);

    leased.unwrap();
    assert_eq!(left, 1);
    assert!(swept.is_err(), "the locked table was cleaned up");
    assert_eq!(auth.counts().await.0, 0);
}

#[tokio::test]
async fn more_than_one_batch_is_forgotten_at_once() {
    let auth = Auth::start().await;
    auth.execute(
        "insert into auth.revocations (revocation_id, kind, subject_id, expires_at)
         select gen_random_uuid(), 'session', $1, now() + (n / 11000) * interval '1 hour'
         from generate_series(1, 11000) n",
        Uuid::nil(),
    )
    .await;

    auth.sweep(TimeDelta::minutes(1)).await;

    assert_eq!(auth.counts().await.0, 1);
}
