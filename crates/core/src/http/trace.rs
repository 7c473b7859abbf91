//! `traceparent` and `tracestate`: which trace a request belongs to (W3C Trace Context, level 1).

use http::{HeaderMap, HeaderName, HeaderValue};

/// Names the trace and the span that a request comes from (§3.2).
pub const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// What tracing systems add to it; means nothing without a valid `traceparent` (§3.3).
pub const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// `00-<32 hex digits>-<16 hex digits>-<2 hex digits>`.
const VERSION_00_BYTES: usize = 55;

/// How many random bytes a new trace takes: 16 for the trace id, 8 for the parent id.
pub const RANDOM_BYTES: usize = 24;

/// Keeps the trace that a visitor names, or starts one.
///
/// A `traceparent` that is malformed or there twice is replaced, and `tracestate` is then dropped (§4.3).
/// adit makes no span of its own, so a valid one is passed on as it came. `random` is asked only for a new
/// trace.
pub fn carry(headers: &mut HeaderMap, random: impl FnOnce() -> [u8; RANDOM_BYTES]) {
    let mut named = headers.get_all(TRACEPARENT).into_iter();
    if let (Some(parent), None) = (named.next(), named.next())
        && is_valid(parent.as_bytes())
    {
        return;
    }
    headers.remove(TRACESTATE);
    headers.insert(TRACEPARENT, start(random()));
}

/// Returns the trace id of a valid `traceparent`: 32 hex digits.
pub fn trace_id(headers: &HeaderMap) -> Option<&str> {
    let parent = headers.get(TRACEPARENT).filter(|parent| is_valid(parent.as_bytes()))?;
    std::str::from_utf8(parent.as_bytes().get(3..35)?).ok()
}

/// §3.2.2: lower-case hex in fixed places, and neither id all zeros. Later versions may add to the end (§3.2.4).
fn is_valid(parent: &[u8]) -> bool {
    let Some((known, rest)) = parent.split_at_checked(VERSION_00_BYTES) else { return false };
    let [v1, v2, b'-', ids @ .., b'-', f1, f2] = known else { return false };
    let Some((trace, [b'-', span @ ..])) = ids.split_at_checked(32) else { return false };
    let is_hex = |b: &u8| matches!(b, b'0'..=b'9' | b'a'..=b'f');
    let is_id = |id: &[u8]| id.iter().all(is_hex) && id.iter().any(|b| *b != b'0');
    let version_fits = match (v1, v2) {
        (b'f', b'f') => false,
        (b'0', b'0') => rest.is_empty(),
        (v1, v2) => is_hex(v1) && is_hex(v2) && matches!(rest, [] | [b'-', ..]),
    };
    version_fits && is_id(trace) && is_id(span) && is_hex(f1) && is_hex(f2)
}

/// The flags say "sampled": adit keeps a record of each exchange, and tracers that decide as their parent did
/// would record nothing behind it otherwise.
fn start(random: [u8; RANDOM_BYTES]) -> HeaderValue {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = *b"00-00000000000000000000000000000001-0000000000000001-01";
    let places = (3..35).step_by(2).chain((36..52).step_by(2));
    for (place, byte) in places.zip(random) {
        // The last digit of an id stays 1 where it would be 0: an id of zeros is none.
        let ends_id = place == 33 || place == 50;
        text[place] = DIGITS[usize::from(byte >> 4)];
        if byte & 0xf != 0 || !ends_id {
            text[place + 1] = DIGITS[usize::from(byte & 0xf)];
        }
    }
    HeaderValue::from_bytes(&text).unwrap_or_else(|_| HeaderValue::from_static("-"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn carried(parents: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for parent in parents {
            headers.append(TRACEPARENT, HeaderValue::from_str(parent).unwrap());
        }
        headers.insert(TRACESTATE, HeaderValue::from_static("a=b"));
        carry(&mut headers, || [0xab; RANDOM_BYTES]);
        headers
    }

    #[test]
    fn a_valid_trace_is_passed_on_as_it_came() {
        let later = format!("{}-more", PARENT.replacen("00", "cc", 1));
        for parent in [PARENT, &PARENT.replace("-01", "-00"), &PARENT.replacen("00", "01", 1), &later] {
            let headers = carried(&[parent]);
            assert_eq!(headers[TRACEPARENT], parent);
            assert_eq!(headers[TRACESTATE], "a=b");
        }
    }

    #[test]
    fn an_invalid_trace_is_replaced_and_its_state_dropped() {
        let invalid = [
            "".to_owned(),
            "-".to_owned(),
            PARENT.to_uppercase(),
            PARENT.replacen("00", "ff", 1),
            PARENT.replacen("00", "0x", 1),
            format!("{PARENT}-more"),
            format!("{}more", PARENT.replacen("00", "01", 1)),
            PARENT.replace("4bf92f3577b34da6a3ce929d0e0e4736", &"0".repeat(32)),
            PARENT.replace("00f067aa0ba902b7", &"0".repeat(16)),
            PARENT.replace('-', "_"),
            PARENT.replace("-01", "-0g"),
            PARENT[..54].to_owned(),
        ];
        for parent in &invalid {
            let headers = carried(&[parent]);
            assert_eq!(headers[TRACEPARENT], format!("00-{}-{}-01", "ab".repeat(16), "ab".repeat(8)), "{parent:?}");
            assert!(!headers.contains_key(TRACESTATE));
        }
    }

    #[test]
    fn a_valid_trace_has_an_id_whatever_a_later_version_adds() {
        let mut headers = HeaderMap::new();
        let parent = [PARENT.replacen("00", "cc", 1).as_bytes(), b"-\xff"].concat();
        headers.insert(TRACEPARENT, HeaderValue::from_bytes(&parent).unwrap());
        assert_eq!(trace_id(&headers), Some("4bf92f3577b34da6a3ce929d0e0e4736"));
    }

    #[test]
    fn a_trace_that_is_named_twice_is_none() {
        let headers = carried(&[PARENT, PARENT]);
        assert_eq!(headers.get_all(TRACEPARENT).iter().count(), 1);
        assert_ne!(headers[TRACEPARENT], PARENT);
    }

    #[test]
    fn what_is_started_is_valid_whatever_the_random_bytes() {
        for byte in 0..=u8::MAX {
            let mut headers = HeaderMap::new();
            carry(&mut headers, || [byte; RANDOM_BYTES]);
            assert!(is_valid(headers[TRACEPARENT].as_bytes()), "{headers:?}");
            assert_eq!(trace_id(&headers).map(str::len), Some(32));
        }
    }
}
