//! What an entry does to the fields of a request: who sent it, which trace it is in.

use std::net::SocketAddr;

use adit_core::{
    http::{
        edit::FieldEdits,
        forwarded::{self, Came},
        headers, trace,
    },
    wire::exchange::Scheme,
};
use http::{HeaderMap, HeaderName, HeaderValue};

/// A line with the visitor's address, one with the authority, then fields: what goes on names exactly this visitor where
/// nobody else is believed, is in exactly one trace, and can be written as a head.
pub fn fields(data: &[u8]) {
    let mut lines = data.split(|byte| *byte == b'\n');
    let mut text = || lines.next().and_then(|line| std::str::from_utf8(line).ok()).unwrap_or_default();
    let (visitor, authority) = (text(), text());
    let trusted = visitor.starts_with('!');
    let visitor: SocketAddr = visitor.trim_start_matches('!').parse().unwrap_or(([192, 0, 2, 1], 9).into());
    let authority = if adit_core::http::host::Host::parse(authority).is_ok() { authority } else { "" };
    let mut headers = HeaderMap::new();
    for (name, value) in lines.filter_map(field) {
        headers.append(name, value);
    }
    edited(&headers);

    let traced =
        trace::trace_id(&headers).map(str::to_owned).filter(|_| headers.get_all("traceparent").iter().count() == 1);
    headers::strip_hop_by_hop(&mut headers);
    forwarded::append(&mut headers, Came { from: visitor, scheme: Scheme::Https, authority, trusted });
    trace::carry(&mut headers, || [0xab; trace::RANDOM_BYTES]);

    let address = visitor.ip().to_canonical();
    let list = one(&headers, "x-forwarded-for");
    let last = list.rsplit(", ").next();
    assert_eq!(last, Some(address.to_string().as_str()));
    let forwarded = one(&headers, "forwarded");
    if !trusted {
        assert_eq!(list, address.to_string(), "a stranger's word is believed");
        assert_eq!(forwarded.matches("for=").count(), 1, "{forwarded:?}");
        assert!(!forwarded.contains(','), "{forwarded:?}");
    }
    let id = trace::trace_id(&headers).expect("a trace").to_owned();
    assert_eq!(headers.get_all("traceparent").iter().count(), 1);
    // `Connection` may have named the trace away.
    assert!(id == "ab".repeat(16) || Some(id) == traced, "a trace that nobody named");
    if headers.get("traceparent").is_some_and(|parent| parent.as_bytes().starts_with(b"00-abababab"))
        && traced.is_none()
    {
        assert!(!headers.contains_key("tracestate"), "the state of another trace");
    }
}

fn field(line: &[u8]) -> Option<(HeaderName, HeaderValue)> {
    let colon = line.iter().position(|byte| *byte == b':')?;
    let name = HeaderName::from_bytes(&line[..colon]).ok()?;
    Some((name, HeaderValue::from_bytes(line[colon + 1..].trim_ascii()).ok()?))
}

fn one(headers: &HeaderMap, name: &str) -> String {
    let values: Vec<_> = headers.get_all(name).into_iter().collect();
    assert_eq!(values.len(), 1, "{name}: {values:?}");
    String::from_utf8_lossy(values[0].as_bytes()).into_owned()
}

/// A rule may set every field that a visitor may send, but for those that frame and address the message.
fn edited(headers: &HeaderMap) {
    for (name, value) in headers {
        let Ok(value) = value.to_str() else { continue };
        let edits = FieldEdits::new([name.as_str()], [(name.as_str(), value)], []);
        let reserved = ["host", "content-length", "transfer-encoding", "connection", "upgrade", "te", "adit-error"];
        assert!(edits.is_err() || !reserved.contains(&name.as_str()), "a rule changes {name}");
        if let Ok(edits) = edits {
            let mut edited = headers.clone();
            edits.apply(&mut edited);
            assert_eq!(one(&edited, name.as_str()).as_bytes(), value.as_bytes());
        }
    }
}
