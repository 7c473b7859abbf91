//! How many connections each visitor has.

use std::{
    collections::{HashMap, hash_map::Entry},
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::turns::visitor;

/// The connections at a node's entries, by who they are from.
#[derive(Clone, Debug, Default)]
pub struct Visitors(Arc<Mutex<HashMap<IpAddr, usize>>>);

/// A connection that counts until it is dropped.
#[derive(Debug)]
pub struct Admitted {
    visitors: Visitors,
    who: IpAddr,
}

impl Visitors {
    /// Counts in a connection from an address, unless it has `max` already.
    ///
    /// Whoever has an IPv6 address has 2^64 of them: a network of 64 bits counts as one visitor.
    pub fn admit(&self, address: IpAddr, max: usize) -> Option<Admitted> {
        let who = visitor(address);
        let mut counts = self.lock();
        let count = counts.entry(who).or_default();
        if *count >= max {
            return None;
        }
        *count += 1;
        Some(Admitted { visitors: self.clone(), who })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        // What a panic left behind is still a count.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        if let Entry::Occupied(mut count) = self.visitors.lock().entry(self.who) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_visitor_has_as_many_connections_as_it_may() {
        let visitors = Visitors::default();
        let admit = |address: &str| visitors.admit(address.parse().unwrap(), 2);
        let first = admit("192.0.2.1").unwrap();
        let second = admit("::ffff:192.0.2.1").unwrap();
        assert!(admit("192.0.2.1").is_none());
        let _other = admit("192.0.2.2").unwrap();
        drop(first);
        let _third = admit("192.0.2.1").unwrap();
        drop(second);
    }

    #[test]
    fn a_network_of_64_bits_is_one_visitor() {
        let visitors = Visitors::default();
        let admit = |address: &str| visitors.admit(address.parse().unwrap(), 1);
        let _one = admit("2001:db8:0:1::1").unwrap();
        assert!(admit("2001:db8:0:1:ffff::2").is_none());
        let _other = admit("2001:db8:0:2::1").unwrap();
    }

    #[test]
    fn nothing_is_kept_of_who_has_gone() {
        let visitors = Visitors::default();
        drop(visitors.admit("192.0.2.1".parse().unwrap(), 1));
        assert!(visitors.lock().is_empty());
    }
}
