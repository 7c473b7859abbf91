//! The PROXY protocol of HAProxy, versions 1 and 2: where a connection came from, said before its first byte.
//!
//! <https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt>

use std::{
    io::Write as _,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6},
};

pub use crate::wire::config::ProxyProtocol as Version;

/// The longest header that is read: version 1 has at most 107 bytes, and version 2 at most 232 before whatever a proxy
/// adds of its own, such as the certificate of a visitor.
pub const HEADER_BYTES_MAX: usize = 4 * 1024;

/// The longest header of version 1, with its line end.
const V1_BYTES_MAX: usize = 107;

/// What a header of version 2 begins with: no version of HTTP or TLS begins so.
const V2_SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";

/// The command of a proxy that speaks for itself.
const V2_LOCAL: u8 = 0x20;

/// Signature, command, family and length.
const V2_FIXED_BYTES: usize = 16;

/// A header that has arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Who connected to the proxy. `None` where the proxy speaks for itself, or does not know.
    pub source: Option<SocketAddr>,
    /// Whether the proxy speaks for itself, as in a check. Version 1 cannot say so.
    pub is_local: bool,
    /// How long it is, in bytes.
    pub length: usize,
}

/// Bytes that begin no header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadHeader {
    /// Neither version begins so.
    #[error("no PROXY header")]
    Absent,
    /// It is not as its version wants it.
    #[error("a malformed PROXY header")]
    Malformed,
    /// It is longer than anything a proxy has to say.
    #[error("a PROXY header that is too long")]
    TooLong,
}

/// Reads a header of either version from the start of what has arrived, or `None` when more has to.
///
/// # Errors
///
/// When no more bytes would make it a header.
pub fn parse(read: &[u8]) -> Result<Option<Header>, BadHeader> {
    let begins = |start: &[u8]| read.starts_with(start) || start.starts_with(read);
    if begins(V2_SIGNATURE) {
        return parse_v2(read);
    }
    if begins(b"PROXY ") { parse_v1(read) } else { Err(BadHeader::Absent) }
}

fn parse_v1(read: &[u8]) -> Result<Option<Header>, BadHeader> {
    let Some(end) = read.iter().take(V1_BYTES_MAX).position(|byte| *byte == b'\n') else {
        return if read.len() >= V1_BYTES_MAX { Err(BadHeader::TooLong) } else { Ok(None) };
    };
    let line = read[..end].strip_suffix(b"\r").ok_or(BadHeader::Malformed)?;
    let line = std::str::from_utf8(line).map_err(|_| BadHeader::Malformed)?;
    let mut words = line.split(' ').skip(1);
    let family = words.next();
    if family == Some("UNKNOWN") {
        return Ok(Some(Header { source: None, is_local: false, length: end + 1 }));
    }
    let words: Vec<&str> = words.collect();
    let [source, destination, source_port, destination_port] = words[..] else { return Err(BadHeader::Malformed) };
    let (source, _) = match family {
        Some("TCP4") => (address::<Ipv4Addr>(source)?, address::<Ipv4Addr>(destination)?),
        Some("TCP6") => (address::<Ipv6Addr>(source)?, address::<Ipv6Addr>(destination)?),
        Some(_) | None => return Err(BadHeader::Malformed),
    };
    port(destination_port)?;
    let source = Some((source, port(source_port)?).into());
    Ok(Some(Header { source, is_local: false, length: end + 1 }))
}

fn address<T: std::str::FromStr + Into<IpAddr>>(text: &str) -> Result<IpAddr, BadHeader> {
    text.parse::<T>().map(Into::into).map_err(|_| BadHeader::Malformed)
}

fn port(text: &str) -> Result<u16, BadHeader> {
    // Rust would take a sign for part of a number.
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(BadHeader::Malformed);
    }
    text.parse().map_err(|_| BadHeader::Malformed)
}

fn parse_v2(read: &[u8]) -> Result<Option<Header>, BadHeader> {
    let Some(fixed) = read.first_chunk::<V2_FIXED_BYTES>() else { return Ok(None) };
    let [.., command, family, high, low] = *fixed;
    let length = V2_FIXED_BYTES + usize::from(u16::from_be_bytes([high, low]));
    if length > HEADER_BYTES_MAX {
        return Err(BadHeader::TooLong);
    }
    let Some(addresses) = read.get(V2_FIXED_BYTES..length) else { return Ok(None) };
    let source = match (command, family) {
        // Whatever stands there is to be ignored.
        (V2_LOCAL, _) => None,
        (0x21, 0x11) => Some(v2_source::<4, 12>(addresses)?),
        (0x21, 0x21) => Some(v2_source::<16, 36>(addresses)?),
        // UNSPEC, and sockets of UNIX.
        (0x21, 0x00 | 0x31) => None,
        // Datagrams do not come over TCP.
        (_, _) => return Err(BadHeader::Malformed),
    };
    Ok(Some(Header { source, is_local: command == V2_LOCAL, length }))
}

