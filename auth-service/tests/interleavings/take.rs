//! How each step is taken.

use std::sync::atomic::{AtomicBool, Ordering};

use ihuman_proto::{auth::v1 as pb, error::v1::ErrorReason as Reason};
use ihuman_shared::testing::Caller;
use tonic::Status;
use uuid::Uuid;

use super::{
    model::Refreshed,
    step::{RequestId, Rival, Step},
    world::{Outcome, World, ensure, is},
};

/// One of what there is; none if there is nothing.
pub(super) fn choose(number: usize, among: &[usize]) -> Option<usize> {
    among.get(number.checked_rem(among.len())?).copied()
}

pub(super) fn works(what: &str) -> impl FnOnce(Status) -> String {
    move |status| format!("{what} should work, and is refused: {status}")
}

impl World {
    /// Takes a step, at a replica that the number `at` decides. One for which nothing
    /// is there is left out.
    pub(super) async fn take(&mut self, at: usize, step: Step) -> Outcome {
        let replica = at % 2;
        let user = |number: usize| number % 2;
        match step {
            Step::Login { user: it } => self.login(replica, user(it)).await,
            Step::LoginWithOldPassword { user: it } => {
                let passwords = &self.model.users[user(it)].passwords;
                let Some(old) = passwords.iter().rev().nth(1).cloned() else { return Ok(()) };
                self.fail_to_login(replica, user(it), &old).await
            }
            Step::Refresh { token, request } => {
                let Some(token) = self.refresh_token(token) else { return Ok(()) };
                let request_id = match request {
                    RequestId::None => None,
                    RequestId::New => Some(Uuid::new_v4()),
                    RequestId::Same => {
                        self.model.refresh_tokens[token].used.and_then(|it| it.request_id)
                    }
                };
                self.refresh(replica, token, request_id).await
            }
            Step::RefreshTwice { token, same_request } => {
                let Some(token) = self.refresh_token(token) else { return Ok(()) };
                self.refresh_twice(token, same_request).await
            }
            Step::RefreshDuring { token, rival } => {
                let Some(token) = self.refresh_token(token) else { return Ok(()) };
                self.refresh_during(replica, token, rival).await
            }
            Step::Logout { session: it } => {
                let Some(it) = self.session(it) else { return Ok(()) };
                self.end(replica, it, Rival::Logout).await
            }
            Step::RevokeOthers { session: it } => {
                let Some(it) = self.session(it) else { return Ok(()) };
                self.end(replica, it, Rival::RevokeOthers).await
            }
            Step::ChangePassword { session: it } => {
                let Some(it) = self.session(it) else { return Ok(()) };
                self.end(replica, it, Rival::ChangePassword).await
            }
            Step::SetRole { user: it, role } => {
                self.administer(replica, user(it), Rival::SetRole(role)).await
            }
            Step::Deactivate { user: it } if self.model.users[user(it)].is_active => {
                self.administer(replica, user(it), Rival::Deactivate).await
            }
            Step::Deactivate { .. } => Ok(()),
            Step::Reactivate { user: it } => self.reactivate(replica, user(it)).await,
            Step::CreateKey { session: it, scopes } => {
                let Some(it) = self.session(it) else { return Ok(()) };
                self.create_key(replica, it, scopes).await
            }
            Step::RotateKey { key, overlap_s } => {
                let Some(key) = self.live_key(key) else { return Ok(()) };
                self.rotate_key(replica, key, overlap_s).await
            }
            Step::RevokeKey { key } => {
                let Some(key) = self.live_key(key) else { return Ok(()) };
                self.revoke_key(replica, key).await
            }
            Step::RotateSigningKey => self.rotate_signing_key(replica).await,
            Step::Maintain => self.maintain().await,
            Step::Wait { seconds } => {
                self.wait(seconds);
                Ok(())
            }
        }
    }

    fn session(&self, number: usize) -> Option<usize> {
        choose(number, &self.model.usable_sessions(self.now()))
    }

    /// Mostly one of the last, which are the ones that may still work.
    fn refresh_token(&self, number: usize) -> Option<usize> {
        let count = self.model.refresh_tokens.len();
        let back = if number.is_multiple_of(4) { number } else { number % 3 };
        let back = back.checked_rem(count)?;
        Some(count - 1 - back)
    }

