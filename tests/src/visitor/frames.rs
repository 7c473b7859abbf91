//! A visitor that speaks HTTP/2 frame by frame, whether that makes sense or not.

use std::net::SocketAddr;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
};

use crate::wait::within;

/// What an HTTP/2 connection starts with.
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The types of frames (RFC 9113 §6).
pub mod kind {
    /// DATA.
    pub const DATA: u8 = 0;
    /// HEADERS.
    pub const HEADERS: u8 = 1;
    /// RST_STREAM.
    pub const RST_STREAM: u8 = 3;
    /// SETTINGS.
    pub const SETTINGS: u8 = 4;
    /// PING.
    pub const PING: u8 = 6;
    /// GOAWAY.
    pub const GOAWAY: u8 = 7;
    /// WINDOW_UPDATE.
    pub const WINDOW_UPDATE: u8 = 8;
    /// CONTINUATION.
    pub const CONTINUATION: u8 = 9;
}

/// END_STREAM, and ACK of SETTINGS and PING.
pub const END_STREAM: u8 = 1;

/// END_HEADERS.
pub const END_HEADERS: u8 = 4;

/// `GET http://app.test/`, in HPACK (RFC 7541).
pub const GET: &[u8] = b"\x82\x86\x84\x01\x08app.test";

/// `POST http://app.test/`, likewise.
pub const POST: &[u8] = b"\x83\x86\x84\x01\x08app.test";

/// Makes a frame.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let [_, length @ ..] = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// Makes the frame of a request without a body.
pub fn get(stream: u32) -> Vec<u8> {
    frame(kind::HEADERS, END_STREAM | END_HEADERS, stream, GET)
}

/// Makes the frame that takes a request back.
pub fn reset(stream: u32) -> Vec<u8> {
    frame(kind::RST_STREAM, 0, stream, &8_u32.to_be_bytes())
}

/// A frame that came from the entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    /// Its type.
    pub kind: u8,
    /// Its flags.
    pub flags: u8,
    /// Its stream.
    pub stream: u32,
    /// What is in it.
    pub payload: Vec<u8>,
}

/// One connection. Dropping it closes the connection.
#[derive(Debug)]
pub struct Frames {
    read: OwnedReadHalf,
    write: OwnedWriteHalf,
}

impl Frames {
    /// Connects, and begins with these settings.
    pub async fn connect(entry: SocketAddr, settings: &[(u16, u32)]) -> Self {
        let tcp = within("a TCP connection", TcpStream::connect(entry)).await.expect("an entry that accepts");
        tcp.set_nodelay(true).unwrap();
        let (read, write) = tcp.into_split();
        let settings = settings.iter().flat_map(|(name, value)| {
            let (name, value) = (name.to_be_bytes(), value.to_be_bytes());
            name.into_iter().chain(value)
        });
        let mut frames = Self { read, write };
        frames.send(&[PREFACE, &frame(kind::SETTINGS, 0, 0, &settings.collect::<Vec<_>>())].concat()).await;
        frames
    }

    /// Sends bytes; whether the entry still takes them.
    pub async fn send(&mut self, bytes: &[u8]) -> bool {
        within("an entry that reads", self.write.write_all(bytes)).await.is_ok()
    }

    /// Reads the next frame, or `None` when the entry has closed the connection.
    pub async fn next(&mut self) -> Option<Received> {
        within("a frame", next(&mut self.read)).await
    }

    /// Waits until everything sent so far was processed: until the answer to a PING comes. Whether it does.
    pub async fn settled(&mut self) -> bool {
        if !self.send(&frame(kind::PING, 0, 0, b"settled?")).await {
            return false;
        }
        while let Some(received) = self.next().await {
            if received.kind == kind::PING && received.payload == b"settled?" {
                return true;
            }
        }
        false
    }

    /// Sends what `more` makes, round after round, and reads everything, until the entry closes the connection.
    /// Returns the code of the last GOAWAY, where there was one.
    pub async fn flood(self, mut more: impl FnMut(u32) -> Vec<u8>) -> Option<u32> {
        let Self { mut read, mut write } = self;
        let flood = async {
            for round in 0.. {
                if write.write_all(&more(round)).await.is_err() {
                    break;
                }
            }
            // The last words of the entry are still to be read.
            std::future::pending::<()>().await;
        };
        let listen = async {
            let mut code = None;
            while let Some(received) = next(&mut read).await {
                if let (kind::GOAWAY, Some(last)) = (received.kind, received.payload.get(4..8)) {
                    code = Some(u32::from_be_bytes(last.try_into().unwrap()));
                }
            }
            code
        };
        within("the entry to close the connection", async {
            tokio::select! {
                code = listen => code,
                () = flood => None,
            }
        })
        .await
    }
}

async fn next(read: &mut OwnedReadHalf) -> Option<Received> {
    let mut head = [0; 9];
    read.read_exact(&mut head).await.ok()?;
    let [a, b, c, kind, flags, stream @ ..] = head;
    let mut payload = vec![0; usize::try_from(u32::from_be_bytes([0, a, b, c])).unwrap()];
    read.read_exact(&mut payload).await.ok()?;
    Some(Received { kind, flags, stream: u32::from_be_bytes(stream), payload })
}
