//! Mail over TLS, with a certificate made for the test.

use std::{path::PathBuf, sync::Arc};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ServerConfig,
        crypto::aws_lc_rs,
        pki_types::{PrivateKeyDer, pem::PemObject as _},
    },
};
use uuid::Uuid;

use crate::{
    mail::Mailing as _,
    smtp::{Encryption, SmtpServer},
    support::{Auth, EMAIL},
};

/// An authority, with its certificate in a file.
struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    file: PathBuf,
}

impl Drop for Authority {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.file);
    }
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new([]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let file = std::env::temp_dir().join(format!("ihuman-mail-{}.pem", Uuid::now_v7()));
        std::fs::write(&file, issuer.pem()).unwrap();
        Self { issuer, file }
    }

    /// A server's side, with a certificate for `host`.
    fn acceptor(&self, host: &str) -> TlsAcceptor {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new([host.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let key = PrivateKeyDer::from_pem_slice(key.serialize_pem().as_bytes()).unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)
            .unwrap();
        TlsAcceptor::from(Arc::new(config))
    }

    async fn auth(&self, server: &SmtpServer, more: &[&str]) -> Auth {
        let ca = ["--smtp-ca", self.file.to_str().unwrap()];
        let login = ["--smtp-user", "mailer", "--smtp-password", "open sesame"];
        let arguments = server.arguments(&[&ca[..], &login, more].concat());
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        Auth::start_identity(&arguments).await
    }
}

#[tokio::test]
async fn nothing_but_the_wish_for_tls_is_said_in_the_clear() {
    let authority = Authority::new();
    let encryption = Encryption::AfterStarttls(authority.acceptor("localhost"));
    let server = SmtpServer::start_with(encryption).await;
    let auth = authority.auth(&server, &[]).await;
    auth.register(EMAIL).await;

    auth.ask_for_reset(EMAIL).await;
    let mail = server.next().await;

    assert!(mail.is_encrypted);
    assert_eq!(mail.login.as_deref(), Some(":mailer:open sesame"));
    assert_eq!((mail.from.as_str(), mail.to.len()), ("FROM:<noreply@example.com>", 1));
    assert_eq!(mail.to[0], format!("TO:<{EMAIL}>"));
    assert_eq!(server.overheard(), ["EHLO example.com", "STARTTLS"]);
}

#[tokio::test]
async fn with_implicit_tls_nothing_at_all_is() {
    let authority = Authority::new();
    let server = SmtpServer::start_with(Encryption::Always(authority.acceptor("localhost"))).await;
    let auth = authority.auth(&server, &["--smtp-tls", "implicit"]).await;
    auth.register(EMAIL).await;

    auth.ask_for_reset(EMAIL).await;
    let mail = server.next().await;

    assert!(mail.is_encrypted && server.overheard().is_empty());
    assert_eq!(mail.login.as_deref(), Some(":mailer:open sesame"));
}

#[tokio::test]
async fn a_server_that_is_another_or_offers_no_tls_is_told_nothing() {
    let (authority, other) = (Authority::new(), Authority::new());
    let stranger = Encryption::AfterStarttls(other.acceptor("localhost"));
    let renamed = Encryption::AfterStarttls(authority.acceptor("mail.example.com"));

    for (encryption, class) in
        [(stranger, "tls"), (renamed, "tls"), (Encryption::Never, "unsupported")]
    {
        let server = SmtpServer::start_with(encryption).await;
        let auth = authority.auth(&server, &[]).await;
        auth.register(EMAIL).await;
        auth.ask_for_reset(EMAIL).await;

        auth.until("select count(*) = 1 from auth.mails where last_error <> ''").await;

        assert_eq!(auth.scalar::<String>("select last_error from auth.mails").await, class);
        // It is tried again, as a downgrade may pass.
        assert!(auth.scalar::<bool>("select next_attempt_at is not null from auth.mails").await);
        let overheard = server.overheard();
        assert!(
            overheard.iter().all(|it| it.starts_with("EHLO") || it == "STARTTLS" || it == "QUIT"),
            "{overheard:?}"
        );
        assert_eq!(server.left(), 0);
    }
}
