//! How many connections one peer may hold.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::access::{TrustedProxies, subscriber};

/// The connections that each peer has open. An IPv6 network of one subscriber is one
/// peer; trusted proxies have as many as they like, for they speak for many.
#[derive(Clone)]
pub(super) struct Places(Arc<Inner>);

struct Inner {
    taken: Mutex<HashMap<IpAddr, usize>>,
    most: usize,
    proxies: TrustedProxies,
}

/// The place of one connection, which is given back when this is dropped.
pub(super) struct Place(Option<(Places, IpAddr)>);

impl Places {
    /// For each peer `most`, at least one.
    pub(super) fn new(most: usize, proxies: TrustedProxies) -> Self {
        Places(Arc::new(Inner { taken: Mutex::default(), most, proxies }))
    }

    /// A place for a connection of `peer`; none when it has as many as it may.
    pub(super) fn take(&self, peer: IpAddr) -> Option<Place> {
        if self.0.proxies.contain(peer) {
            return Some(Place(None));
        }
        let peer = subscriber(peer);
        let mut taken = self.taken();
        let count = taken.entry(peer).or_default();
        if *count >= self.0.most {
            return None;
        }
        *count += 1;
        Some(Place(Some((self.clone(), peer))))
    }

    fn taken(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.0.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let Some((places, peer)) = &self.0 else { return };
        let mut taken = places.taken();
        if let Some(count) = taken.get_mut(peer) {
            *count -= 1;
            if *count == 0 {
                taken.remove(peer);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_has_so_many_places_and_a_trusted_proxy_more() {
        let places = Places::new(2, "10.0.0.0/8".parse().unwrap());
        let take = |peer: &str| places.take(peer.parse().unwrap());

        let held = [take("2001:db8:0:7::1"), take("2001:db8:0:7::2")];
        assert!(held.iter().all(Option::is_some));
        assert!(take("2001:db8:0:7::3").is_none(), "of the same network");
        let others = [take("2001:db8:0:8::1"), take("192.0.2.7"), take("::ffff:192.0.2.7")];
        assert!(others.iter().all(Option::is_some));
        assert!(take("192.0.2.7").is_none(), "the same address in two forms");
        let proxy: Vec<_> = (0..9).map(|_| take("::ffff:10.0.0.1")).collect();
        assert!(proxy.iter().all(Option::is_some));

        drop((held, others, proxy));
        assert!(take("2001:db8:0:7::3").is_some());
        assert!(places.taken().is_empty(), "nothing is kept of who has gone");
    }
}
