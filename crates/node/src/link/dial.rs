//! From an address to a QUIC connection.

use std::{
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    pin::pin,
    sync::Arc,
    time::Duration,
};

use quinn::{Endpoint, EndpointConfig, TokioRuntime};
use tokio::{
    net::lookup_host,
    task::JoinSet,
    time::{sleep, timeout},
};

use super::{
    reason::{Broken, End},
    transport,
};
use crate::settings::HostPort;

/// How long the next address waits for the one before it (RFC 8305 §5).
const NEXT_ADDRESS_AFTER: Duration = Duration::from_millis(250);

/// How long an address has to answer. A client's first packet goes out after 0, 1, 3 and 7 s, and then it is better to
/// begin anew: the next one would be 8 s later.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(8);

/// After this much silence the log says what may be in the way.
const BLOCKED_AFTER: Duration = Duration::from_secs(5);

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// The name does not resolve.
    #[error("{target} does not resolve: {error}")]
    Resolve {
        /// What was dialled.
        target: HostPort,
        /// What the resolver said.
        error: io::Error,
    },
    /// No address answered as it should; the error is that of the last one.
    #[error("no connection to {target} at {address}: {error}")]
    Connect {
        /// What was dialled.
        target: HostPort,
        /// The address that failed last.
        address: SocketAddr,
        /// What went wrong there.
        error: AttemptError,
    },
}

/// Why one address did not answer as it should.
#[derive(Debug, thiserror::Error)]
pub enum AttemptError {
    /// It could not even be tried.
    #[error(transparent)]
    Start(#[from] quinn::ConnectError),
    /// The handshake failed.
    #[error(transparent)]
    Handshake(#[from] Broken),
}

/// Binds the UDP socket that links are dialled from: for IPv6 and IPv4 where the system has both.
///
/// # Errors
///
/// When neither can be bound.
pub fn endpoint() -> io::Result<Endpoint> {
    let any6 = SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0));
    let any4 = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
    let socket = transport::bind(any6).or_else(|_| transport::bind(any4))?;
    Endpoint::new(EndpointConfig::default(), None, socket, Arc::new(TokioRuntime))
}

/// Resolves `target` and connects to the first of its addresses that answers, IPv6 and IPv4 in turn.
///
/// Cancel-safe: dropped early, it leaves nothing behind.
///
/// # Errors
///
/// When the name does not resolve or no address answers as it should.
pub async fn dial(
    endpoint: &Endpoint,
    config: &quinn::ClientConfig,
    target: &HostPort,
    server_name: &str,
) -> Result<quinn::Connection, DialError> {
    let resolve_error = |error| DialError::Resolve { target: target.clone(), error };
    let found = lookup_host((target.host.as_str(), target.port)).await.map_err(resolve_error)?;
    let addresses = interleave(found.collect());
    let mut race = JoinSet::new();
    for (place, address) in (0_u32..).zip(addresses) {
        let (endpoint, config, server_name) = (endpoint.clone(), config.clone(), server_name.to_owned());
        race.spawn(async move {
            sleep(NEXT_ADDRESS_AFTER * place).await;
            (address, attempt(&endpoint, config, address, &server_name).await)
        });
    }
    let mut won = pin!(first(&mut race, target));
    if let Ok(won) = timeout(BLOCKED_AFTER, &mut won).await {
        return won;
    }
    tracing::warn!(%target, "no answer yet; UDP to this address may be blocked");
    won.await
}

async fn attempt(
    endpoint: &Endpoint,
    config: quinn::ClientConfig,
    address: SocketAddr,
    server_name: &str,
) -> Result<quinn::Connection, AttemptError> {
    let connecting = endpoint.connect_with(config, address, server_name)?;
    let connected = timeout(ATTEMPT_TIMEOUT, connecting).await.unwrap_or(Err(quinn::ConnectionError::TimedOut));
    Ok(connected.map_err(|error| Broken { error, end: End::Client })?)
}

async fn first(
    race: &mut JoinSet<(SocketAddr, Result<quinn::Connection, AttemptError>)>,
    target: &HostPort,
) -> Result<quinn::Connection, DialError> {
    let mut last = DialError::Resolve { target: target.clone(), error: io::ErrorKind::NotFound.into() };
    while let Some(Ok((address, result))) = race.join_next().await {
        match result {
            Ok(connection) => return Ok(connection),
            Err(error) => last = DialError::Connect { target: target.clone(), address, error },
        }
    }
    Err(last)
}

/// Alternates between the families, IPv6 first (RFC 8305 §4).
fn interleave(found: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let (six, four): (Vec<_>, Vec<_>) = found.into_iter().partition(SocketAddr::is_ipv6);
    let (mut six, mut four) = (six.into_iter(), four.into_iter());
    let mut addresses = Vec::new();
    loop {
        let pair = [six.next(), four.next()];
        if pair == [None, None] {
            return addresses;
        }
        addresses.extend(pair.into_iter().flatten());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_families_are_tried_in_turn() {
        let address = |text: &str| text.parse::<SocketAddr>().unwrap();
        let (a4, b4, c4) = (address("10.0.0.1:1"), address("10.0.0.2:1"), address("10.0.0.3:1"));
        let (a6, b6) = (address("[2001:db8::1]:1"), address("[2001:db8::2]:1"));
        assert_eq!(interleave(vec![a4, b4, c4, a6, b6]), [a6, a4, b6, b4, c4]);
        assert_eq!(interleave(vec![]), []);
    }
}
