//! What one may ask of a new API key.

use chrono::{DateTime, TimeDelta, Utc};
use ihuman_shared::{
    Error, Result,
    access::{Permissions, Scope},
    parse,
};

const NAME_MAX: usize = 100;
const SCOPES_MAX: usize = 32;
/// The longest life of a key: 10 years, with their leap days.
const LIFETIME_MAX: TimeDelta = TimeDelta::days(3653);

/// What the owner calls a key.
#[derive(Clone, Debug)]
pub(crate) struct KeyName(String);

/// What a key may do at the most: 1 to 32 scopes.
#[derive(Clone, Debug)]
pub(crate) struct Scopes(Vec<Scope>);

/// When a key stops working.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Expiry(DateTime<Utc>);

impl KeyName {
    /// # Errors
    /// `InvalidFields`, when it is no name of one line.
    pub(crate) fn parse(field: &str, text: String) -> Result<Self> {
        parse::line(field, text, NAME_MAX).map(KeyName)
    }

    /// The name.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl Scopes {
    /// # Errors
    /// `InvalidFields`, which names each one that is no scope.
    pub(crate) fn parse(field: &str, texts: &[String]) -> Result<Self> {
        if !(1..=SCOPES_MAX).contains(&texts.len()) {
            let problem = format!("must have 1 to {SCOPES_MAX} scopes");
            return Err(Error::invalid(field, problem));
        }
        Scope::parse_all(field, texts).map(Scopes)
    }

    /// # Errors
    /// `InvalidFields`, which names each scope that grants more than `rights`.
    pub(crate) fn check_within(&self, field: &str, rights: Permissions) -> Result<()> {
        let within = self.0.iter().map(|it| rights.contains_all(it.grants()).then_some(()));
        parse::items(field, within, "must not go beyond what the owner may do").map(|_| ())
    }

    /// What they grant together.
    pub(crate) fn grants(&self) -> Permissions {
        Permissions::granted_by(&self.0)
    }

    /// Each in text form.
    pub(crate) fn texts(&self) -> Vec<String> {
        self.0.iter().map(|it| it.text().to_owned()).collect()
    }
}

impl Expiry {
    /// # Errors
    /// `InvalidFields`, when it is past or too far away.
    pub(crate) fn parse(field: &str, at: DateTime<Utc>, now: DateTime<Utc>) -> Result<Self> {
        match at - now {
            life if life <= TimeDelta::zero() => {
                Err(Error::invalid(field, "must be in the future"))
            }
            life if life > LIFETIME_MAX => Err(Error::invalid(field, "must be within 10 years")),
            _ => Ok(Expiry(at)),
        }
    }

    /// After so many days.
    pub(crate) fn after_days(days: u32, now: DateTime<Utc>) -> Self {
        Expiry(now + TimeDelta::days(days.into()))
    }

    /// The time.
    pub(crate) fn at(self) -> DateTime<Utc> {
        self.0
    }
}
