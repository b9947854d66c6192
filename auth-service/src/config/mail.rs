//! Whether mail is sent, by which server, and what for.

use std::{fs, net::IpAddr, path::PathBuf, time::Duration};

use clap::ValueEnum;
use ihuman_shared::credentials::Secret;
use lettre::message::Mailbox;
use url::{Host, Url};

use crate::mail::Transport;

/// Mail, which is off until there is a server for it.
#[derive(clap::Args, Clone)]
#[command(next_help_heading = "Mail")]
pub struct MailConfig {
    /// Whether people must prove that their e-mail address is theirs before they log in.
    #[arg(long, env, default_value = "off")]
    pub email_verification: EmailVerification,

    /// "smtp", or "print": to standard output with their secrets, for development
    /// only. Without it, mail is sent when there is an SMTP_HOST.
    #[arg(long, env)]
    pub mail_transport: Option<MailTransport>,

    /// Where the pages of the web app are that mails link to, as in
    /// `https://app.example.com`: verify-email, reset-password and confirm-email-change
    /// below it get the token in the fragment, as in "#token=…".
    #[arg(long, env)]
    pub mail_link_base: Option<String>,

    /// The server that takes mail.
    #[arg(long, env)]
    pub smtp_host: Option<String>,

    /// Its port: 587 with STARTTLS, 465 with implicit TLS and 25 without TLS, if not set.
    #[arg(long, env)]
    pub smtp_port: Option<u16>,

    /// How the connection is encrypted; with starttls, nothing is said before it is.
    #[arg(long, env, default_value = "starttls")]
    pub smtp_tls: SmtpTls,

    /// A file with the authorities, in PEM, that the server's certificate may be from;
    /// those of the system if not set.
    #[arg(long, env)]
    pub smtp_ca: Option<PathBuf>,

    /// Whom to log in as at the server; without it, nobody logs in.
    #[arg(long, env)]
    pub smtp_user: Option<String>,

    /// The password for that.
    #[arg(long, env, hide_env_values = true)]
    pub smtp_password: Option<Secret>,

    /// A file that holds the password.
    #[arg(long, env)]
    pub smtp_password_file: Option<PathBuf>,

    /// Who mails are from, as in "ihuman <noreply@example.com>".
    #[arg(long, env)]
    pub smtp_from: Option<String>,

    /// How long the server may take for one mail, from 1s to 2m.
    #[arg(long, env, default_value = "30s", value_parser = timeout)]
    pub smtp_timeout: Duration,
}

/// Whether an address must be verified before the first login.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum EmailVerification {
    /// Anybody logs in with the address that they say.
    Off,
    /// Nobody logs in before they have proved that the address is theirs.
    Required,
}

/// What becomes of a mail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum MailTransport {
    /// It is sent.
    Smtp,
    /// It is printed, and kept in the database.
    Print,
}

/// How the connection to the server is encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum SmtpTls {
    /// From the STARTTLS command on, which the server must know.
    Starttls,
    /// From the first byte on.
    Implicit,
    /// Not at all.
    None,
}

/// What the configuration comes to.
pub(crate) struct MailSettings {
    pub(crate) from: Mailbox,
    pub(crate) link_base: String,
    /// None where mails are printed.
    pub(crate) server: Option<SmtpServer>,
}

/// The server that takes mail.
pub(crate) struct SmtpServer {
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) tls: SmtpTls,
    /// PEM.
    pub(crate) authorities: Option<Vec<u8>>,
    pub(crate) login: Option<(String, Secret)>,
    pub(crate) timeout: Duration,
}

impl MailConfig {
    /// # Errors
    /// What is wrong with the values together, or with a file.
    pub fn check(&self) -> Result<(), String> {
        self.read()?.map(|it| Transport::new(&it)).transpose().map(drop)
    }

