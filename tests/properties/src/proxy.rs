//! The PROXY header.

use adit_core::http::proxy_protocol::{self, HEADER_BYTES_MAX, Header, Version};

/// A header says the same whatever stands behind it and needs every one of its bytes, is never longer than it may be,
/// and is written again with the same source.
pub fn proxy(data: &[u8]) {
    let parsed = proxy_protocol::parse(data);
    let Ok(Some(header)) = parsed else {
        assert!(parsed.is_err() || data.len() < HEADER_BYTES_MAX, "more than {HEADER_BYTES_MAX} bytes are waited for");
        return;
    };
    assert!(header.length <= HEADER_BYTES_MAX && header.length <= data.len(), "{header:?}");
    assert_eq!(proxy_protocol::parse(&data[..header.length]), Ok(Some(header)), "what is behind it is read");
    for end in 0..header.length {
        assert_eq!(proxy_protocol::parse(&data[..end]), Ok(None), "{end} of {} bytes are enough", header.length);
    }
    let destination = ([192, 0, 2, 1], 443).into();
    for version in [Version::V1, Version::V2] {
        let written = proxy_protocol::encode(version, header.source, destination);
        let again = proxy_protocol::parse(&written).expect("a header").expect("a whole header");
        assert_eq!(again.length, written.len());
        assert_eq!(canonical(again), canonical(header));
    }
}

fn canonical(header: Header) -> Option<(std::net::IpAddr, u16)> {
    header.source.map(|source| (source.ip().to_canonical(), source.port()))
}
