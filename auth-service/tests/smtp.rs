//! A small mail server on a real socket, which does as a test tells it.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncRead, AsyncWrite, AsyncWriteExt as _, BufReader},
    net::{TcpListener, TcpStream},
    sync::Notify,
    task::JoinHandle,
    time::timeout,
};
use tokio_rustls::TlsAcceptor;

use crate::support::Auth;

/// What becomes of one mail.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Deed {
    /// It is taken, and so is every one without another deed.
    Take,
    /// Its recipient is answered with this.
    Refuse(&'static str),
    /// It is taken, and the connection ends before the sender hears so.
    TakeAndHangUp,
    /// It is taken, after a while.
    TakeAfter(Duration),
    /// Nothing is answered any more.
    FallSilent,
}

/// When the connection is encrypted.
#[derive(Clone)]
pub(crate) enum Encryption {
    Never,
    AfterStarttls(TlsAcceptor),
    Always(TlsAcceptor),
}

/// A mail that was taken.
#[derive(Clone, Debug)]
pub(crate) struct Mail {
    pub(crate) from: String,
    pub(crate) to: Vec<String>,
    pub(crate) data: String,
    /// The user and the password of the connection.
    pub(crate) login: Option<String>,
    pub(crate) is_encrypted: bool,
}

pub(crate) struct SmtpServer {
    pub(crate) port: u16,
    state: Arc<State>,
    serving: JoinHandle<()>,
}

#[derive(Default)]
struct State {
    deeds: Mutex<VecDeque<Deed>>,
    taken: Mutex<VecDeque<Mail>>,
    /// Every command in the clear.
    overheard: Mutex<Vec<String>>,
    arrived: Notify,
}

impl SmtpServer {
    pub(crate) async fn start() -> Self {
        Self::start_with(Encryption::Never).await
    }

    pub(crate) async fn start_with(encryption: Encryption) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::<State>::default();
        let shared = Arc::clone(&state);
        let serving = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (encryption, state) = (encryption.clone(), Arc::clone(&shared));
                tokio::spawn(async move { serve(stream, encryption, &state).await });
            }
        });
        Self { port, state, serving }
    }

    /// What becomes of the next mails.
    pub(crate) fn does(&self, deeds: &[Deed]) {
        self.state.deeds.lock().unwrap().extend(deeds);
    }

    /// The next mail that was taken.
    pub(crate) async fn next(&self) -> Mail {
        let arrives = async {
            loop {
                let arrived = self.state.arrived.notified();
                if let Some(mail) = self.state.taken.lock().unwrap().pop_front() {
                    return mail;
                }
                arrived.await;
            }
        };
        timeout(Duration::from_secs(20), arrives).await.expect("a mail arrives")
    }

    /// How many were taken that nobody has looked at.
    pub(crate) fn left(&self) -> usize {
        self.state.taken.lock().unwrap().len()
    }

    /// What anybody on the way could read.
    pub(crate) fn overheard(&self) -> Vec<String> {
        self.state.overheard.lock().unwrap().clone()
    }

    /// What a service is started with to send here, and `more`.
    pub(crate) fn arguments(&self, more: &[&str]) -> Vec<String> {
        let port = self.port.to_string();
        let own = [
            "--smtp-host",
            "localhost",
            "--smtp-port",
            &port,
            "--smtp-from",
            "ihuman <noreply@example.com>",
            "--mail-link-base",
            "https://app.example.com",
        ];
        own.iter().chain(more).map(|it| (*it).to_owned()).collect()
    }

    /// A service that sends here in the clear.
    pub(crate) async fn auth(&self, more: &[&str]) -> Auth {
        let arguments = self.arguments(&[&["--smtp-tls", "none"], more].concat());
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        Auth::start_identity(&arguments).await
    }
}

impl Drop for SmtpServer {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Mail {
    /// The header, on one line.
    pub(crate) fn header(&self, name: &str) -> String {
        let (headers, _) = self.data.split_once("\r\n\r\n").unwrap();
        let headers = headers.replace("\r\n ", " ");
        let prefix = format!("{name}: ");
        headers.lines().find_map(|it| it.strip_prefix(&prefix)).unwrap_or_default().to_owned()
    }

    /// Both bodies, as they are read.
    pub(crate) fn body(&self) -> String {
        let unfolded = self.data.replace("=\r\n", "");
        let mut parts = unfolded.split('=');
        let mut body = parts.next().unwrap().to_owned();
        for part in parts {
            match part.get(..2).and_then(|it| u8::from_str_radix(it, 16).ok()) {
                Some(byte) => {
                    body.push(char::from(byte));
                    body.push_str(&part[2..]);
                }
                None => {
                    body.push('=');
                    body.push_str(part);
                }
            }
        }
        body
    }

