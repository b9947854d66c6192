//! What a server serves, and the order of the layers in front of it.

use std::{collections::HashMap, convert::Infallible, fmt, sync::Arc};

use axum::{
    Router,
    body::Body,
    extract::Request,
    middleware::{from_fn, from_fn_with_state},
    response::{IntoResponse, Response},
    routing::Route,
};
use http::{HeaderValue, Method, header::CONTENT_TYPE};
use tokio::sync::watch;
use tonic::{server::NamedService, service::RoutesBuilder};
use tonic_web::GrpcWebLayer;
use tower::{Layer, Service, ServiceBuilder, ServiceExt as _};

use super::{
    config::ServerConfig,
    cors, deadline,
    health::{self, Readiness, Serving},
    json, load, methods, panic, record, request_id,
    shutdown::Shutdown,
    status, web,
};
use crate::access::TrustedProxies;

/// The longest message in bytes of RPCs that are not of a service of the stack's own,
/// such as the health check.
const OTHER_MESSAGE_MAX: usize = 4 << 10;

/// A generated gRPC server that reads no longer message than it may, whether it comes
/// as protobuf or as JSON.
#[derive(Clone, Debug)]
pub struct Limited<S> {
    server: S,
    message_max: usize,
}

impl<S> Limited<S> {
    /// `build` makes the server and gives `message_max`, in bytes, to its
    /// `max_decoding_message_size`.
    pub fn new(message_max: usize, build: impl FnOnce(usize) -> S) -> Self {
        Self { server: build(message_max), message_max }
    }
}

/// Everything that one server serves.
pub struct Stack {
    routes: RoutesBuilder,
    /// The longest message in bytes that each service reads, by its name.
    services: HashMap<String, usize>,
    gate: Box<dyn FnOnce(Router) -> Router + Send>,
    web: Router,
    readiness: Readiness,
    proxies: TrustedProxies,
}

impl Stack {
    /// Serves nothing but health and reflection, lets everybody in, and is ready.
    pub fn new() -> Self {
        Self {
            routes: RoutesBuilder::default(),
            services: HashMap::new(),
            gate: Box::new(|routes| routes),
            web: Router::new(),
            readiness: watch::channel(true).1,
            proxies: TrustedProxies::default(),
        }
    }

    /// Adds a generated gRPC server, with the compression that it was given.
    #[must_use]
    pub fn service<S>(mut self, service: Limited<S>) -> Self
    where
        S: Service<http::Request<tonic::body::Body>, Error = Infallible>
            + NamedService
            + Clone
            + Send
            + Sync
            + 'static,
        S::Response: IntoResponse,
        S::Future: Send + 'static,
    {
        self.routes.add_service(service.server);
        self.services.insert(S::NAME.to_owned(), service.message_max);
        self
    }

    /// Puts a layer in front of the services, inside of all others: it sees each
    /// RPC, known or not, except those of health and reflection. What it refuses
    /// with, it answers as `Status::into_http`.
    #[must_use]
    pub fn gate<L>(mut self, gate: L) -> Self
    where
        L: Layer<Route> + Clone + Send + Sync + 'static,
        L::Service: Service<Request> + Clone + Send + Sync + 'static,
        <L::Service as Service<Request>>::Response: IntoResponse + 'static,
        <L::Service as Service<Request>>::Error: Into<Infallible> + 'static,
        <L::Service as Service<Request>>::Future: Send + 'static,
    {
        let outer = self.gate;
        self.gate = Box::new(move |routes| outer(routes.layer(gate)));
        self
    }

    /// Adds plain HTTP routes, such as /.well-known/jwks.json.
    #[must_use]
    pub fn web(mut self, routes: Router) -> Self {
        self.web = self.web.merge(routes);
        self
    }

    /// Says when the service can do its work.
    #[must_use]
    pub fn readiness(mut self, readiness: Readiness) -> Self {
        self.readiness = readiness;
        self
    }

    /// Lets these proxies hold more connections than another peer may.
    #[must_use]
    pub fn trusted_proxies(mut self, proxies: TrustedProxies) -> Self {
        self.proxies = proxies;
        self
    }

