//! The access log: what a line says, and that there is one for every exchange on either side.

use std::{
    io::{self, Write},
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{sleep, timeout},
};
use tracing_subscriber::fmt::MakeWriter;

use crate::tunnel::{Tunnel, ask};

/// A log in memory.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn start(&self) -> tracing::subscriber::DefaultGuard {
        let filter = tracing_subscriber::EnvFilter::new("access=info");
        let subscriber =
            tracing_subscriber::fmt().with_env_filter(filter).with_ansi(false).with_writer(self.clone()).finish();
        tracing::subscriber::set_default(subscriber)
    }

    /// Waits until one of either side speaks of `path`, and returns the line of `side`.
    async fn line(&self, side: &str, path: &str) -> String {
        let find = || {
            let log = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
            let fits =
                |line: &&str| line.contains(&format!("side=\"{side}\"")) && line.contains(&format!("path=\"{path}\""));
            log.lines().find(fits).map(ToOwned::to_owned)
        };
        let found = async {
            loop {
                if let Some(line) = find() {
                    return line;
                }
                sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(Duration::from_secs(10), found).await.unwrap()
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Write::write(&mut *self.0.lock().unwrap(), bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

fn assert_has(line: &str, parts: &[&str]) {
    for part in parts {
        assert!(line.contains(part), "no {part} in {line}");
    }
}

#[tokio::test]
async fn an_exchange_has_a_line_on_either_side_under_one_id_and_one_trace() {
    let log = Log::default();
    let _guard = log.start();
    let tunnel = Tunnel::start().await;
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let answer = ask(
        tunnel.entry,
        &format!(
            "POST /a?secret=1 HTTP/1.1\r\nhost: app.example\r\nx-request-id: mine\r\n\
             traceparent: 00-{trace}-00f067aa0ba902b7-01\r\ncontent-length: 3\r\nconnection: close\r\n\r\nabc"
        ),
    )
    .await;
    assert!(answer.ends_with("hello"), "{answer}");
    for (side, peer) in [("asked", "peer=\"client\""), ("answered", "peer=\"localhost\"")] {
        let line = log.line(side, "/a").await;
        let trace = format!("trace=\"{trace}\"");
        let what = ["id=\"mine\"", &trace, "method=\"POST\"", "host=\"app.example\"", "status=200", peer];
        assert_has(&line, &what);
        assert_has(&line, &["request_bytes=3", "response_bytes=5", "group=\"web\"", "visitor=127.0.0.1:"]);
        assert_has(&line, &["wait_us=", "upstream_us=", "transfer_us="]);
        assert!(!line.contains("code=") && !line.contains("secret"), "{line}");
    }
}

#[tokio::test]
async fn a_body_that_is_cut_short_is_told_from_a_complete_one() {
    let log = Log::default();
    let _guard = log.start();
    let tunnel = Tunnel::start().await;
    let mut visitor = TcpStream::connect(tunnel.entry).await.unwrap();
    visitor.write_all(b"GET /cut HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"hello") {
        answer.push(visitor.read_u8().await.unwrap());
    }
    tunnel.cut.cancel();
    let _ = visitor.read_to_end(&mut answer).await;
    for side in ["asked", "answered"] {
        let parts = ["status=200", "code=\"upstream-reset\"", "response_bytes=5"];
        assert_has(&log.line(side, "/cut").await, &parts);
    }
}

#[tokio::test]
async fn a_visitor_that_leaves_is_cancelled_on_either_side() {
    let log = Log::default();
    let _guard = log.start();
    let tunnel = Tunnel::start().await;
    let mut visitor = TcpStream::connect(tunnel.entry).await.unwrap();
    visitor.write_all(b"GET /wait HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    let mut byte = [0];
    assert!(timeout(Duration::from_millis(50), visitor.read(&mut byte)).await.is_err());
    drop(visitor);
    for side in ["asked", "answered"] {
        let line = log.line(side, "/wait").await;
        assert_has(&line, &["code=\"cancelled\""]);
        assert!(!line.contains("status="), "{line}");
    }
}

#[tokio::test]
async fn a_request_that_is_refused_has_a_line_too() {
    let log = Log::default();
    let _guard = log.start();
    let tunnel = Tunnel::start().await;
    ask(tunnel.entry, "GET /bad HTTP/1.1\r\nhost: a@b\r\nconnection: close\r\n\r\n").await;
    let line = log.line("asked", "/bad").await;
    assert_has(&line, &["status=400", "code=\"bad-request\"", "method=\"GET\""]);
    assert!(!line.contains("group="), "{line}");
}
