//! Callers of every kind, made without auth-service: an account, a session and credentials.

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{Ed25519KeyPair, KeyPair},
};
use chrono::{DateTime, TimeDelta, Utc};
use sqlx::PgPool;
use tonic::{Request, Status, service::Interceptor};
use uuid::Uuid;

use super::{TestDatabase, database::MASTER_KEY};
use crate::{
    access::Role,
    credentials::{ApiKey, ApiKeyHasher, Claims, MasterKey, Signer},
};

/// Makes callers whose tokens the services accept.
pub struct Credentials {
    signer: Signer,
    hasher: ApiKeyHasher,
    db: PgPool,
}

/// One caller and what it presents.
#[derive(Clone)]
pub struct Caller {
    /// The account.
    pub user_id: Uuid,
    /// Its session, if it has one.
    pub session_id: Option<Uuid>,
    /// Its API key, if it has one.
    pub api_key_id: Option<Uuid>,
    /// The value of the `authorization` header.
    pub authorization: String,
}

impl Credentials {
    /// Publishes a signing key of its own in the database.
    pub async fn new(database: &TestDatabase) -> Self {
        let db = database.superuser.clone();
        let pkcs8 = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).expect("a key");
        let pair = Ed25519KeyPair::from_pkcs8(pkcs8.as_ref()).expect("the key just made");
        let kid = Uuid::now_v7().to_string();
        sqlx::query("insert into auth.signing_keys (kid, public_key, private_key_sealed) values ($1, $2, '')")
            .bind(&kid)
            .bind(pair.public_key().as_ref())
            .execute(&db)
            .await
            .expect("the key is stored");
        let master_key: MasterKey = MASTER_KEY.parse().expect("the key of tests");
        let signer = Signer::ed25519(kid, pkcs8.as_ref());
        Self { signer, hasher: ApiKeyHasher::new(&master_key), db }
    }

    /// A person with `role`, who has just logged in.
    pub async fn person(&self, role: Role) -> Caller {
        self.person_at(role, Utc::now()).await
    }

    /// A person with `role`, who logged in at `auth_time` and whose token lasts an
    /// hour from then.
    pub async fn person_at(&self, role: Role, auth_time: DateTime<Utc>) -> Caller {
        let (user_id, session_id) = (Uuid::now_v7(), Uuid::now_v7());
        sqlx::query(
            "insert into auth.users (user_id, kind, email, display_name, password_hash, role)
             values ($1, 'person', $2, 'Somebody', 'none', $3)",
        )
        .bind(user_id)
        .bind(format!("{user_id}@example.com"))
        .bind(role.text())
        .execute(&self.db)
        .await
        .expect("the account is stored");
        sqlx::query(
            "insert into auth.sessions (session_id, user_id, auth_time, refreshed_at, expires_at)
             values ($1, $2, $3, $3, $3 + interval '7 days')",
        )
        .bind(session_id)
        .bind(user_id)
        .bind(auth_time)
        .execute(&self.db)
        .await
        .expect("the session is stored");
        let claims = Self::claims(user_id, session_id, role, auth_time);
        let authorization = format!("Bearer {}", self.sign(&claims));
        Caller { user_id, session_id: Some(session_id), api_key_id: None, authorization }
    }

    /// A service account with `role` and an API key of all that the role grants.
    pub async fn service_account(&self, role: Role) -> Caller {
        let user_id = Uuid::now_v7();
        sqlx::query(
            "insert into auth.users (user_id, kind, display_name, role)
             values ($1, 'service_account', 'Some program', $2)",
        )
        .bind(user_id)
        .bind(role.text())
        .execute(&self.db)
        .await
        .expect("the account is stored");
        self.api_key(user_id, &role.permissions().texts()).await
    }

    /// The owner `user_id`, with an API key of `scopes`.
    pub async fn api_key(&self, user_id: Uuid, scopes: &[String]) -> Caller {
        let id = Uuid::now_v7();
        let key = ApiKey::generate("ihk", id).expect("a key");
        sqlx::query(
            "insert into auth.api_keys (api_key_id, user_id, name, scopes, secret_hash)
             values ($1, $2, $3, $4, $5)",
        )
        .bind(id)
        .bind(user_id)
        .bind(id.to_string())
        .bind(scopes)
        .bind(self.hasher.hash(&key))
        .execute(&self.db)
        .await
        .expect("the key is stored");
        let authorization = format!("ApiKey {}", key.text());
        Caller { user_id, session_id: None, api_key_id: Some(id), authorization }
    }

    /// Revokes what was made here, as auth-service would: `kind` is that of the
    /// `revocations` table. Every service must know it within a second.
    pub async fn revoke(&self, kind: &str, id: Option<Uuid>) {
        sqlx::query(
            "insert into auth.revocations (revocation_id, kind, subject_id, expires_at)
             values ($1, $2, $3, now() + interval '1 hour')",
        )
        .bind(Uuid::now_v7())
        .bind(kind)
        .bind(id)
        .execute(&self.db)
        .await
        .expect("the revocation is stored");
    }

    /// What the token of a session that authenticated at `auth_time` says.
    pub fn claims(user_id: Uuid, session_id: Uuid, role: Role, auth_time: DateTime<Utc>) -> Claims {
        Claims {
            iss: "ihuman".to_owned(),
            aud: "ihuman".to_owned(),
            sub: user_id,
            sid: session_id,
            iat: auth_time.timestamp(),
            exp: (auth_time + TimeDelta::hours(1)).timestamp(),
            auth_time: auth_time.timestamp(),
            amr: vec!["pwd".to_owned()],
            role: role.text().to_owned(),
            permissions: role.permissions().texts(),
            ver: 1,
        }
    }

    /// A token of any claims, signed with the published key.
    pub fn sign(&self, claims: &Claims) -> String {
        self.signer.sign(claims).expect("claims can be signed")
    }
}

/// Puts the credentials on each request of a generated client.
impl Interceptor for Caller {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        let value = self.authorization.parse().expect("credentials are ASCII");
        request.metadata_mut().insert("authorization", value);
        Ok(request)
    }
}
