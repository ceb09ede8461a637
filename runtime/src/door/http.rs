//! HTTP for load balancers and people: `/healthz` and `/status`.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use tokio::net::TcpListener;

use crate::cluster::status;
use crate::shared::Shared;

pub async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    let router = Router::new().route("/healthz", get(health)).route("/status", get(show)).with_state(shared);
    if let Err(error) = axum::serve(listener, router).await {
        tracing::error!(%error, "the HTTP door is closed");
    }
}

/// 200 when statements are served, 503 with the reasons when not.
async fn health(State(shared): State<Arc<Shared>>) -> impl IntoResponse {
    let membership = shared.membership.load();
    match membership.leader() {
        Some(leader) => (StatusCode::OK, format!("ok: {} leads\n", membership.member(leader).name)),
        None => {
            let reasons: Vec<_> = membership
                .members
                .iter()
                .map(|member| format!("{} is {}: {}\n", member.name, member.state.name(), member.reason))
                .collect();
            (StatusCode::SERVICE_UNAVAILABLE, format!("nobody serves\n{}", reasons.concat()))
        }
    }
}

async fn show(State(shared): State<Arc<Shared>>) -> impl IntoResponse {
    match serde_json::to_string(&status(&shared)) {
        Ok(json) => (StatusCode::OK, [(header::CONTENT_TYPE, "application/json")], json),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, [(header::CONTENT_TYPE, "text/plain")], error.to_string()),
    }
}
