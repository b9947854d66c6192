//! Accounts of other systems.

use ihuman_proto::{
    access::v1::Role as PbRole,
    auth::v1::{self as pb, imported_user::PasswordHash},
    error::v1::ErrorReason as Reason,
};
use ihuman_shared::{
    access::Role,
    testing::{Caller, reason, violations},
};
use tonic::{Code, Status};
use uuid::Uuid;

use crate::{
    email::REQUIRED,
    mail::Mailing as _,
    smtp::SmtpServer,
    support::{Auth, EMAIL, PASSWORD, registration},
};

const CREATED: i32 = pb::ImportUserOutcome::Created as i32;
const EXISTS: i32 = pb::ImportUserOutcome::AlreadyExists as i32;
const REFUSED: i32 = pb::ImportUserOutcome::Refused as i32;

// Each made by other programs than ours, of "tiny pass" or, as the README of the
// reference implementation has it, of "password".
const TYPED: &str = "tiny pass";
const BCRYPT: &str = "$2b$04$abcdefghijklmnopqrstuuZCtgzaVsLoLZuPAbPXBWTzv5WZVcuz6";
const ARGON2: &str = "$argon2i$v=19$m=65536,t=2,p=4$c29tZXNhbHQ$RdescudvJCsgt3ub+b+dWRWJTmaaJObG";
const SHA256: &str = "e9619b27f1ec19c7eff5128e24e311f457bcbac76240c07e8d2d2a1d3dd3404d";
const SHA256_SALTED: &str = "18401a9d971652af46c76e4e6da470d2e8d8f668e934f971a2fd117bd1a6d5b9";

impl Auth {
    async fn import(
        &self,
        caller: &Caller,
        users: Vec<pb::ImportedUser>,
        request_id: &str,
    ) -> Result<Vec<pb::ImportUserResult>, Status> {
        let request = pb::ImportUsersRequest { users, request_id: request_id.to_owned() };
        Ok(self.user_imports(caller).import_users(request).await?.into_inner().results)
    }

    async fn stored(&self) -> String {
        self.scalar("select string_agg(password_hash, ' ' order by email) from auth.users where password_hash <> 'none'").await
    }
}

fn person(email: &str, password_hash: PasswordHash) -> pb::ImportedUser {
    pb::ImportedUser {
        email: email.to_owned(),
        display_name: "Somebody".to_owned(),
        role: 0,
        email_verified: false,
        password_hash: Some(password_hash),
    }
}

fn sha256(hex: &str, salt: &str, position: pb::SaltPosition) -> PasswordHash {
    let (hex, salt) = (hex.to_owned(), salt.as_bytes().to_vec());
    PasswordHash::Sha256(pb::ImportedSha256 { hex, salt, salt_position: position as i32 })
}

fn typed(user: &pb::ImportedUser) -> &'static str {
    match &user.password_hash {
        Some(PasswordHash::Argon2(_)) => "password",
        _ => TYPED,
    }
}

fn outcomes(results: &[pb::ImportUserResult]) -> Vec<i32> {
    results.iter().map(|it| it.outcome).collect()
}

#[tokio::test]
async fn people_of_another_system_log_in_as_before_and_are_stored_as_ours_from_then_on() {
    let auth = Auth::start().await;
    let admin = auth.credentials.person(Role::Admin).await;
    let users = vec![
        person("a@example.com", PasswordHash::Bcrypt(BCRYPT.to_owned())),
        person("b@example.com", PasswordHash::Argon2(ARGON2.to_owned())),
        person("c@example.com", sha256(SHA256, "", pb::SaltPosition::Unspecified)),
        person("d@example.com", sha256(SHA256_SALTED, "salt", pb::SaltPosition::Suffix)),
    ];

    let results = auth.import(&admin, users.clone(), "").await.unwrap();
    let before = auth.stored().await;
    for user in &users {
        let wrong = auth.login_with(&user.email, "tiny piss").await.unwrap_err();
        assert_eq!(reason(&wrong), Reason::LoginFailed);
        let good = auth.login_with(&user.email, typed(user)).await;
        assert!(good.is_ok(), "{user:?}: {good:?}");
    }
    let after = auth.stored().await;
    for user in &users {
        let good = auth.login_with(&user.email, typed(user)).await;
        assert!(good.is_ok(), "{user:?}: {good:?}");
    }

    assert_eq!(outcomes(&results), [CREATED; 4]);
    assert!(!before.contains(SHA256) && !before.contains(SHA256_SALTED), "{before}");
    assert!(before.contains(BCRYPT) && before.contains("sha256:suffix:"), "{before}");
    assert!(after.split(' ').all(|it| it.starts_with("$argon2id$v=19$m=19456,t=2,p=1$")));
    assert_eq!(auth.stored().await, after);
    let records = auth.audit("user.import").await;
    assert_eq!(records.len(), 4);
    records[0].is_by(&admin);
    assert_eq!(records[0].entity, ("user".to_owned(), results[0].user_id.clone()));
    assert_eq!(records[0].new_values.as_ref().unwrap()["role"], "viewer");
    assert_eq!(auth.audit("user.renew_password_hash").await.len(), 4);
    let trail = auth.audit_text().await;
    for secret in [TYPED, BCRYPT, ARGON2, SHA256] {
        assert!(!trail.contains(secret));
    }
}

