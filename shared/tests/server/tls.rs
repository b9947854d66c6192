//! TLS, and mutual TLS, with certificates made for the test.

use std::{path::PathBuf, sync::Arc};

use ihuman_proto::auth::v1::setting_service_client::SettingServiceClient;
use ihuman_shared::server::ServerConfig;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tokio::net::TcpStream;
use tokio_rustls::{
    TlsConnector,
    rustls::{ClientConfig, RootCertStore, crypto::aws_lc_rs, pki_types::ServerName},
};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Identity};

use super::{
    http1,
    probe::{Server, get, name},
};

/// An authority, and files in a directory of their own.
struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    directory: PathBuf,
}

impl Drop for Authority {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new([]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let directory = std::env::temp_dir().join(format!("ihuman-tls-{}", uuid::Uuid::now_v7()));
        std::fs::create_dir(&directory).unwrap();
        Self { issuer, directory }
    }

    /// A certificate for localhost, and its key, as PEM.
    fn issue(&self) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(["localhost".to_owned()]).unwrap();
        (params.signed_by(&key, &self.issuer).unwrap().pem(), key.serialize_pem())
    }

    fn file(&self, name: &str, pem: &str) -> Option<PathBuf> {
        let path = self.directory.join(name);
        std::fs::write(&path, pem).unwrap();
        Some(path)
    }

    fn config(&self) -> ServerConfig {
        let (cert, key) = self.issue();
        ServerConfig {
            tls_cert: self.file("cert.pem", &cert),
            tls_key: self.file("key.pem", &key),
            ..ServerConfig::default()
        }
    }

    fn client(&self) -> ClientTlsConfig {
        let authority = Certificate::from_pem(self.issuer.pem());
        ClientTlsConfig::new().ca_certificate(authority).domain_name("localhost")
    }
}

async fn connect(
    server: &Server,
    tls: ClientTlsConfig,
) -> Result<SettingServiceClient<Channel>, tonic::transport::Error> {
    let channel = Channel::from_shared(format!("https://{}", server.address)).unwrap();
    channel.tls_config(tls)?.connect().await.map(SettingServiceClient::new)
}

#[tokio::test]
async fn a_client_that_trusts_the_authority_calls_over_tls() {
    let authority = Authority::new();
    let server = Server::start(authority.config()).await;

    let mut settings = connect(&server, authority.client()).await.unwrap();

    assert_eq!(name(settings.get_setting(get("theme")).await.unwrap()), "theme");
    assert_eq!(name(settings.get_setting(get("peer")).await.unwrap()), "127.0.0.1");
}

#[tokio::test]
async fn a_peer_that_does_not_finish_its_handshake_delays_nobody() {
    let authority = Authority::new();
    let server = Server::start(authority.config()).await;
    let _silent = TcpStream::connect(server.address).await.unwrap();

    let mut settings = connect(&server, authority.client()).await.unwrap();

    assert_eq!(name(settings.get_setting(get("theme")).await.unwrap()), "theme");
}

#[tokio::test]
async fn a_client_that_does_not_gets_no_connection() {
    let authority = Authority::new();
    let server = Server::start(authority.config()).await;

    assert!(connect(&server, Authority::new().client()).await.is_err());
}

#[tokio::test]
async fn http1_is_offered_over_tls_too() {
    let authority = Authority::new();
    let server = Server::start(authority.config()).await;
    let mut roots = RootCertStore::empty();
    roots.add(authority.issuer.der().clone()).unwrap();
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut tls = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    tls.alpn_protocols = vec![b"http/1.1".to_vec()];

    let tcp = TcpStream::connect(server.address).await.unwrap();
    let localhost = ServerName::try_from("localhost").unwrap();
    let io = TlsConnector::from(Arc::new(tls)).connect(localhost, tcp).await.unwrap();
    let answer = http1::request_over(io, "GET", "/healthz", &[], b"").await;

    assert_eq!((answer.status, answer.text().as_str()), (200, "ok"));
}

#[tokio::test]
async fn with_mutual_tls_only_a_client_with_a_certificate_is_served() {
    let authority = Authority::new();
    let mut config = authority.config();
    config.tls_client_ca = authority.file("client-ca.pem", &authority.issuer.pem());
    let server = Server::start(config).await;
    let identified = |by: &Authority| {
        let (cert, key) = by.issue();
        authority.client().identity(Identity::from_pem(cert, key))
    };

    let mut known = connect(&server, identified(&authority)).await.unwrap();
    assert_eq!(name(known.get_setting(get("theme")).await.unwrap()), "theme");

    // TLS 1.3 lets a client believe that it is connected until it first reads.
    for tls in [authority.client(), identified(&Authority::new())] {
        if let Ok(mut unknown) = connect(&server, tls).await {
            assert!(unknown.get_setting(get("theme")).await.is_err());
        }
    }
}

#[tokio::test]
async fn a_server_does_not_start_with_a_key_that_is_not_its_certificates() {
    let authority = Authority::new();
    let mut config = authority.config();
    let (_, another) = authority.issue();
    config.tls_key = authority.file("another.pem", &another);
    let mut server = Server::start(config).await;

    let ended = (&mut server.serving).await.unwrap();

    assert!(ended.is_err());
}
