//! `[admin]`: where operators connect, and what they are asked.

use std::path::{Path, PathBuf};

use adit_node::{
    credentials::{self, KeyMode},
    settings::{
        AdminEntry,
        resolve::{At, ResolveError},
    },
};

use super::{file::AdminEntry as AdminFile, tunnel};

/// Returns the files that the section names.
pub(super) fn files(entry: &AdminFile) -> impl Iterator<Item = &PathBuf> {
    let AdminFile { listen: _, token_file, cert, key } = entry;
    [token_file, cert, key].into_iter().flatten()
}

/// Resolves the section.
pub(super) fn admin(at: &At, base: &Path, key_mode: KeyMode, entry: AdminFile) -> Result<AdminEntry, ResolveError> {
    let AdminFile { listen, token_file, cert, key } = entry;
    let credentials = match (&cert, &key) {
        (Some(cert), Some(key)) => Some(tunnel::credentials(at, base, key_mode, cert, key)?),
        (Some(_), None) => return Err(at.key("key").error("missing, and there is a cert")),
        (None, Some(_)) => return Err(at.key("cert").error("missing, and there is a key")),
        (None, None) => None,
    };
    let token = token_file.map(|path| {
        let (at, path) = (at.key("token_file"), base.join(path));
        if !path.exists() {
            // Whatever else is said of a file has its name in it, and this may be no name.
            return Err(at.error("there is no file of that name; a token stands in a file, and not here"));
        }
        at.check(credentials::admin_token_from_file(&path, key_mode))
    });
    at.key("listen").check(AdminEntry::new(listen, token.transpose()?, credentials))
}
