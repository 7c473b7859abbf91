//! Which certificates end when, and who says so in time.

use std::{
    collections::HashMap,
    convert::Infallible,
    sync::Arc,
    time::{Duration, SystemTime},
};

use adit_core::expiry::{is_due, stage};
use arc_swap::ArcSwap;
use tokio::{
    sync::Notify,
    time::{Instant, sleep},
};

/// How often to look at the clock.
const LOOK_EVERY: Duration = Duration::from_secs(60 * 60);

/// A file with certificates or revocation lists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dated {
    /// Its path, as it is shown.
    pub file: String,
    /// When the first of what is in it ends.
    pub end: SystemTime,
}

/// The certificates that a node has been told to use.
#[derive(Debug, Default)]
pub struct Expiries {
    files: ArcSwap<Vec<Dated>>,
    changed: Notify,
}

impl Expiries {
    /// Looks at these from now on.
    pub fn replace(&self, files: Vec<Dated>) {
        self.files.store(Arc::new(files));
        self.changed.notify_one();
    }

    /// Returns all of them.
    pub fn all(&self) -> Arc<Vec<Dated>> {
        self.files.load_full()
    }

    /// Logs once a day what ends within 30 days, and at once when 7 days or one are left, as long as it is polled.
    pub async fn watch(&self) -> Infallible {
        let mut said = HashMap::new();
        loop {
            let files = self.all();
            // A renewed certificate begins anew.
            said.retain(|(file, end), _| files.iter().any(|dated| dated.file == *file && dated.end == *end));
            for Dated { file, end } in files.iter() {
                let left = end.duration_since(SystemTime::now()).unwrap_or(Duration::ZERO);
                let Some(stage) = stage(left) else { continue };
                let key = (file.clone(), *end);
                let before = said.get(&key).map(|(stage, at): &(_, Instant)| (*stage, at.elapsed()));
                if is_due(stage, before) {
                    let days = left.as_secs() / (24 * 60 * 60);
                    match left.is_zero() {
                        true => tracing::error!(file, "a certificate or revocation list has ended"),
                        false => tracing::warn!(file, days, "a certificate or revocation list ends soon"),
                    }
                    said.insert(key, (stage, Instant::now()));
                }
            }
            tokio::select! {
                () = sleep(LOOK_EVERY) => {}
                () = self.changed.notified() => {}
            }
        }
    }
}
