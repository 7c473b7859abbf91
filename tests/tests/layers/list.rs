//! The numbered list of layers in the documentation of a crate.

/// The modules of a crate, lowest first.
#[derive(Debug)]
pub(crate) struct Layers(Vec<String>);

impl Layers {
    /// Reads lines like ``//! 1. [`name`] what it is for``.
    pub(crate) fn of(lib: &str) -> Self {
        let mut names = Vec::new();
        for line in lib.lines().filter_map(|line| line.strip_prefix("//! ")) {
            let Some((number, rest)) = line.split_once(". [`") else { continue };
            let (Ok(number), Some((name, _))) = (number.trim().parse::<usize>(), rest.split_once("`]")) else {
                continue;
            };
            names.push(name.to_owned());
            assert_eq!(number, names.len(), "the number of {name}");
        }
        Self(names)
    }

    /// Returns the names, lowest first.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }

    /// Returns whether `used` stands below `user`, so that it must not be used there. What is no layer at all is
    /// an item of the crate's root, which re-exports from the lowest on.
    pub(crate) fn is_below(&self, used: &str, user: &str) -> bool {
        let place = |name: &str| self.0.iter().position(|layer| layer == name);
        match (place(used), place(user)) {
            (Some(used), Some(user)) => used > user,
            (Some(_) | None, None) | (None, Some(_)) => used == "*",
        }
    }
}

/// Returns the modules that a `lib.rs` declares.
pub(crate) fn declared(lib: &str) -> Vec<String> {
    let declaration = |line: &str| {
        let line = line.trim().strip_suffix(';')?;
        let name = line.strip_prefix("mod ").or_else(|| line.split_once(" mod ").map(|(_, name)| name))?;
        Some(name.to_owned())
    };
    lib.lines().filter(|line| !line.trim_start().starts_with("//")).filter_map(declaration).collect()
}

#[test]
fn the_list_is_read_in_its_order() {
    let lib = "//! 1. not a layer\n//!\n//! 1. [`low`] is used\n//! 2. [`high`] uses\n\npub mod low;\nmod high;\npub(crate) mod new;\n// mod old;\n";
    let layers = Layers::of(lib);
    assert_eq!(layers.names().collect::<Vec<_>>(), ["low", "high"]);
    assert!(layers.is_below("high", "low"));
    assert!(!layers.is_below("low", "high") && !layers.is_below("low", "low"));
    assert!(!layers.is_below("Reexported", "low") && layers.is_below("*", "low"));
    assert_eq!(declared(lib), ["low", "high", "new"]);
}
