//! What a service manager, or another parent process, hands over and is told: sd_listen_fds(3) and sd_notify(3).

use std::env;

use adit_node::ingress::handed::Handed;
use anyhow::Context;
use listenfd::ListenFd;
use sd_notify::NotifyState;

/// Where descriptors begin that were handed over.
const FIRST_DESCRIPTOR: i32 = 3;

/// Takes the listening sockets that were handed over to this process: `LISTEN_FDS`, `LISTEN_PID` where it is set, and
/// `LISTEN_FDNAMES`. They are closed when another program is executed, and not for a child to find.
///
/// To be called once, before there are other threads: it changes the environment.
///
/// # Errors
///
/// When one is no TCP socket.
pub fn sockets() -> anyhow::Result<Handed> {
    let names = env::var("LISTEN_FDNAMES").unwrap_or_default();
    let mut names = names.split(':');
    let (mut handed, mut passed) = (Handed::default(), ListenFd::from_env());
    for (index, descriptor) in (0..passed.len()).zip(FIRST_DESCRIPTOR..) {
        let name = names.next().unwrap_or_default();
        let of_no_use = || format!("descriptor {descriptor}, called {name:?}, was handed over and is of no use");
        if let Some(tcp) = passed.take_tcp_listener(index).with_context(of_no_use)? {
            handed.add(descriptor, name, tcp).with_context(of_no_use)?;
        }
    }
    Ok(handed)
}

/// Tells a service manager that waits for it that the node does its work now.
pub fn ready() {
    if let Err(error) = sd_notify::notify(&[NotifyState::Ready]) {
        tracing::warn!(%error, "the service manager cannot be told that this is ready");
    }
}
