//! What the control stream carries: the first bidirectional stream of a link, opened by the client.
//!
//! The client's first frame is [`Control::StreamOpen`], the server's first frame is
//! [`Control::StreamOpenResponse`]. From then on either side sends what it has to say; nothing but a
//! heartbeat asks for an answer.

use serde::{Deserialize, Serialize};

use crate::{
    id::{ClientId, Group, SessionId},
    token::Token,
    wire::config::ConfigVersion,
};

/// One frame of the control stream, at most [`crate::limits::CONTROL_FRAME_BYTES_MAX`] long.
///
/// Append-only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Control {
    /// Client → server, first: who joins which group.
    StreamOpen(StreamOpen),
    /// Server → client, first: whether it may.
    StreamOpenResponse(StreamOpenResponse),
    /// Client → server, at every heartbeat interval. The server echoes it as it came.
    Heartbeat(Heartbeat),
    /// Either way: open no new exchange on this link, finish what is in flight.
    Drain(Drain),
    /// Either way, once after the peer's `Drain`: the sender asks nothing more on this link and nothing that it
    /// asked is in flight. Who sent `Drain` may now close.
    Drained,
    /// Client → server, at every sync interval: which pushed configuration it has. The server pushes when it is
    /// another one.
    ConfigSync {
        /// The one that it has applied or refused last.
        have: Option<ConfigVersion>,
    },
    /// Client → server: what became of a pushed configuration.
    ConfigAck {
        /// Which one.
        version: ConfigVersion,
        /// What became of it.
        outcome: ConfigOutcome,
    },
}

/// What a client did with a pushed configuration.
///
/// Append-only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ConfigOutcome {
    /// It is in force.
    Applied,
    /// The one before stays in force.
    Rejected {
        /// What the operator of the server should know.
        why: String,
    },
}

/// The registration of a client.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamOpen {
    /// The client process.
    pub client_id: ClientId,
    /// The group it wants to serve.
    pub group: Group,
    /// What it wants to carry.
    pub stream_type: StreamType,
    /// The version of its software, for the log.
    pub version: String,
    /// What it understands beyond the first version of the protocol, one bit each.
    pub features: u64,
    /// Its clock, in milliseconds since 1970, for the log.
    pub timestamp_ms: u64,
    /// Who it is, where it has no certificate.
    pub token: Option<Token>,
}

/// What a link carries.
///
/// Append-only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum StreamType {
    /// HTTP exchanges.
    Http,
}

/// The server's answer to [`StreamOpen`].
///
/// Append-only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum StreamOpenResponse {
    /// The client is a member of the group.
    Accepted {
        /// The number of this session in the server's logs.
        session: SessionId,
        /// What the server understands beyond the first version of the protocol, one bit each.
        features: u64,
        /// How often the server wants to hear a heartbeat, in milliseconds.
        heartbeat_ms: u32,
    },
    /// The client is not a member of the group, and the server closes the link.
    Denied {
        /// What the operator of the client should know.
        reason: String,
    },
}

/// A sign of life, with the load of its sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heartbeat {
    /// Counts up from 0.
    pub seq: u64,
    /// Exchanges that the sender is answering on this link.
    pub in_flight: u32,
}

/// The announcement that the sender goes away.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drain {
    /// Why, for the log.
    pub reason: String,
    /// How long exchanges in flight have, in milliseconds.
    pub grace_ms: u32,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        limits::CONTROL_FRAME_BYTES_MAX,
        wire::codec::{decode, encode, frame_length},
    };

    /// Fixes the bytes of a message and that they decode to the same message.
    fn golden(message: &Control, expected: &[u8]) {
        let mut out = bytes::BytesMut::new();
        encode(message, CONTROL_FRAME_BYTES_MAX, &mut out).unwrap();
        assert_eq!(&out[..], expected, "{message:?}");
        let length = frame_length(&out, CONTROL_FRAME_BYTES_MAX).unwrap().unwrap();
        assert_eq!(&decode::<Control>(&out[length.prefix..]).unwrap(), message);
    }

    fn open(token: Option<Token>) -> Control {
        Control::StreamOpen(StreamOpen {
            client_id: "client-1".parse().unwrap(),
            group: "web".parse().unwrap(),
            stream_type: StreamType::Http,
            version: "0.1.0".into(),
            features: 300,
            timestamp_ms: 1,
            token,
        })
    }

    #[test]
    fn stream_open_has_these_bytes() {
        golden(&open(None), b"\x19\x00\x08client-1\x03web\x00\x050.1.0\xac\x02\x01\x00");
        golden(
            &open(Some(Token::from_secret(*b"0123456789abcdef0123456789abcdef"))),
            b"\x39\x00\x08client-1\x03web\x00\x050.1.0\xac\x02\x01\x010123456789abcdef0123456789abcdef",
        );
    }

    #[test]
    fn a_registration_does_not_show_its_token() {
        let shown = format!("{:?}", open(Some(Token::from_secret([7; 32]))));
        assert!(shown.contains("token: Some(Token(…))"), "{shown}");
    }

    #[test]
    fn stream_open_response_has_these_bytes() {
        let accepted = StreamOpenResponse::Accepted { session: SessionId(7), features: 0, heartbeat_ms: 30_000 };
        golden(&Control::StreamOpenResponse(accepted), b"\x07\x01\x00\x07\x00\xb0\xea\x01");
        let denied = StreamOpenResponse::Denied { reason: "no".into() };
        golden(&Control::StreamOpenResponse(denied), b"\x05\x01\x01\x02no");
    }

    #[test]
    fn heartbeat_and_drain_have_these_bytes() {
        golden(&Control::Heartbeat(Heartbeat { seq: 1, in_flight: 2 }), b"\x03\x02\x01\x02");
        golden(&Control::Drain(Drain { reason: "bye".into(), grace_ms: 5 }), b"\x06\x03\x03bye\x05");
        golden(&Control::Drained, b"\x01\x04");
    }

    #[test]
    fn config_messages_have_these_bytes() {
        let version = crate::wire::config::GroupConfig::default().push().unwrap().version;
        golden(&Control::ConfigSync { have: None }, b"\x02\x05\x00");
        let rejected = Control::ConfigAck { version, outcome: ConfigOutcome::Rejected { why: "no".into() } };
        let mut out = bytes::BytesMut::new();
        encode(&rejected, CONTROL_FRAME_BYTES_MAX, &mut out).unwrap();
        assert_eq!(out.len(), 1 + 1 + 16 + 1 + 3);
        assert_eq!((&out[..2], &out[18..]), (&b"\x15\x06"[..], &b"\x01\x02no"[..]));
    }

    #[test]
    fn a_name_that_is_no_name_is_refused() {
        assert!(decode::<Control>(b"\x00\x03a b\x03web\x00\x01v\x00\x00\x00").is_err());
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_decode_or_are_refused(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..300)) {
            let _: Result<Control, _> = decode(&bytes);
        }
    }
}
