//! Who a visitor is, when a proxy in front of the entry says so at the start of its connection.

use std::{io, net::SocketAddr};

use adit_core::http::proxy_protocol::{self, HEADER_BYTES_MAX};
use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt};

/// Whom a connection comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Source {
    /// The visitor's address, or the proxy's where that does not say.
    pub address: SocketAddr,
    /// Whether the address is that of whoever speaks HTTP: not where the proxy passes on a visitor and does not say
    /// whom, whose word is not the proxy's.
    pub is_known: bool,
}

/// Reads the PROXY header that a connection of `proxy` begins with. Returns who connected to the proxy, and what was
/// read of what follows.
///
/// # Errors
///
/// When the connection does not begin with one, or ends before.
pub async fn read(io: &mut (impl AsyncRead + Unpin), proxy: SocketAddr) -> io::Result<(Source, BytesMut)> {
    let mut read = BytesMut::with_capacity(HEADER_BYTES_MAX);
    loop {
        // A header over the limit is an error long before this is full.
        if io.read_buf(&mut read).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if let Some(header) = proxy_protocol::parse(&read).map_err(io::Error::other)? {
            read.advance(header.length);
            let source = Source {
                address: header.source.unwrap_or(proxy),
                is_known: header.source.is_some() || header.is_local,
            };
            return Ok((source, read));
        }
    }
}
