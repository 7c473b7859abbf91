//! What a node says of itself.

use std::{net::SocketAddr, time::Duration};

use anyhow::Context;
use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, task::JoinSet, time::timeout};

/// How long an answer may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// Returns what the admin interface of a node says.
///
/// # Errors
///
/// When it says nothing in time, or that it is not well.
pub(crate) async fn get(admin: SocketAddr, path: &str) -> anyhow::Result<String> {
    timeout(ANSWER_WITHIN, ask(admin, path)).await.with_context(|| format!("{admin}{path} does not answer"))?
}

async fn ask(admin: SocketAddr, path: &str) -> anyhow::Result<String> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(TcpStream::connect(admin).await?)).await?;
    let mut driver = JoinSet::new();
    driver.spawn(connection);
    let request = Request::get(path).header("host", "localhost").body(Empty::<Bytes>::new())?;
    let response = sender.send_request(request).await?;
    anyhow::ensure!(response.status().is_success(), "{admin}{path}: {}", response.status());
    let body = response.into_body().collect().await?.to_bytes();
    Ok(String::from_utf8_lossy(&body).into_owned())
}

/// Returns the sum of all values of a metric.
pub(crate) fn sum(metrics: &str, name: &str) -> f64 {
    let values = metrics.lines().filter_map(|line| {
        let rest = line.strip_prefix(name)?;
        let rest = rest.strip_prefix('{').map_or(Some(rest), |labels| labels.split_once('}').map(|(_, rest)| rest))?;
        rest.strip_prefix(' ')?.trim().parse::<f64>().ok()
    });
    values.sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_a_metric_are_summed_and_of_no_other() {
        let text =
            "# HELP adit_links Links\nadit_links{group=\"a\"} 2\nadit_links{group=\"b\"} 3\nadit_links_x 7\np 9\n";
        assert_eq!(sum(text, "adit_links"), 5.0);
        assert_eq!(sum(text, "p"), 9.0);
        assert_eq!(sum(text, "absent"), 0.0);
    }
}
