//! Inputs of the micro benchmarks in `benches/`.

#![expect(clippy::unwrap_used, reason = "the inputs are ours")]

use adit_core::route::{HostPattern, PathPrefix, Pattern, RouteTable};

/// Makes a table of `count` rules: exact hosts, wildcards and nested prefixes in turn.
///
/// # Panics
///
/// Never: no two of the rules are equal.
pub fn table(count: usize) -> RouteTable<usize> {
    let rule = |number: usize| {
        let host = match number % 3 {
            0 => format!("host-{number}.example.com"),
            1 => format!("*.wild-{number}.example.com"),
            _ => format!("host-{}.example.com", number - 2),
        };
        let path = if number % 3 == 2 { "/api/v1/users" } else { "/" };
        let pattern = Pattern { host: HostPattern::parse(&host).unwrap(), path: PathPrefix::parse(path).unwrap() };
        (pattern, number)
    };
    RouteTable::new((0..count).map(rule)).unwrap()
}
