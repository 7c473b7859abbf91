//! The look-up: a hash look-up per host label and per path segment, however many rules there are.

use std::collections::HashMap;

use super::pattern::{HostPattern, PathPrefix, Pattern};

/// Two rules that take the same requests.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("two rules for {pattern}")]
pub struct Conflict {
    /// What both of them say.
    pub pattern: Pattern,
    /// Where the first of them was inserted, counting from 0.
    pub first: usize,
    /// Where the second of them was inserted.
    pub second: usize,
}

/// Rules with their targets. The most specific rule wins: an exact host before the longest wildcard before any,
/// then the longest path prefix. A host whose paths do not fit leaves the request to the less specific.
#[derive(Clone, Debug)]
pub struct RouteTable<T> {
    exact: HashMap<Box<str>, Paths>,
    wildcard: HashMap<Box<str>, Paths>,
    any: Paths,
    rules: Vec<(Pattern, T)>,
}

impl<T> Default for RouteTable<T> {
    fn default() -> Self {
        Self { exact: HashMap::new(), wildcard: HashMap::new(), any: Paths::default(), rules: Vec::new() }
    }
}

impl<T> RouteTable<T> {
    /// Builds a table. The order of the rules does not matter.
    ///
    /// # Errors
    ///
    /// When two rules have the same pattern.
    pub fn new(rules: impl IntoIterator<Item = (Pattern, T)>) -> Result<Self, Conflict> {
        let mut table = Self::default();
        for (pattern, target) in rules {
            table.insert(pattern, target)?;
        }
        Ok(table)
    }

    /// Returns the target of the rule that takes a request. Allocates nothing.
    ///
    /// `host` and `path` are in normal form: [`crate::http::host::Host::name`] and
    /// [`crate::http::path::normalise`].
    pub fn find(&self, host: &str, path: &str) -> Option<&T> {
        let rule = self.find_number(host, path)?;
        Some(&self.rules.get(rule)?.1)
    }

    /// Returns all rules in the order in which they came.
    pub fn rules(&self) -> &[(Pattern, T)] {
        &self.rules
    }

    /// Returns the number of the rule that takes a request, counting from 0 in the order in which they came.
    pub fn find_number(&self, host: &str, path: &str) -> Option<usize> {
        let exact = self.exact.get(host).and_then(|paths| paths.find(path));
        if exact.is_some() {
            return exact;
        }
        if !self.wildcard.is_empty() {
            let mut rest = host;
            while let Some((_, parent)) = rest.split_once('.') {
                let below = self.wildcard.get(parent).and_then(|paths| paths.find(path));
                if below.is_some() {
                    return below;
                }
                rest = parent;
            }
        }
        self.any.find(path)
    }

    fn insert(&mut self, pattern: Pattern, target: T) -> Result<(), Conflict> {
        let second = self.rules.len();
        let paths = match &pattern.host {
            HostPattern::Exact(name) => self.exact.entry(name.clone()).or_default(),
            HostPattern::Wildcard(name) => self.wildcard.entry(name.clone()).or_default(),
            HostPattern::Any => &mut self.any,
        };
        if let Some(first) = paths.insert(&pattern.path, second) {
            return Err(Conflict { pattern, first, second });
        }
        self.rules.push((pattern, target));
        Ok(())
    }
}

/// The prefixes of one host.
#[derive(Clone, Debug, Default)]
struct Paths {
    prefixes: HashMap<Box<str>, usize>,
    /// The most slashes in any prefix: a long path costs no more look-ups than the deepest rule needs.
    slashes_max: usize,
}

impl Paths {
    fn find(&self, path: &str) -> Option<usize> {
        if self.prefixes.is_empty() {
            return None;
        }
        let mut prefix = self.longest_candidate(path);
        loop {
            if let Some(rule) = self.prefixes.get(prefix) {
                return Some(*rule);
            }
            match prefix.rfind('/') {
                Some(0) | None => return self.prefixes.get("/").copied(),
                Some(cut) => prefix = &prefix[..cut],
            }
        }
    }

