//! What a rule says of the requests it takes.

use std::fmt;

use crate::http::{host::Host, path};

/// Host and path prefix of a rule.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Pattern {
    /// Which hosts.
    pub host: HostPattern,
    /// Which paths.
    pub path: PathPrefix,
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.host, self.path.as_str())
    }
}

/// Which hosts a rule takes, most specific first.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum HostPattern {
    /// This host only; lower-case, without port and trailing dot.
    Exact(Box<str>),
    /// Every host below this one: `*.example.com` holds `example.com`.
    Wildcard(Box<str>),
    /// Every host, and requests that name none.
    Any,
}

/// Text in a rule that is no host or path pattern.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum BadPattern {
    /// The host is none.
    #[error("{0:?} is not a host: use a name without port, *.name, or leave it out for any")]
    Host(String),
    /// The path is none.
    #[error(
        "{0:?} is not a path prefix: it starts with /, does not end with //, and has no ?, #, dot segments or backslashes"
    )]
    Path(String),
}

impl HostPattern {
    /// Reads `example.com` or `*.example.com`.
    ///
    /// # Errors
    ///
    /// When the text is neither.
    pub fn parse(text: &str) -> Result<Self, BadPattern> {
        let bad = || BadPattern::Host(text.to_owned());
        let (wildcard, name) = match text.strip_prefix("*.") {
            Some(name) => (true, name),
            None => (false, text),
        };
        let host = Host::parse(name).map_err(|_| bad())?;
        if host.name.is_empty() || host.port.is_some() {
            return Err(bad());
        }
        let name = host.name.into();
        Ok(if wildcard { Self::Wildcard(name) } else { Self::Exact(name) })
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(name) => f.write_str(name),
            Self::Wildcard(name) => write!(f, "*.{name}"),
            Self::Any => f.write_str("*"),
        }
    }
}

/// A path prefix that ends on a segment boundary: `/api` takes `/api` and `/api/x`, not `/apix`.
///
/// Kept in normal form and without a trailing slash, except for `/` itself.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PathPrefix(Box<str>);

impl PathPrefix {
    /// Returns the prefix that takes every path.
    pub fn root() -> Self {
        Self("/".into())
    }

    /// Reads a prefix as it stands in a rule.
    ///
    /// # Errors
    ///
    /// When the text does not start with `/`, ends with an empty segment, or could match a request in two ways.
    pub fn parse(text: &str) -> Result<Self, BadPattern> {
        let bad = || BadPattern::Path(text.to_owned());
        let plain = text.starts_with('/') && !text.contains(['?', '#']) && text.bytes().all(|b| b.is_ascii_graphic());
        if !plain {
            return Err(bad());
        }
        let normal = path::normalise(text).map_err(|_| bad())?;
        let trimmed = normal.strip_suffix('/').unwrap_or(&normal);
        if trimmed.ends_with('/') {
            // `//` would be the prefix of every path.
            return Err(bad());
        }
        Ok(if trimmed.is_empty() { Self::root() } else { Self(trimmed.into()) })
    }

    /// Returns the prefix as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_exact_or_below_a_name() {
        assert_eq!(HostPattern::parse("App.Localhost."), Ok(HostPattern::Exact("app.localhost".into())));
        assert_eq!(HostPattern::parse("*.Example.com"), Ok(HostPattern::Wildcard("example.com".into())));
        for bad in ["", "*", "*.", "a:80", "a.*.b", "*a.b", "a b", "http://a"] {
            assert!(HostPattern::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn prefixes_have_one_spelling() {
        for (text, prefix) in
            [("/", "/"), ("/api", "/api"), ("/api/", "/api"), ("/%61pi", "/api"), ("/a%2Fb", "/a%2Fb")]
        {
            assert_eq!(PathPrefix::parse(text).unwrap().as_str(), prefix, "{text}");
        }
        for bad in ["", "api", "/a/../b", "/a?b", "/a#b", "/a b", "/a\\b", "//", "/a//"] {
            assert!(PathPrefix::parse(bad).is_err(), "{bad:?}");
        }
    }
}
