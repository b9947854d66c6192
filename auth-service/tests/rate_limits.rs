//! How many requests get through, whichever replica they come to.

use std::{collections::BTreeMap, ops::RangeInclusive, time::Duration};

use ihuman_proto::{auth::v1 as pb, error::v1::ErrorReason as Reason};
use ihuman_shared::{
    access::Role,
    credentials::ApiKey,
    testing::{Caller, reason},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    task::JoinSet,
};
use tonic::{Code, Status, metadata::MetadataMap};
use tonic_types::StatusExt as _;
use uuid::Uuid;

use crate::{
    api_keys::request,
    support::{Auth, keyed},
};

/// How many callers send at the same time to each replica.
const SENDERS: usize = 8;

/// What may differ from a limit: a tenth.
fn about(limit: usize) -> RangeInclusive<usize> {
    limit - limit / 10..=limit + limit / 10
}

/// Sends `count` requests to each replica, all at once; returns how many got through.
async fn flood<F>(replicas: &[&Auth], count: usize, send: impl Fn(&Auth) -> F) -> usize
where
    F: Future<Output = Result<(), Status>> + Send + 'static,
{
    let mut senders = JoinSet::new();
    for replica in replicas {
        for _ in 0..SENDERS {
            let requests: Vec<F> = (0..count / SENDERS).map(|_| send(replica)).collect();
            senders.spawn(async move {
                let mut admitted = 0;
                for request in requests {
                    match request.await {
                        Ok(()) => admitted += 1,
                        Err(status) => assert_eq!(reason(&status), Reason::RateLimited),
                    }
                }
                admitted
            });
        }
    }
    senders.join_all().await.into_iter().sum()
}

fn ask(auth: &Auth, caller: &Caller) -> impl Future<Output = Result<(), Status>> + use<> {
    let mut client = auth.auth_as(caller);
    async move { client.get_current_user(pb::GetCurrentUserRequest {}).await.map(drop) }
}

fn ask_in_public(auth: &Auth) -> impl Future<Output = Result<(), Status>> + use<> {
    let mut client = auth.signing_keys();
    async move { client.get_json_web_key_set(pb::GetJsonWebKeySetRequest {}).await.map(drop) }
}

/// Two replicas whose windows are longer than any flood.
async fn two_replicas(arguments: &[&str]) -> (Auth, Auth) {
    let arguments = [&["--rate-limit-window-ms", "600000"], arguments].concat();
    let auth = Auth::start_with(&arguments).await;
    let other = auth.replica_with(&arguments).await;
    (auth, other)
}

#[tokio::test]
async fn a_user_gets_through_as_often_as_the_limit_says_over_all_replicas() {
    let (auth, other) = two_replicas(&["--rate-limit-max-requests", "600"]).await;
    let even = auth.credentials.person(Role::Viewer).await;
    let uneven = auth.credentials.person(Role::Viewer).await;

    let admitted = flood(&[&auth, &other], 600, |it| ask(it, &even)).await;
    let first = flood(&[&auth], 40, |it| ask(it, &uneven)).await;
    let rest = flood(&[&other], 1000, |it| ask(it, &uneven)).await;

    assert!(about(600).contains(&admitted), "{admitted}");
    assert!(about(600).contains(&(first + rest)), "{first} and {rest}");
}

#[tokio::test]
async fn a_key_gets_through_as_often_as_its_own_limit_says_over_all_replicas() {
    let (auth, other) = two_replicas(&[]).await;
    let owner = auth.credentials.person(Role::Developer).await;
    let window = Some(Duration::from_secs(600).try_into().unwrap());
    let rate_limit = Some(pb::RateLimit { max_requests: 200, window });
    let order = pb::CreateApiKeyRequest { rate_limit, ..request("ci", &["skills:read"]) };
    let (api_key, key) = auth.create_key(&owner, order).await.unwrap();
    let caller = keyed(&owner, &api_key, &key);

    let admitted = flood(&[&auth, &other], 240, |it| ask(it, &caller)).await;

    assert!(about(200).contains(&admitted), "{admitted}");
    ask(&auth, &owner).await.expect("its owner is counted apart");
}

#[tokio::test]
async fn an_address_gets_through_public_rpcs_as_often_as_their_limit_says_over_all_replicas() {
    let (auth, other) = two_replicas(&["--rate-limit-public-max-requests", "300"]).await;

    let admitted = flood(&[&auth, &other], 400, ask_in_public).await;

    assert!(about(300).contains(&admitted), "{admitted}");
    let known = auth.credentials.person(Role::Viewer).await;
    ask(&auth, &known).await.expect("who is logged in at the address is counted apart");
}

