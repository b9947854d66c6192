//! What mails say: a template of text and one of HTML for each kind.
//!
//! No mail shows a name or an address of an account, which whoever opened it chose:
//! strangers could have us send their own words to anybody.

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
    link: &'a str,
    token: &'a str,
    change: &'static str,
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
        let values = Values { link: &link, token, change: change(mail.kind) };
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
        _ => "reset-password",
    }
}

/// Subject, text and HTML.
fn template(kind: Kind) -> (&'static str, &'static str, &'static str) {
    match kind {
        Kind::VerifyEmail => (
            "Verify your e-mail address",
            include_str!("templates/verify_email.txt"),
            include_str!("templates/verify_email.html"),
        ),
        Kind::RegistrationAttempt => (
            "You have an account already",
            include_str!("templates/registration_attempt.txt"),
            include_str!("templates/registration_attempt.html"),
        ),
        Kind::ResetPassword => (
            "Choose a new password",
            include_str!("templates/reset_password.txt"),
            include_str!("templates/reset_password.html"),
        ),
        Kind::PasswordChanged => (
            "Your password was changed",
            include_str!("templates/password_changed.txt"),
            include_str!("templates/password_changed.html"),
        ),
        Kind::ConfirmEmailChange => (
            "Confirm your new e-mail address",
            include_str!("templates/confirm_email_change.txt"),
            include_str!("templates/confirm_email_change.html"),
        ),
        Kind::EmailChangeRequested => (
            "Your e-mail address is about to change",
            include_str!("templates/email_change_requested.txt"),
            include_str!("templates/email_change_requested.html"),
        ),
        Kind::EmailChanged => (
            "Your e-mail address was changed",
            include_str!("templates/email_changed.txt"),
            include_str!("templates/email_changed.html"),
        ),
        Kind::NewDevice => (
            "Somebody logged in on a new device",
            include_str!("templates/new_device.txt"),
            include_str!("templates/new_device.html"),
        ),
        Kind::AuthenticatorAdded
        | Kind::AuthenticatorRemoved
        | Kind::PasskeyAdded
        | Kind::PasskeyRemoved
        | Kind::SecondFactorsReset
        | Kind::RecoveryCodeUsed
        | Kind::RecoveryCodesReplaced => (
            "How you log in was changed",
            include_str!("templates/second_factor_changed.txt"),
            include_str!("templates/second_factor_changed.html"),
        ),
    }
}

/// What happened to a second factor, in a sentence.
fn change(kind: Kind) -> &'static str {
    match kind {
        Kind::AuthenticatorAdded => "An authenticator was added.",
        Kind::AuthenticatorRemoved => "The authenticator was removed.",
        Kind::PasskeyAdded => "A passkey was added.",
        Kind::PasskeyRemoved => "A passkey was removed.",
        Kind::SecondFactorsReset => {
            "Every second factor and recovery code was removed, and every session was logged out."
        }
        Kind::RecoveryCodeUsed => "A recovery code was used, which does not work again.",
        Kind::RecoveryCodesReplaced => {
            "The recovery codes were replaced; the old ones do not work."
        }
        _ => "",
    }
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
            "link" => values.link,
            "token" => values.token,
            "change" => values.change,
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

    const KINDS: [Kind; 15] = [
        Kind::VerifyEmail,
        Kind::RegistrationAttempt,
        Kind::ResetPassword,
        Kind::PasswordChanged,
        Kind::ConfirmEmailChange,
        Kind::EmailChangeRequested,
        Kind::EmailChanged,
        Kind::AuthenticatorAdded,
        Kind::AuthenticatorRemoved,
        Kind::PasskeyAdded,
        Kind::PasskeyRemoved,
        Kind::SecondFactorsReset,
        Kind::RecoveryCodeUsed,
        Kind::RecoveryCodesReplaced,
        Kind::NewDevice,
    ];

    fn stationery() -> Stationery {
        let from = "ihuman <noreply@example.com>".parse().unwrap();
        Stationery { from, link_base: "https://app.example.com".to_owned() }
    }

    fn letter(kind: Kind, to: &str) -> Letter {
        let (mail_id, user_id, now) = (Uuid::now_v7(), Uuid::now_v7(), Utc::now());
        let mail = Leased {
            mail_id,
            kind,
            user_id,
            recipient: None,
            attempts: 1,
            token_version: None,
            comes_last: false,
            created_at: now,
        };
        let token = EmailToken::parse("token", "A".repeat(43)).unwrap();
        stationery().write(&mail, to, kind.token().map(|_| &token), now)
    }

    #[test]
    fn every_place_of_a_template_is_filled_and_a_token_is_in_the_fragment_and_by_itself() {
        for kind in KINDS {
            let letter = letter(kind, "ann@example.com");
            let (_, text, html) = template(kind);
            assert!(!text.contains("{email}") && !html.contains("{email}"), "{kind:?}");
            for body in [&letter.text, &letter.html] {
                assert!(!body.contains(['{', '}']), "{kind:?}: {body}");
                assert!(!body.contains("ann"), "{kind:?}: {body}");
                assert!(body.contains(change(kind)), "{kind:?}");
                let token = "A".repeat(43);
                assert_eq!(body.contains(&format!("#token={token}")), kind.token().is_some());
                assert_eq!(body.contains(&format!("\n{token}\n")), {
                    kind.token().is_some() && body == &letter.text
                });
            }
        }
    }

    #[test]
    fn a_value_is_text_and_neither_markup_nor_a_place() {
        let values = Values { link: "https://a/?b='1'&c={token}<b>", token: "", change: "" };

        assert_eq!(fill("at {link}.", &values, str::to_owned), format!("at {}.", values.link));
        let escaped = "at https://a/?b=&#39;1&#39;&amp;c={token}&lt;b&gt;.";
        assert_eq!(fill("at {link}.", &values, escape), escaped);
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
