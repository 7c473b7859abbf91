//! The access log: one line per exchange, on either side, when its response has ended or was dropped.
//!
//! Lines have the target `access` and the level INFO. Where they are filtered out an exchange pays for its
//! counters only: it allocates nothing here.

use std::{
    borrow::Cow,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use adit_core::{
    failure::Failure,
    http::{headers::X_REQUEST_ID, trace},
    id::Identity,
    wire::exchange::RequestHead,
};
use http::{HeaderValue, Method, StatusCode, Uri, uri::PathAndQuery};
use tokio::time::Instant;

use crate::{
    meter::{Meter, Outcome, Side},
    watch::{Place, Shown, Text, Watch},
};

/// The target of log lines about who came in, who did not, and who had to go.
pub const AUDIT: &str = "adit::audit";

/// The target of access lines.
const TARGET: &str = "access";

/// The most bytes of one value in a line.
const VALUE_BYTES_MAX: usize = 1024;

/// Starts records: what they are counted by, and where they are seen.
#[derive(Clone, Debug)]
pub struct Recorder {
    meter: Arc<Meter>,
    watch: Option<Arc<Watch>>,
}

impl Recorder {
    /// Counts by `meter` until [`Record::belongs_to`] says better.
    pub fn new(meter: Arc<Meter>, watch: Option<Arc<Watch>>) -> Self {
        Self { meter, watch }
    }

    /// Starts the record of an exchange.
    pub fn begin(&self) -> Record {
        self.meter.enter();
        Record {
            meter: Arc::clone(&self.meter),
            place: self.watch.clone().map(Place::new),
            start: Instant::now(),
            opened: None,
            answered: None,
            status: None,
            failure: None,
            complete: false,
            logged: tracing::enabled!(target: TARGET, tracing::Level::INFO),
            peer: None,
            line: None,
        }
    }
}

/// One exchange, as it will be counted and logged. Dropping it does both.
#[derive(Debug)]
pub struct Record {
    meter: Arc<Meter>,
    place: Option<Place>,
    start: Instant,
    /// When the stream was there to carry it. Kept for the line only.
    opened: Option<Instant>,
    /// When its response head was there.
    answered: Option<Instant>,
    status: Option<StatusCode>,
    failure: Option<Failure>,
    complete: bool,
    logged: bool,
    peer: Option<Identity>,
    line: Option<Arc<Line>>,
}

/// What only the line needs.
#[derive(Debug)]
struct Line {
    visitor: SocketAddr,
    method: Method,
    host: Box<str>,
    target: Option<PathAndQuery>,
    id: Option<HeaderValue>,
    trace: Option<Box<str>>,
    request_bytes: AtomicU64,
    response_bytes: AtomicU64,
}

/// Which body is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// That of the request.
    Request,
    /// That of the response.
    Response,
}

/// Counts a body that goes its way apart from the record.
#[derive(Clone, Debug)]
pub struct Tally {
    meter: Arc<Meter>,
    line: Option<Arc<Line>>,
    way: Way,
}

impl Tally {
    /// Counts a piece of the body.
    pub fn add(&self, bytes: usize) {
        count(&self.meter, self.line.as_deref(), self.way, bytes);
    }
}

fn count(meter: &Meter, line: Option<&Line>, way: Way, bytes: usize) {
    let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
    match way {
        Way::Request => meter.add_request_bytes(bytes),
        Way::Response => meter.add_response_bytes(bytes),
    }
    if let Some(line) = line {
        let counter = match way {
            Way::Request => &line.request_bytes,
            Way::Response => &line.response_bytes,
        };
        counter.fetch_add(bytes, Relaxed);
    }
}

impl Record {
    /// Returns when the exchange started.
    pub fn start(&self) -> Instant {
        self.start
    }

    /// Returns whether there will be a line.
    pub fn is_logged(&self) -> bool {
        self.logged
    }

    /// Takes down what is asked.
    pub fn asks(&mut self, head: &RequestHead) {
        let id = head.headers.get(X_REQUEST_ID);
        if let Some(place) = &mut self.place {
            place.show(&Shown {
                side: self.meter.side(),
                start: self.start,
                id: Text::new(id.and_then(|id| id.to_str().ok()).unwrap_or_default()),
                method: Text::new(head.method.as_str()),
                host: Text::new(&head.authority),
            });
        }
        if self.logged {
            self.line = Some(Arc::new(Line {
                visitor: head.visitor,
                method: head.method.clone(),
                host: head.authority.as_str().into(),
                target: Some(head.target.clone()),
                id: id.cloned(),
                trace: trace::trace_id(&head.headers).map(Into::into),
                request_bytes: AtomicU64::new(0),
                response_bytes: AtomicU64::new(0),
            }));
        }
    }

    /// Takes down what can be said of a request whose head was refused.
    pub fn asks_badly(&mut self, visitor: SocketAddr, method: Method, uri: &Uri) {
        self.line = Some(Arc::new(Line {
            visitor,
            method,
            host: uri.host().unwrap_or_default().into(),
            target: uri.path_and_query().cloned(),
            id: None,
            trace: None,
            request_bytes: AtomicU64::new(0),
            response_bytes: AtomicU64::new(0),
        }));
    }

    /// Counts the exchange by the meter of its group from now on.
    pub fn belongs_to(&mut self, meter: &Arc<Meter>) {
        meter.enter();
        self.meter.leave();
        self.meter = Arc::clone(meter);
    }