#[tokio::test]
async fn an_address_fails_to_authenticate_only_so_often() {
    let (auth, other) = two_replicas(&["--rate-limit-public-max-requests", "100"]).await;
    let mut wrong = auth.credentials.person(Role::Viewer).await;
    wrong.authorization.pop();
    let fail = |it: &Auth| {
        let asked = ask(it, &wrong);
        async move {
            match asked.await {
                Err(status) if reason(&status) == Reason::CredentialsInvalid => Ok(()),
                answer => answer,
            }
        }
    };

    let failed = flood(&[&auth, &other], 200, fail).await;

    assert!(about(100).contains(&failed), "{failed}");
    ask_in_public(&auth).await.expect("public RPCs are counted apart");
}

#[tokio::test]
async fn a_stranger_behind_the_same_address_keeps_out_nobody_who_is_known() {
    let arguments = ["--rate-limit-window-ms", "600000", "--rate-limit-public-max-requests", "20"];
    let auth = Auth::start_with(&arguments).await;
    let known = auth.credentials.person(Role::Viewer).await;
    let scopes = ["skills:read".to_owned()];
    let in_use = auth.credentials.api_key(known.user_id, &scopes).await;
    let new = auth.credentials.api_key(known.user_id, &scopes).await;
    let forged = |it: &Caller, authorization: String| Caller { authorization, ..it.clone() };
    let mistyped = {
        let mut text = known.authorization.clone();
        text.pop();
        forged(&known, text)
    };
    let guessed_key = {
        let key = ApiKey::generate("ihk", new.api_key_id.unwrap()).unwrap();
        forged(&new, format!("ApiKey {}", key.text()))
    };
    let revoked = auth.credentials.person(Role::Viewer).await;
    ask(&auth, &in_use).await.unwrap();
    let reason_of = async |it: &Caller| ask(&auth, it).await.err().map(|it| reason(&it));

    let mut failures = 0;
    while reason_of(&mistyped).await == Some(Reason::CredentialsInvalid) {
        failures += 1;
    }
    auth.credentials.revoke("session", revoked.session_id).await;
    auth.refuses_within_a_second(&revoked).await;

    assert!(about(20).contains(&failures), "{failures}");
    assert_eq!(reason_of(&known).await, None, "a good token of another session");
    assert_eq!(reason_of(&in_use).await, None, "a good key that is in use here");
    // Whoever is refused learns nothing of the credentials.
    for refused in [&mistyped, &guessed_key, &new, &revoked] {
        let status = ask(&auth, refused).await.unwrap_err();
        assert_eq!(reason(&status), Reason::RateLimited);
        assert!(status.get_details_retry_info().is_some());
        assert_eq!(numbers(status.metadata())["ratelimit-remaining"], 0);
    }
}

#[tokio::test]
async fn who_is_denied_too_often_fills_no_audit_trail_and_goes_on_with_what_is_allowed() {
    let arguments = ["--rate-limit-window-ms", "600000", "--rate-limit-public-max-requests", "20"];
    let auth = Auth::start_with(&arguments).await;
    let denied = auth.credentials.person(Role::Viewer).await;
    let other = auth.credentials.person(Role::Viewer).await;
    let list = async |it: &Caller| {
        let request = pb::ListUsersRequest::default();
        auth.users(it).list_users(request).await.unwrap_err()
    };
    // What only the room can refuse counts like what the gate refuses.
    let create = async |it: &Caller| {
        auth.create_key(it, request("ci", &["users:manage"])).await.unwrap_err()
    };

    let mut reasons = BTreeMap::new();
    for _ in 0..20 {
        for status in [list(&denied).await, create(&denied).await] {
            *reasons.entry(reason(&status).as_str_name()).or_insert(0) += 1;
        }
    }

    let recorded: i64 =
        auth.scalar("select count(*) from audit.audit_logs where outcome = 'denied'").await;
    assert!(about(20).contains(&reasons["ERROR_REASON_PERMISSION_MISSING"]), "{reasons:?}");
    assert_eq!(recorded as usize, reasons["ERROR_REASON_PERMISSION_MISSING"]);
    let refused = list(&denied).await;
    assert_eq!(reason(&refused), Reason::RateLimited);
    assert!(refused.get_details_retry_info().is_some());
    assert_eq!(numbers(refused.metadata())["ratelimit-limit"], 20);
    ask(&auth, &denied).await.expect("what is allowed goes on");
    assert_eq!(reason(&list(&other).await), Reason::PermissionMissing, "counted by principal");
}

#[tokio::test]
async fn each_replica_limits_by_itself_while_leases_can_not_be_had() {
    let (auth, other) = two_replicas(&["--rate-limit-max-requests", "50"]).await;
    let caller = auth.credentials.person(Role::Viewer).await;
    auth.execute_all(
        "revoke execute on function auth.lease_requests(text, bigint, bigint, bigint) from ihuman_auth",
    )
    .await;

    let admitted = flood(&[&auth, &other], 200, |it| ask(it, &caller)).await;

    // Without the leases twice as many get through, and what is earned back meanwhile.
    assert!((100..=120).contains(&admitted), "{admitted}");
}

