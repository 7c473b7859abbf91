//! What answers where.

use std::{cmp::Reverse, sync::Arc};

use axum::{
    Json, Router,
    extract::State,
    http::{StatusCode, header},
    middleware,
    response::IntoResponse,
    routing::{get, post},
};
use tokio_util::sync::CancellationToken;

use super::{
    Door, Handles, guard, metrics,
    view::{Config, EgressView, ExchangeView, GroupView, IngressView, LinkView, RulesView, UpstreamView},
};
use crate::watch::Watch;

/// What every answer is made from.
#[derive(Clone)]
struct Shared {
    handles: Arc<Handles>,
    watch: Arc<Watch>,
    stop: CancellationToken,
}

/// Returns the whole interface, behind its door. A request to drain cancels `stop`.
pub(super) fn router(handles: Arc<Handles>, watch: Arc<Watch>, stop: CancellationToken, door: Door) -> Router {
    Router::new()
        .route("/healthz", get(async || "ok"))
        .route("/readyz", get(ready))
        .route("/metrics", get(text_metrics))
        .route("/api/v1/links", get(links))
        .route("/api/v1/groups", get(groups))
        .route("/api/v1/rules", get(rules))
        .route("/api/v1/upstreams", get(upstreams))
        .route("/api/v1/exchanges", get(exchanges))
        .route("/api/v1/config", get(config))
        .route("/api/v1/drain", post(drain))
        .fallback(async || (StatusCode::NOT_FOUND, "there is nothing here; docs/admin.md says what is where\n"))
        .layer(middleware::from_fn_with_state(door, guard::admit))
        .with_state(Shared { handles, watch, stop })
}

/// Whether requests should be sent here.
async fn ready(State(Shared { handles, stop, .. }): State<Shared>) -> (StatusCode, &'static str) {
    if stop.is_cancelled() {
        return (StatusCode::SERVICE_UNAVAILABLE, "draining");
    }
    if !handles.open.is_cancelled() {
        return (StatusCode::SERVICE_UNAVAILABLE, "waiting for clients");
    }
    match &handles.needs {
        Some(links) if !links.takes_any() => (StatusCode::SERVICE_UNAVAILABLE, "no link to a server"),
        Some(_) | None => (StatusCode::OK, "ready"),
    }
}

async fn text_metrics(State(Shared { handles, .. }): State<Shared>) -> impl IntoResponse {
    match metrics::text(handles.registry.clone(), handles.expiries.all(), handles.doorway.clone()) {
        Ok(text) => Ok(([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], text)),
        Err(_) => Err(StatusCode::INTERNAL_SERVER_ERROR),
    }
}

async fn links(State(Shared { handles, .. }): State<Shared>) -> Json<Vec<LinkView>> {
    let mut links = Vec::new();
    for group in handles.registry.groups() {
        links.extend(group.members().as_slice().iter().map(|member| LinkView::new(group.name(), member)));
    }
    Json(links)
}

async fn groups(State(Shared { handles, .. }): State<Shared>) -> Json<Vec<GroupView>> {
    Json(handles.registry.groups().iter().map(|group| GroupView::new(group)).collect())
}

async fn rules(State(Shared { handles, .. }): State<Shared>) -> Json<RulesView> {
    let ingress = handles.ingress.as_ref().map(|ingress| ingress.rules()).unwrap_or_default();
    let mut egress = Vec::new();
    for (origin, routes) in handles.ways_out() {
        egress.extend(routes.rules().map(|rule| EgressView::new(origin, rule)));
    }
    Json(RulesView { ingress: ingress.iter().map(IngressView::new).collect(), egress })
}

async fn upstreams(State(Shared { handles, .. }): State<Shared>) -> Json<Vec<UpstreamView>> {
    let mut upstreams = Vec::new();
    for (origin, routes) in handles.ways_out() {
        upstreams.extend(routes.upstreams().into_iter().map(|upstream| UpstreamView::new(origin, upstream)));
    }
    Json(upstreams)
}

/// The oldest first: what hangs is what is looked for.
async fn exchanges(State(Shared { watch, .. }): State<Shared>) -> Json<Vec<ExchangeView>> {
    let mut shown = watch.look();
    shown.sort_by_key(|shown| Reverse(shown.start.elapsed()));
    Json(shown.iter().map(ExchangeView::new).collect())
}

async fn config(State(Shared { handles, .. }): State<Shared>) -> Json<Config> {
    Json(Config::clone(&handles.config.load()))
}

/// Does what SIGTERM does. The answer still goes out: this interface is the last to close.
async fn drain(State(Shared { stop, .. }): State<Shared>) -> (StatusCode, Json<serde_json::Value>) {
    tracing::info!("asked to drain");
    stop.cancel();
    (StatusCode::ACCEPTED, Json(serde_json::json!({ "draining": true })))
}