    /// Which proxies may.
    pub(super) fn trusted(&self) -> TrustedProxies {
        self.proxies.clone()
    }

    /// What says when the service can do its work.
    pub(super) fn ready(&self) -> Readiness {
        self.readiness.clone()
    }

    /// The whole stack as one service, from CORS to the handlers; all that a
    /// socket adds is the connection.
    pub fn into_router(self, config: &ServerConfig, shutdown: &Shutdown) -> anyhow::Result<Router> {
        let serving = Serving::new(self.readiness, shutdown);
        let gated = (self.gate)(self.routes.routes().into_axum_router());
        let grpc = health::routes(self.services.keys().cloned().collect(), serving.clone())?
            .into_axum_router()
            .fallback_service(gated)
            .layer(
                ServiceBuilder::new()
                    // Outside of all that makes a status, to put each into the
                    // form that a browser can read.
                    .layer(GrpcWebLayer::new())
                    // The layers below are axum's, and so is their body.
                    .map_request(|request: http::Request<tonic::body::Body>| request.map(Body::new))
                    // Inside of gRPC-Web, where trailers are still trailers, and
                    // outside of the rest, to count what the rest refuses.
                    .layer(from_fn(record::record))
                    // Outside of all that may answer without an ErrorInfo.
                    .layer(from_fn(status::explain))
                    // Outside of all code of the services.
                    .layer(from_fn(panic::catch))
                    // Outside of the load limit, so that what holds a permit
                    // gives it back in time.
                    .layer(from_fn_with_state(
                        deadline::Limits::new(config, shutdown),
                        deadline::enforce,
                    ))
                    // Outside of the gate, which already costs something.
                    .layer(from_fn_with_state(load::Limits::new(config), load::limit)),
            );
        let services = Arc::new(self.services);
        let split = Split { grpc, services, web: web::router(self.web, serving) };
        Ok(Router::new().fallback(move |request| split.clone().route(request)).layer(
            ServiceBuilder::new()
                // Outermost: answers preflight requests, and adds its headers to
                // every response, errors included.
                .option_layer(cors::layer(config))
                // Next, so that whatever is logged below can name the request.
                .layer(from_fn(request_id::assign)),
        ))
    }
}

impl Default for Stack {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Stack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stack").field("services", &self.services).finish_non_exhaustive()
    }
}

/// One port for all protocols: the content type says which it is.
#[derive(Clone)]
struct Split {
    grpc: Router,
    services: Arc<HashMap<String, usize>>,
    web: Router,
}

impl Split {
    async fn route(self, mut request: Request<Body>) -> Response {
        // Parameters such as a charset say nothing here, and the gRPC-Web layer
        // would take them for another type.
        let header = request.headers().get(CONTENT_TYPE).and_then(|it| it.to_str().ok());
        let kind = header.and_then(|it| it.split(';').next()).unwrap_or_default();
        let kind = kind.trim().to_ascii_lowercase();

        let is_web = kind.starts_with("application/grpc-web");
        let Ok(response) = if kind.starts_with("application/grpc") && !is_web && is_old(&request) {
            Ok(web::needs_http2())
        } else if kind.starts_with("application/grpc") {
            if let Ok(kind) = HeaderValue::try_from(kind) {
                request.headers_mut().insert(CONTENT_TYPE, kind);
            }
            self.grpc.oneshot(request).await
        } else if kind == "application/json" && request.method() == Method::POST {
            let size = self.size(request.uri().path());
            Ok(json::call(self.grpc, size, request).await)
        } else {
            self.web.oneshot(request).await
        };
        response
    }

    /// How large a JSON request to `path` may be.
    fn size(&self, path: &str) -> json::Size {
        let message_max = methods::find(path).and_then(|it| self.services.get(&it.service));
        json::Size::of_message(message_max.copied().unwrap_or(OTHER_MESSAGE_MAX))
    }
}

/// Whether it came over HTTP/1, which has no trailers that clients would read.
fn is_old(request: &Request<Body>) -> bool {
    request.version() < http::Version::HTTP_2
}
