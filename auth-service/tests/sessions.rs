//! Where an account is logged in, and how that ends.

use chrono::TimeDelta;
use ihuman_proto::{auth::v1 as pb, error::v1::ErrorReason as Reason};
use ihuman_shared::{
    access::Role,
    testing::{Caller, reason, violations},
};
use prost_types::Timestamp;
use tonic::{Request, Status};
use uuid::Uuid;

use crate::{
    mail::Mailing as _,
    support::{Auth, EMAIL, PASSWORD, bearer, named},
};

const DAY: i64 = 24 * 60 * 60;

async fn list(
    auth: &Auth,
    caller: &Caller,
    page_size: i32,
    page_token: &str,
) -> pb::ListSessionsResponse {
    let request = pb::ListSessionsRequest { page_size, page_token: page_token.to_owned() };
    auth.sessions(caller).list_sessions(request).await.unwrap().into_inner()
}

fn seconds(time: Option<Timestamp>) -> i64 {
    time.unwrap().seconds
}

async fn revoke(auth: &Auth, caller: &Caller, session_id: &str) -> Result<(), Status> {
    let request = pb::RevokeSessionRequest { session_id: session_id.to_owned() };
    auth.sessions(caller).revoke_session(named("revoke-1", request)).await.map(drop)
}

#[tokio::test]
async fn a_list_has_the_live_sessions_of_the_caller_newest_first() {
    let auth = Auth::start().await;
    let (user, first) = auth.person(EMAIL).await;
    let second = auth.login(EMAIL).await;
    let third = auth.login(EMAIL).await;
    auth.person("bob@example.com").await;
    let caller = bearer(&user, &third);
    revoke(&auth, &caller, &second.session_id).await.unwrap();

    let sessions = list(&auth, &caller, 0, "").await.sessions;

    let ids: Vec<_> = sessions.iter().map(|it| (it.id.as_str(), it.current)).collect();
    assert_eq!(ids, [(third.session_id.as_str(), true), (&first.session_id, false)]);
    assert_eq!(sessions[0].ip_address, "127.0.0.1");
    assert!(sessions[0].user_agent.starts_with("tonic/"), "{}", sessions[0].user_agent);
    assert_eq!(
        sessions[0].expire_time.unwrap().seconds,
        third.refresh_token_expire_time.unwrap().seconds
    );
    assert_eq!(sessions[0].create_time, sessions[0].refresh_time);
    assert_eq!(sessions[0].device, "gRPC for Rust");
}

#[tokio::test]
async fn the_last_use_of_a_session_is_its_last_refresh() {
    let auth = Auth::start_with(&["--trusted-proxies", "127.0.0.0/8"]).await;
    let (user, first) = auth.person(EMAIL).await;
    auth.service.clock.advance(TimeDelta::minutes(50));
    let refresh_token = first.refresh_token.clone();
    let mut request =
        Request::new(pb::RefreshTokenRequest { refresh_token, request_id: String::new() });
    request.metadata_mut().insert("x-forwarded-for", "192.0.2.7".parse().unwrap());
    let before = list(&auth, &bearer(&user, &first), 0, "").await.sessions;

    auth.auth().refresh_token(request).await.unwrap();

    let after = list(&auth, &bearer(&user, &first), 0, "").await.sessions;
    assert_eq!(
        (&*before[0].ip_address, &*before[0].refresh_ip_address),
        ("127.0.0.1", "127.0.0.1")
    );
    assert_eq!((&*after[0].ip_address, &*after[0].refresh_ip_address), ("127.0.0.1", "192.0.2.7"));
    assert_eq!(before[0].refresh_time, before[0].create_time);
    assert!(seconds(after[0].refresh_time) >= seconds(after[0].create_time) + 3000);
}

#[tokio::test]
async fn no_refresh_makes_a_session_longer_than_it_may_last() {
    let auth = Auth::start().await;
    let short = auth.replica_configured(&[], &["--session-max-lifetime", "10d"]).await;
    let clock = &short.service.clock;
    let (user, first) = short.person(EMAIL).await;
    let end = seconds(first.refresh_token_expire_time) + 3 * DAY;

    clock.advance(TimeDelta::days(6));
    let second = short.refresh(&first.refresh_token, "").await.unwrap();
    clock.advance(TimeDelta::minutes((4 * 24 - 1) * 60 + 30));
    let third = short.refresh(&second.refresh_token, "").await.unwrap();
    let session = list(&short, &bearer(&user, &third), 0, "").await.sessions.remove(0);
    clock.advance(TimeDelta::minutes(31));
    let over = short.refresh(&third.refresh_token, "").await.unwrap_err();
    let dead = short.accepts(&bearer(&user, &third)).await.unwrap_err();

    assert_eq!(seconds(second.refresh_token_expire_time), end);
    assert!((0..=1).contains(&(end - seconds(third.access_token_expire_time))));
    assert_eq!((seconds(session.expire_time), seconds(session.latest_expire_time)), (end, end));
    assert_eq!(reason(&over), Reason::CredentialsExpired);
    assert_eq!(reason(&dead), Reason::CredentialsExpired);
}

