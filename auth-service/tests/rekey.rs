//! Another master key: everything sealed is sealed again, and every credential goes on.

use std::process::Stdio;

use chrono::TimeDelta;
use ihuman_proto::{auth::v1 as pb, error::v1::ErrorReason as Reason};
use ihuman_shared::{
    access::Role,
    testing::{Caller, reason},
};
use tokio::process::Command;
use uuid::Uuid;

use crate::{
    authenticator::recovery_code,
    support::{Auth, EMAIL, bearer, keyed},
};

/// 32 times the byte 2, and 32 times the byte 3, in base64.
const NEW: &str = "AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI=";
const NEWER: &str = "AwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwM=";

impl Auth {
    /// What the program answers: its exit code, and all that it printed.
    async fn rekey(&self, old: Option<&str>, new: &str) -> (Option<i32>, String) {
        let mut program = Command::new(env!("CARGO_BIN_EXE_auth-service"));
        program
            .arg("rekey")
            .envs(self.database.environment("ihuman_auth"))
            .env("IHUMAN_NEW_MASTER_KEY", new)
            .stdin(Stdio::null());
        if let Some(old) = old {
            program.env("IHUMAN_MASTER_KEY", old);
        }
        let output = program.output().await.unwrap();
        let text = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(text).unwrap())
    }

    async fn create_a_key(&self, owner: &Caller, request_id: &str) -> (pb::ApiKey, String) {
        let request = pb::CreateApiKeyRequest {
            name: "CI".to_owned(),
            scopes: vec!["skills:read".to_owned()],
            request_id: request_id.to_owned(),
            ..pb::CreateApiKeyRequest::default()
        };
        let response = self.api_keys(owner).create_api_key(request).await.unwrap().into_inner();
        (response.api_key.unwrap(), response.key)
    }
}

#[tokio::test]
async fn every_credential_goes_on_under_another_master_key() {
    let auth = Auth::start().await;
    let user = auth.register(EMAIL).await;
    let first = auth.login(EMAIL).await;
    let (refresh_id, create_id) = (Uuid::new_v4().to_string(), Uuid::new_v4().to_string());
    let tokens = auth.refresh(&first.refresh_token, &refresh_id).await.unwrap();
    let developer = auth.credentials.person(Role::Developer).await;
    let (api_key, key) = auth.create_a_key(&developer, &create_id).await;

    let (code, output) = auth.rekey(None, NEW).await;
    let new = auth.replica_with(&["--master-key", NEW]).await;

    assert_eq!(code, Some(0), "{output}");
    assert!(!output.contains(NEW) && !auth.audit_text().await.contains(NEW));
    // The same key signs, the lost answers come again, and the API key is accepted.
    let there = new.login(EMAIL).await;
    let kid = |token: &str| jsonwebtoken::decode_header(token).unwrap().kid;
    assert_eq!(kid(&there.access_token), kid(&first.access_token));
    assert!(new.accepts(&bearer(&user, &tokens)).await.is_ok());
    let again = new.refresh(&first.refresh_token, &refresh_id).await.unwrap();
    assert_eq!(again.refresh_token, tokens.refresh_token);
    assert_eq!(new.create_a_key(&developer, &create_id).await.1, key);
    assert!(new.accepts(&keyed(&developer, &api_key, &key)).await.is_ok());
    let record = auth.audited("master_key.rekey").await;
    let new_values = record.new_values.unwrap();
    assert_eq!(
        (new_values["signing_keys"].as_i64(), new_values["refresh_tokens"].as_i64()),
        (Some(1), Some(1))
    );
    assert_eq!(new_values["answers"], 1);
}