/// Source and destination, then their ports; what comes after them is for others.
fn v2_source<const ADDRESS: usize, const ALL: usize>(addresses: &[u8]) -> Result<SocketAddr, BadHeader>
where
    IpAddr: From<[u8; ADDRESS]>,
{
    let addresses = addresses.first_chunk::<ALL>().ok_or(BadHeader::Malformed)?;
    let (source, ports) = (addresses.first_chunk::<ADDRESS>(), addresses.last_chunk::<4>());
    let (Some(source), Some([high, low, _, _])) = (source, ports) else { return Err(BadHeader::Malformed) };
    Ok((IpAddr::from(*source), u16::from_be_bytes([*high, *low])).into())
}

/// Writes a header. Without a `source` it says that the connection is the proxy's own.
pub fn encode(version: Version, source: Option<SocketAddr>, destination: SocketAddr) -> Vec<u8> {
    let pair = source.map(|source| one_family(source, destination));
    match version {
        Version::V1 => encode_v1(pair),
        Version::V2 => encode_v2(pair),
    }
}

fn encode_v1(pair: Option<(SocketAddr, SocketAddr)>) -> Vec<u8> {
    let Some((source, destination)) = pair else { return b"PROXY UNKNOWN\r\n".to_vec() };
    let family = if source.is_ipv4() { "TCP4" } else { "TCP6" };
    let ((from, from_port), (to, to_port)) = ((source.ip(), source.port()), (destination.ip(), destination.port()));
    format!("PROXY {family} {from} {to} {from_port} {to_port}\r\n").into_bytes()
}

fn encode_v2(pair: Option<(SocketAddr, SocketAddr)>) -> Vec<u8> {
    let mut header = V2_SIGNATURE.to_vec();
    let (command, addresses) = match pair {
        None => ([V2_LOCAL, 0x00], Vec::new()),
        Some((SocketAddr::V4(source), SocketAddr::V4(destination))) => {
            ([0x21, 0x11], [source.ip().octets(), destination.ip().octets()].concat())
        }
        Some((source, destination)) => ([0x21, 0x21], [v6(source), v6(destination)].map(|a| a.ip().octets()).concat()),
    };
    let ports =
        pair.map(|(source, destination)| [source.port().to_be_bytes(), destination.port().to_be_bytes()].concat());
    let body = [addresses, ports.unwrap_or_default()].concat();
    header.extend_from_slice(&command);
    // At most 36 bytes; writing to a vector cannot fail.
    let _ = header.write_all(&u16::try_from(body.len()).unwrap_or(0).to_be_bytes());
    header.extend_from_slice(&body);
    header
}

/// Both in the family of the source as far as they can be: a header has one family for both.
fn one_family(source: SocketAddr, destination: SocketAddr) -> (SocketAddr, SocketAddr) {
    let plain = |address: SocketAddr| SocketAddr::new(address.ip().to_canonical(), address.port());
    let (source, destination) = (plain(source), plain(destination));
    if source.is_ipv4() == destination.is_ipv4() {
        return (source, destination);
    }
    (v6(source).into(), v6(destination).into())
}

