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

    /// Reads the next HTTP/2 frame.
    ///
    /// # Panics
    ///
    /// When the connection is closed before.
    pub async fn h2_frame(&mut self) -> Http2Frame {
        self.try_h2_frame().await.expect("a connection that goes on")
    }

    async fn try_h2_frame(&mut self) -> Option<Http2Frame> {
        const WITH_END: [u8; 2] = [DATA, HEADERS];
        let mut head = [0; 9];
        within("an HTTP/2 frame", self.tcp.read_exact(&mut head)).await.ok()?;
        let [a, b, c, kind, flags, stream @ ..] = head;
        let mut payload = vec![0; usize::try_from(u32::from_be_bytes([0, a, b, c])).ok()?];
        within("the rest of a frame", self.tcp.read_exact(&mut payload)).await.ok()?;
        let ends_stream = WITH_END.contains(&kind) && flags & END_STREAM != 0;
        Some(Http2Frame { kind, stream: u32::from_be_bytes(stream), ends_stream })
    }

    /// Reads HTTP/2 frames, and returns whether stream 1 is refused, or the connection, before anything answers on it.
    pub async fn h2_refusal(mut self) -> bool {
        while let Some(frame) = self.try_h2_frame().await {
            match (frame.kind, frame.stream) {
                (GOAWAY, _) | (RST_STREAM, 1) => return true,
                (HEADERS, 1) => return false,
                _ => {}
            }
        }
        true
    }

    /// Ends this side of the connection.
    pub async fn end(&mut self) {
        within("the connection to be ended", self.tcp.shutdown()).await.unwrap();
    }

    /// Reads until the entry closes the connection.
    pub async fn rest(self) -> String {
        text(self.rest_bytes().await)
    }

    /// Reads likewise what need not be text.
    pub async fn rest_bytes(mut self) -> Vec<u8> {
        // A reset ends an answer as well.
        let _ = within("the connection to be closed", self.tcp.read_to_end(&mut self.read)).await;
        self.read
    }

    /// Reads on, and returns whether that many bytes came before the entry closed the connection.
    pub async fn reads_at_least(&mut self, bytes: usize) -> bool {
        let mut read = self.read.len();
        while read < bytes {
            self.read.clear();
            match within("more of an answer", self.tcp.read_buf(&mut self.read)).await {
                Ok(more @ 1..) => read += more,
                Ok(0) | Err(_) => return false,
            }
        }
        true
    }

    /// Reads a head, or finds the connection closed. Returns whether there was one.
    pub async fn is_answered(&mut self) -> bool {
        while !self.read.ends_with(b"\r\n\r\n") {
            let read = within("more of an answer", self.tcp.read_buf(&mut self.read)).await;
            if !read.is_ok_and(|read| read > 0) {
                return false;
            }
        }
        self.read.clear();
        true
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

// RFC 9113 §6.
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
/// The frame that says that a connection ends.
pub const GOAWAY: u8 = 7;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// What is known of an HTTP/2 frame.
#[derive(Clone, Copy, Debug)]
pub struct Http2Frame {
    /// Its type.
    pub kind: u8,
    /// The stream it is on.
    pub stream: u32,
    /// Whether nothing comes on that stream behind it.
    pub ends_stream: bool,
}

/// Encodes the beginning of an HTTP/2 connection with a request of these fields on stream 1, and no body behind it.
pub fn http2(fields: &[(&str, &str)]) -> Vec<u8> {
    http2_request(fields, END_STREAM)
}

/// Encodes the beginning of an HTTP/2 connection with a request of these fields on stream 1, whose body follows.
pub fn http2_upload(fields: &[(&str, &str)]) -> Vec<u8> {
    http2_request(fields, 0)
}

/// Encodes a piece of the body on stream 1.
pub fn http2_data(data: &[u8], ends: bool) -> Vec<u8> {
    http2_frame(DATA, if ends { END_STREAM } else { 0 }, 1, data)
}

/// Encodes a ping, which is answered behind everything that was said before.
pub fn http2_ping() -> Vec<u8> {
    http2_frame(PING, 0, 0, &[0; 8])
}

fn http2_request(fields: &[(&str, &str)], flags: u8) -> Vec<u8> {
    // Not compressed: RFC 7541 §6.2.2.
    let text = |text: &str| [&[short(text.len())], text.as_bytes()].concat();
    let fields: Vec<_> = fields.iter().flat_map(|(name, value)| [vec![0], text(name), text(value)].concat()).collect();
    let settings = http2_frame(SETTINGS, 0, 0, &[]);
    let head = http2_frame(HEADERS, END_HEADERS | flags, 1, &fields);
    [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", &*settings, &*head].concat()
}

fn http2_frame(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
    [&[0, 0, short(payload.len()), kind, flags, 0, 0, 0, stream], payload].concat()
}

fn short(length: usize) -> u8 {
    u8::try_from(length).expect("something short")
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
