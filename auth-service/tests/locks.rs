//! Waits after failures to log in.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use chrono::TimeDelta;
use ihuman_proto::{auth::v1 as pb, error::v1::ErrorReason as Reason};
use ihuman_shared::{
    access::Role,
    testing::{Caller, reason, violations},
};
use tokio::sync::Barrier;
use tonic::{Code, Request, Status};
use tonic_types::StatusExt as _;
use uuid::Uuid;

use crate::support::{Auth, EMAIL, PASSWORD, bearer, login};

const WRONG: &str = "a wrong password, long enough";
const UNKNOWN: &str = "nobody@example.com";
const FORWARDED: [&str; 2] = ["--trusted-proxies", "127.0.0.0/8"];

impl Auth {
    async fn fail(&self, email: &str) -> Status {
        self.login_with(email, WRONG).await.unwrap_err()
    }

    /// The same as if it came from `address`, which a trusted proxy says.
    async fn login_from(&self, address: &str, email: &str, password: &str) -> Reason {
        let mut request = Request::new(login(email, password, ""));
        request.metadata_mut().insert("x-forwarded-for", address.parse().unwrap());
        match self.auth().login(request).await {
            Ok(_) => Reason::Unspecified,
            Err(status) => reason(&status),
        }
    }

    async fn login_on(&self, device_token: &str, password: &str) -> Result<String, Reason> {
        match self.auth().login(login(EMAIL, password, device_token)).await {
            Ok(response) => Ok(response.into_inner().device_token),
            Err(status) => Err(reason(&status)),
        }
    }

    async fn state(&self, user: &pb::User) -> Vec<pb::Lock> {
        let caller = self.credentials.person(Role::Admin).await;
        let request = pb::GetLockStateRequest { user_id: user.id.clone() };
        self.locks(&caller).get_lock_state(request).await.unwrap().into_inner().locks
    }

    async fn unlock(&self, caller: &Caller, user_id: &str) -> Result<i32, Status> {
        let request = pb::UnlockUserRequest { user_id: user_id.to_owned() };
        let response = self.locks(caller).unlock_user(request).await?;
        Ok(response.into_inner().ended_lock_count)
    }
}

/// How long to wait, in seconds.
fn wait(status: &Status) -> u64 {
    assert_eq!((status.code(), reason(status)), (Code::ResourceExhausted, Reason::TooManyFailures));
    status.get_details_retry_info().unwrap().retry_delay.unwrap().as_secs()
}

/// Makes the next attempt at every account the ninth, and the wait before it over.
const EIGHT_FAILURES: &str = "update auth.locks set failures = 8, wait_until = failed_at
     where scope = 'account' and $1::uuid is not null";
/// How long the wait of the latest failure is, in seconds.
const WAIT: &str = "select extract(epoch from wait_until - failed_at)::bigint from auth.locks
     where scope = 'account' order by failed_at desc limit 1";

#[tokio::test]
async fn each_failure_after_the_second_waits_longer_whether_the_account_is_there_or_not() {
    let auth = Auth::start().await;
    auth.register(EMAIL).await;

    for email in [EMAIL, UNKNOWN] {
        let mut waits = Vec::new();
        for _ in 0..13 {
            assert_eq!(reason(&auth.fail(email).await), Reason::LoginFailed);
            let seconds: i64 = auth.scalar(WAIT).await;
            if seconds >= 60 {
                let told = wait(&auth.login_with(email, PASSWORD).await.unwrap_err());
                assert!(told <= seconds.unsigned_abs() && told + 30 > seconds.unsigned_abs());
            }
            auth.service.clock.advance(TimeDelta::seconds(seconds));
            waits.push(seconds);
        }
        assert_eq!(waits, [0, 0, 1, 3, 5, 10, 30, 60, 300, 900, 3600, 3600, 3600], "{email}");
    }
    assert!(auth.login_with(EMAIL, PASSWORD).await.is_ok());
}

