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
        control::{Control, Drain},
    },
};
use adit_tests::{eventually, node::ServerNode, peer::Peer, settings, trust::Trust, visitor::raw::Raw};
use bytes::BytesMut;
use tracing_subscriber::{EnvFilter, fmt::writer::BoxMakeWriter, util::SubscriberInitExt};

/// What would be a line of its own, in red, if it got through.
const EVIL: &str = "\r\n1999-01-01T00:00:00.000000Z  INFO forged\u{1b}[31m\u{9b}0m\u{202e}\0";

#[derive(Clone, Debug, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Log {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

/// Has a hostile visitor and a hostile peer say what they like to a server, and returns its log.
async fn log_of_a_hostile_day(format: LogFormat) -> String {
    let log = Log::default();
    let writer = log.clone();
    let writer = BoxMakeWriter::new(move || writer.clone());
    let _guard = dispatch(format, EnvFilter::new("trace"), false, writer).set_default();
    tracing::info!(reason = %EVIL, text = EVIL, error = ?EVIL, "{EVIL}");
    let span = tracing::info_span!("link", server = %EVIL);
    span.in_scope(|| tracing::info!("within"));
    let trust = Trust::default();
    let server = ServerNode::start(settings::public_server(&trust)).await;
    let mut peer = Peer::join(server.tunnel, &trust).await;
    let mut visitor = Raw::connect(server.entry()).await;
    visitor.send(b"GET /forged\x80\xc2\x9b?\xe2\x80\xae HTTP/1.1\r\nHost: a\r\nX-Request-Id: forged\x1b\r\n\r\n").await;
    let mut frame = BytesMut::new();
    let drain = Control::Drain(Drain { reason: format!("drained{EVIL}"), grace_ms: 5 });
    codec::encode(&drain, CONTROL_FRAME_BYTES_MAX, &mut frame).unwrap();
    peer.say(frame).await;
    eventually("the server to hear it", || log.text().contains("drained")).await;
    log.text()
}

#[tokio::test]
async fn nobody_writes_a_line_into_a_log_for_people() {
    let log = log_of_a_hostile_day(LogFormat::Human).await;
    assert!(log.matches("forged").count() >= 5, "{log:?}");
    for line in log.lines() {
        assert!(line.starts_with("20") && line.contains('Z'), "{line:?}");
        let hostile = |char: char| char.is_control() || char == '\u{202e}';
        assert!(!line.contains(hostile), "{line:?}");
    }
}

#[tokio::test]
async fn every_line_of_a_log_for_machines_is_one_object() {
    let log = log_of_a_hostile_day(LogFormat::Json).await;
    assert!(log.contains("forged"), "{log:?}");
    for line in log.lines() {
        let object: serde_json::Value = serde_json::from_str(line).unwrap();
        assert!(object["timestamp"].as_str().unwrap().starts_with("20"), "{line}");
    }
}
