//! A tonic server that does nothing but answer: what the transport alone costs.

use std::{
    convert::Infallible,
    future::{Ready, ready},
    net::Ipv4Addr,
    task::{Context, Poll},
};

use anyhow::Result;
use ihuman_proto::auth::v1::{GetCurrentUserRequest, GetCurrentUserResponse, User};
use tonic::{
    Request, Response, Status,
    body::Body,
    codegen::{Body as HttpBody, BoxFuture, Service, StdError, http},
    server::{Grpc, NamedService, UnaryService},
    transport::Server,
};
use tonic_prost::ProstCodec;

/// Answers as `GetCurrentUser` does, whoever asks.
#[derive(Clone)]
struct Echo(GetCurrentUserResponse);

/// An answer of the size that a developer gets.
fn answer() -> GetCurrentUserResponse {
    let id = || "0190a5d2-c0de-7000-8000-00000000000a".to_owned();
    let user = User {
        id: id(),
        email: "bench-10@example.com".to_owned(),
        display_name: "Bench".to_owned(),
        ..User::default()
    };
    let permissions = ["skills:read", "executions:read", "workflows:read", "analytics:read"];
    GetCurrentUserResponse {
        user: Some(user),
        permissions: permissions.map(str::to_owned).to_vec(),
        session_id: id(),
        api_key_id: String::new(),
    }
}

/// Serves until the process is ended.
pub(super) async fn serve(port: u16) -> Result<()> {
    let server = Server::builder().tcp_nodelay(true).add_service(Echo(answer()));
    server.serve((Ipv4Addr::LOCALHOST, port).into()).await?;
    Ok(())
}

impl NamedService for Echo {
    const NAME: &'static str = "ihuman.auth.v1.AuthService";
}

impl UnaryService<GetCurrentUserRequest> for Echo {
    type Response = GetCurrentUserResponse;
    type Future = Ready<Result<Response<GetCurrentUserResponse>, Status>>;

    fn call(&mut self, _: Request<GetCurrentUserRequest>) -> Self::Future {
        ready(Ok(Response::new(self.0.clone())))
    }
}

impl<B> Service<http::Request<B>> for Echo
where
    B: HttpBody + Send + 'static,
    B::Error: Into<StdError> + Send + 'static,
{
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        let echo = self.clone();
        let codec = ProstCodec::<GetCurrentUserResponse, GetCurrentUserRequest>::default();
        Box::pin(async move { Ok(Grpc::new(codec).unary(echo, request).await) })
    }
}