#[tokio::test]
async fn after_a_hundred_failures_one_attempt_a_day_is_left_and_never_none() {
    let auth = Auth::start().await;
    let user = auth.register(EMAIL).await;
    auth.fail(EMAIL).await;
    let ninety_nine = "update auth.locks set failures = 99 where user_id = $1";
    auth.execute(ninety_nine, user.id.parse().unwrap()).await;

    assert_eq!(reason(&auth.fail(EMAIL).await), Reason::LoginFailed);
    let refused = auth.login_with(EMAIL, PASSWORD).await.unwrap_err();
    auth.service.clock.advance(TimeDelta::days(1));

    assert!((3590..=86_400).contains(&wait(&refused)));
    let until =
        "select wait_until = date_trunc('day', wait_until at time zone 'UTC') at time zone 'UTC'
         or wait_until = failed_at + interval '1 hour' from auth.locks where user_id is not null";
    assert!(auth.scalar::<bool>(until).await);
    assert!(auth.login_with(EMAIL, PASSWORD).await.is_ok());
}

#[tokio::test]
async fn while_it_waits_every_password_gets_the_same_answer_and_none_is_hashed() {
    let auth = Auth::start().await;
    let user = auth.register(EMAIL).await;
    let (mut hashed, mut refused) = (Duration::MAX, Duration::MAX);
    for email in [EMAIL, UNKNOWN] {
        let started = Instant::now();
        auth.fail(email).await;
        hashed = hashed.min(started.elapsed());
    }
    auth.execute(EIGHT_FAILURES, user.id.parse().unwrap()).await;
    for email in [EMAIL, UNKNOWN] {
        auth.fail(email).await;
    }

    let mut answers = Vec::new();
    for (email, password) in [(EMAIL, PASSWORD), (EMAIL, WRONG), (UNKNOWN, PASSWORD), (UNKNOWN, "")]
    {
        for _ in 0..4 {
            let started = Instant::now();
            answers.push(auth.login_with(email, password).await.unwrap_err());
            refused = refused.min(started.elapsed());
        }
    }

    for answer in &answers {
        assert!((270..=300).contains(&wait(answer)));
        let info = answer.get_details_error_info().unwrap();
        assert!(info.metadata.is_empty());
    }
    assert!(refused < hashed / 2, "{refused:?} {hashed:?}");
    // None of them counted.
    let failures: i64 = auth.scalar("select max(failures)::bigint from auth.locks").await;
    assert_eq!(failures, 9);
}

#[tokio::test]
async fn a_good_login_ends_the_count() {
    let auth = Auth::start().await;
    let user = auth.register(EMAIL).await;

    for _ in 0..3 {
        auth.fail(EMAIL).await;
        auth.fail(EMAIL).await;
        assert_eq!(auth.state(&user).await[0].failure_count, 2);
        auth.login(EMAIL).await;
        assert_eq!(auth.state(&user).await, []);
    }
}

#[tokio::test]
async fn a_known_device_does_not_wait_for_what_strangers_do_and_answers_for_itself() {
    let auth = Auth::start().await;
    let user = auth.register(EMAIL).await;
    auth.register("bob@example.com").await;
    let token = auth.login_on("", PASSWORD).await.unwrap();
    let of_bob = auth.auth().login(login("bob@example.com", PASSWORD, "")).await.unwrap();
    let of_bob = of_bob.into_inner().device_token;
    auth.fail(EMAIL).await;
    auth.execute(EIGHT_FAILURES, user.id.parse().unwrap()).await;
    auth.fail(EMAIL).await;
    let mut forged = token.clone();
    forged.replace_range(..1, if token.starts_with('A') { "B" } else { "A" });

    for stranger in ["", &of_bob, &forged, "not a token"] {
        assert_eq!(auth.login_on(stranger, PASSWORD).await, Err(Reason::TooManyFailures));
    }
    let next = auth.login_on(&token, PASSWORD).await.unwrap();
    // The login of the device is no reason to give strangers more attempts.
    assert_eq!(auth.login_on("", PASSWORD).await, Err(Reason::TooManyFailures));
    assert_eq!(auth.login_on(&next, WRONG).await, Err(Reason::LoginFailed));
    let scopes: Vec<i32> = auth.state(&user).await.iter().map(|it| it.scope).collect();
    assert_eq!(scopes, [pb::LockScope::Device as i32, pb::LockScope::Account as i32]);
    auth.service.clock.advance(TimeDelta::days(91));
    auth.execute("update auth.locks set wait_until = now() + interval '92 days' where user_id = $1 and scope = 'account'", user.id.parse().unwrap()).await;
    assert_eq!(auth.login_on(&next, PASSWORD).await, Err(Reason::TooManyFailures));
    let long = auth.auth().login(login(EMAIL, PASSWORD, &"a".repeat(257))).await.unwrap_err();
    assert_eq!(violations(&long), ["device_token"]);
}

