//! `GET /.well-known/jwks.json`: the public keys for who verifies tokens without gRPC.

use std::sync::Arc;

use axum::{
    Router,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use ihuman_proto::auth::v1::JsonWebKey;
use serde_json::{Value, json};

use crate::context::Context;

/// The route.
pub(crate) fn router(context: &Arc<Context>) -> Router {
    Router::new().route("/.well-known/jwks.json", get(key_set).with_state(Arc::clone(context)))
}

async fn key_set(State(context): State<Arc<Context>>) -> Response {
    let keys = match context.key_set.list().await {
        Ok(keys) => keys,
        Err(error) => {
            tracing::warn!(%error, "can't read the public keys");
            return StatusCode::SERVICE_UNAVAILABLE.into_response();
        }
    };
    let keys: Vec<Value> = keys.iter().map(|it| member(it.into())).collect();
    let headers = [
        (header::CONTENT_TYPE, "application/jwk-set+json"),
        (header::CACHE_CONTROL, "public, max-age=300"),
    ];
    (headers, json!({"keys": keys}).to_string()).into_response()
}

/// A member of the set, with the names of RFC 7517 section 4.
fn member(key: JsonWebKey) -> Value {
    let JsonWebKey { kid, kty, crv, x, alg, r#use } = key;
    json!({"kid": kid, "kty": kty, "crv": crv, "x": x, "alg": alg, "use": r#use})
}
