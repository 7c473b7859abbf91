//! After a switch of protocols: raw bytes between a connection and a stream, each way up to its own end.

use std::sync::{Mutex, PoisonError};

use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite, copy_bidirectional},
    task::JoinSet,
};

use crate::stream::Raw;

/// Waits for a connection to be switched, and goes on with it as raw bytes.
pub async fn splice_upgraded(connection: OnUpgrade, stream: Raw) {
    match connection.await {
        Ok(upgraded) => splice(TokioIo::new(upgraded), stream).await,
        Err(error) => tracing::debug!(%error, "the connection was gone before it was switched"),
    }
}

/// Copies both ways until both have ended, with nothing held but one buffer each.
///
/// One way may end long before the other. When either side breaks, the other is cut: a reset is not an end.
pub async fn splice(mut connection: impl AsyncRead + AsyncWrite + Unpin, mut stream: Raw) {
    match copy_bidirectional(&mut connection, &mut stream).await {
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
            splice_upgraded(connection, stream).await;
            drop(kept);
        });
    }

    /// Waits until all of them have ended. Those that start later are not waited for. Dropped early, it cuts them.
    pub async fn ended(&self) {
        let mut tasks = std::mem::take(&mut *self.tasks.lock().unwrap_or_else(PoisonError::into_inner));
        while tasks.join_next().await.is_some() {}
    }
}
