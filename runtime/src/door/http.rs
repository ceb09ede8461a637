//! HTTP for load balancers, monitoring and people: `/healthz`, `/metrics` and `/status`.
//!
//! Whoever can reach the address may connect and say nothing: connections are bounded, and so is the time for a request.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use crate::clock::Seldom;
use crate::cluster::status;
use crate::shared::Shared;

/// At the same time; more wait.
const CONNECTIONS: usize = 128;
/// For a request's head to arrive whole, also on a connection that is kept alive.
const PATIENCE: Duration = Duration::from_secs(5);
/// After a failed accept (out of descriptors, say) there is no hurry.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

pub async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    let router = Router::new().route("/healthz", get(health)).route("/metrics", get(metrics));
    let router = router.route("/status", get(show)).with_state(shared);
    let mut server = http1::Builder::new();
    server.timer(TokioTimer::new()).header_read_timeout(PATIENCE);
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    let mut seldom = Seldom::default();
    loop {
        let Ok(place) = places.clone().acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                let connection =
                    server.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router.clone()));
                tokio::spawn(async move {
                    if let Err(error) = connection.await {
                        tracing::debug!(%error, "a connection by HTTP broke");
                    }
                    drop(place);
                });
            }
            Err(error) => {
                if seldom.is_due() {
                    tracing::warn!(%error, "the HTTP door cannot accept");
                }
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// 200 when statements are served, 503 with the reasons when not.
async fn health(State(shared): State<Arc<Shared>>) -> impl IntoResponse {
    if let Some(starting) = shared.admission.keeps_clients() {
        return (StatusCode::SERVICE_UNAVAILABLE, format!("{}\n", starting.message));
    }
    let membership = shared.membership.load();
    if let Some(why) = shared.intake.elsewhere() {
        return (StatusCode::SERVICE_UNAVAILABLE, format!("clients are not served here: {why}\n"));
    }
    if let Some(why) = &*shared.unwritten.load() {
        let waits = format!("commits wait, for {why}\n");
        return (StatusCode::SERVICE_UNAVAILABLE, waits);
    }
    match membership.leader() {
        Some(leader) => {
            let held = if shared.intake.pausing().is_some() { ", and clients are held by an operator" } else { "" };
            (StatusCode::OK, format!("ok: {} leads{held}\n", membership.member(leader).name))
        }
        None => {
            let reasons: Vec<_> = membership
                .ids()
                .map(|node| membership.member(node))
                .map(|member| format!("{} is {}: {}\n", member.name, member.state.name(), member.reason))
                .collect();
            (StatusCode::SERVICE_UNAVAILABLE, format!("nobody serves\n{}", reasons.concat()))
        }
    }
}

/// What Prometheus reads, in its text format.
async fn metrics(State(shared): State<Arc<Shared>>) -> impl IntoResponse {
    let text = format!(
        "# HELP lockstep_unsafe_statements_total Statements that could not be replicated exactly and were let through.\n\
         # TYPE lockstep_unsafe_statements_total counter\n\
         lockstep_unsafe_statements_total {}\n\
         # HELP lockstep_state_unwritten 1 while commits wait because a change cannot be written down.\n\
         # TYPE lockstep_state_unwritten gauge\n\
         lockstep_state_unwritten {}\n",
        shared.waived.load(Ordering::Relaxed),
        u8::from(shared.unwritten.load().is_some())
    );
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text)
}

async fn show(State(shared): State<Arc<Shared>>) -> impl IntoResponse {
    match serde_json::to_string(&status(&shared)) {
        Ok(json) => (StatusCode::OK, [(header::CONTENT_TYPE, "application/json")], json),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, [(header::CONTENT_TYPE, "text/plain")], error.to_string()),
    }
}
