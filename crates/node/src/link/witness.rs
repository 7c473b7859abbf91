//! What a TLS handshake knows and quinn does not tell: the key exchange that was negotiated, and in plain words why a
//! certificate was refused.
//!
//! quinn has the key exchange only behind a feature for its own tests, with an `expect` on it that a peer may reach. rustls
//! does all of a handshake's cryptography and checks within `read_handshake`, on the thread that calls it: what happens
//! there is taken down in a thread-local note and belongs to that session.

use std::{any::Any, cell::RefCell, fmt, sync::Arc};

use quinn_proto::{
    ConnectError, ConnectionId, Side, TransportError,
    crypto::{
        ClientConfig, ExportKeyingMaterialError, HeaderKey, KeyPair, Keys, PacketKey, ServerConfig, Session,
        UnsupportedVersion,
    },
    transport_parameters::TransportParameters,
};
use rustls::NamedGroup;

/// What happened within a call into rustls.
#[derive(Debug, Default)]
struct Note {
    group: Option<NamedGroup>,
    refusal: Option<String>,
}

thread_local! {
    static NOTE: RefCell<Note> = RefCell::default();
}

/// Takes down that a key exchange was completed.
pub(super) fn exchanged(group: NamedGroup) {
    NOTE.with_borrow_mut(|note| note.group = Some(group));
}

/// Takes down why the peer's certificate was refused. Both ends get to read it.
pub(super) fn refused(why: String) {
    NOTE.with_borrow_mut(|note| note.refusal = Some(why));
}

/// What a handshake has negotiated: what `quinn::Connection::handshake_data` returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Negotiated {
    /// The key exchange.
    pub(super) group: NamedGroup,
}

/// TLS settings whose sessions are looked at.
pub(super) struct Witness<T>(pub(super) Arc<T>);

impl<T> fmt::Debug for Witness<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Witness")
    }
}

impl<T: ClientConfig + 'static> ClientConfig for Witness<T> {
    fn start_session(
        self: Arc<Self>,
        version: u32,
        server_name: &str,
        params: &TransportParameters,
    ) -> Result<Box<dyn Session>, ConnectError> {
        let tls = Arc::clone(&self.0).start_session(version, server_name, params)?;
        Ok(Box::new(Witnessed { tls, group: None }))
    }
}

impl<T: ServerConfig + 'static> ServerConfig for Witness<T> {
    fn initial_keys(&self, version: u32, dst_cid: &ConnectionId) -> Result<Keys, UnsupportedVersion> {
        self.0.initial_keys(version, dst_cid)
    }

    fn retry_tag(&self, version: u32, orig_dst_cid: &ConnectionId, packet: &[u8]) -> [u8; 16] {
        self.0.retry_tag(version, orig_dst_cid, packet)
    }

    fn start_session(self: Arc<Self>, version: u32, params: &TransportParameters) -> Box<dyn Session> {
        Box::new(Witnessed { tls: Arc::clone(&self.0).start_session(version, params), group: None })
    }
}

/// A TLS session that is looked at.
struct Witnessed {
    tls: Box<dyn Session>,
    group: Option<NamedGroup>,
}

impl Session for Witnessed {
    fn read_handshake(&mut self, buf: &[u8]) -> Result<bool, TransportError> {
        NOTE.take();
        let read = self.tls.read_handshake(buf);
        let note = NOTE.take();
        self.group = note.group.or(self.group);
        read.map_err(|mut error| {
            error.reason = note.refusal.unwrap_or(error.reason);
            error
        })
    }

    fn handshake_data(&self) -> Option<Box<dyn Any>> {
        self.tls.handshake_data()?;
        self.group.map(|group| -> Box<dyn Any> { Box::new(Negotiated { group }) })
    }

    fn initial_keys(&self, dst_cid: &ConnectionId, side: Side) -> Keys {
        self.tls.initial_keys(dst_cid, side)
    }

    fn peer_identity(&self) -> Option<Box<dyn Any>> {
        self.tls.peer_identity()
    }

    fn early_crypto(&self) -> Option<(Box<dyn HeaderKey>, Box<dyn PacketKey>)> {
        self.tls.early_crypto()
    }

    fn early_data_accepted(&self) -> Option<bool> {
        self.tls.early_data_accepted()
    }

    fn is_handshaking(&self) -> bool {
        self.tls.is_handshaking()
    }

    fn transport_parameters(&self) -> Result<Option<TransportParameters>, TransportError> {
        self.tls.transport_parameters()
    }

    fn write_handshake(&mut self, buf: &mut Vec<u8>) -> Option<Keys> {
        self.tls.write_handshake(buf)
    }

    fn next_1rtt_keys(&mut self) -> Option<KeyPair<Box<dyn PacketKey>>> {
        self.tls.next_1rtt_keys()
    }

    fn is_valid_retry(&self, orig_dst_cid: &ConnectionId, header: &[u8], payload: &[u8]) -> bool {
        self.tls.is_valid_retry(orig_dst_cid, header, payload)
    }

    fn export_keying_material(
        &self,
        output: &mut [u8],
        label: &[u8],
        context: &[u8],
    ) -> Result<(), ExportKeyingMaterialError> {
        self.tls.export_keying_material(output, label, context)
    }
}
