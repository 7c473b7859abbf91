//! A connection whose end is not a reset: what the other end has sent meanwhile is read, and thrown away.
//!
//! A socket that is closed while the visitor sends is reset, and with the reset the visitor may lose what was said
//! before: over HTTP/2 the GOAWAY that tells it which requests were not taken and may be sent elsewhere.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Sleep, sleep},
};

/// How long the other end has to close as well.
const LINGER: Duration = Duration::from_secs(1);

/// How much is thrown away at once.
const SCRATCH_BYTES: usize = 4096;

/// Passes everything on. Its shutdown ends once the other end has closed, or after a second.
#[derive(Debug)]
pub struct Lingering<T> {
    inner: T,
    /// Runs from our end on.
    overdue: Option<Pin<Box<Sleep>>>,
}

impl<T> Lingering<T> {
    /// Takes a connection.
    pub fn new(inner: T) -> Self {
        Self { inner, overdue: None }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Lingering<T> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, buf)
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Lingering<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self { inner, overdue } = &mut *self;
        if overdue.is_none() {
            ready!(Pin::new(&mut *inner).poll_shutdown(cx))?;
        }
        let overdue = overdue.get_or_insert_with(|| Box::pin(sleep(LINGER)));
        let mut scratch = [0; SCRATCH_BYTES];
        while overdue.as_mut().poll(cx).is_pending() {
            let mut rest = ReadBuf::new(&mut scratch);
            match ready!(Pin::new(&mut *inner).poll_read(cx, &mut rest)) {
                Ok(()) if !rest.filled().is_empty() => {}
                // It has closed, or is gone.
                Ok(()) | Err(_) => break,
            }
        }
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt, duplex},
        time::{Instant, timeout},
    };

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_other_end_may_go_on_until_it_closes() {
        let (ours, mut theirs) = duplex(64);
        let mut ours = Lingering::new(ours);
        ours.write_all(b"goodbye").await.unwrap();
        let shutdown = ours.shutdown();
        tokio::pin!(shutdown);
        assert!(timeout(LINGER / 2, &mut shutdown).await.is_err());
        let mut said = Vec::new();
        theirs.read_to_end(&mut said).await.unwrap();
        let talk = async {
            theirs.write_all(&[0; 10 * SCRATCH_BYTES]).await.unwrap();
            drop(theirs);
        };
        let (ended, ()) = tokio::join!(shutdown, talk);
        ended.unwrap();
        assert_eq!(said, b"goodbye");
    }

    #[tokio::test(start_paused = true)]
    async fn who_never_closes_is_not_waited_for() {
        let (ours, _theirs) = duplex(64);
        let start = Instant::now();
        Lingering::new(ours).shutdown().await.unwrap();
        assert!(start.elapsed() >= LINGER, "{:?}", start.elapsed());
    }
}