#[tokio::test]
async fn an_entry_that_is_refused_or_there_already_keeps_no_other_out() {
    let auth = Auth::start().await;
    let admin = auth.credentials.person(Role::Admin).await;
    let ann = auth.register(EMAIL).await;
    let bcrypt = || PasswordHash::Bcrypt(BCRYPT.to_owned());
    let nameless = pb::ImportedUser { display_name: String::new(), ..person("ann", bcrypt()) };

    let users = vec![
        person("ANN@example.com", bcrypt()),
        nameless,
        person("new@example.com", bcrypt()),
        person("New@example.com", bcrypt()),
    ];
    let results = auth.import(&admin, users, "").await.unwrap();

    assert_eq!(outcomes(&results), [EXISTS, REFUSED, CREATED, EXISTS]);
    assert_eq!(results[0].user_id, ann.id);
    assert_eq!(results[3].user_id, results[2].user_id);
    let fields: Vec<&str> = results[1].violations.iter().map(|it| it.field.as_str()).collect();
    assert_eq!(fields, ["users[1].email", "users[1].display_name"]);
    assert_eq!(results[1].user_id, "");
    assert!(auth.login_with(EMAIL, PASSWORD).await.is_ok());
}

#[tokio::test]
async fn a_hash_that_would_cost_too_much_or_can_not_be_read_is_refused_with_its_field() {
    let auth = Auth::start().await;
    let admin = auth.credentials.person(Role::Admin).await;
    let argon2 = |params| {
        PasswordHash::Argon2(format!("$argon2id$v=19${params}$c29tZXNhbHQ$c29tZWhhc2hzb21laGFzaA"))
    };
    let bcrypt = |cost| PasswordHash::Bcrypt(BCRYPT.replacen("$04$", cost, 1));
    let cases = [
        (argon2("m=131073,t=1,p=1"), "argon2", "memory"),
        (argon2("m=4294967295,t=1,p=1"), "argon2", "memory"),
        (argon2("m=19456,t=11,p=1"), "argon2", "passes"),
        (argon2("m=19456,t=1,p=9"), "argon2", "lanes"),
        (argon2("m=many,t=1,p=1"), "argon2", "PHC"),
        (PasswordHash::Argon2("a".repeat(513)), "argon2", "512 bytes"),
        (PasswordHash::Argon2(BCRYPT.to_owned()), "argon2", "PHC"),
        (bcrypt("$15$"), "bcrypt", "cost of 4 to 14"),
        (bcrypt("$31$"), "bcrypt", "cost of 4 to 14"),
        (bcrypt("$03$"), "bcrypt", "cost of 4 to 14"),
        (PasswordHash::Bcrypt(String::new()), "bcrypt", "60 characters"),
        (sha256(&SHA256[1..], "", pb::SaltPosition::Unspecified), "sha256.hex", "64"),
        (
            sha256(&SHA256.replace(&SHA256[..1], "g"), "", pb::SaltPosition::Unspecified),
            "sha256.hex",
            "64",
        ),
        (sha256(SHA256, &"a".repeat(65), pb::SaltPosition::Prefix), "sha256.salt", "64 bytes"),
        (sha256(SHA256, "salt", pb::SaltPosition::Unspecified), "sha256.salt_position", "required"),
    ];

    let users = cases.iter().map(|(hash, ..)| person("a@example.com", hash.clone())).collect();
    let results = auth.import(&admin, users, "").await.unwrap();

    for (at, ((_, field, problem), result)) in cases.iter().zip(&results).enumerate() {
        let [violation] = result.violations.as_slice() else { panic!("{field}: {result:?}") };
        assert_eq!(violation.field, format!("users[{at}].{field}"));
        assert!(violation.description.contains(problem), "{violation:?}");
    }
    assert!(auth.audit("user.import").await.is_empty());
}

#[tokio::test]
async fn repeating_a_batch_returns_its_results_and_opens_nothing() {
    let auth = Auth::start().await;
    let admin = auth.credentials.person(Role::Admin).await;
    let request_id = Uuid::new_v4().to_string();
    let users = vec![
        person("a@example.com", sha256(SHA256, "", pb::SaltPosition::Unspecified)),
        person("no address", PasswordHash::Bcrypt(BCRYPT.to_owned())),
    ];

    let first = auth.import(&admin, users.clone(), &request_id).await.unwrap();
    let second = auth.import(&admin, users.clone(), &request_id).await.unwrap();
    let other = auth.import(&admin, users[..1].to_vec(), &request_id).await.unwrap_err();

    assert_eq!(outcomes(&first), [CREATED, REFUSED]);
    assert_eq!(first, second);
    assert_eq!(reason(&other), Reason::RequestIdReused);
    assert_eq!(auth.audit("user.import").await.len(), 1);
}

