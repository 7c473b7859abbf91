//! A file uses only what stands above it in the numbered list of its crate's `lib.rs`.

mod list;
mod paths;

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use list::{Layers, declared};
use paths::modules_used;

const CRATES: [&str; 4] = ["core", "congestion", "node", "cli"];

/// What decides does no I/O, has no clock and draws no random numbers.
const FORBIDDEN_IN_CORE: [&str; 5] = ["tokio", "quinn", "hyper", "rustls", "fastrand"];

/// Who may look at the clock on the wall: to show, to send and to compare, and never to wait by it, for it may jump.
const READS_THE_WALL_CLOCK: [&str; 6] = [
    "cli/src/token.rs",
    "node/src/expiry.rs",
    "node/src/ingress/service.rs",
    "node/src/link/mod.rs",
    "node/src/link/roam.rs",
    "node/src/node/client.rs",
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates")
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| unreachable!("{}: {error}", path.display()))
}

/// Returns all Rust files below `dir`.
fn files(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).unwrap_or_else(|error| unreachable!("{}: {error}", dir.display()));
    let mut files = Vec::new();
    for entry in entries.flatten() {
        let path = entry.path();
        if path.is_dir() {
            files.extend(self::files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files
}

/// Returns the top module that a file belongs to, and how many modules it is below the root of its crate.
/// `lib.rs` and `main.rs` belong to none.
fn place(file: &Path, src: &Path) -> Option<(String, usize)> {
    let below = file.strip_prefix(src).ok()?.with_extension("");
    let mut parts: Vec<_> = below.iter().map(|part| part.to_string_lossy().into_owned()).collect();
    parts.pop_if(|last| last == "mod");
    let top = parts.first().filter(|top| !["lib", "main"].contains(&top.as_str()))?;
    Some((top.clone(), parts.len()))
}

#[test]
fn no_file_uses_what_stands_below_it() {
    let mut wrong = BTreeSet::new();
    for name in CRATES {
        let src = root().join(name).join("src");
        let layers = Layers::of(&read(&src.join("lib.rs")));
        let mut found = 0;
        for file in files(&src) {
            let Some((module, depth)) = place(&file, &src) else { continue };
            found += 1;
            let used = modules_used(&read(&file), depth);
            let file = file.strip_prefix(&src).unwrap_or(&file).display();
            let below = used.iter().filter(|used| layers.is_below(used, &module));
            wrong.extend(below.map(|used| format!("{name}: {file} uses {used}")));
        }
        assert!(found > 0, "no files in {name}");
    }
    assert_eq!(wrong, BTreeSet::new(), "what stands below in lib.rs is used");
}

#[test]
fn every_module_is_in_the_list_and_nothing_else() {
    for name in CRATES {
        let lib = read(&root().join(name).join("src/lib.rs"));
        let (layers, declared) = (Layers::of(&lib), declared(&lib));
        assert!(!declared.is_empty(), "no modules in {name}");
        let listed: BTreeSet<_> = layers.names().collect();
        assert_eq!(listed, declared.iter().map(String::as_str).collect(), "the list of {name} and its modules");
    }
}

#[test]
fn every_file_belongs_to_a_module_of_the_list() {
    for name in CRATES {
        let src = root().join(name).join("src");
        let layers = Layers::of(&read(&src.join("lib.rs")));
        for file in files(&src) {
            if let Some((module, _)) = place(&file, &src) {
                assert!(layers.names().any(|listed| listed == module), "{} is in no layer", file.display());
            }
        }
    }
}

#[test]
fn core_depends_on_nothing_that_acts() {
    let manifest: toml_edit::DocumentMut =
        read(&root().join("core/Cargo.toml")).parse().unwrap_or_else(|error| unreachable!("core/Cargo.toml: {error}"));
    let dependencies = manifest["dependencies"].as_table().map(|table| table.iter()).into_iter().flatten();
    let names: Vec<_> = dependencies.map(|(name, _)| name.to_owned()).collect();
    assert!(!names.is_empty(), "no dependencies in core/Cargo.toml");
    let forbidden =
        |name: &&String| FORBIDDEN_IN_CORE.iter().any(|forbidden| name.split('-').any(|part| part == *forbidden));
    assert_eq!(names.iter().filter(forbidden).collect::<Vec<_>>(), Vec::<&String>::new());
}

#[test]
fn waits_do_not_follow_the_clock_on_the_wall() {
    let mut readers = BTreeSet::new();
    for name in CRATES {
        for file in files(&root().join(name).join("src")) {
            if read(&file).contains("SystemTime::now") {
                readers.insert(file.strip_prefix(root()).unwrap_or(&file).display().to_string());
            }
        }
    }
    let expected: BTreeSet<String> = READS_THE_WALL_CLOCK.map(str::to_owned).into();
    assert_eq!(readers, expected, "the files that read SystemTime, and those that have a reason to");
}
