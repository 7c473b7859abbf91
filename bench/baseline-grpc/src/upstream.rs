//! Where HTTP goes out: kept connections to one backend.

use std::{net::SocketAddr, time::Duration};

use anyhow::Context;
use bytes::Bytes;
use http::{Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};

use crate::{
    MESSAGE_BYTES_MAX,
    message::{FromClient, FromServer, fields_from, fields_into},
};

/// How long to wait for the backend's TCP.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// A backend.
#[derive(Clone, Debug)]
pub struct Upstream {
    address: SocketAddr,
    http: Client<HttpConnector, Full<Bytes>>,
}

impl Upstream {
    /// Connects when the first request comes.
    pub fn new(address: SocketAddr) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(CONNECT_TIMEOUT));
        let http = Client::builder(TokioExecutor::new()).pool_timer(TokioTimer::new()).set_host(false).build(connector);
        Self { address, http }
    }

    /// Asks the backend; its failure becomes a 502.
    pub async fn ask(&self, message: FromServer) -> FromClient {
        let request_id = message.request_id;
        match self.try_ask(message).await {
            Ok(response) => response,
            Err(error) => {
                tracing::warn!(error = format!("{error:#}"), "the upstream failed");
                let status = u32::from(StatusCode::BAD_GATEWAY.as_u16());
                FromClient {
                    request_id,
                    status,
                    fields: Vec::new(),
                    body: Bytes::from_static(b"the upstream failed\n"),
                }
            }
        }
    }

    async fn try_ask(&self, message: FromServer) -> anyhow::Result<FromClient> {
        let mut request = Request::new(Full::new(message.body));
        *request.method_mut() = Method::from_bytes(message.method.as_bytes()).context("method")?;
        let authority = self.address.to_string();
        *request.uri_mut() = Uri::builder()
            .scheme("http")
            .authority(authority)
            .path_and_query(message.target)
            .build()
            .context("target")?;
        fields_into(message.fields, request.headers_mut());
        let (head, body) = self.http.request(request).await.context("request")?.into_parts();
        let body = Limited::new(body, MESSAGE_BYTES_MAX / 2).collect().await.map_err(anyhow::Error::from_boxed)?;
        Ok(FromClient {
            request_id: message.request_id,
            status: u32::from(head.status.as_u16()),
            fields: fields_from(&head.headers),
            body: body.to_bytes(),
        })
    }
}
