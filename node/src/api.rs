//! The internal listener: metrics and health.

use std::sync::Arc;

use axum::extract::{RawQuery, State};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use axum::{Json, Router};
use http::{StatusCode, header};
use serde_json::{Value, json};

use crate::health::Readiness;
use crate::shards::Shards;

/// Routes of the internal listener.
pub fn router(shards: Arc<Shards>) -> Router {
    Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .fallback(|| async { (StatusCode::NOT_FOUND, "see /metrics, /healthz and /readyz\n") })
        .with_state(shards)
}

/// Prometheus text; gauges come from the shards themselves, so a shard that hangs makes this a 503 instead
/// of a plausible number.
async fn metrics(State(shards): State<Arc<Shards>>) -> Response {
    match shards.snapshots().await {
        Some(snapshots) => {
            let text = shards.render_metrics(&snapshots);
            ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response()
        }
        None => (StatusCode::SERVICE_UNAVAILABLE, "a shard does not answer\n").into_response(),
    }
}

/// Whether every shard is alive: restart the process if not.
async fn healthz(State(shards): State<Arc<Shards>>) -> Response {
    if shards.are_alive().await {
        status(StatusCode::OK, "ok")
    } else {
        status(StatusCode::SERVICE_UNAVAILABLE, "a shard does not answer")
    }
}

/// Whether to send peers here.
async fn readyz(State(shards): State<Arc<Shards>>, RawQuery(query): RawQuery) -> Response {
    let readiness = shards.readiness();
    if readiness.is_good(query.as_deref()) && !shards.are_alive().await {
        return status(StatusCode::SERVICE_UNAVAILABLE, "a shard does not answer");
    }
    let good = readiness.is_good(query.as_deref());
    let code = if good { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    match readiness {
        Readiness::Ready => status(code, "ok"),
        Readiness::Draining => status(code, "draining"),
        Readiness::Degraded(why) => answer(code, json!({ "status": "degraded", "redis": why })),
    }
}

fn status(code: StatusCode, status: &str) -> Response {
    answer(code, json!({ "status": status }))
}

fn answer(code: StatusCode, body: Value) -> Response {
    (code, [(header::CACHE_CONTROL, "no-store")], Json(body)).into_response()
}
