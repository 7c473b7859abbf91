//! Logs that nobody but the node writes lines into.

use std::{
    io,
    sync::{Arc, Mutex},
};

use adit::telemetry::{LogFormat, dispatch};
use adit_core::{
    limits::CONTROL_FRAME_BYTES_MAX,
    wire::{
        codec,
        config::{ConfigPush, EgressRule, GroupConfig, Upstream},
        control::{ConfigOutcome, Control, Drain, StreamOpen, StreamType},
    },
};
use adit_node::{push::Pushed, settings::ClientProof};
use adit_tests::{
    eventually,
    node::{ClientNode, ServerNode},
    peer::{Host, Peer},
    settings::{self, CLIENT, GROUP, everything_to, group, url},
    trust::Trust,
    upstream,
    visitor::raw::Raw,
};
use bytes::BytesMut;
use tracing::subscriber::DefaultGuard;
use tracing_subscriber::{EnvFilter, fmt::writer::BoxMakeWriter, util::SubscriberInitExt};

/// What would be a line of its own, in red, if it got through.
const EVIL: &str = "\r\n1999-01-01T00:00:00.000000Z  INFO forged\u{1b}[31m\u{9b}0m\u{85}\u{2028}\u{202e}\0";

#[derive(Clone, Debug, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The log of all that runs on this thread, as the command writes it.
struct Log {
    lines: Lines,
    _guard: DefaultGuard,
}

impl Log {
    fn start(format: LogFormat) -> Self {
        let lines = Lines::default();
        let writer = lines.clone();
        let writer = BoxMakeWriter::new(move || writer.clone());
        Self { lines, _guard: dispatch(format, EnvFilter::new("trace"), false, writer).set_default() }
    }

    fn text(&self) -> String {
        String::from_utf8(self.lines.0.lock().unwrap().clone()).unwrap()
    }

    /// Waits until somebody has said `mark`, and what is evil after it.
    async fn has(&self, mark: &str) {
        let forged = || {
            self.text().split(mark).skip(1).any(|rest| rest.chars().take(120).collect::<String>().contains("forged"))
        };
        eventually(mark, forged).await;
    }
}

fn evil(mark: &str) -> String {
    format!("{mark}{EVIL}")
}

async fn say(peer: &mut Peer, message: &Control) {
    let mut frame = BytesMut::new();
    codec::encode(message, CONTROL_FRAME_BYTES_MAX, &mut frame).unwrap();
    peer.say(frame).await;
}

fn drain(mark: &str) -> Control {
    Control::Drain(Drain { reason: evil(mark), grace_ms: 5 })
}

/// Has a node itself log what it likes: in the message, in fields, in a span.
fn says_itself() {
    tracing::info!(reason = %EVIL, text = EVIL, error = ?EVIL, "{EVIL}");
    tracing::info_span!("link", server = %EVIL).in_scope(|| tracing::info!("within"));
}

/// Has a hostile visitor, strangers and a hostile client say what they like to a server.
async fn hostile_day_of_a_server(log: &Log) {
    let trust = Trust::default();
    let mut settings = settings::public_server(&trust);
    settings.groups.get_mut(&group(GROUP)).unwrap().push = Some(GroupConfig::default().push().unwrap());
    let server = ServerNode::start(settings).await;

    let mut visitor = Raw::connect(server.entry()).await;
    visitor
        .send(b"GET /visited\x80\xc2\x9b?\xe2\x80\xae HTTP/1.1\r\nHost: a\r\nX-Request-Id: forged\x1b\r\n\r\n")
        .await;

    let stranger = ClientProof::Certificate(Trust::default().client_known_as(&evil("claimed")));
    if let Ok(peer) = Peer::try_connect_with(server.tunnel, &stranger, &trust).await {
        peer.quic.closed().await;
    }
    let nameless = ClientProof::Certificate(trust.client_known_as(&evil("named")));
    if let Ok(peer) = Peer::try_connect_with(server.tunnel, &nameless, &trust).await {
        peer.quic.closed().await;
    }
    eventually("both to be refused", || log.text().matches("no link: ").count() == 2).await;

    let mut peer = Peer::connect(server.tunnel, &trust).await;
    let open = StreamOpen {
        client_id: "client-peer".parse().unwrap(),
        group: group(GROUP),
        stream_type: StreamType::Http,
        version: evil("registered"),
        features: 0,
        timestamp_ms: 0,
        token: None,
    };
    say(&mut peer, &Control::StreamOpen(open)).await;
    log.has("registered").await;
    // What was pushed is on a stream of its own; whether it is read makes no difference.
    let version = GroupConfig::default().push().unwrap().version;
    let refused = Control::ConfigAck { version, outcome: ConfigOutcome::Rejected { why: evil("refused") } };
    say(&mut peer, &refused).await;
    log.has("refused").await;
    say(&mut peer, &drain("drained")).await;
    log.has("drained").await;
    peer.quic.close(7_u32.into(), evil("closed").as_bytes());
    log.has("closed").await;
}

