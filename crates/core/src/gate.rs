//! Who may use a rule: what is asked of a visitor before anything of its request enters the tunnel.

pub mod credentials;
pub mod tries;
pub mod visitor;

use std::{net::IpAddr, num::NonZeroU32, time::Duration};

use ipnet::IpNet;

pub use self::credentials::{Credentials, PasswordHash, Presented, TokenHash};

/// What a rule asks of its visitors: nothing unless it says so. All of it has to be met.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Gate {
    /// From where they come.
    pub addresses: Addresses,
    /// How often each may ask.
    pub rate_limit: Option<RateLimit>,
    /// Who they are.
    pub credentials: Option<Credentials>,
}

impl Gate {
    /// Returns whether nothing is asked.
    pub fn is_open(&self) -> bool {
        let Self { addresses, rate_limit, credentials } = self;
        addresses.is_any() && rate_limit.is_none() && credentials.is_none()
    }

    /// Returns the keys of the configuration that ask for something.
    pub fn keys(&self) -> Vec<&'static str> {
        let Self { addresses, rate_limit, credentials } = self;
        let users = credentials.as_ref().is_some_and(|credentials| !credentials.users.is_empty());
        let tokens = credentials.as_ref().is_some_and(|credentials| !credentials.tokens.is_empty());
        let keys = [
            ("allow_ips", !addresses.allow.is_empty()),
            ("deny_ips", !addresses.deny.is_empty()),
            ("rate_limit", rate_limit.is_some()),
            ("basic_auth", users),
            ("bearer", tokens),
        ];
        keys.into_iter().filter_map(|(key, asks)| asks.then_some(key)).collect()
    }
}

/// Where visitors come from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Addresses {
    /// From here, or from anywhere where it is empty.
    pub allow: Vec<IpNet>,
    /// And not from here.
    pub deny: Vec<IpNet>,
}

impl Addresses {
    /// Returns whether visitors may come from anywhere.
    pub fn is_any(&self) -> bool {
        self.allow.is_empty() && self.deny.is_empty()
    }

    /// Returns whether a visitor from `address` is let in; one from nowhere known is only where any is.
    pub fn admit(&self, address: Option<IpAddr>) -> bool {
        if self.is_any() {
            return true;
        }
        let Some(address) = address.map(|address| address.to_canonical()) else { return false };
        let is_in = |networks: &[IpNet]| networks.iter().any(|network| network.contains(&address));
        !is_in(&self.deny) && (self.allow.is_empty() || is_in(&self.allow))
    }
}

/// How often a visitor may ask: `requests` in each `per`, of which `burst` may come at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimit {
    /// How many.
    pub requests: NonZeroU32,
    /// In how long.
    pub per: Duration,
    /// How many at once.
    pub burst: NonZeroU32,
}

impl RateLimit {
    /// Returns how long one request takes up; at least 1 ns.
    pub fn interval(&self) -> Duration {
        (self.per / self.requests.get()).max(Duration::from_nanos(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_let_in_by_allow_and_kept_out_by_deny() {
        let networks = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect();
        let addresses =
            Addresses { allow: networks(&["10.0.0.0/8", "2001:db8::/32"]), deny: networks(&["10.1.0.0/16"]) };
        let denying = Addresses { deny: networks(&["10.1.0.0/16"]), ..Addresses::default() };
        for (address, expected, expected_where_all_others_are) in [
            (Some("10.0.0.1"), true, true),
            (Some("::ffff:10.0.0.1"), true, true),
            (Some("10.1.0.1"), false, false),
            (Some("::ffff:10.1.0.1"), false, false),
            (Some("192.0.2.1"), false, true),
            (Some("2001:db8::1"), true, true),
            (None, false, false),
        ] {
            let address = address.map(|address| address.parse().unwrap());
            assert_eq!(addresses.admit(address), expected, "{address:?}");
            assert_eq!(denying.admit(address), expected_where_all_others_are, "{address:?}");
        }
        assert!(Addresses::default().admit(None));
    }
}