#[tokio::test]
async fn an_authenticator_goes_on_under_another_master_key() {
    let auth = Auth::start().await;
    let ann = auth.person_with_mfa(EMAIL).await;
    let enrolled = auth.enroll(&ann.caller).await;

    let (code, output) = auth.rekey(None, NEW).await;
    let new = auth.replica_with(&["--master-key", NEW]).await;

    assert_eq!(code, Some(0), "{output}");
    new.service.clock.advance(TimeDelta::minutes(1));
    let opened = new.login_with_code(EMAIL, &ann.authenticator).await.unwrap();
    let caller = bearer(&ann.user, &opened.tokens.unwrap());
    assert_eq!(new.confirm(&caller, &enrolled).await.unwrap(), [""; 0]);
    let challenge = new.challenge(EMAIL).await;
    let by_recovery_code = new.complete(&challenge, recovery_code(&ann.recovery_codes[0])).await;
    assert!(by_recovery_code.is_ok());
    assert_eq!(auth.audited("master_key.rekey").await.new_values.unwrap()["mfa_secrets"], 2);
}

#[tokio::test]
async fn api_keys_outlive_two_changes_and_a_wrong_secret_none() {
    let auth = Auth::start().await;
    let developer = auth.credentials.person(Role::Developer).await;
    let (api_key, key) = auth.create_a_key(&developer, "").await;
    let forged = ihuman_shared::credentials::ApiKey::generate("ihk", api_key.id.parse().unwrap());
    let forged = forged.unwrap().text();

    assert_eq!(auth.rekey(None, NEW).await.0, Some(0));
    assert_eq!(auth.rekey(None, NEWER).await.0, Some(64), "the old key is not known any more");
    assert_eq!(auth.rekey(Some(NEW), NEWER).await.0, Some(0));
    let newer = auth.replica_with(&["--master-key", NEWER]).await;

    assert!(newer.accepts(&keyed(&developer, &api_key, &key)).await.is_ok());
    let status = newer.accepts(&keyed(&developer, &api_key, &forged)).await.unwrap_err();
    assert_eq!(reason(&status), Reason::CredentialsInvalid);
    let kept: i64 = auth.scalar("select count(*) from auth.api_key_hash_keys").await;
    assert_eq!(kept, 2);
}

#[tokio::test]
async fn with_a_wrong_key_nothing_is_changed() {
    let auth = Auth::start().await;
    auth.register(EMAIL).await;
    let sealed = "select string_agg(encode(private_key_sealed, 'hex'), ' ') from auth.signing_keys";
    let before: String = auth.scalar(sealed).await;
    let same = auth.database.environment("ihuman_auth").remove(1).1;

    let (wrong, output) = auth.rekey(Some(NEWER), NEW).await;
    let (unchanged, same_output) = auth.rekey(None, &same).await;
    let (malformed, line) = auth.rekey(None, "c2hvcnQ=").await;

    assert_eq!(wrong, Some(64));
    assert!(output.contains("the master key is not the one of this database"), "{output}");
    assert_eq!((unchanged, malformed), (Some(64), Some(64)), "{same_output} {line}");
    assert!(!same_output.contains(&same) && !line.contains("c2hvcnQ="));
    assert_eq!(auth.scalar::<String>(sealed).await, before);
    assert!(auth.audit("master_key.rekey").await.is_empty());
}

/// A column that is not resealed would be lost with the old key.
#[tokio::test]
async fn every_sealed_column_of_the_schema_is_known() {
    let auth = Auth::start().await;

    let columns: Vec<String> = auth
        .scalar(
            "select array_agg(table_name || '.' || column_name order by table_name)
             from information_schema.columns
             where table_schema = 'auth' and data_type = 'bytea' and column_name like '%sealed'",
        )
        .await;

    assert_eq!(
        columns,
        [
            "api_key_hash_keys.sealed",
            "idempotency_keys.sealed",
            "refresh_tokens.successor_sealed",
            "signing_keys.private_key_sealed",
            "totps.mfa_secret_sealed",
        ]
    );
}

#[tokio::test]
async fn a_peppered_password_keeps_the_master_key_that_its_pepper_comes_from() {
    let auth = Auth::start().await;
    let user = auth.register(EMAIL).await;
    sqlx::query(
        "update auth.users set password_hash = 'pepper:' || password_hash where user_id = $1::uuid",
    )
    .bind(&user.id)
    .execute(&auth.database.superuser)
    .await
    .unwrap();

    let (code, output) = auth.rekey(None, NEW).await;

    assert_eq!(code, Some(1), "{output}");
    assert!(output.contains("passwords are hashed with a pepper"), "{output}");
}
