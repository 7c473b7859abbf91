//! What stands between an address and a connection to it.

use std::{
    net::{IpAddr, SocketAddr, UdpSocket},
    sync::Arc,
};

use adit_core::dial::{Chosen, DialRules, Refused};

use crate::settings::HostPort;

/// The rules that the addresses of an upstream are judged by, each time before one is dialled.
#[derive(Clone, Debug, Default)]
pub struct Guard {
    rules: Arc<DialRules>,
    /// Whether the operator of this node has not written the upstream.
    is_pushed: bool,
}

impl Guard {
    /// Guards upstreams that stand in the node's own configuration.
    pub fn own(rules: DialRules) -> Self {
        Self { rules: Arc::new(rules), is_pushed: false }
    }

    /// Guards upstreams that a server has pushed.
    pub fn pushed(rules: DialRules) -> Self {
        Self { rules: Arc::new(rules), is_pushed: true }
    }

    /// Judges an address that `target` stands for.
    ///
    /// # Errors
    ///
    /// Why it is not dialled.
    pub fn judge(&self, target: &HostPort, address: SocketAddr) -> Result<(), Refused> {
        let is_literal = target.host.parse::<IpAddr>().is_ok();
        let chosen = if is_literal && !self.is_pushed { Chosen::Written } else { Chosen::Elsewhere };
        self.rules.judge(address, chosen, is_local)
    }
}

/// Returns whether an address is one of this machine's: only those can be bound to.
fn is_local(ip: IpAddr) -> bool {
    UdpSocket::bind((ip, 0)).is_ok()
}
