//! The backend: the same 64 bytes for every request.

use std::{convert::Infallible, net::SocketAddr};

use bytes::Bytes;
use http::Response;
use http_body_util::Full;
use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpListener, task::JoinSet};

const BODY: &[u8; 64] = b"0123456789012345678901234567890123456789012345678901234567890123";

/// Serves for as long as the process lives, on a thread of its own.
pub(crate) async fn start() -> anyhow::Result<SocketAddr> {
    let (tell, told) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || -> anyhow::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let tcp = TcpListener::bind("127.0.0.1:0").await?;
            // Nobody waits for it when the benchmark has ended already.
            let _ = tell.send(tcp.local_addr()?);
            let mut connections = JoinSet::new();
            loop {
                let (tcp, _) = tcp.accept().await?;
                tcp.set_nodelay(true)?;
                let answer =
                    service_fn(async |_| Ok::<_, Infallible>(Response::new(Full::new(Bytes::from_static(BODY)))));
                connections.spawn(http1::Builder::new().serve_connection(TokioIo::new(tcp), answer));
            }
        })
    });
    Ok(told.await?)
}
