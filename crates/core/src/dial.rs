//! Which addresses a node dials for others, and which it does not.
//!
//! What is judged is the very address that is about to be dialled, every time: what a name resolved to when a rule was
//! written says nothing of what it resolves to now (DNS rebinding).

pub mod network;
pub mod special;

use std::net::{IpAddr, SocketAddr};

pub use self::{
    network::{BadNetwork, Network},
    special::Special,
};

/// What a node may dial on behalf of a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DialRules {
    /// Where names may lead; anywhere but to [`Special`] addresses where it is empty.
    pub allow: Vec<Network>,
    /// What is never dialled.
    pub deny: Vec<Network>,
    /// What is named elsewhere as permitted, for what no operator of this node has written.
    pub named: Vec<Network>,
    /// The node's own listeners, which are never an upstream.
    pub own: Vec<SocketAddr>,
}

/// Who has chosen an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chosen {
    /// The node's operator, who wrote it down as it is. Only `deny` and the node itself are in its way.
    Written,
    /// A resolver, or a peer that pushed it.
    Elsewhere,
}

/// Why an address is not dialled.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// It is the node itself.
    #[error("{address} is this node itself, which listens on {listener}")]
    Own {
        /// What would be dialled.
        address: SocketAddr,
        /// Where the node listens.
        listener: SocketAddr,
    },
    /// The operator has denied it.
    #[error("{address} is denied by {rule} in dial.deny")]
    Denied {
        /// What would be dialled.
        address: SocketAddr,
        /// What denies it.
        rule: Network,
    },
    /// It is special, and nothing names it.
    #[error("{address} is {kind}, which nothing in dial.allow names")]
    Special {
        /// What would be dialled.
        address: SocketAddr,
        /// What it is.
        kind: Special,
    },
    /// The operator has not allowed it.
    #[error("{address} is not in dial.allow")]
    NotAllowed {
        /// What would be dialled.
        address: SocketAddr,
    },
}

impl DialRules {
    /// Decides whether an address is dialled. `is_local` tells whether an address is one of this machine's; it is
    /// asked only where the node listens on the port, on every address.
    ///
    /// # Errors
    ///
    /// Why it is not.
    pub fn judge(&self, address: SocketAddr, chosen: Chosen, is_local: impl Fn(IpAddr) -> bool) -> Result<(), Refused> {
        let (readings, port) = (special::readings(address.ip()), address.port());
        if let Some(listener) =
            self.own.iter().find(|own| readings.iter().any(|ip| is_own(**own, *ip, port, &is_local)))
        {
            return Err(Refused::Own { address, listener: *listener });
        }
        if let Some(rule) = self.deny.iter().find(|rule| readings.iter().any(|ip| rule.contains(*ip, port))) {
            return Err(Refused::Denied { address, rule: *rule });
        }
        if chosen == Chosen::Written {
            return Ok(());
        }
        for ip in &readings {
            if let Some((kind, block)) = special::kind(*ip)
                && !self.names(*ip, port, block)
            {
                return Err(Refused::Special { address, kind });
            }
        }
        let canonical = address.ip().to_canonical();
        if !self.allow.is_empty() && !self.allow.iter().any(|rule| rule.contains(canonical, port)) {
            return Err(Refused::NotAllowed { address });
        }
        Ok(())
    }

    /// Whether something permits an address of a special block and means it: `0.0.0.0/0` does not.
    fn names(&self, ip: IpAddr, port: u16, block: ipnet::IpNet) -> bool {
        self.allow.iter().chain(&self.named).any(|rule| rule.contains(ip, port) && rule.is_within(block))
    }
}