    /// None when mail is off. A value that is empty is not set.
    ///
    /// # Errors
    /// As [`check`](Self::check).
    pub(crate) fn read(&self) -> Result<Option<MailSettings>, String> {
        let host = set(&self.smtp_host);
        let server = match (self.mail_transport, host) {
            (Some(MailTransport::Print), None) => None,
            (Some(MailTransport::Print), Some(_)) => {
                return Err("MAIL_TRANSPORT=print and SMTP_HOST exclude each other".to_owned());
            }
            (_, Some(host)) => Some(self.server(host)?),
            (Some(MailTransport::Smtp), None) => {
                return Err("MAIL_TRANSPORT=smtp needs SMTP_HOST".to_owned());
            }
            (None, None) if self.email_verification == EmailVerification::Required => {
                return Err("EMAIL_VERIFICATION=required needs mail: set SMTP_HOST".to_owned());
            }
            (None, None) => return Ok(None),
        };
        let from = match (set(&self.smtp_from), &server) {
            (Some(from), _) => from,
            (None, None) => "ihuman <ihuman@localhost>",
            (None, Some(_)) => return Err("SMTP_HOST needs SMTP_FROM".to_owned()),
        };
        let from = from.parse().map_err(|_| {
            "SMTP_FROM must be an address, as in \"ihuman <noreply@example.com>\"".to_owned()
        })?;
        let link_base = set(&self.mail_link_base).ok_or("mail needs MAIL_LINK_BASE")?;
        Ok(Some(MailSettings { from, link_base: read_link_base(link_base)?, server }))
    }

    fn server(&self, host: &str) -> Result<SmtpServer, String> {
        let login = match (set(&self.smtp_user), self.password()?) {
            (None, None) => None,
            (Some(user), Some(password)) => Some((user.to_owned(), password)),
            _ => return Err("SMTP_USER and SMTP_PASSWORD are set together".to_owned()),
        };
        if self.smtp_tls == SmtpTls::None && login.is_some() && !is_loopback(host) {
            let problem = "SMTP_TLS=none would send SMTP_PASSWORD over the network for all to read";
            return Err(problem.to_owned());
        }
        let port = self.smtp_port.unwrap_or(match self.smtp_tls {
            SmtpTls::Starttls => 587,
            SmtpTls::Implicit => 465,
            SmtpTls::None => 25,
        });
        let read = |path: &PathBuf| {
            fs::read(path).map_err(|error| format!("can't read {}: {error}", path.display()))
        };
        let authorities =
            self.smtp_ca.as_ref().filter(|it| !it.as_os_str().is_empty()).map(read).transpose()?;
        let (host, tls, timeout) = (host.to_owned(), self.smtp_tls, self.smtp_timeout);
        Ok(SmtpServer { host, port, tls, authorities, login, timeout })
    }

    fn password(&self) -> Result<Option<Secret>, String> {
        let given = self.smtp_password.clone().filter(|it| !it.reveal().is_empty());
        let file = self.smtp_password_file.as_ref().filter(|it| !it.as_os_str().is_empty());
        match (given, file) {
            (given, None) => Ok(given),
            (None, Some(path)) => {
                let text = fs::read_to_string(path)
                    .map_err(|error| format!("can't read {}: {error}", path.display()))?;
                let password = text.trim_end_matches(['\r', '\n']);
                match password.is_empty() {
                    true => Err(format!("{} holds no password", path.display())),
                    false => Ok(Some(password.to_owned().into())),
                }
            }
            (Some(_), Some(_)) => {
                Err("SMTP_PASSWORD and SMTP_PASSWORD_FILE exclude each other".to_owned())
            }
        }
    }
}

fn set(value: &Option<String>) -> Option<&str> {
    value.as_deref().map(str::trim).filter(|it| !it.is_empty())
}

fn timeout(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(it) if (Duration::from_secs(1)..=Duration::from_secs(120)).contains(&it) => Ok(it),
        _ => Err("must be from 1s to 2m".to_owned()),
    }
}

fn is_loopback(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost")
        || host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok_and(|it| it.is_loopback())
}

