//! What mails say: a template of text and one of HTML for each kind.
//!
//! No mail shows the name of an account, which whoever opened it chose: strangers could
//! have us send their own words to anybody.

use std::time::SystemTime;

use chrono::{DateTime, Utc};
use lettre::{
    Address, Message,
    message::{
        Mailbox, MultiPart,
        header::{HeaderName, HeaderValue},
    },
};
use uuid::Uuid;

use super::store::{Kind, Leased};
use crate::{config::MailSettings, emails::EmailToken};

/// What all mails have in common.
pub(super) struct Stationery {
    from: Mailbox,
    link_base: String,
}

/// A mail as somebody reads it.
pub(super) struct Letter {
    pub(super) to: String,
    pub(super) text: String,
    html: String,
    subject: &'static str,
    mail_id: Uuid,
    date: DateTime<Utc>,
}

/// The address is none that mail can be sent to.
#[derive(Debug)]
pub(super) struct Undeliverable;

/// What the templates have places for.
struct Values<'a> {
    email: &'a str,
    link: &'a str,
    token: &'a str,
}

impl Stationery {
    pub(super) fn new(settings: MailSettings) -> Self {
        Stationery { from: settings.from, link_base: settings.link_base }
    }

    pub(super) fn write(
        &self,
        mail: &Leased,
        to: &str,
        token: Option<&EmailToken>,
        now: DateTime<Utc>,
    ) -> Letter {
        let token = token.map(EmailToken::reveal).unwrap_or_default();
        let page = page(mail.kind);
        let link = match token {
            "" => format!("{}/{page}", self.link_base),
            // What is in the fragment is sent to no server, and so is in no log.
            _ => format!("{}/{page}#token={token}", self.link_base),
        };
        let values = Values { email: to, link: &link, token };
        let (subject, text, html) = template(mail.kind);
        Letter {
            to: to.to_owned(),
            text: fill(text, &values, str::to_owned),
            html: fill(html, &values, escape),
            subject,
            mail_id: mail.mail_id,
            date: now,
        }
    }

    /// The message as it goes to a server. At each attempt it has the same id.
    ///
    /// # Errors
    /// When the address can't be written into a header, or into a command.
    pub(super) fn message(&self, letter: &Letter) -> Result<Message, Undeliverable> {
        let to: Address = letter.to.parse().map_err(|_| Undeliverable)?;
        let id = format!("<{}@{}>", letter.mail_id, self.from.email.domain());
        // RFC 3834: so that no answering machine answers.
        let name = HeaderName::new_from_ascii_str("Auto-Submitted");
        let built = Message::builder()
            .from(self.from.clone())
            .to(Mailbox::new(None, to))
            .subject(letter.subject)
            .date(SystemTime::from(letter.date))
            .message_id(Some(id))
            .raw_header(HeaderValue::new(name, "auto-generated".to_owned()))
            .multipart(MultiPart::alternative_plain_html(letter.text.clone(), letter.html.clone()));
        built.map_err(|_| Undeliverable)
    }
}

/// The page of the web app that goes on from here.
fn page(kind: Kind) -> &'static str {
    match kind {
        Kind::VerifyEmail => "verify-email",
        Kind::ConfirmEmailChange => "confirm-email-change",
        Kind::ResetPassword
        | Kind::RegistrationAttempt
        | Kind::PasswordChanged
        | Kind::EmailChanged => "reset-password",
    }
}

/// Subject, text and HTML.
fn template(kind: Kind) -> (&'static str, &'static str, &'static str) {
    macro_rules! files {
        ($name:literal) => {
            (
                include_str!(concat!("templates/", $name, ".txt")),
                include_str!(concat!("templates/", $name, ".html")),
            )
        };
    }
    let (subject, (text, html)) = match kind {
        Kind::VerifyEmail => ("Verify your e-mail address", files!("verify_email")),
        Kind::RegistrationAttempt => {
            ("You have an account already", files!("registration_attempt"))
        }
        Kind::ResetPassword => ("Choose a new password", files!("reset_password")),
        Kind::PasswordChanged => ("Your password was changed", files!("password_changed")),
        Kind::ConfirmEmailChange => {
            ("Confirm your new e-mail address", files!("confirm_email_change"))
        }
        Kind::EmailChanged => ("Your e-mail address was changed", files!("email_changed")),
    };
    (subject, text, html)
}

