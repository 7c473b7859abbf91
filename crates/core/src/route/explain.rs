//! Why a rule takes a request or does not.

use std::fmt;

use super::{
    pattern::{HostPattern, PathPrefix, Pattern},
    table::RouteTable,
};

/// What became of one rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It takes the request.
    Taken,
    /// Its host is another.
    OtherHost,
    /// Its host fits, its path does not.
    OtherPath,
    /// It would take the request, and this one does, by number, since it says more.
    LessSpecific(usize),
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Taken => f.write_str("takes it"),
            Self::OtherHost => f.write_str("no: it is for another host"),
            Self::OtherPath => f.write_str("no: its host fits, its path does not"),
            Self::LessSpecific(_) => f.write_str("no: it fits, but the other one is more specific"),
        }
    }
}

impl<T> RouteTable<T> {
    /// Returns what becomes of every rule, in the order in which they came. Host and path are in normal form.
    pub fn explain(&self, host: &str, path: &str) -> Vec<Verdict> {
        let taken = self.find_number(host, path);
        let verdict = |(number, (pattern, _)): (usize, &(Pattern, T))| match taken {
            _ if !host_fits(&pattern.host, host) => Verdict::OtherHost,
            _ if !path_fits(&pattern.path, path) => Verdict::OtherPath,
            Some(taken) if taken != number => Verdict::LessSpecific(taken),
            Some(_) | None => Verdict::Taken,
        };
        self.rules().iter().enumerate().map(verdict).collect()
    }
}

pub(super) fn host_fits(pattern: &HostPattern, host: &str) -> bool {
    match pattern {
        HostPattern::Exact(name) => **name == *host,
        HostPattern::Wildcard(name) => {
            host.strip_suffix(&**name).is_some_and(|rest| rest.len() > 1 && rest.ends_with('.'))
        }
        HostPattern::Any => true,
    }
}

pub(super) fn path_fits(prefix: &PathPrefix, path: &str) -> bool {
    // That takes `*` too, the server itself.
    *prefix == PathPrefix::root()
        || path.strip_prefix(prefix.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rule_gets_its_reason() {
        let rules = [(None, "/"), (Some("a.b"), "/x"), (Some("*.b"), "/"), (Some("c"), "/"), (Some("a.b"), "/y")];
        let rules = rules.map(|(host, path)| {
            let host = host.map_or(HostPattern::Any, |host| HostPattern::parse(host).unwrap());
            (Pattern { host, path: PathPrefix::parse(path).unwrap() }, ())
        });
        let table = RouteTable::new(rules).unwrap();
        let verdicts = table.explain("a.b", "/x/z");
        use Verdict::{LessSpecific, OtherHost, OtherPath, Taken};
        assert_eq!(verdicts, [LessSpecific(1), Taken, LessSpecific(1), OtherHost, OtherPath]);
    }

    #[test]
    fn a_request_for_the_server_itself_is_taken_by_the_rule_for_every_path() {
        let rules =
            ["/", "/x"].map(|path| (Pattern { host: HostPattern::Any, path: PathPrefix::parse(path).unwrap() }, ()));
        let table = RouteTable::new(rules).unwrap();
        assert_eq!(table.explain("a.b", "*"), [Verdict::Taken, Verdict::OtherPath]);
        assert_eq!(table.find_number("a.b", "*"), Some(0));
    }

    proptest::proptest! {
        #[test]
        fn the_reasons_agree_with_the_look_up(
            rules in proptest::collection::vec((proptest::option::of((proptest::bool::ANY, "[ab](\\.[ab]){0,2}")), "/|(/[ab]{0,2}){0,2}/[ab]{1,2}/?"), 0..12),
            host in "[ab](\\.[ab]){0,2}",
            path in "(/[ab]{0,2}){1,3}",
        ) {
            let patterns = rules.into_iter().map(|(host, path)| {
                let host = match host {
                    Some((true, name)) => HostPattern::Wildcard(name.into()),
                    Some((false, name)) => HostPattern::Exact(name.into()),
                    None => HostPattern::Any,
                };
                Pattern { host, path: PathPrefix::parse(&path).unwrap() }
            });
            let mut seen = std::collections::HashSet::new();
            let unique = patterns.filter(|pattern| seen.insert(pattern.clone())).map(|pattern| (pattern, ()));
            let table = RouteTable::new(unique).unwrap();
            let taken = table.explain(&host, &path).iter().position(|verdict| *verdict == Verdict::Taken);
            proptest::prop_assert_eq!(taken, table.find_number(&host, &path));
        }
    }
}
