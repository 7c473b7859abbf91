//! With configuration, as only a server may push it.

use adit_core::wire::{
    codec,
    config::{CONFIG_BYTES_MAX, ConfigPush, EgressRule, GroupConfig, Upstream},
};
use bytes::BytesMut;

use super::{Foe, Over, Round};

/// How many configurations a round has.
const PUSHES: usize = 20;

async fn push(foe: &mut Foe, bytes: &[u8]) -> Round {
    let mut stream = foe.peer.quic.open_uni().await?;
    stream.write_all(bytes).await.map_err(|_| Over)?;
    let _ = stream.finish();
    Ok(())
}

fn frame(push: &ConfigPush) -> BytesMut {
    let mut frame = BytesMut::new();
    codec::encode(push, CONFIG_BYTES_MAX, &mut frame).unwrap();
    frame
}

fn rules(count: usize, server: &str) -> ConfigPush {
    let rule = |number: usize| {
        let (path, upstream) = (Some(format!("/{number}")), "app".to_owned());
        EgressRule { path, upstream, ..EgressRule::default() }
    };
    let upstream = Upstream { servers: vec![server.to_owned()], ..Upstream::default() };
    let egress = (0..count).map(rule).collect();
    let config = GroupConfig { egress, upstreams: [("app".to_owned(), upstream)].into() };
    let version = GroupConfig::default().push().unwrap().version;
    ConfigPush { version, config }
}

async fn all(foe: &mut Foe, frame: &[u8]) -> Round {
    for _ in 0..PUSHES {
        push(foe, frame).await?;
    }
    Ok(())
}

pub(super) async fn flood(foe: &mut Foe) -> Round {
    all(foe, &frame(&rules(4_000, "http://127.0.0.1:1"))).await
}

pub(super) async fn huge(foe: &mut Foe) -> Round {
    push(foe, &frame(&rules(100_000, "http://127.0.0.1:1"))).await?;
    foe.is_closed().await
}

pub(super) async fn bomb(foe: &mut Foe) -> Round {
    push(foe, b"\xff\xff\xff\x7f").await
}

pub(super) async fn garbage(foe: &mut Foe) -> Round {
    push(foe, b"\x05\xff\xff\xff\xff\xff").await
}

pub(super) async fn forbidden(foe: &mut Foe) -> Round {
    all(foe, &frame(&rules(1, "http://169.254.169.254"))).await
}

pub(super) async fn dribble(foe: &mut Foe) -> Round {
    let mut stream = foe.peer.quic.open_uni().await?;
    let _ = stream.write_all(b"\xff\xff\x7f").await;
    for _ in 0..100 {
        let _ = stream.write_all(b"\x00").await;
        tokio::task::yield_now().await;
    }
    let _ = stream.reset(0_u32.into());
    Ok(())
}
