//! Addresses at which no upstream is by chance, and the other spellings of an address.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// What an address is, where it is nothing that a name should lead to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Special {
    /// It hands out the credentials of the machine to whoever asks from it.
    Metadata,
    /// It is for what is on the same cable (RFC 3927, RFC 4291 §2.5.6).
    LinkLocal,
    /// It stands for "any address here": a connection to it is one to loopback.
    Unspecified,
    /// It is for many (RFC 5771, RFC 4291 §2.7).
    Multicast,
    /// It is for nobody, or for everybody (RFC 1112 §4, RFC 919).
    Reserved,
}

impl fmt::Display for Special {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Metadata => "a cloud's metadata service",
            Self::LinkLocal => "a link-local address",
            Self::Unspecified => "an unspecified address",
            Self::Multicast => "a multicast address",
            Self::Reserved => "a reserved address",
        })
    }
}

const fn v4(a: u8, b: u8, c: u8, d: u8, bits: u8) -> IpNet {
    IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), bits))
}

const fn v6(segments: [u16; 8], bits: u8) -> IpNet {
    let [a, b, c, d, e, f, g, h] = segments;
    IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::new(a, b, c, d, e, f, g, h), bits))
}

/// The blocks, narrow ones first.
const BLOCKS: [(Special, IpNet); 14] = [
    // AWS, Google, Azure, Oracle and most others; then AWS and Google over IPv6, Alibaba, Azure's wire server, Oracle.
    (Special::Metadata, v4(169, 254, 169, 254, 32)),
    (Special::Metadata, v6([0xfd00, 0x0ec2, 0, 0, 0, 0, 0, 0x0254], 128)),
    (Special::Metadata, v6([0xfd20, 0x00ce, 0, 0, 0, 0, 0, 0x0254], 128)),
    (Special::Metadata, v4(100, 100, 100, 200, 32)),
    (Special::Metadata, v4(168, 63, 129, 16, 32)),
    (Special::Metadata, v4(192, 0, 0, 192, 32)),
    (Special::LinkLocal, v4(169, 254, 0, 0, 16)),
    (Special::LinkLocal, v6([0xfe80, 0, 0, 0, 0, 0, 0, 0], 10)),
    (Special::Unspecified, v4(0, 0, 0, 0, 8)),
    (Special::Unspecified, v6([0; 8], 128)),
    (Special::Multicast, v4(224, 0, 0, 0, 4)),
    (Special::Multicast, v6([0xff00, 0, 0, 0, 0, 0, 0, 0], 8)),
    (Special::Reserved, v4(240, 0, 0, 0, 4)),
    // Site-local, which was link-local's neighbour until RFC 3879 took it back.
    (Special::Reserved, v6([0xfec0, 0, 0, 0, 0, 0, 0, 0], 10)),
];

/// Returns what an address is where it is special, and the block that it is in.
pub(super) fn kind(ip: IpAddr) -> Option<(Special, IpNet)> {
    BLOCKS.into_iter().find(|(_, block)| block.contains(&ip))
}

/// Returns what an address may stand for: itself, and the IPv4 address that a gateway or the system finds in it.
pub(super) fn readings(ip: IpAddr) -> Vec<IpAddr> {
    let mut readings = vec![ip.to_canonical()];
    let IpAddr::V6(v6) = ip.to_canonical() else { return readings };
    let segments = v6.segments();
    let v4 = |high: u16, low: u16| Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low));
    let [.., d, e, f, g, h] = segments;
    let embedded = match segments {
        // IPv4-compatible (RFC 4291 §2.5.5.1); `::` and `::1` are none.
        [0, 0, 0, 0, 0, 0, high, low] if high != 0 => Some(v4(high, low)),
        // IPv4-translated (RFC 2765 §2.1) and NAT64 (RFC 6052 §2.1).
        [0, 0, 0, 0, 0xffff, 0, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => Some(v4(high, low)),
        // NAT64 of a network's own (RFC 8215): where the address is depends on how long the prefix is.
        [0x64, 0xff9b, 1, ..] => {
            readings.push(v4(d, e << 8 | f >> 8).into());
            Some(v4(g, h))
        }
        // 6to4 (RFC 3056 §2).
        [0x2002, high, low, ..] => Some(v4(high, low)),
        // Teredo (RFC 4380 §4).
        [0x2001, 0, ..] => Some(v4(!g, !h)),
        // ISATAP (RFC 5214 §6.1).
        [_, _, _, _, 0 | 0x200, 0x5efe, high, low] => Some(v4(high, low)),
        _ => None,
    };
    readings.extend(embedded.map(IpAddr::from));
    readings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn narrow_blocks_come_first() {
        for (index, (_, block)) in BLOCKS.iter().enumerate() {
            let hidden = BLOCKS[..index].iter().any(|(_, earlier)| earlier.contains(block));
            assert!(!hidden, "{block}");
        }
    }

    #[test]
    fn an_ordinary_address_stands_for_itself() {
        for address in ["192.0.2.1", "2001:db8::1", "::1", "::", "fd00::1"] {
            let ip: IpAddr = address.parse().unwrap();
            assert_eq!(readings(ip), [ip], "{address}");
        }
        assert_eq!(readings("::ffff:192.0.2.1".parse().unwrap()), ["192.0.2.1".parse::<IpAddr>().unwrap()]);
    }
}
