//! Files that are replaced as a whole.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

/// Replaces a file, or makes it. An old one's mode does not survive, and a reader never sees half of it.
///
/// # Errors
///
/// When it cannot be written; then the old one stays.
pub fn replace(path: &Path, text: &str, mode: u32) -> io::Result<()> {
    let new = path.with_extension("new");
    // Left behind by a run that was killed.
    let _ = fs::remove_file(&new);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&new)?;
    file.write_all(text.as_bytes())?;
    fs::rename(&new, path)
}
