//! With the streams of exchanges.

use adit_core::{
    failure::Failure,
    limits::Limits,
    wire::exchange::{self, BodyKind, Reply, ReplyHead},
};
use bytes::BytesMut;
use http::{HeaderMap, Method, StatusCode};
use quinn::VarInt;

use super::{Foe, Round};
use crate::peer::{head, request};

/// How many streams a round has.
const STREAMS: usize = 200;

pub(super) async fn silent(foe: &mut Foe) -> Round {
    hold(foe, b"").await
}

/// Opens streams with the length of a head of 64 KiB and this much of it. The peer learns of a stream by what is on it.
async fn hold(foe: &mut Foe, beginning: &[u8]) -> Round {
    for _ in 0..STREAMS {
        let mut stream = foe.open().await?;
        let _ = stream.send.write_all(&[b"\xff\xff\x03", beginning].concat()).await;
        foe.held.push(stream);
    }
    Ok(())
}

pub(super) async fn dribble(foe: &mut Foe) -> Round {
    hold(foe, b"\x03").await?;
    for _ in 0..100 {
        for stream in &mut foe.held {
            let _ = stream.send.write_all(b"\x01").await;
        }
        tokio::task::yield_now().await;
    }
    Ok(())
}

pub(super) async fn reset_empty(foe: &mut Foe) -> Round {
    for _ in 0..STREAMS {
        foe.open().await?.abandon(Failure::Cancelled.reset_code());
    }
    tokio::task::yield_now().await;
    Ok(())
}

pub(super) async fn reset_asked(foe: &mut Foe) -> Round {
    for _ in 0..STREAMS {
        let mut stream = foe.open().await?;
        let _ = stream.send.write_all(&request("/never")).await;
        // Both halves, or the stream would still be answered; and later, or it would not even be asked.
        foe.held.push(stream);
    }
    tokio::task::yield_now().await;
    for mut stream in foe.held.drain(..) {
        let _ = stream.send.reset(VarInt::from_u32(Failure::Cancelled.reset_code()));
        let _ = stream.recv.stop(VarInt::from_u32(Failure::Cancelled.reset_code()));
    }
    Ok(())
}

pub(super) async fn stop_asked(foe: &mut Foe) -> Round {
    for _ in 0..STREAMS {
        let mut stream = foe.open().await?;
        let _ = stream.send.write_all(&request("/never")).await;
        stream.finish();
        let _ = stream.recv.stop(VarInt::from_u32(0));
    }
    tokio::task::yield_now().await;
    Ok(())
}

pub(super) async fn bomb(foe: &mut Foe) -> Round {
    for _ in 0..STREAMS {
        foe.ask(b"\xff\xff\xff\x7f").await?;
    }
    Ok(())
}

pub(super) async fn garbage(foe: &mut Foe) -> Round {
    for _ in 0..STREAMS {
        foe.ask(b"\x10GET / HTTP/1.1\r\n").await?;
    }
    Ok(())
}

pub(super) async fn cut(foe: &mut Foe) -> Round {
    let whole = request("/");
    for _ in 0..STREAMS {
        foe.ask(&whole[..whole.len() / 2]).await?;
    }
    Ok(())
}

pub(super) async fn answer_unasked(foe: &mut Foe) -> Round {
    let head = ReplyHead { status: StatusCode::OK, reason: None, headers: HeaderMap::new() };
    let mut reply = BytesMut::new();
    exchange::encode_reply(&Reply::Head(head, BodyKind::None), &Limits::default(), &mut reply).unwrap();
    for _ in 0..STREAMS {
        foe.ask(&reply).await?;
    }
    Ok(())
}

pub(super) async fn no_rule(foe: &mut Foe) -> Round {
    let mut head = head(Method::GET, "/latest/meta-data", BodyKind::None);
    head.authority = "169.254.169.254".to_owned();
    let mut bytes = BytesMut::new();
    exchange::encode_request(&head, &Limits::default(), &mut bytes).unwrap();
    for _ in 0..STREAMS {
        foe.ask(&bytes).await?;
    }
    Ok(())
}
