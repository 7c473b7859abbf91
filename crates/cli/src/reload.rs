//! When to read the configuration again: at SIGHUP, and when the file has changed.

use std::{
    fs,
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

/// Calls `reload` for ever, at every SIGHUP and every change of `path`.
///
/// The folder is watched and not the file, so that editors that rename and deployments that swap links are
/// noticed; what was read last tells a change from a touch. Where the folder cannot be watched, SIGHUP works.
pub async fn follow(path: &Path, mut reload: impl FnMut()) {
    let (tell, mut changes) = mpsc::channel(1);
    // Stops watching when dropped.
    let _watcher = watch(path, tell).inspect_err(|error| {
        tracing::warn!(path = %path.display(), %error, "changes of the configuration are not noticed; SIGHUP reloads it");
    });
    let mut hangup = match signal(SignalKind::hangup()) {
        Ok(hangup) => hangup,
        Err(error) => {
            tracing::warn!(%error, "SIGHUP does not reload the configuration");
            return std::future::pending().await;
        }
    };
    let mut last = fs::read(path).ok();
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
        let text = fs::read(path).ok();
        if told || text.is_some() && text != last {
            last = text;
            reload();
        }
    }
}

fn watch(path: &Path, tell: mpsc::Sender<()>) -> notify::Result<RecommendedWatcher> {
    let told = move |event: notify::Result<notify::Event>| {
        // Reading the file is an event too. One change in the queue stands for all that come before it is seen.
        if event.is_ok_and(|event| !event.kind.is_access()) {
            let _ = tell.try_send(());
        }
    };
    let mut watcher = notify::recommended_watcher(told)?;
    watcher.watch(&folder(path), RecursiveMode::NonRecursive)?;
    Ok(watcher)
}

fn folder(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if parent != Path::new("") => parent.to_owned(),
        Some(_) | None => PathBuf::from("."),
    }
}