/// Without the slash at its end. Over http a token could be read on its way, so that
/// is for this machine only.
fn read_link_base(text: &str) -> Result<String, String> {
    let problem = "MAIL_LINK_BASE must be an https address without a query or a fragment";
    let url = Url::parse(text).map_err(|_| problem.to_owned())?;
    let at_home = match url.host() {
        Some(Host::Domain(name)) => is_loopback(name),
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => return Err(problem.to_owned()),
    };
    let has_more = url.query().is_some() || url.fragment().is_some() || !url.username().is_empty();
    match url.scheme() == "https" || url.scheme() == "http" && at_home {
        true if !has_more => Ok(url.as_str().trim_end_matches('/').to_owned()),
        _ => Err(problem.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        mail: MailConfig,
    }

    const GOOD: [&str; 6] = [
        "--smtp-host",
        "mail.example.com",
        "--smtp-from",
        "ihuman <noreply@example.com>",
        "--mail-link-base",
        "https://app.example.com/account/",
    ];

    fn read(arguments: &[&str]) -> Result<Option<MailSettings>, String> {
        Command::parse_from(["it"].iter().chain(arguments)).mail.read()
    }

    fn problem(more: &[&str]) -> String {
        read(&[&GOOD, more].concat()).err().unwrap_or_default()
    }

    #[test]
    fn mail_is_off_until_there_is_a_server_and_then_it_is_encrypted() {
        let settings = read(&GOOD).unwrap().unwrap();
        let server = settings.server.unwrap();

        assert!(read(&[]).unwrap().is_none());
        assert!(read(&["--smtp-host", "", "--smtp-from", ""]).unwrap().is_none());
        assert_eq!(settings.link_base, "https://app.example.com/account");
        assert_eq!((server.port, server.tls), (587, SmtpTls::Starttls));
        for (tls, port) in [("implicit", 465), ("none", 25)] {
            let server = read(&[&GOOD[..], &["--smtp-tls", tls]].concat()).unwrap().unwrap().server;
            assert_eq!(server.unwrap().port, port);
        }
    }

    #[test]
    fn a_password_is_not_sent_in_the_clear() {
        let login = ["--smtp-user", "ann", "--smtp-password", "secret", "--smtp-tls", "none"];
        let at = |host: &'static str| {
            let mut arguments = [&GOOD[..], &login].concat();
            arguments[1] = host;
            read(&arguments).err().unwrap_or_default()
        };

        for host in ["mail.example.com", "10.0.0.1", "localhost.example.com"] {
            assert!(at(host).contains("for all to read"), "{host}");
        }
        for host in ["localhost", "127.0.0.1", "::1"] {
            assert_eq!(at(host), "");
        }
    }

    #[test]
    fn what_does_not_go_together_is_refused() {
        for (arguments, named) in [
            (&["--smtp-user", "ann"][..], "SMTP_PASSWORD"),
            (&["--smtp-password", "secret"], "SMTP_USER"),
            (&["--mail-transport", "print"], "MAIL_TRANSPORT"),
            (&["--smtp-ca", "/nowhere/at/all"], "/nowhere/at/all"),
            (&["--smtp-user", "ann", "--smtp-password-file", "/nowhere"], "/nowhere"),
        ] {
            assert!(problem(arguments).contains(named), "{arguments:?}: {}", problem(arguments));
        }
        for (arguments, named) in [
            (&["--email-verification", "required"][..], "SMTP_HOST"),
            (&["--mail-transport", "smtp"], "SMTP_HOST"),
            (&["--mail-transport", "print"], "MAIL_LINK_BASE"),
            (&GOOD[..2], "SMTP_FROM"),
            (&GOOD[..4], "MAIL_LINK_BASE"),
            (&["--smtp-host", "it", "--smtp-from", "nobody"], "SMTP_FROM"),
        ] {
            let problem = read(arguments).err().unwrap_or_default();
            assert!(problem.contains(named), "{arguments:?}: {problem}");
        }
    }

    #[test]
    fn links_go_over_https_or_stay_on_this_machine() {
        for good in ["https://a.example", "http://localhost:3000/", "http://[::1]/x", "https://a/b"]
        {
            assert!(read_link_base(good).is_ok(), "{good}");
        }
        for bad in [
            "http://a.example",
            "https://a/?b",
            "https://a/#b",
            "https://u@a",
            "javascript:1",
            "a",
            "",
        ] {
            assert!(read_link_base(bad).is_err(), "{bad}");
        }
    }
}
