//! What a server pushes to its clients.

use adit_core::{
    limits::Timeouts,
    wire::{
        codec,
        config::{CONFIG_BYTES_MAX, ConfigPush},
        control::ConfigOutcome,
    },
};
use adit_node::push::{Policy, Pushed};

use crate::{memory, stable};

/// What a byte of a pushed configuration may take in memory. A rule has at least 16 bytes on the wire.
const ALLOCATED_PER_BYTE_MAX: usize = 64;

/// serde makes room for this much before it sees the first element of a list, and lists stand in lists.
const ALLOCATED_BYTES_MAX: usize = 4 * 1024 * 1024;

/// A pushed configuration: decodes within its memory and comes back; a client applies it or says why not, and dials
/// nothing for it that it was not allowed to.
pub fn pushed(data: &[u8]) {
    if data.len() > CONFIG_BYTES_MAX {
        return;
    }
    let memory = ALLOCATED_BYTES_MAX + ALLOCATED_PER_BYTE_MAX * data.len();
    let Ok(push) = memory::within(memory, || codec::decode::<ConfigPush>(data)) else { return };
    let push = stable::comes_back(
        &push,
        CONFIG_BYTES_MAX,
        |push, out| codec::encode(push, CONFIG_BYTES_MAX, out),
        |frame| codec::decode(frame),
    );
    let client = Pushed::default();
    let mut policy = Policy { timeouts: Timeouts::default(), ..Policy::default() };
    policy.allow.add("127.0.0.1:3000").expect("an address");
    client.judge_by(policy);
    let dials_others = push.config.upstreams.values().flat_map(|upstream| &upstream.servers).any(|server| {
        let rest = server.strip_prefix("http://").or(server.strip_prefix("https://")).or(server.strip_prefix("h2c://"));
        rest.is_none_or(|rest| rest.trim_end_matches('/') != "127.0.0.1:3000")
    });
    let version = push.version;
    let outcome = client.apply(push);
    assert_eq!(client.seen(), Some(version));
    if dials_others {
        assert_ne!(outcome, ConfigOutcome::Applied, "it may not dial that");
    }
}
