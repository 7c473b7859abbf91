//! What a path may be to a careless reader.

use percent_encoding::percent_decode;

use super::{
    pattern::{HostPattern, PathPrefix, Pattern},
    table::RouteTable,
};

/// How often a path is decoded: who decodes twice is careless, and thrice is rare.
const DECODINGS_MAX: usize = 3;

/// The rules of a table as they look to a server that reads paths carelessly: that decodes `%2F`, drops `;x` behind a
/// segment, takes `//` for `/`, `\` for `/` and `A` for `a`, or several of these.
///
/// A request for `//admin` is taken by the rule for `/` and not by that for `/admin`, and its upstream may show
/// `/admin` all the same. Where the rule for `/admin` asks something of its visitors, it would not have been asked.
#[derive(Clone, Debug, Default)]
pub struct Loose {
    /// The number of each rule, and whether it is guarded.
    table: RouteTable<(usize, bool)>,
}

impl Loose {
    /// Takes the rules of a table in its order, and whether each is guarded. Returns `None` where none is.
    pub fn new<'a>(rules: impl Iterator<Item = (&'a Pattern, bool)>) -> Option<Self> {
        let mut rules: Vec<_> =
            rules.enumerate().map(|(number, (pattern, guarded))| (pattern, (number, guarded))).collect();
        if rules.iter().all(|(_, (_, guarded))| !guarded) {
            return None;
        }
        // Of those that look the same the first one stays.
        rules.sort_by_key(|(_, (_, guarded))| !guarded);
        let mut seen = std::collections::HashSet::<(HostPattern, String)>::new();
        let loose = rules.into_iter().filter_map(|(pattern, rule)| {
            let path = loosen(pattern.path.as_str());
            let path = PathPrefix::parse(&path).ok()?;
            let pattern = Pattern { host: pattern.host.clone(), path };
            seen.insert((pattern.host.clone(), pattern.path.as_str().to_owned())).then_some((pattern, rule))
        });
        Some(Self { table: RouteTable::new(loose).unwrap_or_default() })
    }

    /// Returns whether a request that the rule with this number takes may look like one for another rule that is
    /// guarded. Host and path are in normal form.
    pub fn is_doubtful(&self, host: &str, path: &str, taken: usize) -> bool {
        if !path.bytes().any(|byte| matches!(byte, b'%' | b';' | b'\\' | b'A'..=b'Z')) && !path.contains("//") {
            return false;
        }
        self.table.find(host, &loosen(path)).is_some_and(|(number, guarded)| *guarded && *number != taken)
    }
}

/// Reads a path as carelessly as any server does.
fn loosen(path: &str) -> String {
    let mut bytes = path.as_bytes().to_vec();
    for _ in 0..DECODINGS_MAX {
        bytes = percent_decode(&bytes).collect();
    }
    let text = String::from_utf8_lossy(&bytes).to_ascii_lowercase().replace('\\', "/");
    let mut segments: Vec<&str> = Vec::new();
    for segment in text.split('/').map(|segment| segment.split([';', '\0', '?', '#']).next().unwrap_or_default()) {
        match segment.trim() {
            "" | "." => {}
            ".." => drop(segments.pop()),
            segment => segments.push(segment),
        }
    }
    let mut loose = String::with_capacity(text.len());
    for segment in segments {
        loose.push('/');
        // What cannot stand in a prefix is in no rule.
        loose.extend(segment.chars().map(|char| if char.is_ascii_graphic() { char } else { '_' }));
    }
    if loose.is_empty() { "/".to_owned() } else { loose }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rules with and without a guard: their hosts, paths, and whether they have one.
    fn is_doubtful(rules: &[(Option<&str>, &str, bool)], path: &str) -> bool {
        let patterns: Vec<_> = rules
            .iter()
            .map(|(host, path, guarded)| {
                let host = host.map_or(HostPattern::Any, |host| HostPattern::parse(host).unwrap());
                (Pattern { host, path: PathPrefix::parse(path).unwrap() }, *guarded)
            })
            .collect();
        let table = RouteTable::new(patterns.iter().cloned()).unwrap();
        // What no rule takes is not let through either.
        let Ok(normal) = crate::http::path::normalise(path) else { return true };
        let taken = table.find_number("a.example", &normal).unwrap();
        let loose = Loose::new(patterns.iter().map(|(pattern, guarded)| (pattern, *guarded)));
        loose.is_some_and(|loose| loose.is_doubtful("a.example", &normal, taken))
    }

    #[test]
    fn what_may_be_read_as_a_guarded_path_is_doubtful() {
        let rules = [(None, "/", false), (None, "/admin", true)];
        for path in [
            "//admin",
            "/;x/admin",
            "/admin;x",
            "/admin;x=1/users",
            "/x/..%2Fadmin",
            "/%2Fadmin",
            "/admin%2F",
            "/admin%3Bx",
            "/admin%2Fusers",
            "/ADMIN",
            "/%41dmin/x",
            "/%2561dmin",
            "/%252e/admin",
            "/x/%252e%252e/admin",
            "/admin%3F",
            "/admin%20",
        ] {
            assert!(is_doubtful(&rules, path), "{path}");
        }
        for path in
            ["/", "/x", "/admin", "/admin/x", "/%61dmin", "/admin/X%2Fy", "//x", "/Users", "/a;b", "/administer;x"]
        {
            assert!(!is_doubtful(&rules, path), "{path}");
        }
    }

    #[test]
    fn an_exception_within_a_guarded_path_is_none_that_can_be_forged() {
        let rules = [(None, "/admin", true), (None, "/admin/public", false)];
        assert!(!is_doubtful(&rules, "/admin/public/X;y"));
        assert!(is_doubtful(&rules, "/admin/public/..%2Fusers"));
        assert!(!is_doubtful(&rules, "/admin//public"));
    }

    #[test]
    fn rules_that_differ_in_case_are_two() {
        let rules = [(None, "/Admin", true), (None, "/admin", false), (None, "/", false)];
        assert!(!is_doubtful(&rules, "/admin"));
        assert!(!is_doubtful(&rules, "/Admin"));
        assert!(is_doubtful(&rules, "/aDmin"));
    }

    #[test]
    fn without_a_guard_nothing_is_looked_at() {
        assert!(!is_doubtful(&[(None, "/", false), (None, "/admin", false)], "//admin"));
        assert!(!is_doubtful(&[(None, "/", false), (Some("b.example"), "/admin", true)], "//admin"));
    }
}
