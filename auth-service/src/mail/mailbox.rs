//! Whose mailbox an address leads to, as far as it shows, hidden from who reads the database.

use aws_lc_rs::hmac::{self, HMAC_SHA256};
use ihuman_shared::credentials::MasterKey;

/// What the names of mailboxes are hidden with.
pub(super) struct Mailboxes(hmac::Key);

impl Mailboxes {
    pub(super) fn new(master_key: &MasterKey) -> Self {
        Mailboxes(hmac::Key::new(HMAC_SHA256, &master_key.derive("mailbox")))
    }

    /// The same for all addresses that differ by their tag, and another one for the
    /// address without: what strangers do with tags must not hold that up.
    pub(super) fn hash(&self, email_key: &str) -> Vec<u8> {
        hmac::sign(&self.0, mailbox(email_key).as_bytes()).as_ref().to_vec()
    }
}

fn mailbox(email_key: &str) -> String {
    let (local_part, domain) = email_key.split_once('@').unwrap_or((email_key, ""));
    match local_part.split_once('+') {
        Some((name, _)) if !name.is_empty() => format!("{name}+@{domain}"),
        _ => email_key.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_lead_to_one_mailbox_beside_that_of_the_address_itself() {
        assert_eq!(mailbox("ann+one@example.com"), mailbox("ann+two+three@example.com"));
        for other in ["ann@example.com", "bob+one@example.com", "ann+one@example.org", "+one@b"] {
            assert_ne!(mailbox("ann+one@example.com"), mailbox(other));
        }
        assert_ne!(mailbox("+one@b"), mailbox("+two@b"));
    }
}
