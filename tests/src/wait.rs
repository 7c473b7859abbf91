//! Waits that end. Nothing here makes a test wait longer than what it waits for takes.

use std::time::Duration;

use tokio::time::{sleep, timeout};

/// Longer than anything takes on a busy machine: only a test that fails waits for it.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// How often [`eventually`] looks.
pub const LOOK_EVERY: Duration = Duration::from_millis(2);

/// Waits for a future.
///
/// # Panics
///
/// When it takes longer than [`PATIENCE`].
pub async fn within<F: Future>(what: &str, future: F) -> F::Output {
    match timeout(PATIENCE, future).await {
        Ok(output) => output,
        Err(_) => panic!("waited {PATIENCE:?} for {what}"),
    }
}

/// Waits until a condition holds that nothing can be awaited for.
///
/// # Panics
///
/// When it does not hold within [`PATIENCE`].
pub async fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    within(what, async {
        while !condition() {
            sleep(LOOK_EVERY).await;
        }
    })
    .await;
}