#[tokio::test]
async fn a_shorter_lifetime_holds_for_sessions_that_are_open() {
    let auth = Auth::start().await;
    let (user, tokens) = auth.person(EMAIL).await;
    let short = auth.replica_configured(&[], &["--session-max-lifetime", "2d"]).await;
    short.service.clock.advance(TimeDelta::days(3));

    let refused = short.refresh(&tokens.refresh_token, "").await.unwrap_err();
    let caller = bearer(&user, &short.login(EMAIL).await);
    let listed = list(&short, &caller, 0, "").await.sessions;

    assert_eq!(reason(&refused), Reason::CredentialsExpired);
    assert_eq!(listed.iter().map(|it| it.current).collect::<Vec<_>>(), [true]);
}

#[tokio::test]
async fn a_session_that_has_lasted_as_long_as_it_may_gets_nothing_by_any_way() {
    let auth = Auth::start().await;
    let (user, tokens) = auth.person(EMAIL).await;
    let caller = bearer(&user, &tokens);
    auth.enroll(&caller).await;
    let older =
        "update auth.sessions set created_at = created_at - interval '91 days' where user_id = $1";
    auth.execute(older, caller.user_id).await;

    let refreshed = auth.refresh(&tokens.refresh_token, "").await.unwrap_err();
    let stepped_up = auth.reauthenticate(&caller, PASSWORD, None).await.err().unwrap();
    let enrolled = auth.mfa(&caller).enroll_totp(pb::EnrollTotpRequest {}).await.unwrap_err();
    let others = revoke_others(&auth, &caller).await.unwrap_err();
    let listed = list(&auth, &caller, 0, "").await.sessions;

    assert_eq!(reason(&refreshed), Reason::CredentialsExpired);
    for status in [stepped_up, enrolled, others] {
        assert_eq!(reason(&status), Reason::CredentialsRevoked);
    }
    assert_eq!(listed, []);
}

#[tokio::test]
async fn ending_other_sessions_waits_for_who_changes_the_account() {
    let auth = Auth::start().await;
    let (user, here) = auth.person(EMAIL).await;
    auth.login(EMAIL).await;
    let caller = bearer(&user, &here);
    let mut change = auth.database.superuser.begin().await.unwrap();
    for sql in [
        "select 1 from auth.users where user_id = $1 for update",
        // Newest first, as a plan may.
        "update auth.sessions set revoked_at = null where session_id =
             (select max(session_id::text)::uuid from auth.sessions where user_id = $1)",
    ] {
        sqlx::query(sql).bind(caller.user_id).execute(&mut *change).await.unwrap();
    }

    let (ended, changed) = tokio::join!(revoke_others(&auth, &caller), async {
        auth.until(
            "select exists (select from pg_locks l join pg_database d on d.oid = l.database
                            where not granted and d.datname = current_database())
                 or exists (select from pg_locks l join pg_stat_activity a using (pid)
                            where not l.granted and a.datname = current_database())",
        )
        .await;
        let all = "update auth.sessions set revoked_at = null where user_id = $1";
        sqlx::query(all).bind(caller.user_id).execute(&mut *change).await?;
        change.commit().await
    });

    assert!(changed.is_ok(), "{changed:?}");
    assert_eq!(ended.unwrap(), 1);
}

#[tokio::test]
async fn an_expired_session_is_not_live_and_a_refreshed_one_is() {
    let auth = Auth::start().await;
    let (user, old) = auth.person(EMAIL).await;
    let kept = auth.login(EMAIL).await;
    auth.service.clock.advance(TimeDelta::days(6));
    let kept = auth.refresh(&kept.refresh_token, "").await.unwrap();
    auth.service.clock.advance(TimeDelta::days(2));
    let kept = auth.refresh(&kept.refresh_token, "").await.unwrap();

    let sessions = list(&auth, &bearer(&user, &kept), 0, "").await.sessions;

    assert_eq!(sessions.len(), 1);
    assert_ne!(sessions[0].id, old.session_id);
    assert!(sessions[0].refresh_time.unwrap().seconds > sessions[0].create_time.unwrap().seconds);
}

