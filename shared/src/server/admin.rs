//! The administrative port: what Prometheus and a container's health check read.

use std::{sync::OnceLock, time::Duration};

use anyhow::Result;
use axum::{Router, routing::get};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tokio::{net::TcpListener, time::interval};
use tonic::service::Routes;

use super::{
    connection::{self, Limits},
    health::{Readiness, Serving},
    serve::{CONNECTION_AGE_MAX, builder},
    shutdown::Shutdown,
    web,
};
use crate::access::TrustedProxies;

/// The upper bounds of the buckets of latency, in seconds: from a token that is
/// verified in memory to the longest request.
const LATENCY_BUCKETS: [f64; 14] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];

/// Those who read metrics are few.
const CONNECTIONS: Limits = Limits { connections: 64, ..Limits::DEFAULT };

/// How often measurements are folded into the buckets, so that they take no more
/// memory when nobody reads them.
const UPKEEP: Duration = Duration::from_secs(5);

/// Serves `/metrics` in Prometheus' text format, and the probes without TLS, until
/// the future is dropped.
/// Nothing is measured in a process that never calls this.
///
/// # Errors
/// When the process already has a recorder of metrics that is not ours.
pub async fn serve_admin(
    listener: TcpListener,
    readiness: Readiness,
    shutdown: &Shutdown,
) -> Result<()> {
    let prometheus = recorder()?;
    let probes = web::probes(Serving::new(readiness, shutdown));
    let app = Router::new().route("/metrics", get(async || prometheus.render())).merge(probes);
    let upkeep = async {
        let mut ticks = interval(UPKEEP);
        loop {
            ticks.tick().await;
            prometheus.run_upkeep();
        }
    };
    let incoming = connection::incoming(listener, None, CONNECTIONS, TrustedProxies::default());
    let serving =
        builder(CONNECTION_AGE_MAX).add_routes(Routes::from(app)).serve_with_incoming(incoming);
    tokio::select! {
        served = serving => Ok(served?),
        () = upkeep => Ok(()),
    }
}

/// The recorder of the process, installed by whoever asks first.
fn recorder() -> Result<&'static PrometheusHandle> {
    static INSTALLED: OnceLock<Option<PrometheusHandle>> = OnceLock::new();
    let installed = INSTALLED.get_or_init(|| {
        let recorder = PrometheusBuilder::new()
            .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &LATENCY_BUCKETS)
            .ok()?
            .build_recorder();
        let handle = recorder.handle();
        metrics::set_global_recorder(recorder).ok()?;
        describe();
        Some(handle)
    });
    installed.as_ref().ok_or_else(|| anyhow::anyhow!("metrics are recorded elsewhere already"))
}

fn describe() {
    metrics::describe_counter!("ihuman_rpc_requests_total", "RPCs answered, by status code.");
    metrics::describe_histogram!(
        "ihuman_rpc_duration_seconds",
        metrics::Unit::Seconds,
        "Time from the first byte of an RPC to its last."
    );
    metrics::describe_gauge!("ihuman_rpc_in_flight", "RPCs that are running now.");
    metrics::describe_counter!(
        "ihuman_credential_stuffing_total",
        "Addresses that began to fail at logins to many accounts."
    );
    metrics::describe_counter!(
        "ihuman_mails_total",
        "Attempts to send a mail, by what came of them."
    );
}
