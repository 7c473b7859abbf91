//! When to read the configuration again: at SIGHUP, and when it or a file that it names has changed.

use std::{
    collections::{HashMap, HashSet},
    fs,
    hash::{DefaultHasher, Hash, Hasher},
    path::{Path, PathBuf},
    time::Duration,
};

use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::mpsc,
    time::sleep,
};

/// How long a change has to settle: editors write, rename and touch in one go.
const SETTLE: Duration = Duration::from_millis(200);

/// Calls `reload` for ever: at every SIGHUP, and when `path` or one of the files that it names has changed.
///
/// `reload` returns the files that are named from then on, or `None` when it could not use what it read. Folders are
/// watched and not files, so that editors that rename and deployments that swap links are noticed; what was read last
/// tells a change from a touch. Where a folder cannot be watched, SIGHUP works.
pub async fn follow(path: &Path, files: Vec<PathBuf>, mut reload: impl FnMut() -> Option<Vec<PathBuf>>) {
    let (tell, mut changes) = mpsc::channel(1);
    // Stops watching when dropped.
    let mut watched = Watched::new(tell, path, files);
    let mut hangup = match signal(SignalKind::hangup()) {
        Ok(hangup) => hangup,
        Err(error) => {
            tracing::warn!(%error, "SIGHUP does not reload the configuration");
            return std::future::pending().await;
        }
    };
    loop {
        let told = tokio::select! {
            told = hangup.recv() => told.is_some(),
            Some(()) = changes.recv() => false,
            else => return std::future::pending().await,
        };
        if !told {
            sleep(SETTLE).await;
            while changes.try_recv().is_ok() {}
        }
        // Asked in any case: it takes note of what it saw.
        let changed = watched.changed();
        if (told || changed)
            && let Some(files) = reload()
        {
            watched.files(path, files);
        }
    }
}

/// A configuration, the files that it names, and what stood in them when they were looked at last.
struct Watched {
    /// Gone where the system has none to give.
    watcher: Option<RecommendedWatcher>,
    folders: HashSet<PathBuf>,
    files: Vec<(PathBuf, Option<u64>)>,
}

impl Watched {
    fn new(tell: mpsc::Sender<()>, path: &Path, files: Vec<PathBuf>) -> Self {
        let told = move |event: notify::Result<notify::Event>| {
            // Reading the file is an event too. One change in the queue stands for all that come before it is seen.
            if event.is_ok_and(|event| !event.kind.is_access()) {
                let _ = tell.try_send(());
            }
        };
        let watcher = notify::recommended_watcher(told).inspect_err(|error| unwatched(path, error)).ok();
        let mut watched = Self { watcher, folders: HashSet::new(), files: Vec::new() };
        watched.files(path, files);
        watched
    }

    /// Watches the configuration and these files, and whatever was watched before no longer.
    fn files(&mut self, path: &Path, named: Vec<PathBuf>) {
        let files: Vec<PathBuf> = std::iter::once(path.to_owned()).chain(named).collect();
        let folders: HashSet<PathBuf> = files.iter().map(|file| folder(file)).collect();
        if let Some(watcher) = &mut self.watcher {
            for gone in self.folders.difference(&folders) {
                // It may not even be there any more.
                let _ = watcher.unwatch(gone);
            }
            for new in folders.difference(&self.folders) {
                let _ = watcher.watch(new, RecursiveMode::NonRecursive).inspect_err(|error| unwatched(new, error));
            }
        }
        self.folders = folders;
        // What was looked at before it was read again is not looked at now: it may have changed since.
        let mut known: HashMap<PathBuf, Option<u64>> = self.files.drain(..).collect();
        let seen = |file: PathBuf| (known.remove(&file).unwrap_or_else(|| contents(&file)), file);
        self.files = files.into_iter().map(seen).map(|(seen, file)| (file, seen)).collect();
    }

    /// Looks whether something else stands in one of the files now. One that is missing is on its way.
    fn changed(&mut self) -> bool {
        let mut changed = false;
        for (file, last) in &mut self.files {
            let seen = contents(file);
            if seen.is_some() && seen != *last {
                (*last, changed) = (seen, true);
            }
        }
        changed
    }
}

fn unwatched(path: &Path, error: &notify::Error) {
    tracing::warn!(path = %path.display(), %error, "changes are not noticed; SIGHUP reloads the configuration");
}

/// What stands in a file, as a number: keys are not kept.
fn contents(path: &Path) -> Option<u64> {
    let mut hasher = DefaultHasher::new();
    fs::read(path).ok()?.hash(&mut hasher);
    Some(hasher.finish())
}

fn folder(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if parent != Path::new("") => parent.to_owned(),
        Some(_) | None => PathBuf::from("."),
    }
}

#[cfg(test)]
mod tests {
    use tokio::{sync::mpsc::unbounded_channel, time::timeout};

    use super::*;

    /// Follows a configuration that names `files`, and returns what tells of every reload.
    fn followed(path: PathBuf, files: Vec<PathBuf>) -> (mpsc::UnboundedReceiver<()>, impl Future<Output = ()>) {
        let (tell, told) = unbounded_channel();
        let again = move || {
            let _ = tell.send(());
            Some(files.clone())
        };
        (told, async move { follow(&path, Vec::new(), again).await })
    }

    async fn reloaded(told: &mut mpsc::UnboundedReceiver<()>) {
        timeout(Duration::from_secs(20), told.recv()).await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn a_changed_certificate_reloads_the_configuration_that_names_it() {
        let (config, certs) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (path, cert) = (config.path().join("server.toml"), certs.path().join("server.pem"));
        fs::write(&path, "old").unwrap();
        fs::write(&cert, "old").unwrap();
        let (mut told, follow) = followed(path.clone(), vec![cert.clone()]);
        let test = async {
            // Until it is watched, a change is not noticed.
            for round in 0.. {
                fs::write(&path, format!("new {round}")).unwrap();
                if timeout(Duration::from_millis(500), told.recv()).await.is_ok() {
                    break;
                }
            }
            fs::write(certs.path().join("renewed"), "new").unwrap();
            fs::rename(certs.path().join("renewed"), &cert).unwrap();
            reloaded(&mut told).await;
            fs::remove_file(&cert).unwrap();
            fs::write(&cert, "newer").unwrap();
            reloaded(&mut told).await;
        };
        tokio::select! {
            () = follow => {}
            () = test => {}
        }
    }

    #[tokio::test]
    async fn a_touch_is_no_change() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("server.toml");
        fs::write(&path, "same").unwrap();
        let mut watched = Watched::new(mpsc::channel(1).0, &path, Vec::new());
        fs::write(&path, "same").unwrap();
        assert!(!watched.changed());
        fs::write(&path, "other").unwrap();
        assert!(watched.changed());
        assert!(!watched.changed());
    }
}
