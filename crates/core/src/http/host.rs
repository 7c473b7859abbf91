//! The host that a request is for: from `Host`, `:authority` or a rule.

use std::borrow::Cow;

/// A host as rules compare it: lower-case, without a port and without a trailing dot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host<'a> {
    /// The name or address; empty where the request named none.
    pub name: Cow<'a, str>,
    /// The port, where one was given.
    pub port: Option<u16>,
}

/// Text that is no host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a host")]
pub struct BadHost;

/// Longest host accepted, in bytes: what DNS allows (RFC 1035 §2.3.4), with room for a port.
const HOST_BYTES_MAX: usize = 255 + 6;

impl<'a> Host<'a> {
    /// Reads `host[:port]` (RFC 9110 §7.2). Copies only a host that has upper-case letters.
    ///
    /// # Errors
    ///
    /// When it is none: user info, a path, blanks, a list, a port that is no number.
    pub fn parse(text: &'a str) -> Result<Self, BadHost> {
        if text.len() > HOST_BYTES_MAX {
            return Err(BadHost);
        }
        let (name, port) = split_port(text)?;
        let port = port.map(parse_port).transpose()?;
        let name = if name.starts_with('[') { bracketed(name)? } else { plain(name)? };
        let name = if name.bytes().any(|b| b.is_ascii_uppercase()) {
            Cow::Owned(name.to_ascii_lowercase())
        } else {
            Cow::Borrowed(name)
        };
        Ok(Self { name, port })
    }
}

fn split_port(text: &str) -> Result<(&str, Option<&str>), BadHost> {
    if text.starts_with('[') {
        let close = text.find(']').ok_or(BadHost)?;
        let (address, rest) = text.split_at(close + 1);
        return match rest.strip_prefix(':') {
            Some(port) => Ok((address, Some(port))),
            None if rest.is_empty() => Ok((address, None)),
            None => Err(BadHost),
        };
    }
    Ok(match text.split_once(':') {
        Some((name, port)) => (name, Some(port)),
        None => (text, None),
    })
}

fn parse_port(port: &str) -> Result<u16, BadHost> {
    if !port.bytes().all(|b| b.is_ascii_digit()) {
        return Err(BadHost);
    }
    port.parse().map_err(|_| BadHost)
}

fn bracketed(name: &str) -> Result<&str, BadHost> {
    let address = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).ok_or(BadHost)?;
    address.parse::<std::net::Ipv6Addr>().map_err(|_| BadHost)?;
    Ok(name)
}

fn plain(name: &str) -> Result<&str, BadHost> {
    let name = name.strip_suffix('.').unwrap_or(name);
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~');
    if !name.bytes().all(allowed) || name.split('.').any(str::is_empty) && !name.is_empty() {
        return Err(BadHost);
    }
    Ok(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_compare_lower_case_without_port_and_trailing_dot() {
        for (text, name, port) in [
            ("example.com", "example.com", None),
            ("Example.COM.", "example.com", None),
            ("a_b.example:8080", "a_b.example", Some(8080)),
            ("127.0.0.1:1", "127.0.0.1", Some(1)),
            ("[2001:DB8::1]:443", "[2001:db8::1]", Some(443)),
            ("[::1]", "[::1]", None),
            ("", "", None),
        ] {
            let host = Host::parse(text);
            assert_eq!(host, Ok(Host { name: name.into(), port }), "{text}");
        }
    }

    #[test]
    fn what_is_no_host_is_refused() {
        let long = "a".repeat(300);
        for text in [
            "a@b",
            "a/b",
            "a b",
            "a,b",
            "a:b",
            "a:",
            "a:99999",
            "a:+1",
            "[::1",
            "[::1]x",
            "[a]",
            "[[::1]",
            "[[::1]]:80",
            "a..b",
            ".a",
            "ä",
            "a\0",
            "a?b",
            "::1",
            "a#b",
            "a%41",
            "..",
            long.as_str(),
        ] {
            assert_eq!(Host::parse(text), Err(BadHost), "{text:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_a_host_or_refused_and_parsing_is_stable(text in "\\PC{0,40}") {
            if let Ok(host) = Host::parse(&text) {
                let again = Host::parse(&host.name).unwrap();
                proptest::prop_assert_eq!(again.name, host.name.clone());
            }
        }
    }
}
