//! The proxies that may say whom they speak for.

use std::{
    net::{AddrParseError, IpAddr},
    str::FromStr,
};

use http::HeaderMap;
use ipnet::{IpNet, Ipv4Net};

/// The networks whose `x-forwarded-for` is believed.
#[derive(Clone, Debug, Default)]
pub struct TrustedProxies(Vec<IpNet>);

impl TrustedProxies {
    /// Whether the proxy at `address` is trusted.
    pub(crate) fn contain(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|network| network.contains(&address))
    }

    /// The client that `peer` speaks for: the last address of `x-forwarded-for`
    /// that is not a trusted proxy itself. Earlier ones may be made up.
    /// No answer is an IPv4 address in the form of IPv6, which is how a socket for both
    /// tells them.
    pub(super) fn client_of(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let peer = peer.to_canonical();
        if !self.contain(peer) {
            return peer;
        }
        let forwarded = headers.get_all("x-forwarded-for").iter().filter_map(|it| it.to_str().ok());
        let addresses: Vec<&str> = forwarded.flat_map(|it| it.split(',')).collect();
        let known = addresses.iter().rev().map_while(|it| parse(it).ok());
        known.take_while_inclusive(|it| self.contain(*it)).last().unwrap_or(peer)
    }
}

fn parse(text: &str) -> Result<IpAddr, AddrParseError> {
    text.trim().parse().map(|it: IpAddr| it.to_canonical())
}

/// The same network, as IPv4 if it is one in the form of IPv6.
pub fn canonical(network: IpNet) -> IpNet {
    // The form has 96 bits before the address (RFC 4291 §2.5.5.2).
    let IpNet::V6(v6) = network else { return network };
    let v4 = v6.addr().to_ipv4_mapped().zip(v6.prefix_len().checked_sub(96));
    v4.and_then(|(address, length)| Ipv4Net::new(address, length).ok()).map_or(network, IpNet::V4)
}

/// Takes items while `keep` holds, and the first one for which it does not.
trait TakeWhileInclusive: Iterator + Sized {
    fn take_while_inclusive(
        mut self,
        keep: impl Fn(&Self::Item) -> bool,
    ) -> impl Iterator<Item = Self::Item> {
        let mut ended = false;
        std::iter::from_fn(move || {
            let item = if ended { None } else { self.next() }?;
            ended = !keep(&item);
            Some(item)
        })
    }
}

impl<T: Iterator> TakeWhileInclusive for T {}

impl FromStr for TrustedProxies {
    type Err = String;

    /// Networks in CIDR notation, separated by commas.
    fn from_str(text: &str) -> Result<Self, String> {
        let networks = text.split(',').map(str::trim).filter(|it| !it.is_empty());
        let parsed: Result<_, _> = networks.map(|it| it.parse().map(canonical)).collect();
        parsed.map(TrustedProxies).map_err(|_| "must be networks such as 10.0.0.0/8".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client_of(peer: &str, forwarded: &str) -> String {
        let proxies: TrustedProxies =
            "10.0.0.0/8, fd00::/8, ::ffff:172.16.0.0/108".parse().unwrap();
        let mut headers = HeaderMap::new();
        headers.insert("x-forwarded-for", forwarded.parse().unwrap());
        proxies.client_of(peer.parse().unwrap(), &headers).to_string()
    }

    #[test]
    fn only_a_trusted_proxy_may_speak_for_another_address() {
        assert_eq!(client_of("192.0.2.1", "198.51.100.7"), "192.0.2.1");
        assert_eq!(client_of("10.0.0.1", "198.51.100.7"), "198.51.100.7");
    }

    #[test]
    fn an_ipv4_address_in_the_form_of_ipv6_is_the_same_address() {
        assert_eq!(client_of("::ffff:10.0.0.1", "::ffff:198.51.100.7"), "198.51.100.7");
        assert_eq!(client_of("::ffff:192.0.2.1", "198.51.100.7"), "192.0.2.1");
        assert_eq!(client_of("::ffff:172.16.0.1", "198.51.100.7, 172.16.0.2"), "198.51.100.7");
        assert_eq!(client_of("10.0.0.1", "198.51.100.7, ::ffff:10.0.0.2"), "198.51.100.7");
    }

    #[test]
    fn no_network_is_none_that_is_trusted() {
        let none: TrustedProxies = "".parse().unwrap();

        assert!(none.0.is_empty());
    }

    #[test]
    fn addresses_that_a_client_made_up_are_not_believed() {
        assert_eq!(client_of("10.0.0.1", "1.1.1.1, 198.51.100.7, 10.0.0.2"), "198.51.100.7");
        assert_eq!(client_of("10.0.0.1", "198.51.100.7, nonsense"), "10.0.0.1");
        assert_eq!(client_of("10.0.0.1", "10.0.0.9, 10.0.0.2"), "10.0.0.9");
    }
}