#[tokio::test]
async fn replicas_count_together() {
    let (here, email) = (Auth::start().await, EMAIL);
    let there = here.replica().await;
    here.register(email).await;

    here.fail(email).await;
    there.fail(email).await;
    here.execute(EIGHT_FAILURES, Uuid::nil()).await;
    assert_eq!(reason(&here.fail(email).await), Reason::LoginFailed);

    for auth in [&here, &there] {
        assert!(wait(&auth.login_with(email, PASSWORD).await.unwrap_err()) > 200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_over_two_replicas_gets_no_more_attempts_than_the_rule_allows() {
    let here = Auth::start().await;
    let there = here.replica().await;
    here.register(EMAIL).await;
    for email in [EMAIL, UNKNOWN] {
        here.fail(email).await;
    }
    here.execute(EIGHT_FAILURES, Uuid::nil()).await;

    for email in [EMAIL, UNKNOWN] {
        let start = Arc::new(Barrier::new(60));
        let attempts: Vec<_> = (0..60)
            .map(|n| {
                let mut client = if n % 2 == 0 { here.auth() } else { there.auth() };
                let (start, request) = (Arc::clone(&start), login(email, WRONG, ""));
                tokio::spawn(async move {
                    start.wait().await;
                    client.login(request).await
                })
            })
            .collect();
        let mut tried = 0;
        for attempt in attempts {
            match reason(&attempt.await.unwrap().unwrap_err()) {
                Reason::LoginFailed => tried += 1,
                other => assert_eq!(other, Reason::TooManyFailures),
            }
        }
        assert_eq!(tried, 1, "{email}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn good_logins_at_the_same_moment_do_not_wait_for_each_other() {
    let auth = Auth::start().await;
    auth.register(EMAIL).await;
    for _ in 0..2 {
        auth.fail(EMAIL).await;
    }

    let logins: Vec<_> = (0..20)
        .map(|_| {
            let mut client = auth.auth();
            tokio::spawn(async move { client.login(login(EMAIL, PASSWORD, "")).await })
        })
        .collect();

    for login in logins {
        assert!(login.await.unwrap().is_ok());
    }
}

#[tokio::test]
async fn an_address_that_fails_at_many_accounts_waits_and_no_other_does() {
    let auth = Auth::start_with(&FORWARDED).await;
    let (thief, owner) = ("2001:db8::1", "192.0.2.7");
    auth.register(EMAIL).await;
    auth.register("thief@example.com").await;
    let device = auth.login_on("", PASSWORD).await.unwrap();

    for n in 0..30 {
        let email = format!("{n}@example.com");
        assert_eq!(auth.login_from(thief, &email, WRONG).await, Reason::LoginFailed);
        if n == 20 {
            // Their own account does not make them a better address.
            let own = auth.login_from(thief, "thief@example.com", PASSWORD).await;
            assert_eq!(own, Reason::Unspecified);
        }
    }
    let wait = "update auth.locks set wait_until = failed_at + interval '5 minutes'
         where scope = 'address' and failures = 30 and $1::uuid is not null";
    auth.execute(wait, Uuid::nil()).await;

    // The network of the address is one subscriber's.
    for address in [thief, "2001:db8::ffff:1"] {
        assert_eq!(auth.login_from(address, EMAIL, PASSWORD).await, Reason::TooManyFailures);
    }
    for address in [owner, "2001:db8:0:1::1"] {
        assert_eq!(auth.login_from(address, EMAIL, PASSWORD).await, Reason::Unspecified);
    }
    let mut known = Request::new(login(EMAIL, PASSWORD, &device));
    known.metadata_mut().insert("x-forwarded-for", thief.parse().unwrap());
    assert!(auth.auth().login(known).await.is_ok());
    auth.service.clock.advance(TimeDelta::hours(2));
    for _ in 0..2 {
        assert_eq!(auth.login_from(thief, UNKNOWN, WRONG).await, Reason::LoginFailed);
    }
}

#[tokio::test]
async fn what_is_invented_takes_no_more_than_a_million_rows_and_is_not_told() {
    let auth = Auth::start().await;
    let user = auth.register(EMAIL).await;

    auth.fail(EMAIL).await;
    auth.fail(UNKNOWN).await;
    let lengths: Vec<i32> = auth
        .scalar("select array_agg(octet_length(subject_hash) order by scope, user_id nulls last) from auth.locks")
        .await;
    let table: String = auth.scalar("select string_agg(l::text, ' ') from auth.locks l").await;
    auth.fail("NOBODY@example.COM").await;
    let failures: i64 = auth
        .scalar(
            "select failures::bigint from auth.locks where user_id is null and scope = 'account'",
        )
        .await;

    assert_eq!(lengths, [32, 3, 3]);
    assert!(table.contains(&user.id) && !table.contains("example") && !table.contains("127.0.0.1"));
    assert_eq!(failures, 2);
}

#[tokio::test]
async fn unlocking_lets_anybody_try_again_and_is_recorded() {
    let auth = Auth::start().await;
    let user = auth.register(EMAIL).await;
    let manager = auth.credentials.person(Role::Admin).await;
    auth.fail(EMAIL).await;
    auth.execute(EIGHT_FAILURES, user.id.parse().unwrap()).await;
    auth.fail(EMAIL).await;
    assert!(auth.login_with(EMAIL, PASSWORD).await.is_err());
    let begun = auth.recorded("lock.begin").await;

    let state = auth.state(&user).await;
    let ended = auth.unlock(&manager, &user.id).await.unwrap();
    let again = auth.unlock(&manager, &user.id).await.unwrap();

    assert_eq!(begun.entity, ("user".to_owned(), user.id.clone()));
    assert_eq!(begun.new_values.unwrap()["failures"], 9);
    assert_eq!((state.len(), state[0].failure_count), (1, 9));
    let waits = state[0].wait_until_time.unwrap().seconds - state[0].failure_time.unwrap().seconds;
    assert_eq!((waits, state[0].kind), (300, pb::LockKind::Password as i32));
    assert_eq!((ended, again), (1, 0));
    assert!(auth.login_with(EMAIL, PASSWORD).await.is_ok());
    let record = auth.audited("user.unlock").await;
    record.is_by(&manager);
    assert_eq!(record.old_values.unwrap()["locks"][0]["failures"], 9);
}

#[tokio::test]
async fn only_an_administrator_unlocks_an_administrator() {
    let auth = Auth::start().await;
    let admin = auth.credentials.person(Role::Admin).await;
    let key = auth.credentials.api_key(admin.user_id, &["users:manage".to_owned()]).await;
    let nobody = Uuid::now_v7().to_string();

    let refused = auth.unlock(&key, &admin.user_id.to_string()).await.unwrap_err();
    let missing = auth.unlock(&admin, &nobody).await.unwrap_err();
    let request = pb::GetLockStateRequest { user_id: nobody };
    let no_state = auth.locks(&admin).get_lock_state(request).await.unwrap_err();
    let malformed = auth.unlock(&admin, "7").await.unwrap_err();

    assert_eq!(reason(&refused), Reason::NotAllowed);
    assert_eq!((reason(&missing), reason(&no_state)), (Reason::NotFound, Reason::NotFound));
    assert_eq!(violations(&malformed), ["user_id"]);
}

#[tokio::test]
async fn a_session_that_guesses_the_password_to_change_it_waits() {
    let auth = Auth::start().await;
    let (user, tokens) = auth.person(EMAIL).await;
    let caller = bearer(&user, &tokens);
    let change = async |current: &str, new: &str| {
        let request = pb::ChangePasswordRequest {
            current_password: current.to_owned(),
            new_password: new.to_owned(),
        };
        auth.auth_as(&caller).change_password(request).await
    };
    let new = "a kettle that sings at dawn";

    let wrong = change(WRONG, new).await.unwrap_err();
    // What is refused for itself is no failure.
    let common = change(PASSWORD, "ann@example.com!").await.unwrap_err();
    let count = auth.state(&user).await[0].failure_count;
    auth.execute("update auth.locks set failures = 8 where user_id = $1", caller.user_id).await;
    change(WRONG, new).await.unwrap_err();
    let waits = change(PASSWORD, new).await.unwrap_err();
    let elsewhere = auth.login_with(EMAIL, PASSWORD).await;
    auth.service.clock.advance(TimeDelta::minutes(6));
    let done = change(PASSWORD, new).await;

    assert_eq!(violations(&wrong), ["current_password"]);
    assert_eq!(violations(&common), ["new_password"]);
    assert_eq!(count, 1);
    assert!(wait(&waits) > 200);
    assert!(elsewhere.is_ok());
    assert!(done.is_ok(), "{done:?}");
    assert_eq!(auth.state(&user).await, []);
    auth.audited("lock.begin").await.is_by(&caller);
}
