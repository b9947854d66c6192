//! The secret of a mail, which proves that whoever has it reads what comes to an address.

use aws_lc_rs::hmac::{self, HMAC_SHA256};
use ihuman_shared::{
    Error, Result,
    credentials::{MasterKey, Secret},
};
use uuid::Uuid;

use super::store::Kind;
use crate::opaque;

/// An opaque token that comes in a mail.
pub(crate) struct EmailToken(Secret);

/// Makes tokens: HMAC-SHA256 of the mail's id, so that no secret waits in the database
/// for a mail server, and a mail that is sent again is the same mail.
pub(crate) struct TokenMaker(hmac::Key);

impl TokenMaker {
    pub(crate) fn new(master_key: &MasterKey) -> Self {
        TokenMaker(hmac::Key::new(HMAC_SHA256, &master_key.derive("email token")))
    }

    /// The token of a mail.
    pub(super) fn make(&self, kind: Kind, mail_id: Uuid) -> EmailToken {
        // The id has a fixed length, so that no two pairs make the same text.
        let text = [mail_id.as_bytes().as_slice(), kind.text().as_bytes()].concat();
        EmailToken(opaque::encode(hmac::sign(&self.0, &text).as_ref()))
    }
}

impl EmailToken {
    /// # Errors
    /// `InvalidFields`, when it is empty; `EmailTokenInvalid`, when it can't be one of ours.
    pub(crate) fn parse(field: &str, text: String) -> Result<Self> {
        opaque::parse(field, text, || Error::EmailTokenInvalid).map(EmailToken)
    }

    /// What is stored of it.
    pub(super) fn hash(&self) -> Vec<u8> {
        opaque::hash(&self.0)
    }

    /// The token, for its mail.
    pub(crate) fn reveal(&self) -> &str {
        self.0.reveal()
    }
}

#[cfg(test)]
mod tests {
    use base64::{Engine as _, engine::general_purpose::STANDARD};

    use super::*;

    #[test]
    fn a_token_belongs_to_one_mail_of_one_kind_under_one_master_key() {
        let maker = |byte: u8| {
            let key = STANDARD.encode([byte; 32]);
            TokenMaker::new(&key.parse().unwrap())
        };
        let (one, mail_id) = (maker(1), Uuid::now_v7());
        let token = one.make(Kind::VerifyEmail, mail_id);

        assert_eq!(one.make(Kind::VerifyEmail, mail_id).reveal(), token.reveal());
        for other in [
            one.make(Kind::ResetPassword, mail_id),
            one.make(Kind::VerifyEmail, Uuid::now_v7()),
            maker(2).make(Kind::VerifyEmail, mail_id),
        ] {
            assert_ne!(other.reveal(), token.reveal());
        }
        assert!(EmailToken::parse("token", token.reveal().to_owned()).is_ok());
        for bad in ["", "a", &token.reveal()[1..], &format!("{}a", token.reveal()), &"%".repeat(43)]
        {
            assert!(EmailToken::parse("token", bad.to_owned()).is_err(), "{bad}");
        }
    }
}
