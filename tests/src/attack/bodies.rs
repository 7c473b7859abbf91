//! With the bodies of exchanges.

use adit_core::{
    limits::Limits,
    wire::exchange::{self, BodyKind},
};
use bytes::{Bytes, BytesMut};
use http::Method;

use super::{Foe, Round};
use crate::peer::{head, request, upload};

/// How many exchanges a round has.
const EXCHANGES: usize = 50;

async fn all(foe: &mut Foe, head: Bytes, body: &[u8]) -> Round {
    let whole = [&head, body].concat();
    for _ in 0..EXCHANGES {
        foe.ask(&whole).await?;
    }
    Ok(())
}

fn of_length(length: u64) -> Bytes {
    let mut bytes = BytesMut::new();
    let head = head(Method::POST, "/", BodyKind::Length(length));
    exchange::encode_request(&head, &Limits::default(), &mut bytes).unwrap();
    bytes.freeze()
}

pub(super) async fn garbage(foe: &mut Foe) -> Round {
    all(foe, upload("/"), b"\x02\x00\x05half!\x02\x09\x09").await
}

pub(super) async fn longer(foe: &mut Foe) -> Round {
    all(foe, of_length(3), b"\x02\x00\x05half!\x01\x01").await
}

pub(super) async fn shorter(foe: &mut Foe) -> Round {
    all(foe, of_length(9), b"\x02\x00\x05half!\x01\x01").await
}

pub(super) async fn nothing(foe: &mut Foe) -> Round {
    // It ends as a body does: what is wrong with it is that it has nothing in its pieces.
    let body = [&b"\x02\x00\x00".repeat(1_000)[..], b"\x01\x01"].concat();
    all(foe, upload("/"), &body).await
}

pub(super) async fn trailers(foe: &mut Foe) -> Round {
    // A frame of 15,003 bytes: trailers, 5,000 of them, each of a name of one byte and an empty value.
    let mut trailers = b"\x9b\x75\x02\x88\x27".to_vec();
    trailers.extend(b"\x01x\x00".repeat(5_000));
    all(foe, upload("/"), &trailers).await
}

/// Asks for what is large, and reads nothing.
pub(super) async fn never_read(foe: &mut Foe) -> Round {
    all(foe, request("/large"), b"").await
}

/// Begins uploads that never go on.
pub(super) async fn never_sent(foe: &mut Foe) -> Round {
    for _ in 0..EXCHANGES {
        let mut stream = foe.open().await?;
        let _ = stream.send.write_all(&upload("/")).await;
        let _ = stream.send.write_all(b"\x03\x00\x80\x20half").await;
        foe.held.push(stream);
    }
    Ok(())
}
