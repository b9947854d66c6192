//! Logs to standard output, and traces to a collector when there is one.

use std::{io::IsTerminal as _, time::Duration};

use anyhow::{Context as _, Result};
use clap::ValueEnum;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::{SpanExporter, WithExportConfig as _};
use opentelemetry_sdk::{Resource, propagation::TraceContextPropagator, trace::SdkTracerProvider};
use tracing::Subscriber;
use tracing_subscriber::{
    EnvFilter, Layer as _, Registry,
    filter::{LevelFilter, Targets},
    layer::SubscriberExt as _,
    util::SubscriberInitExt as _,
};

/// How long the last spans may take to reach the collector.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(5);

/// What an operator may set about logs and traces.
#[derive(clap::Args, Clone, Debug)]
#[command(next_help_heading = "Telemetry")]
pub struct TelemetryConfig {
    /// Level of the log, or directives such as "info,sqlx=warn"
    #[arg(long, env = "LOG_LEVEL", default_value = "info", value_parser = directives)]
    pub log_level: String,

    /// Form of the log: json for programs, pretty for people
    #[arg(long, env = "LOG_FORMAT", default_value = "json")]
    pub log_format: LogFormat,

    /// OTLP collector to send traces to over gRPC, as in http://localhost:4317; off
    /// when not set
    #[arg(long, env = "OTEL_EXPORTER_OTLP_ENDPOINT", value_parser = collector_url)]
    pub otlp_endpoint: Option<String>,
}

/// How a line of log looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// One JSON object per line.
    Json,
    /// One line of text, in colour on a terminal.
    Pretty,
}

fn directives(text: &str) -> Result<String, String> {
    // A bare word is a target to EnvFilter and would silence everything else, so
    // a misspelt level must not pass.
    let bare = !text.contains(['=', '[', ',']);
    if text.is_empty() || bare && text.parse::<LevelFilter>().is_err() {
        return Err("must be error, warn, info, debug, trace, or directives".to_owned());
    }
    EnvFilter::try_new(text).map(|_| text.to_owned()).map_err(|error| error.to_string())
}

fn collector_url(text: &str) -> Result<String, String> {
    // A collector is a neighbour: the exporter is built without TLS.
    let is_url = text
        .parse::<http::Uri>()
        .is_ok_and(|it| it.scheme_str() == Some("http") && it.authority().is_some());
    let problem = || "must be a URL without TLS, as in http://localhost:4317".to_owned();
    is_url.then(|| text.to_owned()).ok_or_else(problem)
}

/// What must still be sent when the process ends.
#[must_use = "spans are lost without a flush"]
#[derive(Debug)]
pub struct Telemetry {
    traces: Option<SdkTracerProvider>,
}

/// Starts logs and traces for the process, under the name of the service. To be
/// called once, within the runtime. Panics are logged from here on, once each.
///
/// # Errors
/// When the collector's address is none, or the process already has a subscriber.
pub fn init(config: &TelemetryConfig, service: &'static str) -> Result<Telemetry> {
    let (subscriber, telemetry) = subscriber(config, service)?;
    subscriber.try_init()?;
    log_panics();
    Ok(telemetry)
}

fn subscriber(
    config: &TelemetryConfig,
    service: &'static str,
) -> Result<(impl Subscriber + Send + Sync + use<>, Telemetry)> {
    let traces = config.otlp_endpoint.as_deref().map(|it| exporter(it, service)).transpose()?;
    let spans = traces.as_ref().map(|provider| {
        tracing_opentelemetry::layer().with_tracer(provider.tracer(service)).with_filter(exported())
    });
    let logs = tracing_subscriber::fmt::layer();
    let logs = match config.log_format {
        LogFormat::Json => {
            logs.json().flatten_event(true).with_current_span(true).with_span_list(false).boxed()
        }
        LogFormat::Pretty => logs.with_ansi(std::io::stdout().is_terminal()).boxed(),
    };
    let filter = EnvFilter::try_new(&config.log_level).context("LOG_LEVEL")?;
    let subscriber = Registry::default().with(spans).with(logs.with_filter(filter));
    Ok((subscriber, Telemetry { traces }))
}

fn exporter(endpoint: &str, service: &'static str) -> Result<SdkTracerProvider> {
    let exporter = SpanExporter::builder()
        .with_tonic()
        .with_endpoint(endpoint)
        .build()
        .context("OTEL_EXPORTER_OTLP_ENDPOINT")?;
    opentelemetry::global::set_text_map_propagator(TraceContextPropagator::new());
    Ok(SdkTracerProvider::builder()
        .with_batch_exporter(exporter)
        .with_resource(Resource::builder().with_service_name(service).build())
        .build())
}

