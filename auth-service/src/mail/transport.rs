//! What takes mails: an SMTP server (RFC 5321), or standard output.

use std::{error::Error as _, io, time::Duration};

use lettre::{
    AsyncSmtpTransport, AsyncTransport as _, Message, Tokio1Executor,
    transport::smtp::{
        authentication::Credentials,
        client::{Certificate, CertificateStore, Tls, TlsParameters},
        extension::ClientId,
    },
};
use tokio::time::timeout;

use super::letter::Letter;
use crate::config::{MailSettings, SmtpServer, SmtpTls};

/// What takes mails.
pub(crate) enum Transport {
    /// An SMTP server, with a connection of its own for each mail.
    Smtp { server: Box<AsyncSmtpTransport<Tokio1Executor>>, timeout: Duration },
    /// Standard output.
    Print,
}

/// Why a mail was not taken, without what the server said, which may hold the address.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) class: &'static str,
    /// Whether it would be the same again.
    pub(super) is_final: bool,
    /// The answer of the server, if there was one.
    pub(super) code: Option<u16>,
    /// What went wrong on our side of the connection.
    pub(super) detail: String,
}

impl Failure {
    /// One that would be the same again, and that no server had a part in.
    pub(super) fn ours(class: &'static str) -> Self {
        Failure { class, is_final: true, code: None, detail: String::new() }
    }
}

impl Transport {
    /// # Errors
    /// What is wrong with the host or the authorities.
    pub(crate) fn new(settings: &MailSettings) -> Result<Self, String> {
        let Some(server) = &settings.server else { return Ok(Transport::Print) };
        let builder = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(&server.host)
            .port(server.port)
            .timeout(Some(server.timeout))
            .tls(match server.tls {
                SmtpTls::Starttls => Tls::Required(tls(server)?),
                SmtpTls::Implicit => Tls::Wrapper(tls(server)?),
                SmtpTls::None => Tls::None,
            });
        let domain = settings.from.email.domain();
        let builder = match domain.is_ascii() {
            true => builder.hello_name(ClientId::Domain(domain.to_owned())),
            false => builder,
        };
        let builder = match &server.login {
            Some((user, password)) => {
                builder.credentials(Credentials::new(user.clone(), password.reveal().to_owned()))
            }
            None => builder,
        };
        Ok(Transport::Smtp { server: Box::new(builder.build()), timeout: server.timeout })
    }

    /// Gives the mail away. When it fails, it may have arrived all the same.
    pub(super) async fn send(&self, letter: &Letter, message: Message) -> Result<(), Failure> {
        match self {
            Transport::Print => {
                println!("---- mail to {} ----\n{}---- end ----", letter.to, letter.text);
                Ok(())
            }
            Transport::Smtp { server, timeout: time } => {
                // The transport's own bounds the connecting alone.
                match timeout(*time, server.send(message)).await {
                    Ok(Ok(_)) => Ok(()),
                    Ok(Err(error)) => Err(failure(&error)),
                    Err(_) => Err(Failure { is_final: false, ..Failure::ours("timeout") }),
                }
            }
        }
    }
}

fn tls(server: &SmtpServer) -> Result<TlsParameters, String> {
    let mut builder = TlsParameters::builder(server.host.clone());
    if let Some(pem) = &server.authorities {
        let problem = "SMTP_CA must hold certificates in PEM";
        let authority = Certificate::from_pem(pem).map_err(|_| problem.to_owned())?;
        if !String::from_utf8_lossy(pem).contains("-----BEGIN CERTIFICATE-----") {
            return Err(problem.to_owned());
        }
        // Instead of the system's, and not beside them.
        builder = builder.certificate_store(CertificateStore::None).add_root_certificate(authority);
    }
    builder.build().map_err(|error| format!("SMTP_HOST or SMTP_CA can't be used for TLS: {error}"))
}

fn failure(error: &lettre::transport::smtp::Error) -> Failure {
    let code = error.status().map(u16::from);
    let class = match code {
        Some(400..500) => "refused_for_now",
        // RFC 4954: it is us whom the server does not know, and not the recipient.
        Some(530 | 534 | 535 | 538) => "login_refused",
        Some(_) => "refused",
        None if error.is_tls() || is_handshake(error) => "tls",
        None if error.is_timeout() => "timeout",
        // The server offers no STARTTLS, or takes no address that is not ASCII.
        None if error.is_client() => "unsupported",
        None if error.is_response() => "protocol",
        None => "connection",
    };
    let detail = match class {
        "tls" | "unsupported" | "connection" => error.to_string(),
        _ => String::new(),
    };
    Failure { class, is_final: class == "refused", code, detail }
}

/// The TLS library reports what is wrong with a certificate as invalid data.
fn is_handshake(error: &lettre::transport::smtp::Error) -> bool {
    let mut source = error.source();
    while let Some(error) = source {
        let io = error.downcast_ref::<io::Error>();
        if io.is_some_and(|it| it.kind() == io::ErrorKind::InvalidData) {
            return true;
        }
        source = error.source();
    }
    false
}
