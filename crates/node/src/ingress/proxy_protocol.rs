//! Who a visitor is, when a proxy in front of the entry says so at the start of its connection.

use std::{io, net::SocketAddr};

use adit_core::http::proxy_protocol::{self, HEADER_BYTES_MAX};
use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt};

/// Reads the PROXY header that a connection of `proxy` begins with. Returns who connected to the proxy, or the proxy
/// itself where it speaks for itself; and what was read of what follows.
///
/// # Errors
///
/// When the connection does not begin with one, or ends before.
pub async fn read(io: &mut (impl AsyncRead + Unpin), proxy: SocketAddr) -> io::Result<(SocketAddr, BytesMut)> {
    let mut read = BytesMut::with_capacity(HEADER_BYTES_MAX);
    loop {
        // A header over the limit is an error long before this is full.
        if io.read_buf(&mut read).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if let Some(header) = proxy_protocol::parse(&read).map_err(io::Error::other)? {
            read.advance(header.length);
            return Ok((header.source.unwrap_or(proxy), read));
        }
    }
}
