//! A visitor that switches its connection to WebSocket.

use std::net::SocketAddr;

use http::{Request, Response};
use hyper::{
    body::Incoming,
    client::conn::{http1, http2},
    ext::Protocol,
};
use hyper_util::rt::TokioExecutor;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    task::JoinSet,
    time::timeout,
};

use super::{HOST, dial};
use crate::{
    body::{self, Body},
    message::{Http, values},
    upstream::Connection,
    wait::{LOOK_EVERY, within},
};

/// The key of RFC 6455 §1.3.
pub const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

/// What every upstream has to answer to it.
pub const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// A connection that was switched. Dropping it closes it.
#[derive(Debug)]
pub struct WebSocket {
    connection: Connection,
    _driver: JoinSet<()>,
}

/// What an entry says to a request to switch.
#[derive(Debug)]
pub struct Asked {
    /// The response.
    pub response: Response<Incoming>,
    driver: JoinSet<()>,
}

/// Asks an entry to switch a new connection, or a stream of one, to WebSocket.
///
/// # Panics
///
/// When there is no answer.
pub async fn ask(entry: SocketAddr, version: Http, path: &str, fields: &[(&'static str, &'static str)]) -> Asked {
    ask_for("websocket", entry, version, path, fields).await
}

/// Asks an entry to switch to another protocol.
///
/// # Panics
///
/// When there is no answer.
pub async fn ask_for(
    protocol: &'static str,
    entry: SocketAddr,
    version: Http,
    path: &str,
    fields: &[(&'static str, &'static str)],
) -> Asked {
    let mut request = match version {
        Http::Http1 => Request::get(path)
            .header("host", HOST)
            .header("connection", "Upgrade")
            .header("upgrade", protocol)
            .header("sec-websocket-key", KEY),
        Http::Http2 => Request::connect(format!("http://{HOST}{path}")).extension(Protocol::from_static(protocol)),
    };
    request = request.header("sec-websocket-version", "13");
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    send(entry, version, request.body(body::empty()).unwrap()).await
}

/// Asks an entry to connect to `authority`, and goes on with the connection.
///
/// # Panics
///
/// When it does not.
pub async fn connect(entry: SocketAddr, version: Http, authority: &str) -> WebSocket {
    let request = Request::connect(authority);
    let request = match version {
        Http::Http1 => request.header("host", authority),
        Http::Http2 => request,
    };
    let asked = send(entry, version, request.body(body::empty()).unwrap()).await;
    assert_eq!(asked.response.status().as_u16(), 200);
    asked.go_on().await
}

/// Sends a request on a connection of its own.
async fn send(entry: SocketAddr, version: Http, request: Request<Body>) -> Asked {
    let mut driver = JoinSet::new();
    let (tcp, _) = dial(entry).await;
    let answered = match version {
        Http::Http1 => {
            let (mut sender, connection) = within("an HTTP/1.1 connection", http1::handshake(tcp)).await.unwrap();
            // How it ended, whoever uses it is told.
            driver.spawn(async move { drop(connection.with_upgrades().await) });
            within("an answer", sender.send_request(request)).await
        }
        Http::Http2 => {
            let handshake = http2::handshake(TokioExecutor::new(), tcp);
            let (mut sender, connection) = within("an HTTP/2 connection", handshake).await.unwrap();
            let mut connection = Box::pin(connection);
            // hyper does not tell that settings have come.
            let announced = async {
                while !connection.is_extended_connect_protocol_enabled() {
                    let ended = timeout(LOOK_EVERY, connection.as_mut()).await;
                    assert!(ended.is_err(), "an entry that does not speak HTTP/2");
                }
            };
            within("the entry to announce extended CONNECT", announced).await;
            // As above.
            driver.spawn(async move { drop(connection.await) });
            within("an answer", sender.send_request(request)).await
        }
    };
    Asked { response: answered.expect("an answer"), driver }
}

impl Asked {
    /// Goes on with the connection.
    ///
    /// # Panics
    ///
    /// When the entry has not agreed as this version of HTTP has it.
    pub async fn switched(self, version: Http) -> WebSocket {
        let told = ["connection", "upgrade", "sec-websocket-accept"].map(|name| values(self.response.headers(), name));
        match version {
            Http::Http1 => assert_eq!(told, [["upgrade"], ["websocket"], [ACCEPT]]),
            Http::Http2 => assert_eq!(told, [[""; 0]; 3]),
        }
        let status = match version {
            Http::Http1 => 101,
            Http::Http2 => 200,
        };
        assert_eq!(self.response.status().as_u16(), status);
        self.go_on().await
    }

    async fn go_on(mut self) -> WebSocket {
        let upgraded = within("the switch", hyper::upgrade::on(&mut self.response)).await.unwrap();
        WebSocket { connection: Connection::new(upgraded), _driver: self.driver }
    }
}

impl WebSocket {
    /// Sends bytes.
    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let sent = async {
            self.connection.write_all(bytes.as_ref()).await?;
            self.connection.flush().await
        };
        within("somebody to take bytes", sent).await.unwrap();
    }

    /// Reads as many bytes as `expected` has, and checks that they are the same.
    ///
    /// # Panics
    ///
    /// When they are not.
    pub async fn expect(&mut self, expected: impl AsRef<[u8]>) {
        let expected = expected.as_ref();
        let mut read = vec![0; expected.len()];
        within("bytes", self.connection.read_exact(&mut read)).await.expect("a connection that is open");
        assert!(read == expected, "{:?}", String::from_utf8_lossy(&read));
    }

    /// Ends this side.
    pub async fn end(&mut self) {
        within("the end to be sent", self.connection.shutdown()).await.unwrap();
    }

    /// Waits until the connection breaks off, or ends where a version of HTTP cannot tell.
    pub async fn broken_off(mut self) {
        // How, is not for an entry to say: hyper ends what it should reset.
        let _ = within("the connection to break off", self.connection.read_to_end(&mut Vec::new())).await;
    }

    /// Reads to the end of the other side.
    pub async fn rest(mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        within("the end of the other side", self.connection.read_to_end(&mut rest)).await.expect("an end");
        rest
    }
}
