//! Hosts and paths as rules compare them.

use std::net::Ipv6Addr;

use adit_core::http::{host::Host, path};

/// A host that is read is lower-case, has no port in its name, and reads the same again.
pub fn host(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(host) = Host::parse(text) else { return };
    let name = &*host.name;
    match name.strip_prefix('[') {
        Some(address) => {
            let address = address.strip_suffix(']').expect("a bracket that closes");
            address.parse::<Ipv6Addr>().expect("an address between brackets");
        }
        None => assert!(name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~".contains(&b)), "{name:?}"),
    }
    assert!(!name.bytes().any(|b| b.is_ascii_uppercase()), "{name:?}");
    assert_eq!(Host::parse(name), Ok(Host { name: name.into(), port: None }), "{text:?} has two names");
    if let Some(port) = host.port {
        assert_eq!(Host::parse(&format!("{name}:{port}")), Ok(host.clone()));
    }
    let upper = text.to_ascii_uppercase();
    assert_eq!(Host::parse(&upper), Ok(host), "upper case is another host");
}

/// A path has one normal form, in which no escape of a harmless character and no dot segment is left.
pub fn path(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(normal) = path::normalise(text) else { return };
    assert!(!normal.contains(['\\', '\0']), "{normal:?}");
    for segment in decoded_once(&normal).split(|byte| *byte == b'/') {
        assert!(segment != b"." && segment != b"..", "{normal:?} leads elsewhere");
    }
    assert_eq!(path::normalise(&normal).as_deref(), Ok(&*normal), "{text:?} has two normal forms");
    assert_eq!(decoded_once(text), decoded_once(&normal), "the normal form is another path");
    let escaped: String = text.chars().map(escape).collect();
    assert_eq!(path::normalise(&escaped).as_deref(), Ok(&*normal), "{text:?} and {escaped:?} are one path");
}

/// Writes an unreserved character that stands for itself as an escape.
fn escape(character: char) -> String {
    match character {
        'g'..='z' | 'G'..='Z' | '-' | '.' | '_' | '~' => format!("%{:02x}", u32::from(character)),
        other => other.to_string(),
    }
}

/// Decodes every escape, as a server does that looks for a file.
fn decoded_once(path: &str) -> Vec<u8> {
    percent_encoding::percent_decode_str(path).collect()
}
