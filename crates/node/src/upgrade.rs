//! After a switch of protocols: raw bytes between a connection and a stream, each way up to its own end.

use std::{
    io,
    pin::{Pin, pin},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use socket2::SockRef;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf, copy_bidirectional},
    net::TcpStream,
    task::JoinSet,
    time::sleep,
};

use tokio_util::sync::CancellationToken;

use crate::{
    stream::{RecvStream, SendStream, StreamError},
    unread::{Held, Unread, Who},
};

/// Both halves of a stream that carries raw bytes: each ends on its own.
///
/// Reading ends with the peer's half; [`AsyncWrite::poll_shutdown`] finishes ours. Dropped before both have ended,
/// it resets what is left.
#[derive(Debug)]
pub struct Raw {
    send: SendStream,
    recv: Held,
    /// Cancelled when its reader was stopped.
    too_slow: CancellationToken,
}

impl Raw {
    /// Takes over a stream of which nothing but the heads have gone.
    pub fn new(send: SendStream, recv: RecvStream) -> Self {
        Self { send, recv: Held::Own(recv), too_slow: CancellationToken::new() }
    }

    /// Has its reader stopped when it is too slow.
    #[must_use]
    pub fn watched(mut self, unread: &Unread, who: Who) -> Self {
        let stopped = || Some(Box::new(self.too_slow.clone().drop_guard()) as _);
        self.recv = self.recv.watched(unread, who, None, stopped);
        self
    }
}

impl AsyncRead for Raw {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match ready!(self.recv.poll_some(cx, buf.remaining())).map_err(io::Error::other)? {
            Some(data) => buf.put_slice(&data),
            None => self.recv.ended(),
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Raw {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.send.poll_write(cx, buf).map_err(io::Error::other)
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.send.end();
        Poll::Ready(Ok(()))
    }
}

/// Waits for a connection to be switched, and goes on with it as raw bytes, until nothing moves for `idle_timeout`.
pub async fn splice_upgraded(connection: OnUpgrade, stream: Raw, idle_timeout: Duration) {
    match connection.await {
        Ok(upgraded) => tell(splice_until_idle(TokioIo::new(upgraded), stream, idle_timeout).await),
        Err(error) => tracing::debug!(%error, "the connection was gone before it was switched"),
    }
}

/// Goes on with a connection as raw bytes, until nothing moves for `idle_timeout`. Where the other side breaks, or this is
/// dropped early, it is reset: an end would look like all there is.
pub async fn splice_tcp(mut connection: TcpStream, stream: Raw, idle_timeout: Duration) {
    // These fail only on a socket that is gone.
    let _ = SockRef::from(&connection).set_linger(Some(Duration::ZERO));
    let spliced = splice_until_idle(&mut connection, stream, idle_timeout).await;
    if spliced.is_ok() {
        let _ = SockRef::from(&connection).set_linger(None);
    }
    tell(spliced);
}

/// Copies both ways until both have ended, with nothing held but one buffer each. Returns how many bytes went to the
/// stream, and how many came.
///
/// One way may end long before the other. When either side breaks, the other is cut: a reset is not an end.
async fn splice(
    connection: &mut (impl AsyncRead + AsyncWrite + Unpin),
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
) -> io::Result<(u64, u64)> {
    copy_bidirectional(connection, &mut stream).await
}

/// [`splice`], until the reader of the stream is stopped or nothing has moved for `idle_timeout`: at the latest after
/// twice as long.
async fn splice_until_idle(
    connection: impl AsyncRead + AsyncWrite + Unpin,
    stream: Raw,
    idle_timeout: Duration,
) -> io::Result<(u64, u64)> {
    let too_slow = stream.too_slow.clone();
    let read = Arc::<AtomicU64>::default();
    let mut connection = Noted { inner: connection, read: Arc::clone(&read) };
    let mut splicing = pin!(splice(&mut connection, Noted { inner: stream, read: Arc::clone(&read) }));
    let mut seen = 0;
    loop {
        tokio::select! {
            biased;
            spliced = &mut splicing => return spliced,
            () = too_slow.cancelled() => return Err(io::Error::other(StreamError::TooSlow)),
            () = sleep(idle_timeout) => {}
        }
        let moved = read.load(Ordering::Relaxed);
        if moved == seen {
            return Err(io::ErrorKind::TimedOut.into());
        }
        seen = moved;
    }
}

fn tell(spliced: io::Result<(u64, u64)>) {
    match spliced {
        Ok((sent, received)) => tracing::debug!(sent, received, "switched connection ended"),
        Err(error) => tracing::debug!(%error, "switched connection broke"),
    }
}

/// A side of a connection whose reads are counted.
struct Noted<T> {
    inner: T,
    read: Arc<AtomicU64>,
}

impl<T: AsyncRead + Unpin> AsyncRead for Noted<T> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.inner).poll_read(cx, buf))?;
        self.read.fetch_add(1, Ordering::Relaxed);
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Noted<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
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
    /// Goes on with a connection as raw bytes, and cuts it when nothing moves for `idle_timeout`. `kept` lives as long
    /// as it does.
    pub fn start<T: Send + 'static>(&self, connection: OnUpgrade, stream: Raw, kept: T, idle_timeout: Duration) {
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        while tasks.try_join_next().is_some() {}
        tasks.spawn(async move {
            splice_upgraded(connection, stream, idle_timeout).await;
            drop(kept);
        });
    }

    /// Waits until all of them have ended. Those that start later are not waited for. Dropped early, it cuts them.
    pub async fn ended(&self) {
        let mut tasks = std::mem::take(&mut *self.tasks.lock().unwrap_or_else(PoisonError::into_inner));
        while tasks.join_next().await.is_some() {}
    }
}
