//! The conformance matrix: every behaviour for every pair of HTTP versions, in both directions, and the document that
//! says so.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "what these tests set up has to be there")]

mod framing;
mod grpc;
mod heads;
mod streaming;
mod upgrades;

use std::{env, fs, path::Path};

use adit_tests::conformance::{Section, markdown};

/// Where the matrix stands in the document.
const MARKERS: (&str, &str) = ("<!-- matrix -->\n", "<!-- /matrix -->\n");

/// Set to write the document instead of comparing it.
const BLESS: &str = "ADIT_BLESS";

const SECTIONS: [Section; 5] = [framing::SECTION, streaming::SECTION, heads::SECTION, grpc::SECTION, upgrades::SECTION];

#[test]
fn the_document_shows_these_rows() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/conformance.md");
    let document = fs::read_to_string(&path).expect("docs/conformance.md");
    let (before, rest) = document.split_once(MARKERS.0).expect("where the matrix begins");
    let (written, after) = rest.split_once(MARKERS.1).expect("where the matrix ends");
    let matrix = markdown(&SECTIONS);
    if env::var_os(BLESS).is_some() {
        fs::write(&path, [before, MARKERS.0, &matrix, MARKERS.1, after].concat()).unwrap();
        return;
    }
    assert!(written == matrix, "docs/conformance.md is out of date: `just conformance` writes it");
}

#[test]
fn no_section_is_empty_and_no_row_is_there_twice() {
    let mut names = Vec::new();
    for section in SECTIONS {
        assert!(!section.rows.is_empty(), "{}", section.title);
        names.extend(section.rows.iter().map(|row| row.name));
    }
    let count = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), count);
}
