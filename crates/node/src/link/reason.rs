//! Why a connection came to nothing, in words that tell an operator what to do.

use std::fmt;

use quinn::ConnectionError;

/// Which end of a link this node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The one that listens.
    Server,
    /// The one that dials.
    Client,
}

/// How a connection failed before it was a link.
#[derive(Debug, thiserror::Error)]
pub struct Broken {
    /// What QUIC says.
    pub error: ConnectionError,
    /// Which end saw it.
    pub end: End,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match hint(&self.error, self.end) {
            Some(hint) => write!(f, "{hint} ({})", self.error),
            None => self.error.fmt(f),
        }
    }
}

/// Who found something wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Who {
    We,
    Peer,
}

/// The first code of a TLS alert (RFC 9001 §4.8).
const CRYPTO_ERROR: u64 = 0x100;

fn hint(error: &ConnectionError, end: End) -> Option<&'static str> {
    match error {
        ConnectionError::TransportError(error) => alert_hint(u64::from(error.code), end, Who::We),
        ConnectionError::ConnectionClosed(close) => alert_hint(u64::from(close.error_code), end, Who::Peer),
        ConnectionError::VersionMismatch => Some("the server speaks no version of QUIC that this client does"),
        ConnectionError::TimedOut if end == End::Client => {
            Some("no answer: nobody listens there, or something on the way blocks UDP")
        }
        ConnectionError::TimedOut
        | ConnectionError::ApplicationClosed(_)
        | ConnectionError::Reset
        | ConnectionError::LocallyClosed
        | ConnectionError::CidsExhausted => None,
    }
}

/// Explains a TLS alert (RFC 8446 §6.2).
fn alert_hint(code: u64, end: End, who: Who) -> Option<&'static str> {
    let alert = code.checked_sub(CRYPTO_ERROR).filter(|alert| *alert <= 0xff)?;
    Some(match (alert, end, who) {
        (120, End::Client, Who::We | Who::Peer) => {
            "the server does not speak adit/1: it is another version of adit, or no adit"
        }
        (120, End::Server, Who::We | Who::Peer) => {
            "the client does not speak adit/1: it is another version of adit, or no adit"
        }
        (70, _, Who::We | Who::Peer) => "the peer does not speak TLS 1.3",
        (116, End::Client, _) => "the server asks for a client certificate: set tunnel.cert and tunnel.key",
        (116, End::Server, _) => "the client shows no certificate",
        (48, End::Client, Who::We) => "the server's certificate is not signed by this client's tunnel.ca",
        (48, End::Client, Who::Peer) => "the server's tunnel.client_ca did not sign this client's certificate",
        (48, End::Server, Who::We) => "the client's certificate is not signed by this server's tunnel.client_ca",
        (48, End::Server, Who::Peer) => "the client's tunnel.ca did not sign this server's certificate",
        // Authorities that `adit certs` makes have one name, so that it is the signature that does not fit.
        (51, End::Client, Who::We) => {
            "the server's certificate is not signed by this client's tunnel.ca, or the server does not have its key"
        }
        (51, End::Client, Who::Peer) => {
            "the server's tunnel.client_ca did not sign this client's certificate, or this client does not have its key"
        }
        (51, End::Server, Who::We) => {
            "the client's certificate is not signed by this server's tunnel.client_ca, or the client does not have its key"
        }
        (51, End::Server, Who::Peer) => {
            "the client's tunnel.ca did not sign this server's certificate, or this server does not have its key"
        }
        (44 | 45, End::Client, Who::We) => "the server's certificate is not valid any more, or not yet",
        (44 | 45, End::Client, Who::Peer) => "this client's certificate was revoked, is not valid any more, or not yet",
        (44 | 45, End::Server, Who::We) => "the client's certificate was revoked, is not valid any more, or not yet",
        (44 | 45, End::Server, Who::Peer) => {
            "the client says that this server's certificate is not valid any more, or not yet"
        }
        (42 | 43 | 46, End::Client, Who::We) => {
            "the server's certificate is not for it: tunnel.server_name says which name it must have"
        }
        (42 | 43 | 46, End::Client, Who::Peer) => "the server does not take this client's certificate",
        (42 | 43 | 46, End::Server, Who::We) => "the client's certificate is not one of a client",
        (42 | 43 | 46, End::Server, Who::Peer) => {
            "the client does not take this server's certificate: its tunnel.server_name may be another one"
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use quinn_proto::{TransportError, TransportErrorCode};

    use super::*;

    fn said(alert: u8, end: End) -> String {
        let code = TransportErrorCode::crypto(alert);
        let error = TransportError { code, frame: None, reason: "because".to_owned() };
        Broken { error: error.into(), end }.to_string()
    }

    #[test]
    fn an_alert_tells_what_to_do_and_what_tls_said() {
        for (alert, end, words) in [
            (48, End::Client, "tunnel.ca"),
            (48, End::Server, "tunnel.client_ca"),
            (51, End::Client, "tunnel.ca"),
            (51, End::Server, "tunnel.client_ca"),
            (120, End::Server, "adit/1"),
            (116, End::Server, "no certificate"),
            (42, End::Client, "tunnel.server_name"),
        ] {
            let said = said(alert, end);
            assert!(said.contains(words) && said.contains("because"), "{said}");
        }
    }

    #[test]
    fn what_has_no_explanation_stays_as_it_is() {
        let code = TransportErrorCode::INTERNAL_ERROR;
        let error = TransportError { code, frame: None, reason: "because".to_owned() };
        assert_eq!(
            Broken { error: error.clone().into(), end: End::Server }.to_string(),
            ConnectionError::from(error).to_string()
        );
    }
}