    async fn login(&mut self, replica: usize, user: usize) -> Outcome {
        let known = &self.model.users[user];
        let (email, password) = (known.email.clone(), known.password().to_owned());
        if !known.is_active {
            return self.fail_to_login(replica, user, &password).await;
        }
        let tokens = self.replicas[replica].login_with(&email, &password).await;
        self.open_session(user, &tokens.map_err(works("a login"))?)
    }

    /// Tries what must not work, and takes away the wait that it may begin.
    async fn fail_to_login(&self, replica: usize, user: usize, password: &str) -> Outcome {
        let user = &self.model.users[user];
        let answer = self.replicas[replica].login_with(&user.email, password).await;
        let is_refused = answer.is_err_and(|it| is(&it, Reason::LoginFailed));
        ensure(is_refused, "a login that must not work")?;
        let unlock = pb::UnlockUserRequest { user_id: user.user_id.to_string() };
        let admin = self.admin().await;
        let unlocked = self.replicas[replica].locks(&admin).unlock_user(unlock).await;
        unlocked.map(drop).map_err(works("unlocking"))
    }

    async fn refresh_twice(&mut self, token: usize, same_request: bool) -> Outcome {
        let id = Uuid::new_v4();
        let ids = [Some(id), Some(if same_request { id } else { Uuid::new_v4() })];
        let expected = self.model.refresh(token, ids[0], self.now());
        if expected != Refreshed::New {
            return Ok(());
        }
        let text = self.model.refresh_tokens[token].text.clone();
        let [one, other] = &self.replicas;
        let (a, b) = (ids[0].unwrap().to_string(), ids[1].unwrap().to_string());
        let (one, other) = tokio::join!(one.refresh(&text, &a), other.refresh(&text, &b));
        // Whichever came first, the model knows what becomes of the second.
        let first_won = one.is_ok();
        let answers = if first_won { [(0, one), (1, other)] } else { [(1, other), (0, one)] };
        for (number, answer) in answers {
            let expected = self.model.refresh(token, ids[number], self.now());
            self.refreshed(token, ids[number], expected, answer)?;
        }
        Ok(())
    }

    /// Refreshes again and again at one replica while the other ends the session, or
    /// the rights of its tokens: nothing that was got on the way outlives that.
    async fn refresh_during(&mut self, replica: usize, token: usize, rival: Rival) -> Outcome {
        let now = self.now();
        let session = self.model.refresh_tokens[token].session;
        let user = self.model.sessions[session].user;
        let mut usable = self.model.usable_sessions(now).into_iter().rev();
        let by = match rival {
            Rival::RevokeOthers => {
                usable.find(|it| *it != session && self.model.sessions[*it].user == user)
            }
            _ => usable.find(|it| *it == session),
        };
        let (Refreshed::New, Some(by)) = (self.model.refresh(token, None, now), by) else {
            return Ok(());
        };
        let caller = self.caller(by, rival).await;
        let text = self.model.refresh_tokens[token].text.clone();
        let has_ended = AtomicBool::new(false);
        let refreshing = async {
            let mut answers = Vec::new();
            let mut text = text;
            while !has_ended.load(Ordering::Relaxed) {
                let answer = self.replicas[replica].refresh(&text, "").await;
                let next = answer.as_ref().ok().map(|it| it.refresh_token.clone());
                answers.push(answer);
                let Some(next) = next else { break };
                text = next;
            }
            answers
        };
        let ending = async {
            let ended = self.ask_to_end(1 - replica, &caller, user, rival).await;
            has_ended.store(true, Ordering::Relaxed);
            ended
        };
        let (answers, ended) = tokio::join!(refreshing, ending);
        ended.map_err(works("what ends a session"))?;
        if let Rival::SetRole(_) = rival {
            self.note_end(user, by, rival);
        }
        let mut token = token;
        for answer in answers {
            match answer {
                Ok(_) => self.refreshed(token, None, Refreshed::New, answer)?,
                Err(status) => {
                    let is_over = !matches!(rival, Rival::SetRole(_));
                    let is_so = is_over && is(&status, Reason::CredentialsRevoked);
                    ensure(is_so, "a refresh while its session ends")?;
                }
            }
            token = self.model.refresh_tokens.len() - 1;
        }
        if !matches!(rival, Rival::SetRole(_)) {
            self.note_end(user, by, rival);
        }
        Ok(())
    }