fn is_own(own: SocketAddr, ip: IpAddr, port: u16, is_local: impl Fn(IpAddr) -> bool) -> bool {
    let listener = own.ip().to_canonical();
    if own.port() != port {
        return false;
    }
    if !listener.is_unspecified() {
        // A connection to the unspecified address is one to loopback.
        return listener == ip || ip.is_unspecified() && listener.is_loopback();
    }
    // `[::]` takes IPv4 as well, and `0.0.0.0` no IPv6.
    (listener.is_ipv6() || ip.is_ipv4()) && (ip.is_loopback() || ip.is_unspecified() || is_local(ip))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(allow: &[&str], deny: &[&str]) -> DialRules {
        let parse = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect();
        DialRules { allow: parse(allow), deny: parse(deny), ..DialRules::default() }
    }

    fn judged(rules: &DialRules, chosen: Chosen, address: &str) -> Result<(), String> {
        let local = |ip: IpAddr| ip.to_string() == "192.0.2.7";
        rules.judge(address.parse().unwrap(), chosen, local).map_err(|refused| refused.to_string())
    }

    fn dials(rules: &DialRules, address: &str) -> bool {
        judged(rules, Chosen::Elsewhere, address).is_ok()
    }

    #[test]
    fn a_name_leads_anywhere_but_to_special_addresses() {
        for address in ["127.0.0.1:80", "10.0.0.1:80", "[::1]:80", "[fd00::1]:80", "192.0.2.1:80", "[2001:db8::1]:80"] {
            assert!(dials(&DialRules::default(), address), "{address}");
        }
        for address in [
            "169.254.169.254:80",
            "169.254.1.1:80",
            "0.0.0.0:80",
            "0.1.2.3:80",
            "100.100.100.200:80",
            "224.0.0.1:80",
            "255.255.255.255:80",
            "[::]:80",
            "[fe80::1]:80",
            "[ff02::1]:80",
            "[fd00:ec2::254]:80",
        ] {
            assert!(!dials(&DialRules::default(), address), "{address}");
        }
    }

    #[test]
    fn no_other_spelling_gets_round_it() {
        for address in [
            "[::ffff:169.254.169.254]:80",
            "[::169.254.169.254]:80",
            "[::ffff:0:169.254.169.254]:80",
            "[64:ff9b::169.254.169.254]:80",
            "[64:ff9b:1::169.254.169.254]:80",
            "[64:ff9b:1:a9fe:a9:fe00::]:80",
            "[2002:a9fe:a9fe::1]:80",
            // Teredo hides it behind an exclusive or.
            "[2001:0:1::5601:5601]:80",
            "[2001:db8::5efe:169.254.169.254]:80",
        ] {
            assert!(!dials(&DialRules::default(), address), "{address}");
            assert!(!dials(&rules(&["0.0.0.0/0", "::/0"], &[]), address), "{address}");
            assert!(!dials(&rules(&["::/0"], &["169.254.0.0/16"]), address), "{address}");
        }
    }

    #[test]
    fn what_the_operator_wrote_down_is_dialled_unless_it_is_denied() {
        let written = |rules: &DialRules, address: &str| judged(rules, Chosen::Written, address).is_ok();
        assert!(written(&DialRules::default(), "169.254.169.254:80"));
        assert!(written(&rules(&["10.0.0.0/8"], &[]), "192.0.2.1:80"));
        assert!(!written(&rules(&[], &["192.0.2.0/24"]), "192.0.2.1:80"));
    }

    #[test]
    fn allow_bounds_where_names_lead_and_deny_goes_before() {
        let rules = rules(&["10.0.0.0/8:443", "2001:db8::/32"], &["10.1.0.0/16"]);
        for (address, expected) in [
            ("10.2.0.1:443", true),
            ("10.2.0.1:80", false),
            ("10.1.0.1:443", false),
            ("[::ffff:10.2.0.1]:443", true),
            ("[2001:db8::1]:1", true),
            ("192.0.2.1:443", false),
        ] {
            assert_eq!(dials(&rules, address), expected, "{address}");
        }
    }

    #[test]
    fn a_special_address_is_allowed_by_its_own_name_only() {
        for (allow, expected) in [
            ("0.0.0.0/0", false),
            ("169.254.0.0/16", false),
            ("169.254.169.254", true),
            ("169.254.169.254:80", true),
            ("169.254.169.254:81", false),
        ] {
            assert_eq!(dials(&rules(&[allow], &[]), "169.254.169.254:80"), expected, "{allow}");
        }
        assert!(dials(&rules(&["169.254.0.0/16"], &[]), "169.254.1.1:80"));
    }

    #[test]
    fn a_node_is_not_its_own_upstream_whatever_it_is_called() {
        let own = |own: &[&str]| DialRules {
            own: own.iter().map(|own| own.parse().unwrap()).collect(),
            ..DialRules::default()
        };
        for (listener, address, is_own) in [
            ("127.0.0.1:8081", "127.0.0.1:8081", true),
            ("127.0.0.1:8081", "127.0.0.1:8082", false),
            ("127.0.0.1:8081", "[::ffff:127.0.0.1]:8081", true),
            ("127.0.0.1:8081", "0.0.0.0:8081", true),
            ("127.0.0.1:8081", "127.0.0.2:8081", false),
            ("0.0.0.0:8081", "127.0.0.2:8081", true),
            ("0.0.0.0:8081", "192.0.2.7:8081", true),
            ("0.0.0.0:8081", "192.0.2.8:8081", false),
            ("0.0.0.0:8081", "[::1]:8081", false),
            ("[::]:8081", "[::1]:8081", true),
            ("[::]:8081", "192.0.2.7:8081", true),
            ("[::]:8081", "192.0.2.7:80", false),
        ] {
            let refused = judged(&own(&[listener]), Chosen::Written, address);
            assert_eq!(refused.is_err(), is_own, "{listener} {address}: {refused:?}");
        }
    }

    #[test]
    fn a_refusal_names_the_address_and_the_rule() {
        let why = |rules: &DialRules, address| judged(rules, Chosen::Elsewhere, address).unwrap_err();
        assert_eq!(
            why(&DialRules::default(), "169.254.169.254:80"),
            "169.254.169.254:80 is a cloud's metadata service, which nothing in dial.allow names"
        );
        assert_eq!(
            why(&rules(&[], &["10.0.0.0/8:80"]), "10.0.0.1:80"),
            "10.0.0.1:80 is denied by 10.0.0.0/8:80 in dial.deny"
        );
        assert_eq!(why(&rules(&["10.0.0.0/8"], &[]), "192.0.2.1:1"), "192.0.2.1:1 is not in dial.allow");
    }
}
