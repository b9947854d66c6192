//! The layer that every RPC passes: who is calling, how often, and may they.

use std::{
    mem,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use http::{Request, Response, request::Parts};
use sqlx::PgPool;
use tonic::{Status, body::Body};
use tower::{Layer, Service};

use super::{Grant, Origin, Principal, Quota, RateLimit, Rules, Standing, Subject, TrustedProxies};
use crate::{
    Error, Result,
    audit::{self, Actor},
    clock::Clock,
    credentials::{Authenticator, Presented, Proof},
    server::{RequestId, peer_address},
};

/// How much of a user agent is kept.
const USER_AGENT_MAX: usize = 256;

/// Lets in what the [`Rules`] allow, and nothing else.
#[derive(Clone)]
pub struct Gate(Arc<Inner>);

struct Inner {
    rules: Rules,
    authenticator: Authenticator,
    rate_limit: RateLimit,
    proxies: TrustedProxies,
    clock: Clock,
    db: PgPool,
}

/// The service behind a [`Gate`].
#[derive(Clone)]
pub struct Admission<S> {
    gate: Gate,
    inner: S,
}

impl Gate {
    /// A gate that records the refusals of known callers in `db`.
    pub fn new(
        rules: Rules,
        authenticator: Authenticator,
        rate_limit: RateLimit,
        proxies: TrustedProxies,
        clock: Clock,
        db: PgPool,
    ) -> Self {
        Gate(Arc::new(Inner { rules, authenticator, rate_limit, proxies, clock, db }))
    }

    /// Asks the rules what this RPC needs, then the credentials who is calling.
    /// A path that the rules do not name never reaches a handler.
    async fn admit(&self, parts: &mut Parts) -> Result<()> {
        let rule = self.0.rules.get(parts.uri.path()).ok_or(Error::UnknownMethod)?;
        let origin = Arc::new(self.origin(parts));

        // Credentials are not even looked at: a stale token must not stop its
        // owner from logging in.
        if rule.grant == Grant::Public {
            self.count(parts, Subject::address(origin.ip_address), None).await?;
            parts.extensions.insert(origin);
            return Ok(());
        }

        let failures = Subject::failures(origin.ip_address);
        let proof = self.authenticate(parts, failures).await?;
        let quota = proof.terms.as_ref().and_then(|it| it.quota);
        let is_at_home = proof.terms.as_ref().is_none_or(|it| it.allow(origin.ip_address));
        let caller = Arc::new(proof.principal(Arc::clone(&origin)));
        if !is_at_home {
            // Counted for the address: who stole a key must not use up its quota.
            self.count(parts, failures, None).await?;
            return self.refuse(parts, &caller, Error::AddressNotAllowed).await;
        }
        self.count(parts, subject(&caller), quota).await?;
        if let Err(error) = rule.check(&caller, self.0.clock.now()) {
            // The standing that is told stays that of all requests, which go on.
            let denied = self.0.rate_limit.deny(caller.user_id).await;
            denied.map_err(|standing| refused(parts, standing))?;
            return self.refuse(parts, &caller, error).await;
        }
        if let Some(api_key_id) = caller.api_key_id() {
            self.0.authenticator.used(api_key_id);
        }

        parts.extensions.insert(origin);
        parts.extensions.insert(caller);
        Ok(())
    }

    async fn authenticate(&self, parts: &mut Parts, failures: Subject) -> Result<Proof> {
        // Failures count against the address, so that guessing is bounded too; but what
        // is good must not suffer from a stranger behind the same address, unless it
        // costs a look-up to know that it is.
        let quota = self.0.rate_limit.quota(failures);
        let used_up = self.0.rate_limit.used_up(failures, quota);
        let proved = match (Presented::in_headers(&parts.headers), used_up) {
            (Ok(it), Some(standing)) if self.0.authenticator.costs_look_up(it) => {
                return Err(refused(parts, standing));
            }
            (Ok(presented), _) => self.0.authenticator.authenticate(presented).await,
            (Err(error), _) => Err(error),
        };
        if let Err(error @ Error::Unauthenticated(_)) = &proved {
            metrics::counter!("ihuman_unauthenticated_total", "reason" => crate::error::name(error.reason()))
                .increment(1);
            self.count(parts, failures, None).await?;
        }
        proved
    }

    /// Counts one request of `subject`, and leaves its standing with the request.
    async fn count(
        &self,
        parts: &mut Parts,
        subject: Subject,
        own_quota: Option<Quota>,
    ) -> Result<()> {
        let quota = own_quota.unwrap_or_else(|| self.0.rate_limit.quota(subject));
        admitted(parts, self.0.rate_limit.take(subject, quota).await)
    }

    /// Refusals of a known caller are part of the audit trail, and are counted before,
    /// so that nobody can fill it; those of a stranger are only counted.
    async fn refuse(&self, parts: &Parts, caller: &Principal, error: Error) -> Result<()> {
        let mut conn = self.0.db.acquire().await?;
        let (actor, path) = (Actor::from(caller), parts.uri.path());
        audit::refuse(&mut conn, &actor, path, error.reason()).await?;
        Err(error)
    }

    fn origin(&self, parts: &Parts) -> Origin {
        let peer = peer_address(&parts.extensions);
        let request_id = parts.extensions.get::<RequestId>();
        let user_agent = parts.headers.get(http::header::USER_AGENT);
        let user_agent = user_agent.and_then(|it| it.to_str().ok()).unwrap_or_default();
        Origin {
            ip_address: peer.map(|peer| self.0.proxies.client_of(peer, &parts.headers)),
            user_agent: user_agent.chars().take(USER_AGENT_MAX).collect(),
            request_id: request_id.map(|it| it.0.clone()).unwrap_or_default(),
        }
    }
}

/// Leaves the standing with the request, for its answer.
fn admitted(parts: &mut Parts, standing: Standing) -> Result<()> {
    if !standing.allowed {
        return Err(refused(parts, standing));
    }
    parts.extensions.insert(standing);
    Ok(())
}

fn refused(parts: &mut Parts, standing: Standing) -> Error {
    parts.extensions.insert(standing);
    standing.into()
}

fn subject(caller: &Principal) -> Subject {
    caller.api_key_id().map_or(Subject::User(caller.user_id), Subject::ApiKey)
}

impl<S> Layer<S> for Gate {
    type Service = Admission<S>;

    fn layer(&self, inner: S) -> Admission<S> {
        Admission { gate: self.clone(), inner }
    }
}

impl<S, B, R> Service<Request<B>> for Admission<S>
where
    S: Service<Request<B>, Response = Response<R>> + Clone + Send + 'static,
    S::Future: Send,
    B: Send + 'static,
    R: http_body::Body<Data = bytes::Bytes> + Send + 'static,
    R::Error: Into<tonic::codegen::StdError>,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, S::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        // The clone may not be ready; the service that was polled is.
        let clone = self.clone();
        let mut ready = mem::replace(self, clone);
        Box::pin(async move {
            let (mut parts, body) = request.into_parts();
            let admitted = ready.gate.admit(&mut parts).await;
            let standing: Option<Standing> = parts.extensions.remove();
            let mut response = match admitted {
                Ok(()) => {
                    let response = ready.inner.call(Request::from_parts(parts, body)).await?;
                    response.map(Body::new)
                }
                Err(error) => Status::from(error).into_http(),
            };
            if let Some(standing) = standing {
                standing.tell(response.headers_mut());
            }
            Ok(response)
        })
    }
}
