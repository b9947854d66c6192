//! Long-lived credentials for programs.

use chrono::TimeDelta;
use ihuman_proto::{auth::v1 as pb, error::v1::ErrorReason as Reason};
use ihuman_shared::{
    access::Role,
    parse,
    testing::{Caller, reason, violations},
};
use tonic::{Code, Status};
use uuid::Uuid;

use crate::support::{Auth, keyed, missing, named};

pub(crate) fn request(name: &str, scopes: &[&str]) -> pb::CreateApiKeyRequest {
    let scopes = scopes.iter().map(|it| (*it).to_owned()).collect();
    pb::CreateApiKeyRequest { name: name.to_owned(), scopes, ..pb::CreateApiKeyRequest::default() }
}

impl Auth {
    pub(crate) async fn create_key(
        &self,
        caller: &Caller,
        request: pb::CreateApiKeyRequest,
    ) -> Result<(pb::ApiKey, String), Status> {
        let response = self.api_keys(caller).create_api_key(named("create-key-1", request)).await?;
        let response = response.into_inner();
        Ok((response.api_key.unwrap(), response.key))
    }

    pub(crate) async fn get_key(&self, caller: &Caller, id: &str) -> Result<pb::ApiKey, Status> {
        let request = pb::GetApiKeyRequest { api_key_id: id.to_owned() };
        Ok(self.api_keys(caller).get_api_key(request).await?.into_inner().api_key.unwrap())
    }

    pub(crate) async fn revoke_key(&self, caller: &Caller, id: &str) -> Result<pb::ApiKey, Status> {
        let request = pb::RevokeApiKeyRequest { api_key_id: id.to_owned() };
        Ok(self.api_keys(caller).revoke_api_key(request).await?.into_inner().api_key.unwrap())
    }

    async fn list_keys(&self, caller: &Caller, owner: &str) -> Result<Vec<pb::ApiKey>, Status> {
        let (mut page_token, mut all) = (String::new(), Vec::new());
        loop {
            let user_id = owner.to_owned();
            let request = pb::ListApiKeysRequest {
                page_size: 2,
                page_token,
                user_id,
                ..pb::ListApiKeysRequest::default()
            };
            let page = self.api_keys(caller).list_api_keys(request).await?.into_inner();
            assert!(page.api_keys.len() <= 2);
            all.extend(page.api_keys);
            page_token = page.next_page_token;
            if page_token.is_empty() {
                return Ok(all);
            }
        }
    }
}

#[tokio::test]
async fn a_key_is_shown_once_and_works() {
    let auth = Auth::start().await;
    let owner = auth.credentials.person(Role::Developer).await;

    let (api_key, key) = auth.create_key(&owner, request("ci", &["skills:*"])).await.unwrap();
    let current = auth.accepts(&keyed(&owner, &api_key, &key)).await.unwrap();

    assert!(key.starts_with("ihk_"));
    assert_eq!(key.split('_').nth(1).unwrap(), api_key.id.replace('-', ""));
    assert_eq!((api_key.name.as_str(), &api_key.scopes), ("ci", &vec!["skills:*".to_owned()]));
    assert_eq!(api_key.user_id, owner.user_id.to_string());
    assert_eq!(current.api_key_id, api_key.id);
    assert_eq!(current.permissions, ["skills:read", "skills:write", "skills:execute"]);
    let in_90_days = (auth.service.clock.now() + TimeDelta::days(90)).timestamp();
    assert!((in_90_days - 10..=in_90_days).contains(&api_key.expire_time.unwrap().seconds));
    assert_eq!(auth.get_key(&owner, &api_key.id).await.unwrap(), api_key);
    let row: String = auth.scalar("select k::text from auth.api_keys k").await;
    let secret = key.rsplit('_').next().unwrap();
    assert!(!row.contains(secret) && !row.contains(&secret[..43]));
    let hash_length: i32 = auth.scalar("select length(secret_hash) from auth.api_keys").await;
    assert_eq!(hash_length, 32);
    let record = auth.audited("api_key.create").await;
    record.is_by(&owner);
    assert_eq!(record.request_id, "create-key-1");
    assert_eq!(record.entity, ("api_key".to_owned(), api_key.id));
    assert!(!auth.audit_text().await.contains(&secret[..43]));
}

