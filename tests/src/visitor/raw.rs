//! A visitor that sends bytes, whatever they are.

use std::net::SocketAddr;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::wait::within;

/// One TCP connection to an entry. Dropping it closes the connection.
#[derive(Debug)]
pub struct Raw {
    tcp: TcpStream,
    read: Vec<u8>,
}

impl Raw {
    /// Connects, and says nothing.
    pub async fn connect(entry: SocketAddr) -> Self {
        let tcp = within("a TCP connection", TcpStream::connect(entry)).await.expect("an entry that accepts");
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

/// Returns status and `adit-error` of a response as it came over the wire.
pub fn failure(answer: &str) -> (u16, &str) {
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_default();
    let head = answer.split("\r\n\r\n").next().unwrap_or_default();
    (status, head.lines().find_map(|line| line.strip_prefix("adit-error: ")).unwrap_or_default())
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).expect("an answer of text")
}
