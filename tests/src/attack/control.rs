//! On the control stream.

use adit_core::{
    limits::CONTROL_FRAME_BYTES_MAX,
    wire::{
        codec,
        config::GroupConfig,
        control::{ConfigOutcome, Control, Drain, Heartbeat, StreamOpen, StreamOpenResponse, StreamType},
    },
};
use bytes::BytesMut;

use super::{Foe, Round};
use crate::{
    peer::request,
    settings::{GROUP, group},
};

/// How many messages a flood has in one round.
const FLOOD: usize = 500;

pub(super) fn frame(message: &Control) -> BytesMut {
    let mut frame = BytesMut::new();
    codec::encode(message, CONTROL_FRAME_BYTES_MAX, &mut frame).unwrap();
    frame
}

async fn flood(foe: &mut Foe, message: &Control) -> Round {
    let messages = frame(message).repeat(FLOOD);
    foe.say(&messages).await
}

pub(super) async fn garbage(foe: &mut Foe) -> Round {
    foe.say(b"\x05\xff\xff\xff\xff\xff").await?;
    foe.is_closed().await
}

pub(super) async fn bomb(foe: &mut Foe) -> Round {
    foe.say(b"\xff\xff\xff\x7f").await?;
    foe.is_closed().await
}

pub(super) async fn cut(foe: &mut Foe) -> Round {
    foe.say(b"\x18\x00\x08cli").await?;
    end(foe).await
}

pub(super) async fn end(foe: &mut Foe) -> Round {
    foe.peer.control.finish();
    foe.is_closed().await
}

pub(super) async fn heartbeats(foe: &mut Foe) -> Round {
    flood(foe, &Control::Heartbeat(Heartbeat { seq: 0, in_flight: 0 })).await
}

pub(super) async fn syncs(foe: &mut Foe) -> Round {
    flood(foe, &Control::ConfigSync { have: None }).await
}

pub(super) async fn acknowledge(foe: &mut Foe) -> Round {
    let version = GroupConfig::default().push().unwrap().version;
    let outcome = ConfigOutcome::Rejected { why: "x".repeat(60_000) };
    foe.say(&frame(&Control::ConfigAck { version, outcome })).await
}

pub(super) async fn register_twice(foe: &mut Foe) -> Round {
    let open = StreamOpen {
        client_id: "client-peer".parse().unwrap(),
        group: group(GROUP),
        stream_type: StreamType::Http,
        version: "x".repeat(60_000),
        features: 0,
        timestamp_ms: 0,
        token: None,
    };
    foe.say(&frame(&Control::StreamOpen(open))).await
}

pub(super) async fn accept_twice(foe: &mut Foe) -> Round {
    let denied = StreamOpenResponse::Denied { reason: "x".repeat(60_000) };
    foe.say(&frame(&Control::StreamOpenResponse(denied))).await
}

fn drain() -> BytesMut {
    frame(&Control::Drain(Drain { reason: "x".repeat(60_000), grace_ms: u32::MAX }))
}

pub(super) async fn drain_twice(foe: &mut Foe) -> Round {
    foe.say(&drain()).await
}

pub(super) async fn drained_unasked(foe: &mut Foe) -> Round {
    foe.say(&frame(&Control::Drained)).await?;
    foe.is_closed().await
}

pub(super) async fn drain_and_ask(foe: &mut Foe) -> Round {
    if foe.rounds == 1 {
        foe.say(&drain()).await?;
    }
    for _ in 0..20 {
        foe.ask(&request("/")).await?;
    }
    Ok(())
}