#[tokio::test]
async fn only_an_administrator_imports_one() {
    let auth = Auth::start().await;
    let admin = auth.credentials.person(Role::Admin).await;
    let manager = auth.manager().await;
    let user = |email: &str| pb::ImportedUser {
        role: PbRole::Admin as i32,
        ..person(email, PasswordHash::Bcrypt(BCRYPT.to_owned()))
    };

    let by_manager = auth.import(&manager, vec![user("a@example.com")], "").await.unwrap_err();
    let by_admin = auth.import(&admin, vec![user("b@example.com")], "").await.unwrap();

    assert_eq!(reason(&by_manager), Reason::PermissionMissing);
    assert_eq!(outcomes(&by_admin), [CREATED]);
}

#[tokio::test]
async fn a_batch_has_1_to_500_accounts() {
    let auth = Auth::start().await;
    let admin = auth.credentials.person(Role::Admin).await;
    let batch = |count| -> Vec<_> {
        let bcrypt = || PasswordHash::Bcrypt(BCRYPT.to_owned());
        (0..count).map(|n| person(&format!("{n}@example.com"), bcrypt())).collect()
    };

    let empty = auth.import(&admin, batch(0), "").await.unwrap_err();
    let large = auth.import(&admin, batch(501), "").await.unwrap_err();
    let whole = auth.import(&admin, batch(500), "").await.unwrap();

    assert_eq!(
        (violations(&empty), violations(&large)),
        (vec!["users".to_owned()], vec!["users".to_owned()])
    );
    assert_eq!(outcomes(&whole), [CREATED; 500]);
}

#[tokio::test]
async fn two_batches_of_the_same_people_in_another_order_do_not_stop_each_other() {
    let auth = Auth::start().await;
    let admin = auth.credentials.person(Role::Admin).await;
    let bcrypt = || PasswordHash::Bcrypt(BCRYPT.to_owned());
    let users: Vec<_> = (0..500).map(|n| person(&format!("{n}@example.com"), bcrypt())).collect();
    let reversed = users.iter().rev().cloned().collect();

    let (one, two) =
        tokio::join!(auth.import(&admin, users, ""), auth.import(&admin, reversed, ""));

    let (one, mut two) = (one.unwrap(), two.unwrap());
    two.reverse();
    for (one, two) in one.iter().zip(&two) {
        assert_eq!(one.user_id, two.user_id);
        let mut both = [one.outcome, two.outcome];
        both.sort_unstable();
        assert_eq!(both, [CREATED, EXISTS]);
    }
    assert_eq!(auth.audit("user.import").await.len(), 500);
}

#[tokio::test]
async fn who_is_imported_without_a_password_sets_one_by_mail() {
    let server = SmtpServer::start().await;
    let auth = server.auth(&REQUIRED).await;
    let admin = auth.credentials.person(Role::Admin).await;
    let invited = pb::ImportedUser {
        password_hash: None,
        ..person(EMAIL, PasswordHash::Bcrypt(String::new()))
    };

    let results = auth.import(&admin, vec![invited.clone(), invited], "").await.unwrap();
    let login = auth.login_with(EMAIL, PASSWORD).await.unwrap_err();
    auth.quiet().await;
    assert_eq!(server.left(), 0);
    auth.ask_for_reset(EMAIL).await;
    let (token, new_password) = (server.next().await.token(), PASSWORD.to_owned());
    let reset = pb::ResetPasswordRequest { token, new_password };
    auth.password_resets().reset_password(reset).await.unwrap();

    assert_eq!(outcomes(&results), [CREATED, EXISTS]);
    assert_eq!(reason(&login), Reason::LoginFailed);
    assert!(auth.login_with(EMAIL, PASSWORD).await.is_ok());
}

#[tokio::test]
async fn where_registration_is_closed_administrators_bring_people_in() {
    let auth = Auth::start_identity(&["--registration", "closed"]).await;
    let admin = auth.credentials.person(Role::Admin).await;
    let users = vec![person("b@example.com", PasswordHash::Bcrypt(BCRYPT.to_owned()))];
    auth.import(&admin, users, "").await.unwrap();

    for email in [EMAIL, "b@example.com"] {
        let status = auth.auth().register(registration(email)).await.unwrap_err();
        let seen = (status.code(), reason(&status));
        assert_eq!(seen, (Code::FailedPrecondition, Reason::RegistrationClosed));
    }
    assert!(auth.login_with("b@example.com", TYPED).await.is_ok());
    assert!(auth.audit("user.register").await.is_empty());
}