    /// Says who is at the other end of the link.
    pub fn carried_by(&mut self, peer: &Identity) {
        if self.logged {
            self.peer = Some(peer.clone());
        }
    }

    /// Ends the wait for a place on the link.
    pub fn opened(&mut self) {
        if self.logged {
            self.opened = Some(Instant::now());
        }
    }

    /// Ends the wait for the response head.
    pub fn answered(&mut self, status: StatusCode) {
        let now = Instant::now();
        self.meter.response_head_after(now - self.start);
        self.answered = Some(now);
        self.status = Some(status);
    }

    /// Returns what counts a body that is sent or received elsewhere.
    pub fn tally(&self, way: Way) -> Tally {
        Tally { meter: Arc::clone(&self.meter), line: self.line.clone(), way }
    }

    /// Counts a piece of the response body.
    pub fn sent(&self, bytes: usize) {
        count(&self.meter, self.line.as_deref(), Way::Response, bytes);
    }

    /// Says that the response is a refusal of ours.
    pub fn refused(&mut self, failure: Failure) {
        self.status = StatusCode::from_u16(failure.status()).ok();
        self.failed(failure);
    }

    /// Says what went wrong. What went wrong first counts.
    pub fn failed(&mut self, failure: Failure) {
        self.failure.get_or_insert(failure);
    }

    /// Says that the response went out to its end.
    pub fn completed(&mut self) {
        self.complete = true;
    }

    /// What went wrong, where something did: the drop itself when the response was not complete by then.
    fn failure(&self) -> Option<Failure> {
        let dropped = match self.meter.side() {
            Side::Asked => Failure::Cancelled,
            // Exchanges are dropped with the session that they came over.
            Side::Answered => Failure::LinkLost,
        };
        self.failure.or_else(|| (!self.complete).then_some(dropped))
    }

    /// The time until the stream was open, from then until the response head, and from then until now.
    fn split(&self) -> [Duration; 3] {
        let end = Instant::now();
        let answered = self.answered.unwrap_or(end);
        let opened = self.opened.unwrap_or(answered);
        [opened - self.start, answered - opened, end - answered]
    }

    fn write(&self, failure: Option<Failure>) {
        let line = self.line.as_deref();
        let [wait_us, upstream_us, transfer_us] =
            self.split().map(|part| u64::try_from(part.as_micros()).unwrap_or(u64::MAX));
        // Values go in as text, which every format of ours quotes; `plain` makes sure that no other one can be
        // made to show a line that is none.
        let id = line.and_then(|line| line.id.as_ref()?.to_str().ok()).map(plain);
        let host = line.map(|line| plain(&line.host)).filter(|host| !host.is_empty());
        let path = line.and_then(|line| line.target.as_ref()).map(|target| plain(target.path()));
        let peer = self.peer.as_ref().map(|peer| plain(&peer.name));
        tracing::info!(
            target: TARGET,
            parent: None,
            side = self.meter.side().as_str(),
            id = id.as_deref(),
            trace = line.and_then(|line| line.trace.as_deref()),
            visitor = line.map(|line| tracing::field::display(line.visitor)),
            method = line.map(|line| line.method.as_str()),
            host = host.as_deref(),
            path = path.as_deref(),
            status = self.status.map(|status| status.as_u16()),
            code = failure.map(Failure::code),
            request_bytes = line.map_or(0, |line| line.request_bytes.load(Relaxed)),
            response_bytes = line.map_or(0, |line| line.response_bytes.load(Relaxed)),
            wait_us,
            upstream_us,
            transfer_us,
            peer = peer.as_deref(),
            group = self.meter.group().map(|group| group.as_str()),
            "exchange"
        );
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        let failure = self.failure();
        self.meter.leave();
        match (failure, self.status) {
            (Some(failure), _) => self.meter.ended(Outcome::Failure(failure)),
            (None, Some(status)) => self.meter.ended(Outcome::Response(status)),
            (None, None) => {}
        }
        if self.logged {
            self.write(failure);
        }
    }
}

/// Returns a value as it may stand in a log: printable ASCII, everything else and quotes escaped, not longer
/// than [`VALUE_BYTES_MAX`]. Line breaks and terminal controls would forge or hide lines.
fn plain(value: &str) -> Cow<'_, str> {
    let is_plain = |b: u8| matches!(b, b' '..=b'~') && b != b'"' && b != b'\\';
    if value.len() <= VALUE_BYTES_MAX && value.bytes().all(is_plain) {
        return Cow::Borrowed(value);
    }
    let mut escaped = String::new();
    for char in value.chars() {
        if escaped.len() >= VALUE_BYTES_MAX {
            escaped.push_str("...");
            break;
        }
        escaped.extend(char.escape_default());
    }
    Cow::Owned(escaped)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_cannot_forge_a_line_or_drive_a_terminal() {
        assert!(matches!(plain("/a b?c=%0d~"), Cow::Borrowed(_)));
        for (value, shown) in [
            ("a\r\nb", "a\\r\\nb"),
            ("\u{1b}[2J", "\\u{1b}[2J"),
            ("\u{9b}2J", "\\u{9b}2J"),
            ("\u{202e}x", "\\u{202e}x"),
            ("\" status=200 \"", "\\\" status=200 \\\""),
        ] {
            assert_eq!(plain(value), shown);
        }
        assert_eq!(plain(&"a".repeat(5_000)), format!("{}...", "a".repeat(VALUE_BYTES_MAX)));
    }
}
