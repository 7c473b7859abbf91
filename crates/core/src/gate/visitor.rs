//! Where a visitor comes from that came through proxies.

use std::net::{IpAddr, SocketAddr};

use http::{HeaderMap, HeaderName, header};

use crate::http::forwarded::X_FORWARDED_FOR;

/// Returns the address of whoever a trusted proxy speaks for: the last one in `X-Forwarded-For` or `Forwarded`
/// (RFC 7239 §5.2) that is none of the proxies, or the first of these where all are.
///
/// The fields are those of the head as it crosses the tunnel, in which the last address is that of the proxy itself.
/// Returns `None` where that cannot be said: an address is none, or the fields name two visitors. One of them would be
/// what the visitor has written, in the field that the proxies do not write.
pub fn behind_proxies(headers: &HeaderMap, is_proxy: impl Fn(IpAddr) -> bool) -> Option<IpAddr> {
    let x_forwarded_for = last_stranger(headers, &X_FORWARDED_FOR, address, &is_proxy);
    let forwarded = last_stranger(headers, &header::FORWARDED, forwarded_for, &is_proxy);
    match (x_forwarded_for, forwarded) {
        (Named::Visitor(one), Named::Visitor(other)) => (one == other).then_some(one),
        (Named::Visitor(visitor), Named::ProxyOnly(_)) | (Named::ProxyOnly(_), Named::Visitor(visitor)) => {
            Some(visitor)
        }
        (Named::ProxyOnly(proxy), Named::ProxyOnly(_)) => Some(proxy),
        (Named::Nobody, _) | (_, Named::Nobody) => None,
    }
}

/// Whom a field names.
enum Named {
    /// Somebody who is no proxy.
    Visitor(IpAddr),
    /// Proxies, of which this is the first.
    ProxyOnly(IpAddr),
    /// Something that is no address.
    Nobody,
}

fn last_stranger(
    headers: &HeaderMap,
    name: &HeaderName,
    read: impl Fn(&str) -> Option<IpAddr>,
    is_proxy: impl Fn(IpAddr) -> bool,
) -> Named {
    let mut first = None;
    for value in headers.get_all(name).into_iter().rev() {
        let Ok(value) = value.to_str() else { return Named::Nobody };
        for element in value.rsplit(',').map(str::trim).filter(|element| !element.is_empty()) {
            let Some(address) = read(element) else { return Named::Nobody };
            if !is_proxy(address) {
                return Named::Visitor(address);
            }
            first = Some(address);
        }
    }
    first.map_or(Named::Nobody, Named::ProxyOnly)
}

/// Reads an address, with a port or not.
fn address(text: &str) -> Option<IpAddr> {
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    let parsed = bare.parse().ok().or_else(|| Some(text.parse::<SocketAddr>().ok()?.ip()))?;
    Some(parsed.to_canonical())
}

/// Reads the `for` of an element.
fn forwarded_for(element: &str) -> Option<IpAddr> {
    let mut fors = element.split(';').filter_map(|pair| {
        let (name, value) = pair.split_once('=')?;
        name.trim().eq_ignore_ascii_case("for").then_some(value.trim())
    });
    let value = fors.next().filter(|_| fors.next().is_none())?;
    address(value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap_or(value))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn visitor(x_forwarded_for: &[&str], forwarded: &[&str]) -> Option<String> {
        let mut headers = HeaderMap::new();
        for (name, values) in [(X_FORWARDED_FOR, x_forwarded_for), (header::FORWARDED, forwarded)] {
            for value in values {
                headers.append(&name, HeaderValue::from_str(value).unwrap());
            }
        }
        let proxies: ipnet::IpNet = "10.0.0.0/8".parse().unwrap();
        behind_proxies(&headers, |ip| proxies.contains(&ip)).map(|ip| ip.to_string())
    }

    #[test]
    fn the_last_one_who_is_no_proxy_is_the_visitor() {
        let own = "for=10.0.0.1;proto=http";
        for (x_forwarded_for, expected) in [
            (&["192.0.2.1, 10.0.0.1"][..], Some("192.0.2.1")),
            (&["1.1.1.1, 192.0.2.1, 10.0.0.2, 10.0.0.1"], Some("192.0.2.1")),
            (&["1.1.1.1", "192.0.2.1", "10.0.0.1"], Some("192.0.2.1")),
            (&["192.0.2.1:4711, 10.0.0.1"], Some("192.0.2.1")),
            (&["[2001:db8::1]:4711, 10.0.0.1"], Some("2001:db8::1")),
            (&["2001:db8::1, 10.0.0.1"], Some("2001:db8::1")),
            (&["::ffff:192.0.2.1, 10.0.0.1"], Some("192.0.2.1")),
            (&["10.0.0.3, 10.0.0.1"], Some("10.0.0.3")),
            (&["10.0.0.1"], Some("10.0.0.1")),
            (&["unknown, 10.0.0.1"], None),
            (&["1.1.1.1, evil, 10.0.0.1"], None),
            (&[], None),
        ] {
            assert_eq!(visitor(x_forwarded_for, &[own]).as_deref(), expected, "{x_forwarded_for:?}");
        }
    }

    #[test]
    fn either_field_will_do_and_both_have_to_agree() {
        let own = "10.0.0.1";
        for (x_forwarded_for, forwarded, expected) in [
            (own, "for=192.0.2.1;host=a, for=10.0.0.1", Some("192.0.2.1")),
            (own, "For=\"[2001:db8::1]:4711\", for=10.0.0.1", Some("2001:db8::1")),
            (own, "for=_hidden, for=10.0.0.1", None),
            (own, "proto=http, for=10.0.0.1", None),
            (own, "for=192.0.2.1;for=192.0.2.2, for=10.0.0.1", None),
            ("192.0.2.1, 10.0.0.1", "for=192.0.2.1, for=10.0.0.1", Some("192.0.2.1")),
            ("192.0.2.1, 10.0.0.1", "for=192.0.2.9, for=10.0.0.1", None),
        ] {
            assert_eq!(visitor(&[x_forwarded_for], &[forwarded]).as_deref(), expected, "{x_forwarded_for} {forwarded}");
        }
    }
}