#[tokio::test]
async fn pages_of_sessions_follow_one_another() {
    let auth = Auth::start().await;
    let caller = auth.credentials.person(Role::Viewer).await;
    auth.execute(
        "insert into auth.sessions (session_id, user_id, auth_time, refreshed_at, expires_at)
         select gen_random_uuid(), $1, now(), now(), now() + interval '1 day' from generate_series(1, 6)",
        caller.user_id,
    )
    .await;

    let (mut token, mut seen) = (String::new(), Vec::new());
    loop {
        let page = list(&auth, &caller, 3, &token).await;
        assert!(page.sessions.len() <= 3);
        seen.extend(page.sessions.into_iter().map(|it| it.id));
        token = page.next_page_token;
        if token.is_empty() {
            break;
        }
    }

    assert_eq!(seen.len(), 7);
    assert!(seen.is_sorted_by(|one, next| one > next));
    let bad = pb::ListSessionsRequest { page_size: -1, page_token: String::new() };
    let status = auth.sessions(&caller).list_sessions(bad).await.unwrap_err();
    assert_eq!(violations(&status), ["page_size"]);
}

#[tokio::test]
async fn a_revoked_session_is_over_on_every_replica_within_a_second() {
    let auth = Auth::start().await;
    let (user, here) = auth.person(EMAIL).await;
    let there = auth.login(EMAIL).await;
    let replica = auth.replica().await;
    let (caller, lost) = (bearer(&user, &here), bearer(&user, &there));
    replica.accepts(&lost).await.unwrap();

    revoke(&auth, &caller, &there.session_id).await.unwrap();
    let (one, two) =
        tokio::join!(auth.refuses_within_a_second(&lost), replica.refuses_within_a_second(&lost));

    assert_eq!(reason(&one), Reason::CredentialsRevoked);
    assert_eq!(reason(&two), Reason::CredentialsRevoked);
    let refresh = auth.refresh(&there.refresh_token, "").await.unwrap_err();
    assert_eq!(reason(&refresh), Reason::CredentialsRevoked);
    assert!(auth.accepts(&caller).await.is_ok());
    let record = auth.audited("session.revoke").await;
    record.is_by(&caller);
    assert_eq!(record.request_id, "revoke-1");
    assert_eq!(record.entity, ("session".to_owned(), there.session_id.clone()));
}

async fn revoke_others(auth: &Auth, caller: &Caller) -> Result<i32, Status> {
    let request = named("others-1", pb::RevokeOtherSessionsRequest {});
    let response = auth.sessions(caller).revoke_other_sessions(request).await?;
    Ok(response.into_inner().revoked_session_count)
}

#[tokio::test]
async fn all_other_sessions_are_over_on_every_replica_within_a_second() {
    let auth = Auth::start().await;
    let (user, here) = auth.person(EMAIL).await;
    let others = [auth.login(EMAIL).await, auth.login(EMAIL).await];
    let ended = auth.login(EMAIL).await;
    let (stranger, theirs) = auth.person("bob@example.com").await;
    let replica = auth.replica().await;
    let caller = bearer(&user, &here);
    revoke(&auth, &caller, &ended.session_id).await.unwrap();

    let count = revoke_others(&auth, &caller).await.unwrap();

    assert_eq!(count, 2);
    for other in &others {
        let lost = bearer(&user, other);
        let (one, two) = tokio::join!(
            auth.refuses_within_a_second(&lost),
            replica.refuses_within_a_second(&lost)
        );
        assert_eq!([reason(&one), reason(&two)], [Reason::CredentialsRevoked; 2]);
        let refresh = auth.refresh(&other.refresh_token, "").await.unwrap_err();
        assert_eq!(reason(&refresh), Reason::CredentialsRevoked);
    }
    assert!(auth.accepts(&caller).await.is_ok());
    assert!(auth.refresh(&here.refresh_token, "").await.is_ok());
    assert!(auth.accepts(&bearer(&stranger, &theirs)).await.is_ok());
    assert_eq!(revoke_others(&auth, &caller).await.unwrap(), 0);
    let record = auth.audited("session.revoke_others").await;
    record.is_by(&caller);
    assert_eq!(record.request_id, "others-1");
    assert_eq!(record.entity, ("user".to_owned(), user.id));
    assert_eq!(record.new_values.unwrap()["revoked_sessions"], 2);
}

#[tokio::test]
async fn of_sessions_that_end_each_other_at_the_same_time_one_is_left() {
    let auth = Auth::start().await;
    let user = auth.register(EMAIL).await;
    for _ in 0..5 {
        let tokens = [auth.login(EMAIL).await, auth.login(EMAIL).await];
        let callers = tokens.each_ref().map(|it| bearer(&user, it));

        let (one, two) =
            tokio::join!(revoke_others(&auth, &callers[0]), revoke_others(&auth, &callers[1]));

        let (won, lost) = if one.is_ok() { (0, two) } else { (1, one) };
        assert_eq!(reason(&lost.unwrap_err()), Reason::CredentialsRevoked);
        let live = list(&auth, &callers[won], 0, "").await.sessions;
        assert_eq!(live.len(), 1);
        auth.refuses_within_a_second(&callers[1 - won]).await;
        auth.auth_as(&callers[won]).logout(pb::LogoutRequest {}).await.unwrap();
    }
}

