//! When the entries of a node open.

use std::sync::Arc;

use tokio::time::timeout;

use crate::{
    ingress::{entries::Entries, service::Ingress},
    registry::GroupLinks,
};

/// Waits until entries may take visitors: at once where they are this node's only.
///
/// Where they were handed over, whoever else listens there does better until somebody is here to answer, and where
/// nobody does, visitors wait in the queue of the socket and not in vain.
pub(super) async fn opened(entries: &Entries, ingress: &Ingress) {
    if !entries.are_shared() {
        return;
    }
    let (groups, patience) = (ingress.groups(), ingress.timeouts().takeover);
    let missing = |groups: &[Arc<GroupLinks>]| {
        let missing = groups.iter().filter(|group| !group.takes_any());
        missing.map(|group| group.name().as_str().to_owned()).collect::<Vec<_>>().join(" ")
    };
    tracing::info!(missing = missing(&groups), "visitors are taken once there is somebody to answer");
    let all = async {
        for group in &groups {
            group.joined().await;
        }
    };
    if timeout(patience, all).await.is_err() {
        tracing::warn!(missing = missing(&groups), ?patience, "nobody has come to answer; visitors are taken");
    }
}
