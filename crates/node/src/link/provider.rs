//! The cryptography of links: that of rustls with aws-lc-rs, whose key exchanges are taken down.

use std::{
    fmt,
    sync::{Arc, LazyLock},
};

use rustls::{
    Error, NamedGroup, ProtocolVersion,
    crypto::{ActiveKeyExchange, CompletedKeyExchange, CryptoProvider, SharedSecret, SupportedKxGroup},
    ffdhe_groups::FfdheGroup,
};

use super::witness;

/// In the order of preference: X25519MLKEM768 is the first, so that what is recorded today stays closed to the quantum
/// computers of tomorrow (draft-ietf-tls-ecdhe-mlkem).
static GROUPS: LazyLock<Vec<Group>> =
    LazyLock::new(|| rustls::crypto::aws_lc_rs::default_provider().kx_groups.into_iter().map(Group).collect());

/// Returns the cryptography of links.
pub(super) fn provider() -> Arc<CryptoProvider> {
    let kx_groups = GROUPS.iter().map(|group| -> &'static dyn SupportedKxGroup { group }).collect();
    Arc::new(CryptoProvider { kx_groups, ..rustls::crypto::aws_lc_rs::default_provider() })
}

/// A key exchange that is taken down when it is completed.
struct Group(&'static dyn SupportedKxGroup);

impl fmt::Debug for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl SupportedKxGroup for Group {
    fn start(&self) -> Result<Box<dyn ActiveKeyExchange>, Error> {
        Ok(Box::new(Active(self.0.start()?)))
    }

    fn start_and_complete(&self, peer_pub_key: &[u8]) -> Result<CompletedKeyExchange, Error> {
        let completed = self.0.start_and_complete(peer_pub_key)?;
        witness::exchanged(completed.group);
        Ok(completed)
    }

    fn ffdhe_group(&self) -> Option<FfdheGroup<'static>> {
        self.0.ffdhe_group()
    }

    fn name(&self) -> NamedGroup {
        self.0.name()
    }

    fn fips(&self) -> bool {
        self.0.fips()
    }

    fn usable_for_version(&self, version: ProtocolVersion) -> bool {
        self.0.usable_for_version(version)
    }
}

/// The client's side of it, between its two messages.
struct Active(Box<dyn ActiveKeyExchange>);

impl ActiveKeyExchange for Active {
    fn complete(self: Box<Self>, peer_pub_key: &[u8]) -> Result<SharedSecret, Error> {
        let group = self.0.group();
        let secret = self.0.complete(peer_pub_key)?;
        witness::exchanged(group);
        Ok(secret)
    }

    fn hybrid_component(&self) -> Option<(NamedGroup, &[u8])> {
        self.0.hybrid_component()
    }

    fn complete_hybrid_component(self: Box<Self>, peer_pub_key: &[u8]) -> Result<SharedSecret, Error> {
        let component = self.0.hybrid_component().map(|(group, _)| group);
        let secret = self.0.complete_hybrid_component(peer_pub_key)?;
        if let Some(group) = component {
            witness::exchanged(group);
        }
        Ok(secret)
    }

    fn pub_key(&self) -> &[u8] {
        self.0.pub_key()
    }

    fn ffdhe_group(&self) -> Option<FfdheGroup<'static>> {
        self.0.ffdhe_group()
    }

    fn group(&self) -> NamedGroup {
        self.0.group()
    }
}
