//! A network as it stands in `dial.allow` and `dial.deny`.

use std::{fmt, net::IpAddr, str::FromStr};

use ipnet::IpNet;

/// Addresses, on one port or on all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    net: IpNet,
    port: Option<u16>,
}

/// Text that is no network.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{0:?} is not ADDRESS or NETWORK/BITS, with or without :PORT")]
pub struct BadNetwork(String);

impl Network {
    /// Takes the addresses of a network, on one port or on all.
    pub fn new(net: IpNet, port: Option<u16>) -> Self {
        let net = match net.addr().to_canonical() {
            // `::ffff:10.0.0.0/104` is what IPv4 calls 10.0.0.0/8.
            IpAddr::V4(v4) if net.addr().is_ipv6() => {
                let bits = net.prefix_len().saturating_sub(96);
                if net.prefix_len() >= 96 { IpNet::new(v4.into(), bits).unwrap_or(net) } else { net }
            }
            IpAddr::V4(_) | IpAddr::V6(_) => net,
        };
        Self { net: net.trunc(), port }
    }

    /// Returns whether an address in normal form and its port are in it.
    pub fn contains(&self, ip: IpAddr, port: u16) -> bool {
        self.port.is_none_or(|own| own == port) && self.net.contains(&ip)
    }

    /// Returns whether all of its addresses are in a block.
    pub fn is_within(&self, block: IpNet) -> bool {
        block.contains(&self.net)
    }
}

impl FromStr for Network {
    type Err = BadNetwork;

    fn from_str(text: &str) -> Result<Self, BadNetwork> {
        let bad = || BadNetwork(text.to_owned());
        let (net, port) = match text.strip_prefix('[').map(|rest| rest.split_once(']').ok_or_else(bad)).transpose()? {
            // `[2001:db8::]/32:443` and `[2001:db8::/32]:443`.
            Some((address, rest)) => {
                let (bits, port) = match rest.rsplit_once(':') {
                    Some((bits, port)) => (bits, Some(port)),
                    None => (rest, None),
                };
                (format!("{address}{bits}"), port)
            }
            None if text.matches(':').count() == 1 => match text.rsplit_once(':') {
                Some((net, port)) => (net.to_owned(), Some(port)),
                None => (text.to_owned(), None),
            },
            None => (text.to_owned(), None),
        };
        let net = net.parse::<IpNet>().or_else(|_| net.parse::<IpAddr>().map(IpNet::from)).map_err(|_| bad())?;
        let port = port.map(|port| port.parse::<u16>().ok().filter(|port| *port != 0).ok_or_else(bad)).transpose()?;
        Ok(Self::new(net, port))
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.net, self.port) {
            (net, None) => write!(f, "{net}"),
            (IpNet::V4(net), Some(port)) => write!(f, "{net}:{port}"),
            (IpNet::V6(net), Some(port)) => write!(f, "[{net}]:{port}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_have_bits_and_ports_or_not() {
        for (text, shown) in [
            ("10.0.0.0/8", "10.0.0.0/8"),
            ("10.1.2.3/8:80", "10.0.0.0/8:80"),
            ("192.0.2.1", "192.0.2.1/32"),
            ("192.0.2.1:80", "192.0.2.1/32:80"),
            ("2001:db8::1", "2001:db8::1/128"),
            ("2001:db8::/32", "2001:db8::/32"),
            ("[2001:db8::]/32:443", "[2001:db8::/32]:443"),
            ("[2001:db8::/32]:443", "[2001:db8::/32]:443"),
            ("[::1]:443", "[::1/128]:443"),
            ("::ffff:10.0.0.0/104", "10.0.0.0/8"),
        ] {
            let network: Network = text.parse().unwrap();
            assert_eq!(network.to_string(), shown, "{text}");
            assert_eq!(shown.parse(), Ok(network));
        }
        for bad in ["", "a", "10.0.0.0/33", "10.0.0.1:0", "10.0.0.1:x", "[::1", "[::1]:", "localhost:80"] {
            assert!(bad.parse::<Network>().is_err(), "{bad:?}");
        }
    }
}
