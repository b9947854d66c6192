//! What an operator may set about the server.

use std::{net::SocketAddr, path::PathBuf, str::FromStr, time::Duration};

use http::{HeaderValue, Uri};

/// The limits and the face of one server. The address to listen at is the
/// service's own argument, because its default is.
#[derive(clap::Args, Clone, Debug)]
#[command(next_help_heading = "Server")]
pub struct ServerConfig {
    /// Address of the administrative port, which serves Prometheus metrics at
    /// /metrics to whoever can reach it; off when not set
    #[arg(long, env = "ADMIN_LISTEN")]
    pub admin_listen: Option<SocketAddr>,

    /// Origins whose pages may call this service, separated by commas, or * for all
    #[arg(long, env = "CORS_ORIGIN", value_delimiter = ',')]
    pub cors_origin: Vec<Origin>,

    /// PEM file with the certificate chain; turns TLS on
    #[arg(long, env = "TLS_CERT", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,

    /// PEM file with the certificate's private key
    #[arg(long, env = "TLS_KEY", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,

    /// PEM file with the authorities of client certificates; turns mutual TLS on
    #[arg(long, env = "TLS_CLIENT_CA", requires = "tls_cert")]
    pub tls_client_ca: Option<PathBuf>,

    /// The longest that one request may take, as in "30s"
    #[arg(long, env = "REQUEST_TIMEOUT", default_value = "30s", value_parser = duration)]
    pub request_timeout: Duration,

    /// The longest that one stream may stay open, as in "1h"
    #[arg(long, env = "STREAM_TIMEOUT", default_value = "1h", value_parser = duration)]
    pub stream_timeout: Duration,

    /// How many requests may run at once; more are refused
    #[arg(long, env = "MAX_CONCURRENT_REQUESTS", default_value_t = 1024, value_parser = permits())]
    pub max_concurrent_requests: u32,

    /// How many streams may be open at once; more are refused
    #[arg(long, env = "MAX_CONCURRENT_STREAMS", default_value_t = 1024, value_parser = permits())]
    pub max_concurrent_streams: u32,

    /// How long to wait for running requests when told to stop
    #[arg(long, env = "SHUTDOWN_TIMEOUT", default_value = "10s", value_parser = duration)]
    pub shutdown_timeout: Duration,
}

impl Default for ServerConfig {
    /// What a service runs with when nothing is set, whatever the environment says.
    fn default() -> Self {
        Self {
            admin_listen: None,
            cors_origin: Vec::new(),
            tls_cert: None,
            tls_key: None,
            tls_client_ca: None,
            request_timeout: Duration::from_secs(30),
            stream_timeout: Duration::from_secs(3600),
            max_concurrent_requests: 1024,
            max_concurrent_streams: 1024,
            shutdown_timeout: Duration::from_secs(10),
        }
    }
}

/// Whose pages may call: everybody's, or those of one origin (RFC 6454 §6.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// `*`.
    Any,
    /// A scheme, a host and perhaps a port, exactly as a browser sends them.
    Exactly(HeaderValue),
}

impl FromStr for Origin {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if text == "*" {
            return Ok(Self::Any);
        }
        // A path, even the lone slash that a copied address ends in, would match
        // no browser's Origin header, and silently.
        let wrong = || format!("{text:?} is not an origin such as https://console.example.com");
        let uri: Uri = text.parse().map_err(|_| wrong())?;
        match (uri.scheme_str(), uri.authority()) {
            (Some(scheme), Some(authority)) if text == format!("{scheme}://{authority}") => {
                HeaderValue::from_str(text).map(Self::Exactly).map_err(|_| wrong())
            }
            _ => Err(wrong()),
        }
    }
}

/// Between 1 ms and 1 day: far from what overflows when added to a time.
fn duration(text: &str) -> Result<Duration, String> {
    let parsed = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    if (Duration::from_millis(1)..=Duration::from_secs(24 * 3600)).contains(&parsed) {
        Ok(parsed)
    } else {
        Err("must be between 1ms and 1day".to_owned())
    }
}

fn permits() -> clap::builder::RangedI64ValueParser<u32> {
    clap::value_parser!(u32).range(1..=1_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(clap::Parser)]
    struct Command {
        #[command(flatten)]
        server: ServerConfig,
    }

    fn parse(arguments: &[&str]) -> Result<ServerConfig, clap::Error> {
        let all = std::iter::once("service").chain(arguments.iter().copied());
        <Command as clap::Parser>::try_parse_from(all).map(|command| command.server)
    }

    #[test]
    fn the_defaults_are_those_of_the_command_line() {
        let parsed = parse(&[]).unwrap();

        assert_eq!(format!("{parsed:?}"), format!("{:?}", ServerConfig::default()));
    }

    #[test]
    fn several_origins_are_separated_by_commas() {
        let parsed = parse(&["--cors-origin", "https://a.example,http://localhost:5173"]).unwrap();

        let exactly = |text| Origin::Exactly(HeaderValue::from_static(text));
        assert_eq!(
            parsed.cors_origin,
            [exactly("https://a.example"), exactly("http://localhost:5173")]
        );
    }

    #[test]
    fn an_origin_with_a_path_is_refused() {
        assert!(parse(&["--cors-origin", "https://a.example/"]).is_err());
    }

    #[test]
    fn a_duration_that_cannot_be_added_to_a_time_is_refused() {
        assert!(parse(&["--request-timeout", "100000years"]).is_err());
        assert!(parse(&["--request-timeout", "0s"]).is_err());
    }
}
