//! TLS as configured: the server's certificate, and who may connect at all.

use std::{path::Path, sync::Arc};

use anyhow::{Context as _, Result};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        RootCertStore, ServerConfig as TlsConfig,
        crypto::aws_lc_rs,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
        server::WebPkiClientVerifier,
    },
};

use super::config::ServerConfig;
use crate::config::Problem;

impl ServerConfig {
    /// Looks at what would fail only once the service listens.
    ///
    /// # Errors
    /// When a file of TLS can't be used.
    pub fn check(&self) -> Result<(), Problem> {
        acceptor(self).map(drop).map_err(|error| Problem(format!("{error:#}")))
    }
}

/// None when TLS is off. Reads the files once, at the start.
///
/// Not tonic's own, which offers HTTP/2 alone (a browser or a proxy may have only
/// HTTP/1.1) and bounds no handshake.
pub(super) fn acceptor(config: &ServerConfig) -> Result<Option<TlsAcceptor>> {
    let (Some(cert), Some(key)) = (&config.tls_cert, &config.tls_key) else { return Ok(None) };
    let chain = certificates(cert)?;
    let key = PrivateKeyDer::from_pem_file(key)
        .with_context(|| format!("cannot read a private key from {}", key.display()))?;

    // Named, because a process may link several and then has no default.
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder =
        TlsConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions()?;
    let builder = match &config.tls_client_ca {
        None => builder.with_no_client_auth(),
        Some(ca) => {
            let mut roots = RootCertStore::empty();
            for root in certificates(ca)? {
                roots.add(root).with_context(|| format!("{} is no authority", ca.display()))?;
            }
            let verifier =
                WebPkiClientVerifier::builder_with_provider(roots.into(), provider).build()?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let mut tls = builder.with_single_cert(chain, key).context("the key is not of TLS_CERT")?;
    tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Some(TlsAcceptor::from(Arc::new(tls))))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let unreadable = || format!("cannot read certificates from {}", path.display());
    let all = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .with_context(unreadable)?;
    anyhow::ensure!(!all.is_empty(), unreadable());
    Ok(all)
}
