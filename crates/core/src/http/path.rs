//! The copy of a path that rules are matched against.
//!
//! The original bytes are what is forwarded; the copy exists so that two spellings of one path (RFC 3986
//! §6.2.2) cannot match two rules.

use std::borrow::Cow;

/// A path that means different things to different readers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadPath {
    /// A `.` or `..` segment, encoded or not.
    #[error("the path has a dot segment")]
    DotSegment,
    /// A `\`, which some servers take for `/`.
    #[error("the path has a backslash")]
    Backslash,
    /// A NUL, where some servers end the path.
    #[error("the path has a NUL byte")]
    Nul,
    /// A `%` that becomes an escape once the one behind it is decoded: `%%361`.
    #[error("the path has an escape within an escape")]
    NestedEscape,
}

/// Decodes the escapes of unreserved characters and leaves everything else as it is.
///
/// `%2F`, `//` and `;` stay as they are. Copies only a path that has such an escape.
///
/// # Errors
///
/// When the path has a dot segment, a backslash or a NUL, encoded or not, or an escape within an escape.
pub fn normalise(path: &str) -> Result<Cow<'_, str>, BadPath> {
    let normal = if path.contains('%') { decode_unreserved(path)? } else { Cow::Borrowed(path) };
    if normal.contains('\\') {
        return Err(BadPath::Backslash);
    }
    if normal.contains('\0') {
        return Err(BadPath::Nul);
    }
    if has_dot_segment(&normal) {
        return Err(BadPath::DotSegment);
    }
    Ok(normal)
}

/// `%2F` stays as it is, and servers that take it for `/` find dot segments beside it: `/public/x%2F..%2F..%2Fadmin`.
fn has_dot_segment(path: &str) -> bool {
    let mut segments = path.split('/').flat_map(|segment| segment.split("%2F")).flat_map(|part| part.split("%2f"));
    segments.any(|segment| matches!(segment, "." | ".."))
}

fn decode_unreserved(path: &str) -> Result<Cow<'_, str>, BadPath> {
    let mut decoded = String::new();
    let mut rest = path;
    while let Some(at) = rest.find('%') {
        let Some(byte) = escape(&rest[at..]).filter(|byte| is_decoded(*byte)) else {
            decoded.push_str(&rest[..=at]);
            rest = &rest[at + 1..];
            continue;
        };
        decoded.push_str(&rest[..at]);
        if byte.is_ascii_hexdigit() && ends_in_part_of_an_escape(&decoded) {
            return Err(BadPath::NestedEscape);
        }
        decoded.push(char::from(byte));
        rest = &rest[at + 3..];
    }
    decoded.push_str(rest);
    Ok(Cow::Owned(decoded))
}

/// Before an escape, `%` or `%` and a digit is no escape itself; another digit would make it one, and two paths the same.
fn ends_in_part_of_an_escape(decoded: &str) -> bool {
    matches!(decoded.as_bytes(), [.., b'%'] | [.., b'%', b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F'])
}

/// Unreserved characters (RFC 3986 §2.3), and the two that must be seen to be refused.
fn is_decoded(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~' | b'\\' | b'\0')
}

fn escape(text: &str) -> Option<u8> {
    let digits = text.as_bytes().get(1..3)?;
    let high = char::from(digits[0]).to_digit(16)?;
    let low = char::from(digits[1]).to_digit(16)?;
    u8::try_from(high * 16 + low).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_unreserved_characters_are_decoded() {
        for (path, normal) in [
            ("/a/b", "/a/b"),
            ("/%61/%7E%2d", "/a/~-"),
            ("/a%2Fb//c;d%20", "/a%2Fb//c;d%20"),
            ("/100%", "/100%"),
            ("/%zz%4", "/%zz%4"),
            ("/%2561", "/%2561"),
            ("/a.b/...", "/a.b/..."),
            ("/%%67", "/%g"),
            ("*", "*"),
        ] {
            assert_eq!(normalise(path).as_deref(), Ok(normal), "{path}");
        }
    }

    #[test]
    fn what_readers_disagree_on_is_refused() {
        for (path, why) in [
            ("/a/../b", BadPath::DotSegment),
            ("/a/%2e%2E/b", BadPath::DotSegment),
            ("/.", BadPath::DotSegment),
            ("/a/.%2e", BadPath::DotSegment),
            ("/a/x%2F..%2fb", BadPath::DotSegment),
            ("/a/%2f%2e%2E", BadPath::DotSegment),
            ("/.%2F", BadPath::DotSegment),
            ("/a\\b", BadPath::Backslash),
            ("/a%5cb", BadPath::Backslash),
            ("/a%00", BadPath::Nul),
            ("/%%361", BadPath::NestedEscape),
            ("/%6%31", BadPath::NestedEscape),
            ("/%%310", BadPath::NestedEscape),
        ] {
            assert_eq!(normalise(path), Err(why), "{path}");
        }
    }

    proptest::proptest! {
        #[test]
        fn a_path_without_escapes_is_not_copied(path in "/[a-zA-Z0-9/;:@_~-]{0,60}") {
            proptest::prop_assert!(matches!(normalise(&path), Ok(Cow::Borrowed(_))));
        }

        #[test]
        fn any_text_is_normalised_or_refused(path in "/[%0-9a-fA-F./\\\\]{0,30}") {
            if let Ok(normal) = normalise(&path) {
                proptest::prop_assert!(!normal.contains('\\'));
                proptest::prop_assert!(normal.len() <= path.len());
                let again = normalise(&normal).unwrap();
                proptest::prop_assert_eq!(&again, &normal);
            }
        }
    }
}