    /// The token of its link.
    pub(crate) fn token(&self) -> String {
        let body = self.body();
        let (_, rest) = body.split_once("#token=").expect("there is a link with a token");
        let token: String =
            rest.chars().take_while(|it| it.is_alphanumeric() || "-_".contains(*it)).collect();
        assert_eq!(token.len(), 43, "{token}");
        token
    }
}

async fn serve(stream: TcpStream, encryption: Encryption, state: &State) {
    match encryption {
        Encryption::Never => {
            converse(stream, state, Talk::default()).await;
        }
        Encryption::AfterStarttls(acceptor) => {
            let talk = Talk { offers_starttls: true, ..Talk::default() };
            let Some(stream) = converse(stream, state, talk).await else { return };
            let Ok(stream) = acceptor.accept(stream).await else { return };
            let talk = Talk { is_encrypted: true, is_greeted: true, ..Talk::default() };
            converse(stream, state, talk).await;
        }
        Encryption::Always(acceptor) => {
            let Ok(stream) = acceptor.accept(stream).await else { return };
            converse(stream, state, Talk { is_encrypted: true, ..Talk::default() }).await;
        }
    }
}

#[derive(Default)]
struct Talk {
    offers_starttls: bool,
    is_encrypted: bool,
    is_greeted: bool,
}

/// Returns the connection when it is to be encrypted.
async fn converse<S>(stream: S, state: &State, talk: Talk) -> Option<S>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut stream = BufReader::new(stream);
    let (mut login, mut from, mut to) = (None, String::new(), Vec::new());
    if !talk.is_greeted {
        say(&mut stream, "220 localhost").await?;
    }
    let mut deed = state.deeds.lock().unwrap().pop_front().unwrap_or(Deed::Take);
    if talk.offers_starttls {
        // It is done to the mail, which comes later.
        state.deeds.lock().unwrap().push_front(deed);
        deed = Deed::Take;
    }
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await.ok()? == 0 {
            return None;
        }
        let line = line.trim_end();
        if !talk.is_encrypted {
            state.overheard.lock().unwrap().push(line.to_owned());
        }
        let (command, rest) = line.split_once(' ').unwrap_or((line, ""));
        let answer = match command {
            "EHLO" if talk.offers_starttls => "250-localhost\r\n250 STARTTLS",
            "EHLO" => "250-localhost\r\n250-8BITMIME\r\n250 AUTH PLAIN",
            "STARTTLS" => {
                say(&mut stream, "220 go on").await?;
                return Some(stream.into_inner());
            }
            "AUTH" => {
                let plain = BASE64.decode(rest.trim_start_matches("PLAIN ")).unwrap();
                login = Some(String::from_utf8(plain).unwrap().replace('\0', ":"));
                "235 welcome"
            }
            "MAIL" => {
                from = rest.to_owned();
                "250 ok"
            }
            "RCPT" => match deed {
                Deed::Refuse(answer) => answer,
                Deed::FallSilent => std::future::pending().await,
                Deed::Take | Deed::TakeAndHangUp | Deed::TakeAfter(_) => {
                    if let Deed::TakeAfter(wait) = deed {
                        tokio::time::sleep(wait).await;
                    }
                    to.push(rest.to_owned());
                    "250 ok"
                }
            },
            "DATA" => {
                say(&mut stream, "354 go on").await?;
                let data = read_data(&mut stream).await?;
                let (from, to, login) = (from.clone(), to.clone(), login.clone());
                let mail = Mail { from, to, data, login, is_encrypted: talk.is_encrypted };
                state.taken.lock().unwrap().push_back(mail);
                state.arrived.notify_one();
                if matches!(deed, Deed::TakeAndHangUp) {
                    return None;
                }
                "250 taken"
            }
            _ => "221 bye",
        };
        say(&mut stream, answer).await?;
    }
}

async fn read_data<S: AsyncRead + Unpin>(stream: &mut BufReader<S>) -> Option<String> {
    let mut data = String::new();
    while !data.ends_with("\r\n.\r\n") {
        if stream.read_line(&mut data).await.ok()? == 0 {
            return None;
        }
    }
    Some(data)
}

async fn say<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut BufReader<S>,
    line: &str,
) -> Option<()> {
    stream.write_all(format!("{line}\r\n").as_bytes()).await.ok()
}
