//! What one may ask of the use of an API key: from where, how often, and what is noted of it.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    ops::RangeInclusive,
    time::Duration,
};

use ihuman_shared::{
    Error, Result,
    access::{Permission, Principal, Quota, canonical},
    parse::{self, Fields},
};
use ipnet::IpNet;

use super::store::ApiKey;

const NETWORKS_MAX: usize = 32;
const REQUESTS: RangeInclusive<i32> = 1..=1_000_000;
const WINDOWS: RangeInclusive<Duration> =
    Duration::from_secs(1)..=Duration::from_secs(24 * 60 * 60);
const ENTRIES_MAX: usize = 16;
const ENTRY_NAME_MAX: usize = 64;
const ENTRY_VALUE_MAX: usize = 256;

/// The networks that a key may be used from, each once; empty for anywhere.
#[derive(Clone, Debug)]
pub(crate) struct AllowList(BTreeSet<IpNet>);

/// How many requests may be sent with a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RequestRate {
    max_requests: i32,
    window_ms: u32,
}

/// What the owner notes of a key.
#[derive(Clone, Debug)]
pub(crate) struct Metadata(BTreeMap<String, String>);

impl AllowList {
    /// # Errors
    /// `InvalidFields`, which names each one that is neither an address nor a network.
    pub(crate) fn parse(field: &str, texts: &[String]) -> Result<Self> {
        if texts.len() > NETWORKS_MAX {
            return Err(Error::invalid(
                field,
                format!("must have at most {NETWORKS_MAX} networks"),
            ));
        }
        let allowed = "must be an address, or a network such as \"10.0.0.0/8\"";
        let networks = parse::items(field, texts.iter().map(|it| network(it)), allowed)?;
        Ok(AllowList(networks.into_iter().collect()))
    }

    /// Each in CIDR notation.
    pub(crate) fn texts(&self) -> Vec<String> {
        self.0.iter().map(ToString::to_string).collect()
    }
}

/// The network without the bits of a host, or that of one address.
fn network(text: &str) -> Option<IpNet> {
    let address = || text.parse::<IpAddr>().ok().map(|it| IpNet::from(it.to_canonical()));
    text.parse::<IpNet>().ok().map(canonical).or_else(address).map(|it| it.trunc())
}

fn window_ms(field: &str, window: Duration) -> Result<u32> {
    let is_whole = window.subsec_nanos().is_multiple_of(1_000_000);
    let window_ms = u32::try_from(window.as_millis()).ok();
    window_ms.filter(|_| is_whole && WINDOWS.contains(&window)).ok_or_else(|| {
        let problem = "must be from 1 second to 24 hours in whole milliseconds";
        Error::invalid(format!("{field}.window"), problem)
    })
}

impl RequestRate {
    /// # Errors
    /// `InvalidFields`, which names what is out of its bounds.
    pub(crate) fn parse(field: &str, max_requests: i32, window: Result<Duration>) -> Result<Self> {
        let mut fields = Fields::default();
        let is_allowed = REQUESTS.contains(&max_requests);
        let max_requests = is_allowed.then_some(max_requests).ok_or_else(|| {
            let problem = format!("must be from {} to {}", REQUESTS.start(), REQUESTS.end());
            Error::invalid(format!("{field}.max_requests"), problem)
        });
        let max_requests = fields.take(max_requests);
        let window_ms = fields.take(window.and_then(|it| window_ms(field, it)));
        fields
            .finish((|| Some(RequestRate { max_requests: max_requests?, window_ms: window_ms? }))())
    }

    /// # Errors
    /// `PermissionMissing`, when it is faster than the service's own `quota` and the
    /// caller does not manage users: else nobody would be limited.
    pub(crate) fn check_for(self, caller: &Principal, quota: Quota) -> Result<()> {
        let own = u128::from(self.max_requests.unsigned_abs()) * quota.window.as_millis();
        let general = u128::from(quota.max_requests) * u128::from(self.window_ms);
        if own > general && !caller.may(Permission::USERS_MANAGE) {
            return Err(Error::PermissionMissing(Permission::USERS_MANAGE));
        }
        Ok(())
    }

    /// Whether the key has this rate already.
    pub(crate) fn is(self, api_key: &ApiKey) -> bool {
        Self::columns(Some(self)) == (api_key.rate_limit_requests, api_key.rate_limit_window_ms)
    }

    /// How many, and in how many milliseconds.
    pub(crate) fn columns(rate: Option<Self>) -> (Option<i32>, Option<i64>) {
        rate.map(|it| (it.max_requests, i64::from(it.window_ms))).unzip()
    }
}

impl Metadata {
    /// # Errors
    /// `InvalidFields`, when there are too many, or one has no name or is too long.
    pub(crate) fn parse(field: &str, map: BTreeMap<String, String>) -> Result<Self> {
        if map.len() > ENTRIES_MAX {
            return Err(Error::invalid(field, format!("must have at most {ENTRIES_MAX} entries")));
        }
        for (name, value) in &map {
            let is_line = |text: &str, min: usize, max: usize| {
                let length = text.chars().count();
                (min..=max).contains(&length) && !text.chars().any(char::is_control)
            };
            if !is_line(name, 1, ENTRY_NAME_MAX) || !is_line(value, 0, ENTRY_VALUE_MAX) {
                let problem = format!(
                    "must have names of 1 to {ENTRY_NAME_MAX} characters and values of at most \
                     {ENTRY_VALUE_MAX}, without control characters"
                );
                return Err(Error::invalid(field, problem));
            }
        }
        Ok(Metadata(map))
    }

    /// By name.
    pub(crate) fn into_map(self) -> BTreeMap<String, String> {
        self.0
    }
}
