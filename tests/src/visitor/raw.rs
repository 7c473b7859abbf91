//! One end of a connection that sends bytes, whatever they are.

use std::{io::ErrorKind, net::SocketAddr};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::wait::within;

/// One TCP connection: of a visitor to an entry, or of a node to an upstream. Dropping it closes the connection.
#[derive(Debug)]
pub struct Raw {
    tcp: TcpStream,
    read: Vec<u8>,
}

impl Raw {
    /// Connects, and says nothing.
    pub async fn connect(entry: SocketAddr) -> Self {
        Self::new(within("a TCP connection", TcpStream::connect(entry)).await.expect("an entry that accepts"))
    }

    /// Takes a connection that is there, and says nothing.
    pub fn new(tcp: TcpStream) -> Self {
        tcp.set_nodelay(true).unwrap();
        Self { tcp, read: Vec::new() }
    }

    /// Sends bytes as they are. An entry that has read enough to refuse may have closed.
    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        // What came back tells.
        let _ = within("an entry that reads", self.tcp.write_all(bytes.as_ref())).await;
    }

    /// Reads up to and including `end`.
    ///
    /// # Panics
    ///
    /// When the connection is closed before.
    pub async fn until(&mut self, end: &str) -> String {
        loop {
            if let Some(at) = self.read.windows(end.len()).position(|bytes| bytes == end.as_bytes()) {
                let rest = self.read.split_off(at + end.len());
                return text(std::mem::replace(&mut self.read, rest));
            }
            let read = within("more of an answer", self.tcp.read_buf(&mut self.read)).await;
            let so_far = String::from_utf8_lossy(&self.read);
            assert!(read.is_ok_and(|read| read > 0), "the answer ended without {end:?}: {so_far:?}");
        }
    }

    /// Returns whether nothing has come that was not read yet.
    pub fn is_silent(&self) -> bool {
        self.read.is_empty() && self.tcp.try_read(&mut [0]).is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
    }

    /// Reads HTTP/2 frames, and returns whether a stream is refused, or the connection, before anything answers on it.
    pub async fn h2_refusal(mut self, stream: u32) -> bool {
        const HEADERS: u8 = 1;
        const RST_STREAM: u8 = 3;
        const GOAWAY: u8 = 7;
        loop {
            let mut head = [0; 9];
            if within("an HTTP/2 frame", self.tcp.read_exact(&mut head)).await.is_err() {
                return true;
            }
            let [a, b, c, kind, _, stream_id @ ..] = head;
            let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
            if within("the rest of a frame", self.tcp.read_exact(&mut payload)).await.is_err() {
                return true;
            }
            match (kind, u32::from_be_bytes(stream_id)) {
                (GOAWAY, _) => return true,
                (RST_STREAM, id) if id == stream => return true,
                (HEADERS, id) if id == stream => return false,
                _ => {}
            }
        }
    }

    /// Ends this side of the connection.
    pub async fn end(&mut self) {
        within("the connection to be ended", self.tcp.shutdown()).await.unwrap();
    }

    /// Reads until the entry closes the connection.
    pub async fn rest(mut self) -> String {
        // A reset ends an answer as well.
        let _ = within("the connection to be closed", self.tcp.read_to_end(&mut self.read)).await;
        text(self.read)
    }
}

/// Sends `request` and returns everything that comes back until the connection is closed.
///
/// A request that is not refused should say `Connection: close`.
pub async fn ask(entry: SocketAddr, request: impl AsRef<[u8]>) -> String {
    let mut visitor = Raw::connect(entry).await;
    visitor.send(request).await;
    visitor.rest().await
}

/// Encodes the beginning of an HTTP/2 connection with a request of these fields on stream 1, and no body behind it.
///
/// # Panics
///
/// When they do not fit into what takes one byte to say how long it is.
pub fn http2(fields: &[(&str, &str)]) -> Vec<u8> {
    const HEADERS: u8 = 1;
    const SETTINGS: u8 = 4;
    const END_STREAM_AND_HEADERS: u8 = 5;
    let byte = |length: usize| u8::try_from(length).expect("a short text");
    let frame = |kind, flags, stream, payload: &[u8]| {
        [&[0, 0, byte(payload.len()), kind, flags, 0, 0, 0, stream], payload].concat()
    };
    // Not compressed: RFC 7541 §6.2.2.
    let text = |text: &str| [&[byte(text.len())], text.as_bytes()].concat();
    let fields: Vec<_> = fields.iter().flat_map(|(name, value)| [vec![0], text(name), text(value)].concat()).collect();
    let settings = frame(SETTINGS, 0, 0, &[]);
    [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", &*settings, &frame(HEADERS, END_STREAM_AND_HEADERS, 1, &fields)].concat()
}

/// Returns status and `adit-error` of a response as it came over the wire.
pub fn failure(answer: &str) -> (u16, &str) {
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_default();
    let head = answer.split("\r\n\r\n").next().unwrap_or_default();
    (status, head.lines().find_map(|line| line.strip_prefix("adit-error: ")).unwrap_or_default())
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).expect("an answer of text")
}
