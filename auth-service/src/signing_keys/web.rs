//! `GET /.well-known/jwks.json`: the public keys for who verifies tokens without gRPC.

use std::sync::Arc;

use axum::{
    Router,
    extract::State,
    http::header,
    response::{IntoResponse, Response},
    routing::get,
};
use ihuman_shared::server::refuse;
use serde_json::json;

use crate::context::Context;

/// The route.
pub(crate) fn router(context: &Arc<Context>) -> Router {
    Router::new().route("/.well-known/jwks.json", get(key_set).with_state(Arc::clone(context)))
}

async fn key_set(State(context): State<Arc<Context>>) -> Response {
    let keys = match context.key_set.list().await {
        Ok(keys) => keys,
        Err(error) => return refuse(error),
    };
    let headers = [
        (header::CONTENT_TYPE, "application/jwk-set+json"),
        (header::CACHE_CONTROL, "public, max-age=300"),
    ];
    (headers, json!({"keys": *keys}).to_string()).into_response()
}
