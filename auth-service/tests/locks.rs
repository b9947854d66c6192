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
const FORWARDED: [&str; 2] = ["--trusted-proxies", "127.0.0.1"];

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
    assert_eq!(
        (status.code(), reason(status)),
        (Code::ResourceExhausted, Reason::TooManyFailures)
    );
    status.get_details_retry_info().unwrap().retry_delay.unwrap().as_secs()
}

#[tokio::test]
async fn each_failure_after_the_third_waits_longer_whether_the_account_is_there_or_not() {
    let auth = Auth::start().await;
    auth.register(EMAIL).await;

    for email in [EMAIL, UNKNOWN] {
        let mut waits = Vec::new();
        for _ in 0..13 {
            assert_eq!(reason(&auth.fail(email).await), Reason::LoginFailed);
            let next = auth.login_with(email, PASSWORD).await;
            match next {
                Err(status) if reason(&status) == Reason::TooManyFailures => {
                    waits.push(wait(&status));
                    let almost = TimeDelta::seconds(wait(&status).try_into().unwrap());
                    auth.service.clock.advance(almost);
                }
                // The first two are free; a good login ends the count, a bad one adds.
                other => panic!("{email}: {other:?}"),
            }
            if waits.len() == 11 {
                break;
            }
        }
        assert_eq!(waits, [1, 3, 5, 10, 30, 60, 300, 900, 3600, 3600, 3600], "{email}");
    }
}
