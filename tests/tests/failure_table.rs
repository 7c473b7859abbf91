//! The table of failures in the reference is the one that the code keeps.

use std::{collections::BTreeSet, fs, path::Path};

use adit_core::failure::Failure;

/// Status, code and what the visitor reads.
type Row = (u16, String, String);

/// What is told to nobody: whoever asked has gone.
const UNSEEN: [Failure; 1] = [Failure::Cancelled];

fn kept() -> BTreeSet<Row> {
    let seen = Failure::ALL.into_iter().filter(|failure| !UNSEEN.contains(failure));
    seen.map(|failure| (failure.status(), failure.code().to_owned(), failure.to_string())).collect()
}

/// Reads the rows `| 502 | no-client | text |` between the markers.
fn written(reference: &str) -> Option<BTreeSet<Row>> {
    let (_, rest) = reference.split_once("<!-- failures -->")?;
    let (table, _) = rest.split_once("<!-- /failures -->")?;
    let row = |line: &str| {
        let cells: Vec<_> = line.trim().trim_matches('|').split('|').map(|cell| cell.trim().replace('`', "")).collect();
        let [status, code, text] = cells.as_slice() else { return None };
        Some((status.parse().ok()?, code.clone(), text.clone()))
    };
    Some(table.lines().filter_map(row).collect())
}

#[test]
fn the_reference_lists_every_failure_that_a_visitor_can_see() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/reference.md");
    let written = fs::read_to_string(&path).ok().and_then(|reference| written(&reference)).unwrap_or_default();
    assert!(!written.is_empty(), "no table between <!-- failures --> and <!-- /failures --> in docs/reference.md");
    let missing: Vec<_> = kept().difference(&written).map(shown).collect();
    let outdated: Vec<_> = written.difference(&kept()).map(shown).collect();
    assert!(missing.is_empty() && outdated.is_empty(), "missing: {missing:#?}\noutdated: {outdated:#?}");
}

fn shown((status, code, text): &Row) -> String {
    format!("| {status} | `{code}` | {text} |")
}

#[test]
fn only_rows_between_the_markers_count() {
    let reference = "| 1 | a | b |\n<!-- failures -->\n| status | code | text |\n|---|---|---|\n| 502 | `no-client` | nobody |\n<!-- /failures -->\n| 2 | c | d |";
    assert_eq!(written(reference), Some(BTreeSet::from([(502, "no-client".to_owned(), "nobody".to_owned())])));
    assert_eq!(written("nothing"), None);
}
