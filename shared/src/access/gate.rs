//! The layer that every RPC passes: who is calling, how often, and may they.

use std::{
    mem,
    net::IpAddr,
    pin::Pin,
    str::FromStr,
    sync::Arc,
    task::{Context, Poll},
    time::Instant,
};

use http::{HeaderMap, Request, Response, request::Parts};
use ipnet::IpNet;
use sqlx::PgPool;
use tonic::{Status, body::Body};
use tower::{Layer, Service};

use super::{Grant, Origin, Principal, RateLimit, Rule, Rules, Subject};
use crate::{
    Error, Result,
    audit::{self, Actor},
    clock::Clock,
    credentials::{Authenticator, Presented},
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

/// The networks whose `x-forwarded-for` is believed.
#[derive(Clone, Debug, Default)]
pub struct TrustedProxies(Vec<IpNet>);

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
        let path = parts.uri.path();
        let rule = self.0.rules.get(path).ok_or(Error::UnknownMethod)?;
        let origin = Arc::new(self.origin(parts));

        // Credentials are not even looked at: a stale token must not stop its
        // owner from logging in.
        if rule.grant == Grant::Public {
            self.0.rate_limit.take(Subject::Address(origin.ip_address), Instant::now())?;
            parts.extensions.insert(origin);
            return Ok(());
        }

        let caller = self.authenticate(&parts.headers, &origin).await?;
        self.0.rate_limit.take(subject(&caller), Instant::now())?;
        self.authorize(path, rule, &caller).await?;

        parts.extensions.insert(origin);
        parts.extensions.insert(caller);
        Ok(())
    }

    async fn authenticate(
        &self,
        headers: &HeaderMap,
        origin: &Arc<Origin>,
    ) -> Result<Arc<Principal>> {
        // Failures count against the address, so that guessing is bounded too.
        let address = Subject::Address(origin.ip_address);
        self.0.rate_limit.check(address, Instant::now())?;
        let proved = match Presented::in_headers(headers) {
            Ok(presented) => self.0.authenticator.authenticate(presented).await,
            Err(error) => Err(error),
        };
        match proved {
            Ok(proof) => Ok(Arc::new(proof.principal(Arc::clone(origin)))),
            Err(error) => {
                metrics::counter!("ihuman_unauthenticated_total", "reason" => crate::error::name(error.reason()))
                    .increment(1);
                self.0.rate_limit.take(address, Instant::now())?;
                Err(error)
            }
        }
    }

    /// Refusals of a known caller are part of the audit trail; those of a
    /// stranger are only counted, so that a stranger can't fill it.
    async fn authorize(&self, path: &str, rule: Rule, caller: &Principal) -> Result<()> {
        let checked = rule.check(Some(caller), self.0.clock.now());
        if let Err(error) = &checked {
            let mut conn = self.0.db.acquire().await?;
            audit::refuse(&mut conn, &Actor::from(caller), path, error.reason()).await?;
        }
        checked
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

fn subject(caller: &Principal) -> Subject {
    caller.api_key_id().map_or(Subject::User(caller.user_id), Subject::ApiKey)
}

impl TrustedProxies {
    /// The client that `peer` speaks for: the last address of `x-forwarded-for`
    /// that is not a trusted proxy itself. Earlier ones may be made up.
    fn client_of(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let trusted = |it: &IpAddr| self.0.iter().any(|network| network.contains(it));
        if !trusted(&peer) {
            return peer;
        }
        let forwarded = headers.get_all("x-forwarded-for").iter().filter_map(|it| it.to_str().ok());
        let addresses: Vec<&str> = forwarded.flat_map(|it| it.split(',')).collect();
        let known = addresses.iter().rev().map_while(|it| it.trim().parse().ok());
        known.take_while_inclusive(trusted).last().unwrap_or(peer)
    }
}

/// Takes items while `keep` holds, and the first one for which it does not.
trait TakeWhileInclusive: Iterator + Sized {
    fn take_while_inclusive(
        mut self,
        keep: impl Fn(&Self::Item) -> bool,
    ) -> impl Iterator<Item = Self::Item> {
        let mut ended = false;
        std::iter::from_fn(move || {
            let item = if ended { None } else { self.next() }?;
            ended = !keep(&item);
            Some(item)
        })
    }
}

impl<T: Iterator> TakeWhileInclusive for T {}

impl FromStr for TrustedProxies {
    type Err = String;

    /// Networks in CIDR notation, separated by commas.
    fn from_str(text: &str) -> Result<Self, String> {
        let networks = text.split(',').map(str::trim).filter(|it| !it.is_empty());
        let parsed: Result<_, _> = networks.map(str::parse).collect();
        parsed.map(TrustedProxies).map_err(|_| "must be networks such as 10.0.0.0/8".to_owned())
    }
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
            match ready.gate.admit(&mut parts).await {
                Ok(()) => {
                    let response = ready.inner.call(Request::from_parts(parts, body)).await?;
                    Ok(response.map(Body::new))
                }
                Err(error) => Ok(Status::from(error).into_http()),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client_of(peer: &str, forwarded: &str) -> String {
        let proxies: TrustedProxies = "10.0.0.0/8, fd00::/8".parse().unwrap();
        let mut headers = HeaderMap::new();
        headers.insert("x-forwarded-for", forwarded.parse().unwrap());
        proxies.client_of(peer.parse().unwrap(), &headers).to_string()
    }

    #[test]
    fn only_a_trusted_proxy_may_speak_for_another_address() {
        assert_eq!(client_of("192.0.2.1", "198.51.100.7"), "192.0.2.1");
        assert_eq!(client_of("10.0.0.1", "198.51.100.7"), "198.51.100.7");
    }

    #[test]
    fn addresses_that_a_client_made_up_are_not_believed() {
        assert_eq!(client_of("10.0.0.1", "1.1.1.1, 198.51.100.7, 10.0.0.2"), "198.51.100.7");
        assert_eq!(client_of("10.0.0.1", "198.51.100.7, nonsense"), "10.0.0.1");
        assert_eq!(client_of("10.0.0.1", "10.0.0.9, 10.0.0.2"), "10.0.0.9");
    }
}