/// The template with each `{name}` replaced, in one pass: what a value says is never
/// taken for a place.
fn fill(template: &str, values: &Values<'_>, form: impl Fn(&str) -> String) -> String {
    let mut filled = String::with_capacity(template.len() * 2);
    let mut parts = template.split('{');
    filled.push_str(parts.next().unwrap_or_default());
    for part in parts {
        let (name, rest) = part.split_once('}').unwrap_or((part, ""));
        filled.push_str(&form(match name {
            "email" => values.email,
            "link" => values.link,
            "token" => values.token,
            _ => "",
        }));
        filled.push_str(rest);
    }
    filled
}

fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for it in text.chars() {
        match it {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            _ => escaped.push(it),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    const KINDS: [Kind; 6] = [
        Kind::VerifyEmail,
        Kind::RegistrationAttempt,
        Kind::ResetPassword,
        Kind::PasswordChanged,
        Kind::ConfirmEmailChange,
        Kind::EmailChanged,
    ];

    fn stationery() -> Stationery {
        let from = "ihuman <noreply@example.com>".parse().unwrap();
        Stationery { from, link_base: "https://app.example.com".to_owned() }
    }

    fn letter(kind: Kind, to: &str) -> Letter {
        let (mail_id, user_id, now) = (Uuid::now_v7(), Uuid::now_v7(), Utc::now());
        let mail = Leased { mail_id, kind, user_id, recipient: None, attempts: 1, created_at: now };
        let token = EmailToken::parse("token", "A".repeat(43)).unwrap();
        stationery().write(&mail, to, kind.token().map(|_| &token), now)
    }

    #[test]
    fn every_place_of_a_template_is_filled_and_a_token_is_in_the_fragment_and_by_itself() {
        for kind in KINDS {
            let letter = letter(kind, "ann@example.com");
            for body in [&letter.text, &letter.html] {
                assert!(!body.contains(['{', '}']), "{kind:?}: {body}");
                assert!(body.contains("ann@example.com"), "{kind:?}");
                let token = "A".repeat(43);
                assert_eq!(body.contains(&format!("#token={token}")), kind.token().is_some());
                assert_eq!(body.contains(&format!("\n{token}\n")), {
                    kind.token().is_some() && body == &letter.text
                });
            }
        }
    }

    #[test]
    fn an_address_is_text_and_neither_markup_nor_a_place() {
        let letter = letter(Kind::VerifyEmail, "o'brien&{token}<b>@example.com");

        assert!(letter.text.contains("o'brien&{token}<b>@example.com"), "{}", letter.text);
        let escaped = "o&#39;brien&amp;{token}&lt;b&gt;@example.com";
        assert!(letter.html.contains(escaped), "{}", letter.html);
    }

    #[test]
    fn an_address_that_would_be_a_header_or_a_command_is_not_written() {
        let long = format!("{}@example.com", "a".repeat(300));
        for bad in [
            "ann@example.com\r\nBcc: eve@example.com",
            "ann\n@example.com",
            "ann>@example.com",
            "ann@example.com>\r\nRCPT TO:<eve@example.com",
            "a,b@example.com",
            "<script>@example.com",
            "@example.com",
            &long,
        ] {
            assert!(stationery().message(&letter(Kind::VerifyEmail, bad)).is_err(), "{bad}");
        }
        let message = stationery().message(&letter(Kind::VerifyEmail, "o'brien@example.com"));
        let text = String::from_utf8(message.unwrap().formatted()).unwrap();
        let (headers, _) = text.split_once("\r\n\r\n").unwrap();
        assert!(headers.contains("To: o'brien@example.com\r\n"), "{headers}");
        assert!(headers.contains("Auto-Submitted: auto-generated"), "{headers}");
        assert!(!headers.contains("token"), "{headers}");
    }
}