    /// Cuts the path at the first boundary that no prefix reaches beyond.
    fn longest_candidate<'a>(&self, path: &'a str) -> &'a str {
        match path.match_indices('/').nth(self.slashes_max) {
            Some((cut, _)) => &path[..cut],
            None => path,
        }
    }

    fn insert(&mut self, prefix: &PathPrefix, rule: usize) -> Option<usize> {
        if let Some(first) = self.prefixes.get(prefix.as_str()) {
            return Some(*first);
        }
        self.slashes_max = self.slashes_max.max(prefix.as_str().matches('/').count());
        self.prefixes.insert(prefix.as_str().into(), rule);
        None
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::route::explain::{host_fits, path_fits};

    fn pattern(host: &str, path: &str) -> Pattern {
        let host = if host == "*" { HostPattern::Any } else { HostPattern::parse(host).unwrap() };
        Pattern { host, path: PathPrefix::parse(path).unwrap() }
    }

    fn table(rules: &[(&str, &str)]) -> RouteTable<String> {
        RouteTable::new(rules.iter().map(|(host, path)| (pattern(host, path), format!("{host}{path}")))).unwrap()
    }

    #[test]
    fn the_most_specific_rule_wins() {
        let table = table(&[
            ("*", "/"),
            ("*", "/api"),
            ("*.example.com", "/"),
            ("*.b.example.com", "/"),
            ("a.example.com", "/"),
            ("a.example.com", "/api/v1"),
        ]);
        for (host, path, expected) in [
            ("a.example.com", "/", "a.example.com/"),
            ("a.example.com", "/api", "a.example.com/"),
            ("a.example.com", "/api/v1/x", "a.example.com/api/v1"),
            ("a.example.com", "/api/v12", "a.example.com/"),
            ("a.b.example.com", "/api", "*.b.example.com/"),
            ("x.y.example.com", "/", "*.example.com/"),
            ("example.com", "/", "*/"),
            ("", "/api/", "*/api"),
            ("other", "/apix", "*/"),
        ] {
            assert_eq!(table.find(host, path).map(String::as_str), Some(expected), "{host}{path}");
        }
    }

    #[test]
    fn a_host_without_a_fitting_path_leaves_the_request_to_the_less_specific() {
        let table = table(&[("a.b", "/only"), ("*.b", "/some"), ("*", "/")]);
        assert_eq!(table.find("a.b", "/some/x").map(String::as_str), Some("*.b/some"));
        assert_eq!(table.find("a.b", "/x").map(String::as_str), Some("*/"));
    }

    #[test]
    fn no_rule_is_no_access() {
        assert_eq!(table(&[]).find("a", "/"), None);
        assert_eq!(table(&[("a", "/x")]).find("a", "/"), None);
        assert_eq!(table(&[("a", "/x")]).find("b", "/x"), None);
        assert_eq!(table(&[("a", "/x")]).find("a", "*"), None);
    }

    #[test]
    fn equal_rules_are_a_conflict_that_names_both() {
        let rules = [("a", "/x"), ("b", "/"), ("A.", "/x/")].map(|(host, path)| (pattern(host, path), ()));
        let conflict = RouteTable::new(rules).unwrap_err();
        assert_eq!((conflict.first, conflict.second), (0, 2));
        assert_eq!(conflict.to_string(), "two rules for a/x");
    }

    /// What the table must agree with: look at every rule.
    fn scan<'a>(rules: &'a [(Pattern, String)], host: &str, path: &str) -> Option<&'a String> {
        let fits = |pattern: &Pattern| host_fits(&pattern.host, host) && path_fits(&pattern.path, path);
        let rank = |pattern: &Pattern| {
            let host = match &pattern.host {
                HostPattern::Exact(_) => (2, 0),
                HostPattern::Wildcard(name) => (1, name.len()),
                HostPattern::Any => (0, 0),
            };
            (host, pattern.path.as_str().len())
        };
        rules
            .iter()
            .filter(|(pattern, _)| fits(pattern))
            .max_by_key(|(pattern, _)| rank(pattern))
            .map(|(_, target)| target)
    }

    fn host() -> impl Strategy<Value = String> {
        "[ab](\\.[ab]){0,3}"
    }

    fn path() -> impl Strategy<Value = String> {
        "(/[ab]{0,2}){1,4}"
    }

    fn prefix() -> impl Strategy<Value = String> {
        "/|(/[ab]{0,2}){0,3}/[ab]{1,2}/?"
    }

    proptest! {
        #[test]
        fn the_table_agrees_with_a_scan(
            rules in prop::collection::vec((prop::option::of((any::<bool>(), host())), prefix()), 0..30),
            requests in prop::collection::vec((host(), path()), 1..30),
        ) {
            let mut table = RouteTable::default();
            for (number, (host, path)) in rules.into_iter().enumerate() {
                let host = match host {
                    Some((true, name)) => HostPattern::Wildcard(name.into()),
                    Some((false, name)) => HostPattern::Exact(name.into()),
                    None => HostPattern::Any,
                };
                // A conflict leaves the first rule in place.
                let _ = table.insert(Pattern { host, path: PathPrefix::parse(&path).unwrap() }, format!("{number}"));
            }
            for (host, path) in requests {
                prop_assert_eq!(table.find(&host, &path), scan(table.rules(), &host, &path), "{}{}", host, path);
            }
        }
    }
}
