//! Replays what fuzzing has kept: inputs that reach far, and those that once broke a property.

#![expect(clippy::unwrap_used, reason = "a replay without its files is a failed test")]

use std::{
    collections::BTreeSet,
    fs,
    panic::catch_unwind,
    path::{Path, PathBuf},
};

use adit_properties::{Property, TARGETS};

fn fuzz() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz")
}

/// Returns the paths in a folder, sorted; none where there is no such folder.
fn entries(folder: &Path) -> BTreeSet<PathBuf> {
    fs::read_dir(folder).into_iter().flatten().map(|entry| entry.unwrap().path()).collect()
}

/// Replays every file below `tests/fuzz/<kept>/<target>`, and returns how many there are.
fn replay(kept: &str, target: &str, property: Property) -> usize {
    let files = entries(&fuzz().join(kept).join(target));
    for file in &files {
        let bytes = fs::read(file).unwrap();
        assert!(catch_unwind(|| property(&bytes)).is_ok(), "{} breaks its property", file.display());
    }
    files.len()
}

#[test]
fn the_corpus_of_every_target_keeps_its_property() {
    for (target, property) in TARGETS {
        let replayed = replay("corpus", target, *property);
        assert!(replayed > 0, "{target} has no corpus");
    }
}

#[test]
fn nothing_breaks_a_property_again_that_once_did() {
    let replayed: usize = TARGETS.iter().map(|(target, property)| replay("past", target, *property)).sum();
    assert!(replayed > 0, "nothing ever broke");
}

#[test]
fn every_target_is_a_program_and_every_folder_is_of_a_target() {
    let names = |folder: &str| -> BTreeSet<String> {
        entries(&fuzz().join(folder)).iter().map(|path| path.file_stem().unwrap().to_string_lossy().into()).collect()
    };
    let targets: BTreeSet<_> = TARGETS.iter().map(|(target, _)| (*target).to_owned()).collect();
    assert_eq!(names("targets"), targets);
    assert_eq!(names("corpus"), targets);
    assert!(names("past").is_subset(&targets));
    let manifest = fs::read_to_string(fuzz().join("Cargo.toml")).unwrap();
    for target in &targets {
        assert!(manifest.contains(&format!("path = \"targets/{target}.rs\"")), "{target} is not built");
    }
}
