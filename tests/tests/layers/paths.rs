//! The modules that the source of a file names.

use std::collections::BTreeSet;

/// Returns the first segments of all paths from the root of the crate: `crate::x`, `use crate::{x::y, z}`, and
/// `super::x` as often as it takes to get from `depth` to the root. Comments and strings do not count.
pub(crate) fn modules_used(source: &str, depth: usize) -> BTreeSet<String> {
    let code = code_of(source);
    let to_root = "super::".repeat(depth);
    let mut used = BTreeSet::new();
    for start in ["crate::", &to_root] {
        for (at, _) in code.match_indices(start) {
            let before = code[..at].chars().next_back();
            let continues = before.is_some_and(|before| before.is_alphanumeric() || matches!(before, '_' | ':' | '$'));
            let rest = code[at + start.len()..].trim_start();
            // `use super::*` is how the tests of a file reach the file.
            let own = start != "crate::" && rest.starts_with('*');
            if !continues && !own {
                first_segments(rest, &mut used);
            }
        }
    }
    used
}

/// Adds the first segment of the path that `rest` starts with, or those of the group.
fn first_segments(rest: &str, used: &mut BTreeSet<String>) {
    let Some(group) = rest.strip_prefix('{') else {
        used.extend(segment(rest));
        return;
    };
    let (mut depth, mut start) = (0_usize, 0);
    for (at, char) in group.char_indices() {
        match char {
            '{' => depth += 1,
            ',' if depth == 0 => {
                used.extend(segment(&group[start..at]));
                start = at + 1;
            }
            '}' if depth == 0 => {
                used.extend(segment(&group[start..at]));
                return;
            }
            '}' => depth -= 1,
            _ => {}
        }
    }
}

fn segment(path: &str) -> Option<String> {
    let path = path.trim_start();
    if path.starts_with('*') {
        return Some("*".to_owned());
    }
    let end = path.find(|char: char| !char.is_alphanumeric() && char != '_').unwrap_or(path.len());
    let name = &path[..end];
    // `self` is the root, and `super` goes on to a place that another start takes in.
    (!name.is_empty() && !["self", "super"].contains(&name)).then(|| name.to_owned())
}

/// Returns the source without comments, and with strings and characters emptied.
fn code_of(source: &str) -> String {
    let mut code = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(first) = rest.chars().next() {
        let length = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            rest.find("*/").map_or(rest.len(), |end| end + 2)
        } else if let Some(hashes) = raw_string(rest) {
            let end = format!("\"{}", "#".repeat(hashes));
            let start = hashes + 2;
            rest[start..].find(&end).map_or(rest.len(), |at| start + at + end.len())
        } else if first == '"' {
            string(rest)
        } else {
            code.push(first);
            first.len_utf8()
        };
        rest = &rest[length..];
    }
    code
}

/// Returns the number of `#` of the raw string that starts here.
fn raw_string(rest: &str) -> Option<usize> {
    let rest = rest.strip_prefix('r')?;
    let hashes = rest.len() - rest.trim_start_matches('#').len();
    rest[hashes..].starts_with('"').then_some(hashes)
}

fn string(rest: &str) -> usize {
    let mut escaped = false;
    for (at, char) in rest.char_indices().skip(1) {
        match char {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    rest.len()
}

#[test]
fn paths_are_found_in_every_form() {
    for (source, depth, expected) in [
        ("use crate::a;", 1, vec!["a"]),
        ("use crate::a::{b, c};", 1, vec!["a"]),
        ("use crate::{a, b::c, d::{e, f}};", 1, vec!["a", "b", "d"]),
        ("use crate::{\n    a::{\n        self, b,\n    },\n    c as d,\n    e,\n};", 1, vec!["a", "c", "e"]),
        ("fn f() { crate::a::g(&crate::b::X) }", 1, vec!["a", "b"]),
        ("use super::a; use super::super::b;", 1, vec!["a"]),
        ("use super::a; use super::super::b;", 2, vec!["b"]),
        ("use super::{a, b::c};", 1, vec!["a", "b"]),
        ("use crate::*; mod tests { use super::*; }", 1, vec!["*"]),
        ("use crate::{self, a};", 1, vec!["a"]),
    ] {
        let used = modules_used(source, depth);
        assert_eq!(used.iter().map(String::as_str).collect::<Vec<_>>(), expected, "{source}");
    }
}

#[test]
fn what_is_no_path_of_this_crate_is_not_found() {
    for source in [
        "//! See [`crate::a`].\n/// And `crate::b`.\n// use crate::c;\n/* crate::d\n crate::e */",
        "let text = \"crate::a \\\" crate::b\"; let raw = r#\"crate::c \" crate::d\"#;",
        "use other_crate::a; use $crate::b; pub(crate) fn f() {}",
        "use super::super::a; mod tests { use super::*; }",
    ] {
        assert_eq!(modules_used(source, 1), BTreeSet::new(), "{source}");
    }
}