#[tokio::test]
async fn creating_again_with_the_same_request_id_returns_the_same_key() {
    let auth = Auth::start().await;
    let owner = auth.credentials.person(Role::Developer).await;
    let request_id = Uuid::new_v4().to_string();
    let request = pb::CreateApiKeyRequest { request_id, ..request("ci", &["skills:read"]) };

    let first = auth.create_key(&owner, request.clone()).await.unwrap();
    let second = auth.create_key(&owner, request.clone()).await.unwrap();
    let other = pb::CreateApiKeyRequest { name: "cd".to_owned(), ..request.clone() };
    let reused = auth.create_key(&owner, other).await.unwrap_err();
    let stranger = auth.credentials.person(Role::Developer).await;
    let theirs = auth.create_key(&stranger, request).await.unwrap();

    assert_eq!(first, second);
    assert_eq!((reused.code(), reason(&reused)), (Code::AlreadyExists, Reason::RequestIdReused));
    assert_ne!(theirs.1, first.1);
    assert_eq!(auth.audit("api_key.create").await.len(), 2);
    let stored: String =
        auth.scalar("select string_agg(i::text, ' ') from auth.idempotency_keys i").await;
    let hex: String = first.1.bytes().map(|byte| format!("{byte:02x}")).collect();
    assert!(!stored.contains(&hex));
}

#[tokio::test]
async fn the_same_request_twice_at_the_same_time_makes_one_key() {
    let auth = Auth::start().await;
    let owner = auth.credentials.person(Role::Developer).await;
    let request_id = Uuid::new_v4().to_string();
    let request = pb::CreateApiKeyRequest { request_id, ..request("ci", &["skills:read"]) };

    let (one, two) = tokio::join!(
        auth.create_key(&owner, request.clone()),
        auth.create_key(&owner, request.clone()),
    );

    assert_eq!(one.unwrap(), two.unwrap());
}

#[tokio::test]
async fn what_a_key_can_not_be_names_its_field() {
    let auth = Auth::start().await;
    let owner = auth.credentials.person(Role::Developer).await;
    let at = |from_now| Some(parse::timestamp(auth.service.clock.now() + from_now));
    let good = request("ci", &["skills:read"]);
    let many = vec!["skills:read"; 33];
    let cases = [
        ("name", request("", &["skills:read"])),
        ("name", request(&"a".repeat(101), &["skills:read"])),
        ("name", request("a\nb", &["skills:read"])),
        ("scopes", request("ci", &[])),
        ("scopes", request("ci", &many)),
        ("scopes[1]", request("ci", &["skills:read", "skills:fly"])),
        ("scopes[0]", request("ci", &["users:manage"])),
        ("scopes[1]", request("ci", &["skills:*", "admin:full"])),
        (
            "expire_time",
            pb::CreateApiKeyRequest { expire_time: at(TimeDelta::seconds(-1)), ..good.clone() },
        ),
        (
            "expire_time",
            pb::CreateApiKeyRequest { expire_time: at(TimeDelta::days(3654)), ..good.clone() },
        ),
        ("user_id", pb::CreateApiKeyRequest { user_id: "7".to_owned(), ..good.clone() }),
        ("request_id", pb::CreateApiKeyRequest { request_id: "7".to_owned(), ..good.clone() }),
    ];

    for (field, request) in cases {
        let status = auth.create_key(&owner, request).await.unwrap_err();
        assert_eq!(
            (violations(&status), reason(&status)),
            (vec![field.to_owned()], Reason::InvalidField)
        );
    }
    let far = pb::CreateApiKeyRequest { expire_time: at(TimeDelta::days(3652)), ..good };
    assert!(auth.create_key(&owner, far).await.is_ok());
}

#[tokio::test]
async fn a_key_can_not_be_given_what_its_owner_lost() {
    let auth = Auth::start().await;
    let owner = auth.credentials.person(Role::Developer).await;
    // The token still says developer: the account is what counts.
    auth.execute("update auth.users set role = 'viewer' where user_id = $1", owner.user_id).await;

    let status =
        auth.create_key(&owner, request("ci", &["skills:read", "skills:write"])).await.unwrap_err();

    assert_eq!(violations(&status), ["scopes[1]"]);
}

#[tokio::test]
async fn a_demoted_owner_shrinks_every_key() {
    let auth = Auth::start().await;
    let admin = auth.credentials.person(Role::Admin).await;
    let owner = auth.credentials.person(Role::Developer).await;
    let scopes = ["skills:*", "api-keys:read"];
    let (api_key, key) = auth.create_key(&owner, request("ci", &scopes)).await.unwrap();
    let caller = keyed(&owner, &api_key, &key);
    assert!(auth.get_key(&caller, &api_key.id).await.is_ok());

    let request = pb::SetUserRoleRequest {
        user_id: owner.user_id.to_string(),
        role: Role::Viewer.to_contract(),
    };
    auth.users(&admin).set_user_role(request).await.unwrap();
    auth.refuses_within_a_second(&owner).await;

    let current = auth.accepts(&caller).await.unwrap();
    assert_eq!(current.permissions, ["skills:read"]);
    let status = auth.get_key(&caller, &api_key.id).await.unwrap_err();
    assert_eq!(missing(&status), "api-keys:read");
}