fn v6(address: SocketAddr) -> SocketAddrV6 {
    match address {
        SocketAddr::V4(address) => SocketAddrV6::new(address.ip().to_ipv6_mapped(), address.port(), 0, 0),
        SocketAddr::V6(address) => SocketAddrV6::new(*address.ip(), address.port(), 0, 0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    fn v2(command: u8, family: u8, addresses: &[u8]) -> Vec<u8> {
        let length = u16::try_from(addresses.len()).unwrap().to_be_bytes();
        [&V2_SIGNATURE[..], &[command, family], &length, addresses].concat()
    }

    #[test]
    fn version_1_names_the_visitor() {
        for (line, source) in [
            ("PROXY TCP4 192.0.2.1 198.51.100.2 5 443\r\n", Some("192.0.2.1:5")),
            ("PROXY TCP6 2001:db8::1 2001:db8::2 65535 443\r\n", Some("[2001:db8::1]:65535")),
            ("PROXY UNKNOWN\r\n", None),
            ("PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n", None),
        ] {
            let expected = Header { source: source.map(at), is_local: false, length: line.len() };
            assert_eq!(parse(format!("{line}GET / HTTP/1.1\r\n").as_bytes()), Ok(Some(expected)), "{line:?}");
        }
    }

    #[test]
    fn version_2_names_the_visitor() {
        let v4 = [192, 0, 2, 1, 198, 51, 100, 2, 0, 5, 1, 187];
        let more = [&v4[..], &[4, 0, 1, 9]].concat();
        let v6 = [&Ipv6Addr::LOCALHOST.octets()[..], &[9; 16], &[1, 0, 1, 187]].concat();
        for (bytes, source) in [
            (v2(0x21, 0x11, &v4), Some("192.0.2.1:5")),
            (v2(0x21, 0x11, &more), Some("192.0.2.1:5")),
            (v2(0x21, 0x21, &v6), Some("[::1]:256")),
            (v2(0x20, 0x11, &v4), None),
            (v2(0x20, 0x00, &[]), None),
            (v2(0x21, 0x00, &[]), None),
            (v2(0x21, 0x31, &[0; 216]), None),
        ] {
            let is_local = bytes[12] == V2_LOCAL;
            let expected = Header { source: source.map(at), is_local, length: bytes.len() };
            assert_eq!(parse(&[&bytes[..], b"GET"].concat()), Ok(Some(expected)), "{bytes:?}");
        }
    }

    #[test]
    fn what_is_no_header_is_refused_as_soon_as_that_shows() {
        for (bytes, expected) in [
            (&b"G"[..], BadHeader::Absent),
            (b"GET / HTTP/1.1\r\n\r\n", BadHeader::Absent),
            (b"\x16\x03\x01", BadHeader::Absent),
            (b"PROXYTCP4", BadHeader::Absent),
            (b"PROXY TCP4 192.0.2.1 198.51.100.2 5\r\n", BadHeader::Malformed),
            (b"PROXY TCP4 192.0.2.1 198.51.100.2 5 443\n", BadHeader::Malformed),
            (b"PROXY TCP4 192.0.2.1 198.51.100.2 +5 443\r\n", BadHeader::Malformed),
            (b"PROXY TCP4 192.0.2.1 198.51.100.2 5 65536\r\n", BadHeader::Malformed),
            (b"PROXY TCP4 192.0.2.1 198.51.100.2 5 443 6\r\n", BadHeader::Malformed),
            (b"PROXY TCP4 2001:db8::1 2001:db8::2 5 443\r\n", BadHeader::Malformed),
            (b"PROXY TCP6 192.0.2.1 198.51.100.2 5 443\r\n", BadHeader::Malformed),
            (b"PROXY TCP4  192.0.2.1 198.51.100.2 5 443\r\n", BadHeader::Malformed),
            (b"PROXY UDP4 192.0.2.1 198.51.100.2 5 443\r\n", BadHeader::Malformed),
            (&[b"PROXY UNKNOWN "[..].to_vec(), vec![b'a'; 93]].concat(), BadHeader::TooLong),
            (&v2(0x21, 0x11, &[0; 11]), BadHeader::Malformed),
            (&v2(0x21, 0x12, &[0; 12]), BadHeader::Malformed),
            (&v2(0x31, 0x11, &[0; 12]), BadHeader::Malformed),
            (&v2(0x22, 0x11, &[0; 12]), BadHeader::Malformed),
            (&v2(0x21, 0x11, &[0; 4081])[..V2_FIXED_BYTES], BadHeader::TooLong),
        ] {
            assert_eq!(parse(bytes), Err(expected), "{:?}", bytes.escape_ascii().to_string());
        }
    }

    #[test]
    fn a_header_has_one_family_for_both_ends() {
        let mixed = encode(Version::V1, Some(at("192.0.2.1:5")), at("[2001:db8::1]:443"));
        assert_eq!(mixed, b"PROXY TCP6 ::ffff:192.0.2.1 2001:db8::1 5 443\r\n");
        let mapped = encode(Version::V1, Some(at("[::ffff:192.0.2.1]:5")), at("192.0.2.2:443"));
        assert_eq!(mapped, b"PROXY TCP4 192.0.2.1 192.0.2.2 5 443\r\n");
    }

    proptest::proptest! {
        #[test]
        fn what_is_written_reads_the_same_and_needs_every_byte(
            source: (IpAddr, u16), destination: (IpAddr, u16), known: bool, second: bool,
        ) {
            let version = if second { Version::V2 } else { Version::V1 };
            let source = known.then(|| SocketAddr::from(source));
            let bytes = encode(version, source, destination.into());
            let canonical = |address: SocketAddr| (address.ip().to_canonical(), address.port());
            let read = parse(&bytes).unwrap().unwrap();
            proptest::prop_assert_eq!(read.source.map(canonical), source.map(canonical));
            proptest::prop_assert_eq!(read.is_local, second && !known);
            proptest::prop_assert_eq!(read.length, bytes.len());
            for end in 0..bytes.len() {
                proptest::prop_assert_eq!(parse(&bytes[..end]), Ok(None), "{} of {}", end, bytes.len());
            }
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..300)) {
            let _ = parse(&bytes);
            let _ = parse(&[&V2_SIGNATURE[..], &bytes].concat());
            let _ = parse(&[b"PROXY ", &bytes[..]].concat());
        }
    }
}
