//! After a switch of protocols: raw bytes between a connection and a stream, each way up to its own end.

use std::sync::{Mutex, PoisonError};

use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::{io::copy_bidirectional, task::JoinSet};

use crate::stream::Raw;

/// Copies both ways until both have ended, with nothing held but one buffer each.
///
/// One way may end long before the other. When either side breaks, the other is cut: a reset is not an end.
pub async fn splice(connection: OnUpgrade, mut stream: Raw) {
    let upgraded = match connection.await {
        Ok(upgraded) => upgraded,
        Err(error) => {
            tracing::debug!(%error, "the connection was gone before it was switched");
            return;
        }
    };
    let copied = copy_bidirectional(&mut TokioIo::new(upgraded), &mut stream).await;
    match copied {
        Ok((sent, received)) => tracing::debug!(sent, received, "switched connection ended"),
        Err(error) => tracing::debug!(%error, "switched connection broke"),
    }
}

/// The tasks of switched connections at an entry: hyper is done with these, and they still go on.
///
/// Dropping it cuts them.
#[derive(Debug, Default)]
pub struct Switched {
    tasks: Mutex<JoinSet<()>>,
}

impl Switched {
    /// Goes on with a connection as raw bytes. `kept` lives as long as it does.
    pub fn start<T: Send + 'static>(&self, connection: OnUpgrade, stream: Raw, kept: T) {
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        while tasks.try_join_next().is_some() {}
        tasks.spawn(async move {
            splice(connection, stream).await;
            drop(kept);
        });
    }

    /// Waits until all of them have ended. Those that start later are not waited for. Dropped early, it cuts them.
    pub async fn ended(&self) {
        let mut tasks = std::mem::take(&mut *self.tasks.lock().unwrap_or_else(PoisonError::into_inner));
        while tasks.join_next().await.is_some() {}
    }
}