#[tokio::test]
async fn a_subject_in_a_window_is_one_row_that_is_deleted_afterwards() {
    let (auth, other) = two_replicas(&[]).await;
    let caller = auth.credentials.person(Role::Viewer).await;

    ask(&auth, &caller).await.unwrap();
    ask(&other, &caller).await.unwrap();

    let rows = "select count(*) from auth.rate_limits";
    assert_eq!(auth.scalar::<i64>(rows).await, 1);
    auth.execute_all("update auth.rate_limits set ends_at = now()").await;
    auth.sweep_now().await;
    assert_eq!(auth.scalar::<i64>(rows).await, 0);
}

impl Auth {
    async fn execute_all(&self, sql: &'static str) {
        sqlx::query(sql).execute(&self.database.superuser).await.unwrap();
    }

    async fn sweep_now(&self) {
        let options = self.database.superuser.connect_options().as_ref().clone();
        let db = sqlx::PgPool::connect_with(options.options([("search_path", "auth")])).await;
        auth_service::sweep(&db.unwrap(), self.service.clock.now()).await.unwrap();
    }

    /// The headers of a plain request of HTTP/1.1, in lower case.
    async fn post(&self, content_type: &str, body: &[u8]) -> String {
        let address = self.service.url.trim_start_matches("http://");
        let path = "/ihuman.auth.v1.SigningKeyService/GetJsonWebKeySet";
        let mut stream = TcpStream::connect(address).await.unwrap();
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\
             content-type: {content_type}\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(body).await.unwrap();
        let mut response = Vec::new();
        stream.read_to_end(&mut response).await.unwrap();
        let response = String::from_utf8_lossy(&response).into_owned();
        response.split_once("\r\n\r\n").unwrap().0.to_lowercase()
    }
}

fn numbers(metadata: &MetadataMap) -> BTreeMap<&'static str, u32> {
    let names = ["ratelimit-limit", "ratelimit-remaining", "ratelimit-reset"];
    let number = |it| metadata.get(it).and_then(|it| it.to_str().ok()?.parse().ok());
    names.into_iter().filter_map(|it| Some((it, number(it)?))).collect()
}

#[tokio::test]
async fn every_answer_says_what_is_left_and_a_refusal_when_to_come_back() {
    let auth = Auth::start_with(&["--rate-limit-max-requests", "2"]).await;
    let caller = auth.credentials.person(Role::Viewer).await;
    let mut client = auth.auth_as(&caller);

    let first = client.get_current_user(pb::GetCurrentUserRequest {}).await.unwrap();
    let failed = auth
        .sessions(&caller)
        .revoke_session(pb::RevokeSessionRequest { session_id: Uuid::now_v7().to_string() })
        .await
        .unwrap_err();
    let refused = client.get_current_user(pb::GetCurrentUserRequest {}).await.unwrap_err();

    let first = numbers(first.metadata());
    assert_eq!((first["ratelimit-limit"], first["ratelimit-remaining"]), (2, 1));
    assert!((55..=60).contains(&first["ratelimit-reset"]), "{first:?}");
    assert_eq!(reason(&failed), Reason::NotFound);
    assert_eq!(numbers(failed.metadata())["ratelimit-remaining"], 0);
    assert_eq!((refused.code(), reason(&refused)), (Code::ResourceExhausted, Reason::RateLimited));
    let wait = refused.get_details_retry_info().unwrap().retry_delay.unwrap();
    assert!((Duration::from_secs(50)..=Duration::from_secs(60)).contains(&wait), "{wait:?}");
    assert_eq!(refused.get_details_quota_failure().unwrap().violations.len(), 1);
    assert_eq!(
        u64::from(numbers(refused.metadata())["ratelimit-reset"]),
        wait.as_millis().div_ceil(1000) as u64
    );
}

#[tokio::test]
async fn the_headers_are_the_same_over_grpc_web_and_json() {
    let auth = Auth::start_with(&["--rate-limit-public-max-requests", "4"]).await;

    for (remaining, content_type, body) in [
        (3, "application/json", &b"{}"[..]),
        (2, "application/grpc-web+proto", &[0; 5][..]),
        (1, "application/json", b"not json"),
        (0, "application/json", b"{}"),
        (0, "application/json", b"{}"),
        (0, "application/grpc-web+proto", &[0; 5]),
    ] {
        let head = auth.post(content_type, body).await;
        assert!(head.contains("\r\nratelimit-limit: 4"), "{head}");
        assert!(head.contains(&format!("\r\nratelimit-remaining: {remaining}")), "{head}");
        assert!(head.contains("\r\nratelimit-reset: "), "{head}");
    }
    assert!(auth.post("application/json", b"{}").await.starts_with("http/1.1 429"));
}
