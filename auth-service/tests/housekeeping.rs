//! What is forgotten when it has no use any more.

use chrono::{TimeDelta, Utc};
use ihuman_proto::auth::v1 as pb;
use ihuman_shared::access::Role;
use uuid::Uuid;

use crate::support::{Auth, EMAIL};

impl Auth {
    async fn counts(&self) -> (i64, i64, i64, i64) {
        (
            self.scalar("select count(*) from auth.revocations").await,
            self.scalar("select count(*) from auth.idempotency_keys").await,
            self.scalar("select count(*) from auth.sessions").await,
            self.scalar("select count(*) from auth.refresh_tokens").await,
        )
    }
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
    let db = &auth.database.superuser;
    sqlx::query("set search_path = auth").execute(db).await.unwrap();
    let sweep = async |later: TimeDelta| {
        let options = db.connect_options().as_ref().clone().options([("search_path", "auth")]);
        let db = sqlx::PgPool::connect_with(options).await.unwrap();
        auth_service::sweep(&db, Utc::now() + later).await.unwrap();
    };

    sweep(TimeDelta::zero()).await;
    assert_eq!(auth.counts().await, (1, 1, 3, 3));
    sweep(TimeDelta::minutes(62)).await;
    assert_eq!(auth.counts().await, (0, 1, 3, 3));
    // The one that was logged out ended at once, the others a week later.
    sweep(TimeDelta::days(31)).await;
    assert_eq!(auth.counts().await, (0, 1, 2, 1));
    auth.execute("update auth.idempotency_keys set created_at = now() - interval '25 hours' where principal_id = $1", developer.user_id).await;
    sweep(TimeDelta::days(38)).await;
    assert_eq!(auth.counts().await, (0, 0, 0, 0));
}
