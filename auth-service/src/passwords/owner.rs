//! Passwords that follow from whose they are.

use super::blocklist::squeeze;
use crate::users::{DisplayName, Email, store::User};

/// What the product and its parts are called.
const PRODUCT: [&str; 3] = ["ihuman", "authservice", "catalogservice"];

/// A shorter name is part of too many words to say anything.
const NAME_MIN: usize = 3;

/// What somebody who guesses knows of an account.
#[derive(Clone, Copy)]
pub(crate) struct Owner<'a> {
    pub(crate) email: &'a str,
    pub(crate) display_name: &'a str,
}

impl<'a> Owner<'a> {
    /// Whom an account is going to belong to.
    pub(crate) fn new(email: &'a Email, display_name: &'a DisplayName) -> Self {
        Owner { email: email.as_str(), display_name: display_name.as_str() }
    }

    /// Whom an account belongs to.
    pub(crate) fn of(user: &'a User) -> Self {
        let email = user.email.as_deref().unwrap_or_default();
        Owner { email, display_name: &user.display_name }
    }

    /// Why a password is too much like its owner; none if it is not. It is when half
    /// of its letters and digits, or more, are names.
    pub(super) fn problem(&self, password: &str) -> Option<&'static str> {
        let password = squeeze(password);
        let mut named = vec![false; password.len()];
        for (names, problem) in [
            (self.of_email(), "must not be made of the e-mail address"),
            (self.of_name(), "must not be made of the name of the account"),
            (PRODUCT.map(str::to_owned).into(), "must not be made of the name of this product"),
        ] {
            for name in names.iter().filter(|it| it.chars().count() >= NAME_MIN) {
                for (at, _) in password.match_indices(name.as_str()) {
                    named[at..at + name.len()].fill(true);
                }
            }
            let count = named.iter().filter(|it| **it).count();
            if count > 0 && count * 2 >= password.len() {
                return Some(problem);
            }
        }
        None
    }

    fn of_email(&self) -> Vec<String> {
        let (local_part, domain) = self.email.split_once('@').unwrap_or((self.email, ""));
        let labels = domain.rsplit_once('.').map_or(domain, |it| it.0).split('.');
        let parents = domain.match_indices('.').map(|(at, _)| &domain[at + 1..]);
        let words = local_part.split(|it: char| !it.is_alphanumeric());
        let whole = [self.email, local_part, domain];
        whole.into_iter().chain(labels).chain(parents).chain(words).map(squeeze).collect()
    }

    fn of_name(&self) -> Vec<String> {
        let words = self.display_name.split_whitespace();
        [self.display_name].into_iter().chain(words).map(squeeze).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWNER: Owner<'_> =
        Owner { email: "ann.miller@mail.example.org", display_name: "Ann Béatrice Müller" };

    #[test]
    fn a_password_made_of_names_is_refused_with_the_reason() {
        for (password, reason) in [
            ("ann.miller@mail.example.org", "e-mail"),
            ("Ann-Miller-Miller-7", "e-mail"),
            ("example.org 20241", "e-mail"),
            ("annBéatriceMüller", "name of the account"),
            ("MÜLLER müller 123", "name of the account"),
            ("ihuman ihuman 2024", "product"),
            ("ihuman auth-service", "product"),
        ] {
            let problem = OWNER.problem(password);
            assert!(problem.is_some_and(|it| it.contains(reason)), "{password}: {problem:?}");
        }
    }

    #[test]
    fn a_name_as_a_small_part_of_more_is_no_reason() {
        for password in
            ["Ann keeps a lamp in the attic", "the mailman of the north", "!!!!!!!!!!!!!!!"]
        {
            assert_eq!(OWNER.problem(password), None, "{password}");
        }
    }
}
