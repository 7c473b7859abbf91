//! Pushed configuration: what a server sends to the clients of a group, and what a client makes of it.

use std::{
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use adit_core::{
    conduct::excerpt,
    dial::{DialRules, Refused},
    limits::Timeouts,
    wire::{
        codec::{self, DecodeError, EncodeError},
        config::{CONFIG_BYTES_MAX, ConfigPush, ConfigVersion, GroupConfig, SERVERS_MAX},
        control::ConfigOutcome,
    },
};
use arc_swap::{ArcSwap, ArcSwapOption};
use bytes::{Bytes, BytesMut};
use tokio::sync::watch;

use crate::{
    credentials::TlsError,
    egress::{
        guard::Guard,
        service::{EgressError, Routes},
    },
    settings::{
        Allow, EgressSettings, HostPort,
        resolve::{self, At, ResolveError},
    },
    stream::{RecvStream, StreamError},
};

/// A configuration, encoded for the wire.
#[derive(Clone, Debug)]
pub struct Packed {
    /// Which one it is.
    pub version: ConfigVersion,
    /// One frame.
    pub frame: Bytes,
}

impl Packed {
    /// Encodes a configuration.
    ///
    /// # Errors
    ///
    /// When it is too large.
    pub fn new(push: &ConfigPush) -> Result<Self, EncodeError> {
        let mut frame = BytesMut::new();
        codec::encode(push, CONFIG_BYTES_MAX, &mut frame)?;
        Ok(Self { version: push.version, frame: frame.freeze() })
    }
}

/// What the clients of a group are to have: watched by their sessions, `None` while nothing is pushed.
pub type Wanted = watch::Receiver<Option<Packed>>;

/// The pushed configuration of one server, as a client keeps it from link to link.
#[derive(Debug, Default)]
pub struct Pushed {
    routes: ArcSwap<Routes>,
    /// What the rules in force were made of.
    applied: ArcSwapOption<GroupConfig>,
    seen: ArcSwapOption<ConfigVersion>,
    policy: ArcSwap<Policy>,
    /// Held by whoever puts rules or a policy in force: the two must fit.
    turn: Mutex<()>,
}

/// What a client goes by when something is pushed to it.
#[derive(Debug, Default)]
pub struct Policy {
    /// What pushed rules may make it dial.
    pub allow: Allow,
    /// Which addresses it dials.
    pub dial: DialRules,
    /// How the upstreams of pushed rules wait.
    pub timeouts: Timeouts,
}

impl Policy {
    /// Returns what judges the addresses of pushed upstreams. What `allow` names may be special: 0.0.0.0/0 means none
    /// of those.
    fn guard(&self) -> Guard {
        Guard::pushed(DialRules { named: self.allow.networks(), ..self.dial.clone() })
    }
}

/// Why a client does not apply what was pushed.
#[derive(Debug, thiserror::Error)]
pub enum PushError {
    /// A value is wrong.
    #[error(transparent)]
    Resolve(#[from] ResolveError),
    /// An upstream is not named in the client's `allow`.
    #[error("upstreams.{upstream}: {address} is not in the client's tunnel.allow")]
    NotAllowed {
        /// The upstream.
        upstream: String,
        /// What it would dial.
        address: HostPort,
    },
    /// There are more servers to look after than a client does for another's sake.
    #[error("more than {SERVERS_MAX} servers")]
    TooManyServers,
    /// An upstream is at an address that the client does not dial.
    #[error("upstreams.{upstream}: {refused}")]
    Refused {
        /// The upstream.
        upstream: String,
        /// Why not.
        refused: Refused,
    },
    /// The rules cannot be used.
    #[error(transparent)]
    Egress(#[from] EgressError),
}

impl Pushed {
    /// Sets what pushed configuration is judged by. Rules in force that it does not permit end at once; what was
    /// refused before is judged again when the server's next push comes, within a sync interval.
    pub fn judge_by(&self, policy: Policy) {
        let _turn = self.turn();
        if let Some(applied) = self.applied.load_full() {
            match routes(GroupConfig::clone(&applied), &policy) {
                // The names in it are judged by the new policy when they are dialled.
                Ok(routes) => self.routes.store(Arc::new(routes)),
                Err(error) => {
                    tracing::warn!("pushed configuration is out of force: {error}");
                    self.applied.store(None);
                    self.routes.store(Arc::default());
                }
            }
        }
        self.policy.store(Arc::new(policy));
        self.seen.store(None);
    }

    /// Returns the rules that are in force.
    pub fn routes(&self) -> &ArcSwap<Routes> {
        &self.routes
    }

    /// Returns the version that was applied or refused last.
    pub fn seen(&self) -> Option<ConfigVersion> {
        self.seen.load().as_deref().copied()
    }

    /// Decodes and applies the frame that was pushed; for a thread that may be kept, since thousands of rules take a
    /// while. Returns what the server is told.
    ///
    /// # Errors
    ///
    /// When it is malformed.
    pub fn take(&self, frame: &[u8]) -> Result<(ConfigVersion, ConfigOutcome), DecodeError> {
        let push: ConfigPush = codec::decode(frame)?;
        Ok((push.version, self.apply(push)))
    }

    /// Applies what was pushed as a whole, or leaves what was there in force. Returns what the server is told.
    pub fn apply(&self, push: ConfigPush) -> ConfigOutcome {
        loop {
            let policy = self.policy.load_full();
            let judged = routes(push.config.clone(), &policy);
            let _turn = self.turn();
            // Judged by what is no longer in force, it is judged again.
            if Arc::ptr_eq(&policy, &self.policy.load_full()) {
                return self.settle(push, judged);
            }
        }
    }

    fn settle(&self, push: ConfigPush, judged: Result<Routes, PushError>) -> ConfigOutcome {
        let version = push.version;
        self.seen.store(Some(Arc::new(version)));
        match judged {
            Ok(routes) => {
                self.routes.store(Arc::new(routes));
                self.applied.store(Some(Arc::new(push.config)));
                tracing::info!(%version, "pushed configuration applied");
                ConfigOutcome::Applied
            }
            Err(error) => {
                // It repeats what was pushed.
                let why = error.to_string();
                let why = excerpt(&why);
                tracing::warn!(%version, "pushed configuration refused: {why}");
                ConfigOutcome::Rejected { why: why.to_owned() }
            }
        }
    }

    fn turn(&self) -> MutexGuard<'_, ()> {
        // It guards nothing that a panic could leave half done.
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads the frame of a pushed configuration off its stream.
///
/// # Errors
///
/// When it is larger than allowed, or not all there.
pub async fn read(mut stream: RecvStream) -> Result<Bytes, StreamError> {
    stream.frame(CONFIG_BYTES_MAX).await?.ok_or(StreamError::Truncated)
}

fn routes(config: GroupConfig, policy: &Policy) -> Result<Routes, PushError> {
    if config.servers() > SERVERS_MAX {
        return Err(PushError::TooManyServers);
    }
    // Files of the server's are not there; whoever configures a push is told so.
    let no_files = |_: &std::path::Path| -> Result<rustls::RootCertStore, TlsError> {
        Err(TlsError::Unusable { what: "ca_file", error: "cannot be pushed".to_owned() })
    };
    let settings = resolve::egress(&At::default(), config.egress, config.upstreams, no_files)?;
    let guard = policy.guard();
    check_allowed(&settings, policy, &guard)?;
    Ok(Routes::new(settings, &guard, &policy.timeouts)?)
}

/// Names are judged again when they are dialled: see [`Guard`].
fn check_allowed(settings: &EgressSettings, policy: &Policy, guard: &Guard) -> Result<(), PushError> {
    for (name, upstream) in &settings.upstreams {
        for server in &upstream.servers {
            let (upstream, address) = (name.clone(), server.address.clone());
            if !policy.allow.permits(&address) {
                return Err(PushError::NotAllowed { upstream, address });
            }
            if let Ok(ip) = address.host.parse::<IpAddr>() {
                let judged = guard.judge(&address, SocketAddr::new(ip, address.port));
                judged.map_err(|refused| PushError::Refused { upstream, refused })?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use adit_core::wire::config::{EgressRule, Upstream};

    use super::*;

    fn config(server: &str) -> ConfigPush {
        let rule = EgressRule { upstream: "app".into(), ..EgressRule::default() };
        let upstream = Upstream { servers: vec![server.into()], ..Upstream::default() };
        GroupConfig { egress: vec![rule], upstreams: [("app".into(), upstream)].into() }.push().unwrap()
    }

    fn client() -> Pushed {
        let mut allow = Allow::default();
        allow.add("127.0.0.1:3000").unwrap();
        allow.add("127.0.0.1:8081").unwrap();
        let pushed = Pushed::default();
        let dial = DialRules { own: vec![([127, 0, 0, 1], 8081).into()], ..DialRules::default() };
        pushed.judge_by(Policy { allow, dial, timeouts: Timeouts::default() });
        pushed
    }

    fn refusal(pushed: &Pushed, server: &str) -> String {
        match pushed.apply(config(server)) {
            ConfigOutcome::Rejected { why } => why,
            ConfigOutcome::Applied => panic!("{server} was applied"),
        }
    }

    #[test]
    fn what_is_allowed_is_applied_and_remembered() {
        let pushed = client();
        let push = config("http://127.0.0.1:3000");
        let version = push.version;
        assert_eq!(pushed.apply(push), ConfigOutcome::Applied);
        assert_eq!(pushed.seen(), Some(version));
        assert_eq!(pushed.routes().load().len(), 1);
    }

    #[test]
    fn what_is_not_allowed_is_refused_and_the_old_rules_stay() {
        let pushed = client();
        pushed.apply(config("http://127.0.0.1:3000"));
        let why = refusal(&pushed, "http://127.0.0.1:22");
        assert_eq!(why, "upstreams.app: 127.0.0.1:22 is not in the client's tunnel.allow");
        assert_eq!(pushed.routes().load().len(), 1);
        assert!(refusal(&client(), "http://169.254.169.254:80").contains("not in the client's tunnel.allow"));
    }

    #[test]
    fn a_client_is_not_its_own_upstream() {
        let why = refusal(&client(), "http://127.0.0.1:8081");
        assert_eq!(why, "upstreams.app: 127.0.0.1:8081 is this node itself, which listens on 127.0.0.1:8081");
    }

    #[test]
    fn a_wide_network_in_allow_names_no_metadata_service() {
        for (allow, applied) in [("0.0.0.0/0:80", false), ("169.254.169.254:80", true), ("169.254.169.254/32:80", true)]
        {
            let pushed = Pushed::default();
            let mut policy = Policy::default();
            policy.allow.add(allow).unwrap();
            pushed.judge_by(policy);
            let outcome = pushed.apply(config("http://169.254.169.254:80"));
            assert_eq!(outcome == ConfigOutcome::Applied, applied, "{allow}: {outcome:?}");
        }
    }

    #[test]
    fn new_dial_rules_are_in_force_for_what_was_pushed_before() {
        let pushed = client();
        pushed.apply(config("http://127.0.0.1:3000"));
        let mut policy = Policy { dial: DialRules::default(), ..Policy::default() };
        policy.allow.add("127.0.0.1:3000").unwrap();
        policy.dial.deny.push("127.0.0.0/8".parse().unwrap());
        pushed.judge_by(policy);
        assert!(pushed.routes().load().is_empty());
    }

    #[test]
    fn a_wrong_value_is_named() {
        assert_eq!(refusal(&client(), "ftp://a").split(':').next(), Some("upstreams.app.servers.0"));
    }

    #[test]
    fn a_new_policy_asks_for_the_push_again() {
        let pushed = client();
        pushed.apply(config("http://127.0.0.1:3000"));
        pushed.judge_by(Policy::default());
        assert_eq!(pushed.seen(), None);
    }

    #[test]
    fn what_is_allowed_no_longer_is_out_of_force_at_once() {
        let pushed = client();
        pushed.apply(config("http://127.0.0.1:3000"));
        pushed.judge_by(Policy::default());
        assert!(pushed.routes().load().is_empty());
    }
}