/// Has a hostile server and a hostile upstream say what they like to a client.
async fn hostile_day_of_a_client(log: &Log) {
    let trust = Trust::default();
    let host = Host::listen(&trust);
    let (_upstream, address) = upstream::nobody();
    let mut settings = settings::client(&trust, CLIENT, host.address);
    settings.egress = everything_to(url("http", address));
    let _client = ClientNode::start(settings).await;

    let denied = host.deny(&evil("denied")).await;
    log.has("denied").await;
    drop(denied);
    let mut peer = host.welcome().await;
    // A client does this on another thread, where this log does not hear it.
    Pushed::default().apply(pushed());
    log.has("upstream").await;
    peer.get("/forged\u{9b}\u{85}\u{2028}\u{202e}").await;
    log.has("exchange").await;
    say(&mut peer, &drain("drained")).await;
    log.has("drained").await;
    peer.quic.close(7_u32.into(), evil("closed").as_bytes());
    log.has("closed").await;
}

/// A configuration that no client can apply, for reasons that have its own words in them.
fn pushed() -> ConfigPush {
    let upstream = Upstream { servers: vec![evil("server")], ..Upstream::default() };
    let rule = EgressRule { upstream: evil("upstream"), ..EgressRule::default() };
    let config = GroupConfig { egress: vec![rule], upstreams: [(evil("upstream"), upstream)].into() };
    ConfigPush { version: GroupConfig::default().push().unwrap().version, config }
}

fn are_lines_for_people(log: &Log) {
    let text = log.text();
    assert!(text.matches("forged").count() >= 5, "{text:?}");
    for line in text.lines() {
        assert!(line.starts_with("20") && line.contains('Z'), "{line:?}");
        let hostile = |char: char| char.is_control() || matches!(char, '\u{2028}' | '\u{2029}' | '\u{202e}');
        assert!(!line.contains(hostile), "{line:?}");
    }
}

fn are_lines_for_machines(log: &Log) {
    let text = log.text();
    assert!(text.matches("forged").count() >= 5, "{text:?}");
    for line in text.lines() {
        let object: serde_json::Value = serde_json::from_str(line).unwrap();
        assert!(object["timestamp"].as_str().unwrap().starts_with("20"), "{line}");
    }
}

#[tokio::test]
async fn nobody_writes_a_line_into_a_servers_log_for_people() {
    let log = Log::start(LogFormat::Human);
    says_itself();
    hostile_day_of_a_server(&log).await;
    are_lines_for_people(&log);
}

#[tokio::test]
async fn nobody_writes_a_line_into_a_clients_log_for_people() {
    let log = Log::start(LogFormat::Human);
    says_itself();
    hostile_day_of_a_client(&log).await;
    are_lines_for_people(&log);
}

#[tokio::test]
async fn every_line_of_a_servers_log_for_machines_is_one_object() {
    let log = Log::start(LogFormat::Json);
    says_itself();
    hostile_day_of_a_server(&log).await;
    are_lines_for_machines(&log);
}

#[tokio::test]
async fn every_line_of_a_clients_log_for_machines_is_one_object() {
    let log = Log::start(LogFormat::Json);
    says_itself();
    hostile_day_of_a_client(&log).await;
    are_lines_for_machines(&log);
}
