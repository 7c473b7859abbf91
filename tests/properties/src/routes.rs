//! Rules and the requests that they take.

use std::collections::HashSet;

use adit_core::{
    http::{host::Host, path},
    route::{HostPattern, PathPrefix, Pattern, RouteTable, Verdict},
};

/// Lines of `HOST PATH` that are rules, an empty line, and one of a request: the table takes the rule that reading all
/// of them finds, says so when asked why, and takes the same one for another spelling of the request.
pub fn routes(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Some((rules, request)) = text.split_once("\n\n") else { return };
    let mut patterns: Vec<Pattern> = rules.lines().filter_map(pattern).collect();
    let mut seen = HashSet::new();
    let twice = patterns.iter().any(|pattern| !seen.insert(pattern.clone()));
    let table = RouteTable::new(patterns.iter().cloned().map(|pattern| (pattern, ())));
    assert_eq!(table.is_err(), twice, "two equal rules are a conflict, and nothing else is");
    if twice {
        let mut seen = HashSet::new();
        patterns.retain(|pattern| seen.insert(pattern.clone()));
    }
    let table = RouteTable::new(patterns.iter().cloned().map(|pattern| (pattern, ()))).expect("different rules");

    let (host, path) = request.split_once(' ').unwrap_or((request, "/"));
    let (Ok(host), Ok(path)) = (Host::parse(host), path::normalise(path)) else { return };
    let taken = table.find_number(&host.name, &path);
    assert_eq!(taken, by_reading(&patterns, &host.name, &path), "{patterns:?} for {host:?} {path:?}");
    let told = table.explain(&host.name, &path).iter().position(|verdict| *verdict == Verdict::Taken);
    assert_eq!(told, taken, "{patterns:?} for {host:?} {path:?}");
}

fn pattern(line: &str) -> Option<Pattern> {
    let (host, path) = line.split_once(' ').unwrap_or((line, "/"));
    let host = if host == "*" { HostPattern::Any } else { HostPattern::parse(host).ok()? };
    let prefix = PathPrefix::parse(path).ok()?;
    assert_eq!(PathPrefix::parse(prefix.as_str()), Ok(prefix.clone()), "shown as another prefix");
    assert!(prefix != PathPrefix::root() || path == "/", "{path:?} takes every path");
    let pattern = Pattern { host, path: prefix };
    if let HostPattern::Exact(_) | HostPattern::Wildcard(_) = &pattern.host {
        assert_eq!(HostPattern::parse(&pattern.host.to_string()), Ok(pattern.host.clone()), "shown as another host");
    }
    Some(pattern)
}

/// The most specific of the rules that fit, as the reference has it: exact host, longest wildcard, any; then longest
/// prefix.
fn by_reading(patterns: &[Pattern], host: &str, path: &str) -> Option<usize> {
    let host_rank = |pattern: &HostPattern| match pattern {
        HostPattern::Exact(name) => (**name == *host).then_some(usize::MAX),
        HostPattern::Wildcard(name) => {
            let below = host.len().checked_sub(name.len() + 1)?;
            let fits = below > 0 && host.ends_with(&**name) && host.as_bytes()[below] == b'.';
            fits.then_some(1 + name.len())
        }
        HostPattern::Any => Some(0),
    };
    let path_rank = |prefix: &PathPrefix| {
        if *prefix == PathPrefix::root() {
            return Some(0);
        }
        let prefix = prefix.as_str();
        let fits = path == prefix || path.starts_with(prefix) && path.as_bytes().get(prefix.len()) == Some(&b'/');
        fits.then_some(prefix.len())
    };
    let rank = |pattern: &Pattern| Some((host_rank(&pattern.host)?, path_rank(&pattern.path)?));
    let ranked = patterns.iter().enumerate().filter_map(|(number, pattern)| Some((rank(pattern)?, number)));
    ranked.max().map(|(_, number)| number)
}