    /// Who does what ends a session.
    async fn caller(&self, session: usize, rival: Rival) -> Caller {
        match rival {
            Rival::Deactivate | Rival::SetRole(_) => self.admin().await,
            _ => self.bearer(self.model.token_of_session(session, self.now()).unwrap()),
        }
    }

    async fn end(&mut self, replica: usize, session: usize, rival: Rival) -> Outcome {
        let user = self.model.sessions[session].user;
        let others = self.model.live_sessions(user, self.now()).map(|it| it - 1);
        let caller = self.caller(session, rival).await;
        let ended = self.ask_to_end(replica, &caller, user, rival).await;
        let count = ended.map_err(works("what ends a session"))?;
        self.note_end(user, session, rival);
        let counted = count.is_none() || others.is_none() || count == others;
        ensure(counted, "the number of sessions that ended")
    }

    /// Returns how many sessions ended, where the answer says so.
    async fn ask_to_end(
        &self,
        replica: usize,
        caller: &Caller,
        user: usize,
        rival: Rival,
    ) -> Result<Option<usize>, Status> {
        let (auth, user) = (&self.replicas[replica], &self.model.users[user]);
        let user_id = user.user_id.to_string();
        match rival {
            Rival::Logout => {
                auth.auth_as(caller).logout(pb::LogoutRequest {}).await?;
            }
            Rival::RevokeOthers => {
                let request = pb::RevokeOtherSessionsRequest {};
                let answer = auth.sessions(caller).revoke_other_sessions(request).await?;
                return Ok(Some(answer.into_inner().revoked_session_count as usize));
            }
            Rival::ChangePassword => {
                let current_password = user.password().to_owned();
                let new_password = user.next_password();
                let request = pb::ChangePasswordRequest { current_password, new_password };
                auth.auth_as(caller).change_password(request).await?;
            }
            Rival::Deactivate => {
                auth.users(caller).deactivate_user(pb::DeactivateUserRequest { user_id }).await?;
            }
            Rival::SetRole(role) => {
                let request = pb::SetUserRoleRequest { user_id, role: role.to_contract() };
                auth.users(caller).set_user_role(request).await?;
            }
        }
        Ok(None)
    }

    fn note_end(&mut self, user: usize, session: usize, rival: Rival) {
        let role = self.model.users[user].role();
        match rival {
            Rival::Logout => self.model.sessions[session].is_revoked = true,
            Rival::RevokeOthers => self.model.revoke_sessions(user, Some(session)),
            Rival::ChangePassword => {
                self.model.revoke_sessions(user, None);
                let next = self.model.users[user].next_password();
                self.model.users[user].passwords.push(next);
                self.model.users[user].roles.push(role);
            }
            Rival::Deactivate => {
                self.model.revoke_sessions(user, None);
                self.model.users[user].is_active = false;
                self.model.users[user].roles.push(role);
            }
            Rival::SetRole(new) if new != role => self.model.users[user].roles.push(new),
            Rival::SetRole(_) => {}
        }
    }

    async fn administer(&mut self, replica: usize, user: usize, rival: Rival) -> Outcome {
        let caller = self.admin().await;
        let done = self.ask_to_end(replica, &caller, user, rival).await;
        done.map_err(works("what an administrator does"))?;
        self.note_end(user, 0, rival);
        Ok(())
    }

    async fn reactivate(&mut self, replica: usize, user: usize) -> Outcome {
        let known = &mut self.model.users[user];
        if known.is_active {
            return Ok(());
        }
        let (user_id, role) = (known.user_id.to_string(), known.role());
        known.is_active = true;
        known.roles.push(role);
        let admin = self.admin().await;
        let request = pb::ReactivateUserRequest { user_id };
        let done = self.replicas[replica].users(&admin).reactivate_user(request).await;
        done.map(drop).map_err(works("reactivation"))
    }
}