#[tokio::test]
async fn a_revoked_key_is_refused_within_a_second_and_for_good() {
    let auth = Auth::start().await;
    let owner = auth.credentials.person(Role::Developer).await;
    let (api_key, key) = auth.create_key(&owner, request("ci", &["skills:read"])).await.unwrap();
    let caller = keyed(&owner, &api_key, &key);
    auth.accepts(&caller).await.unwrap();

    let revoked = auth.revoke_key(&owner, &api_key.id).await.unwrap();
    let refused = auth.refuses_within_a_second(&caller).await;
    let again = auth.revoke_key(&owner, &api_key.id).await.unwrap();

    assert!(revoked.revoke_time.is_some());
    assert_eq!(revoked, again);
    assert_eq!(reason(&refused), Reason::CredentialsRevoked);
    auth.audited("api_key.revoke").await.is_by(&owner);
    assert!(auth.create_key(&owner, request("ci", &["skills:read"])).await.is_ok());
}

#[tokio::test]
async fn an_expired_key_is_refused_and_gives_its_name_back() {
    let auth = Auth::start().await;
    let owner = auth.credentials.person(Role::Developer).await;
    let expire_time = Some(parse::timestamp(auth.service.clock.now() + TimeDelta::minutes(5)));
    let brief = pb::CreateApiKeyRequest { expire_time, ..request("ci", &["skills:read"]) };
    let (api_key, key) = auth.create_key(&owner, brief).await.unwrap();
    let taken = auth.create_key(&owner, request("ci", &["skills:read"])).await.unwrap_err();
    auth.service.clock.advance(TimeDelta::minutes(6));

    let refused = auth.accepts(&keyed(&owner, &api_key, &key)).await.unwrap_err();
    let renewed = auth.create_key(&owner, request("ci", &["skills:read"])).await;

    assert_eq!((taken.code(), reason(&taken)), (Code::AlreadyExists, Reason::AlreadyExists));
    assert_eq!(reason(&refused), Reason::CredentialsExpired);
    assert!(renewed.is_ok());
}

#[tokio::test]
async fn an_account_has_at_most_100_live_keys_however_many_are_made_at_once() {
    let auth = Auth::start().await;
    let owner = auth.credentials.person(Role::Developer).await;
    auth.execute(
        "insert into auth.api_keys (api_key_id, user_id, name, scopes, secret_hash, revoked_at)
         select gen_random_uuid(), $1, 'k' || n, '{skills:read}', '',
                case when n > 98 then now() end
         from generate_series(1, 120) n",
        owner.user_id,
    )
    .await;

    let creations = (0..6).map(|at| {
        let mut api_keys = auth.api_keys(&owner);
        let request = request(&format!("new{at}"), &["skills:read"]);
        tokio::spawn(async move { api_keys.create_api_key(request).await })
    });
    let mut refused = Vec::new();
    for creation in creations.collect::<Vec<_>>() {
        refused.extend(creation.await.unwrap().err());
    }

    assert_eq!(refused.len(), 4);
    assert_eq!(
        (refused[0].code(), reason(&refused[0])),
        (Code::ResourceExhausted, Reason::QuotaExceeded)
    );
}

#[tokio::test]
async fn who_manages_users_issues_keys_for_service_accounts_and_for_nobody_else() {
    let auth = Auth::start().await;
    let admin = auth.credentials.person(Role::Admin).await;
    let developer = auth.credentials.person(Role::Developer).await;
    let program = auth.credentials.service_account(Role::Service).await;
    let of = |owner: Uuid, scope: &str| pb::CreateApiKeyRequest {
        user_id: owner.to_string(),
        ..request("ci", &[scope])
    };

    let (api_key, key) =
        auth.create_key(&admin, of(program.user_id, "executions:write")).await.unwrap();
    let current = auth.accepts(&keyed(&program, &api_key, &key)).await.unwrap();
    let beyond = auth.create_key(&admin, of(program.user_id, "skills:write")).await.unwrap_err();
    let person = auth.create_key(&admin, of(developer.user_id, "skills:read")).await.unwrap_err();
    let nobody = auth.create_key(&admin, of(Uuid::now_v7(), "skills:read")).await.unwrap_err();
    let lacking =
        auth.create_key(&developer, of(program.user_id, "executions:write")).await.unwrap_err();
    let own = auth.create_key(&developer, of(developer.user_id, "skills:read")).await;

    assert_eq!(api_key.user_id, program.user_id.to_string());
    assert_eq!(current.permissions, ["executions:write"]);
    assert_eq!(violations(&beyond), ["scopes[0]"]);
    assert_eq!(reason(&person), Reason::NotAllowed);
    assert_eq!(reason(&nobody), Reason::NotFound);
    assert_eq!(
        (reason(&lacking), missing(&lacking)),
        (Reason::PermissionMissing, "users:manage".to_owned())
    );
    assert!(own.is_ok());
    let refusals = auth.audit("/ihuman.auth.v1.ApiKeyService/CreateApiKey").await;
    let reasons: Vec<_> = refusals.iter().map(|it| it.reason.as_str()).collect();
    assert_eq!(reasons, ["NOT_ALLOWED", "PERMISSION_MISSING"]);
}