#[tokio::test]
async fn revoking_a_revoked_session_changes_nothing() {
    let auth = Auth::start().await;
    let (user, here) = auth.person(EMAIL).await;
    let there = auth.login(EMAIL).await;
    let caller = bearer(&user, &here);

    revoke(&auth, &caller, &there.session_id).await.unwrap();
    revoke(&auth, &caller, &there.session_id).await.unwrap();

    assert_eq!(auth.audit("session.revoke").await.len(), 1);
}

#[tokio::test]
async fn a_session_of_another_looks_like_none() {
    let auth = Auth::start().await;
    let owner = auth.credentials.person(Role::Viewer).await;
    let admin = auth.credentials.person(Role::Admin).await;

    let theirs = revoke(&auth, &admin, &owner.session_id.unwrap().to_string()).await.unwrap_err();
    let none = revoke(&auth, &admin, &Uuid::now_v7().to_string()).await.unwrap_err();
    let malformed = revoke(&auth, &admin, "7").await.unwrap_err();

    assert_eq!(reason(&theirs), Reason::NotFound);
    assert_eq!((theirs.message(), theirs.details()), (none.message(), none.details()));
    assert_eq!(violations(&malformed), ["session_id"]);
    assert!(auth.accepts(&owner).await.is_ok());
}

#[tokio::test]
async fn who_manages_users_ends_every_session_of_an_account_but_no_key() {
    let auth = Auth::start().await;
    let (admin, manager) = (auth.credentials.person(Role::Admin).await, auth.manager().await);
    let (user, first) = auth.person(EMAIL).await;
    let second = auth.login(EMAIL).await;
    let (first, second) = (bearer(&user, &first), bearer(&user, &second));
    let key = auth.credentials.api_key(first.user_id, &["skills:read".to_owned()]).await;
    auth.accepts(&first).await.unwrap();
    let end = async |caller: &Caller, user_id: &str| {
        let request = pb::RevokeUserSessionsRequest { user_id: user_id.to_owned() };
        let response = auth.sessions(caller).revoke_user_sessions(request).await;
        response.map(|it| it.into_inner().revoked_session_count)
    };

    let ended = end(&manager, &user.id).await.unwrap();
    let again = end(&manager, &user.id).await.unwrap();
    let of_admin = end(&manager, &admin.user_id.to_string()).await.unwrap_err();
    let unknown = end(&admin, &Uuid::now_v7().to_string()).await.unwrap_err();
    let malformed = end(&admin, "7").await.unwrap_err();

    assert_eq!((ended, again), (2, 0));
    for session in [first, second] {
        let refused = auth.refuses_within_a_second(&session).await;
        assert_eq!(reason(&refused), Reason::CredentialsRevoked);
    }
    auth.accepts(&key).await.unwrap();
    auth.accepts(&admin).await.unwrap();
    assert_eq!((reason(&of_admin), reason(&unknown)), (Reason::NotAllowed, Reason::NotFound));
    assert_eq!(violations(&malformed), ["user_id"]);
    let record = auth.audited("session.revoke_all").await;
    record.is_by(&manager);
    assert_eq!(record.entity, ("user".to_owned(), user.id));
    assert_eq!(record.new_values.unwrap()["revoked_sessions"], 2);
    auth.audited("/ihuman.auth.v1.SessionService/RevokeUserSessions").await.is_by(&manager);
}

#[tokio::test]
async fn a_page_token_of_one_list_is_none_of_another() {
    let auth = Auth::start().await;
    let (user, tokens) = auth.person(EMAIL).await;
    auth.login(EMAIL).await;
    let caller = bearer(&user, &tokens);
    let page_token = list(&auth, &caller, 1, "").await.next_page_token;
    assert!(!page_token.is_empty());

    let request = pb::ListPasskeysRequest { page_token: page_token.clone(), page_size: 1 };
    let passkeys = auth.passkeys(&caller).list_passkeys(request).await.unwrap_err();
    let request = pb::ListSettingsRequest { page_token, page_size: 1 };
    let settings = auth.settings(&caller).list_settings(request).await.unwrap_err();

    assert_eq!(violations(&passkeys), ["page_token"]);
    assert_eq!(violations(&settings), ["page_token"]);
}