/// What is traced, whatever is logged. The transport is left out: the exporter is
/// made of it, and would trace its own requests without end.
fn exported() -> Targets {
    ["h2", "hyper", "hyper_util", "opentelemetry", "opentelemetry_sdk", "tonic", "tower"]
        .into_iter()
        .fold(Targets::new().with_default(LevelFilter::INFO), |targets, noisy| {
            targets.with_target(noisy, LevelFilter::OFF)
        })
}

fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        let said = panic.payload_as_str().unwrap_or("not a text");
        tracing::error!(place, said, "panicked");
    }));
}

impl Telemetry {
    /// Sends the spans that are still here, for at most a few seconds.
    pub async fn flush(self) {
        let Some(traces) = self.traces else { return };
        // Off the runtime, because it blocks until the exporter is through, which
        // itself runs on the runtime.
        let flushing =
            tokio::task::spawn_blocking(move || traces.shutdown_with_timeout(FLUSH_TIMEOUT));
        if let Ok(Err(error)) = flushing.await {
            tracing::warn!(%error, "the last traces were not sent");
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::{Router, body::Body, extract::Request};
    use http_body_util::BodyExt as _;
    use tokio::{net::TcpListener, sync::mpsc};
    use tokio_stream::wrappers::TcpListenerStream;
    use tonic::{service::Routes, transport::Server};
    use tower::ServiceExt as _;

    use super::*;
    use crate::server::{ServerConfig, Shutdown, Stack};

    #[test]
    fn a_level_is_a_level_and_not_the_name_of_a_module() {
        for good in ["info", "WARN", "off", "info,sqlx=warn", "ihuman_shared[rpc]=debug"] {
            assert!(directives(good).is_ok(), "{good}");
        }
        for bad in ["", "verbose", "infos", "info,=", "a=b=c"] {
            assert!(directives(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_collector_has_a_whole_url() {
        for good in ["http://localhost:4317", "http://traces.example.com"] {
            assert!(collector_url(good).is_ok(), "{good}");
        }
        let tls = "https://traces.example.com";
        for bad in ["", "foo", "localhost:4317", "ftp://x", "http://", "http:// x", tls] {
            assert!(collector_url(bad).is_err(), "{bad}");
        }
    }

    /// The collector keeps the bodies that it is sent, as they are.
    async fn collector() -> (String, mpsc::UnboundedReceiver<Vec<u8>>) {
        let (sender, received) = mpsc::unbounded_channel();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let app = Router::new().fallback(async move |request: Request| {
            let body = request.into_body().collect().await.unwrap().to_bytes();
            sender.send(body.to_vec()).unwrap();
            tonic::Status::ok("").into_http::<Body>()
        });
        let serving = Server::builder().add_routes(Routes::from(app));
        tokio::spawn(serving.serve_with_incoming(TcpListenerStream::new(listener)));
        (endpoint, received)
    }

    fn contains(bytes: &[u8], wanted: &[u8]) -> bool {
        bytes.windows(wanted.len()).any(|window| window == wanted)
    }

    #[tokio::test]
    async fn a_request_joins_the_trace_of_its_caller_at_the_collector() {
        let (endpoint, mut received) = collector().await;
        let config = TelemetryConfig {
            log_level: "off".to_owned(),
            log_format: LogFormat::Json,
            otlp_endpoint: Some(endpoint),
        };
        let (subscriber, telemetry) = subscriber(&config, "probe").unwrap();
        let trace = "0af7651916cd43dd8448eb211c80319c";
        let request = Request::post("/grpc.health.v1.Health/Check")
            .header("content-type", "application/json")
            .header("traceparent", format!("00-{trace}-b7ad6b7169203331-01"))
            .body(Body::from("{}"))
            .unwrap();

        let guard = tracing::subscriber::set_default(subscriber);
        let app = Stack::new().into_router(&ServerConfig::default(), &Shutdown::new()).unwrap();
        assert_eq!(app.oneshot(request).await.unwrap().status(), 200);
        drop(guard);
        telemetry.flush().await;

        let exported = received.recv().await.unwrap();
        let id = u128::from_str_radix(trace, 16).unwrap().to_be_bytes();
        assert!(contains(&exported, &id), "the span is in the caller's trace");
        assert!(contains(&exported, b"grpc.health.v1.Health/Check"));
        assert!(contains(&exported, b"probe"));
    }
}