#[tokio::test]
async fn a_closed_service_account_gets_no_key() {
    let auth = Auth::start().await;
    let admin = auth.credentials.person(Role::Admin).await;
    let program = auth.credentials.service_account(Role::Service).await;
    let close = pb::DeactivateUserRequest { user_id: program.user_id.to_string() };
    auth.users(&admin).deactivate_user(close).await.unwrap();
    let order = pb::CreateApiKeyRequest {
        user_id: program.user_id.to_string(),
        ..request("ci", &["executions:write"])
    };

    let status = auth.create_key(&admin, order).await.unwrap_err();

    assert_eq!((status.code(), reason(&status)), (Code::FailedPrecondition, Reason::WrongState));
}

#[tokio::test]
async fn a_list_has_every_key_of_the_owner_newest_first() {
    let auth = Auth::start().await;
    let owner = auth.credentials.person(Role::Developer).await;
    let other = auth.credentials.person(Role::Developer).await;
    let admin = auth.credentials.person(Role::Admin).await;
    let mut ids = Vec::new();
    for name in ["a", "b", "c", "d", "e"] {
        ids.push(auth.create_key(&owner, request(name, &["skills:read"])).await.unwrap().0.id);
    }
    auth.revoke_key(&owner, &ids[1]).await.unwrap();
    ids.reverse();

    let own = auth.list_keys(&owner, "").await.unwrap();
    let managed = auth.list_keys(&admin, &owner.user_id.to_string()).await.unwrap();
    let lacking = auth.list_keys(&other, &owner.user_id.to_string()).await.unwrap_err();
    let malformed = auth.list_keys(&other, "7").await.unwrap_err();

    assert_eq!(own.iter().map(|it| it.id.clone()).collect::<Vec<_>>(), ids);
    assert_eq!(own.iter().filter(|it| it.revoke_time.is_some()).count(), 1);
    assert_eq!(managed, own);
    assert_eq!(
        (reason(&lacking), missing(&lacking)),
        (Reason::PermissionMissing, "users:manage".to_owned())
    );
    assert_eq!(violations(&malformed), ["user_id"]);
    assert!(auth.list_keys(&other, "").await.unwrap().is_empty());
}

#[tokio::test]
async fn a_key_of_another_looks_like_none_unless_one_manages_users() {
    let auth = Auth::start().await;
    let owner = auth.credentials.person(Role::Developer).await;
    let other = auth.credentials.person(Role::Developer).await;
    let admin = auth.credentials.person(Role::Admin).await;
    let (api_key, key) = auth.create_key(&owner, request("ci", &["skills:read"])).await.unwrap();
    let none = auth.get_key(&other, &Uuid::now_v7().to_string()).await.unwrap_err();

    for status in [
        auth.get_key(&other, &api_key.id).await.unwrap_err(),
        auth.revoke_key(&other, &api_key.id).await.unwrap_err(),
    ] {
        assert_eq!((status.code(), reason(&status)), (Code::NotFound, Reason::NotFound));
        assert_eq!((status.message(), status.details()), (none.message(), none.details()));
    }
    assert_eq!(violations(&auth.get_key(&other, "7").await.unwrap_err()), ["api_key_id"]);
    assert_eq!(auth.get_key(&admin, &api_key.id).await.unwrap(), api_key);
    auth.revoke_key(&admin, &api_key.id).await.unwrap();
    auth.refuses_within_a_second(&keyed(&owner, &api_key, &key)).await;
    auth.audited("api_key.revoke").await.is_by(&admin);
}

#[tokio::test]
async fn a_key_issues_and_revokes_no_keys() {
    let auth = Auth::start().await;
    let owner = auth.credentials.person(Role::Developer).await;
    let (api_key, key) = auth.create_key(&owner, request("ci", &["api-keys:*"])).await.unwrap();
    let caller = keyed(&owner, &api_key, &key);

    let created = auth.create_key(&caller, request("cd", &["skills:read"])).await.unwrap_err();
    let revoked = auth.revoke_key(&caller, &api_key.id).await.unwrap_err();

    assert_eq!(reason(&created), Reason::SessionRequired);
    assert_eq!(reason(&revoked), Reason::SessionRequired);
}
