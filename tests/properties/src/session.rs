//! A node's end of a link whose other end is hostile, over real QUIC in virtual time.

use std::{
    cell::Cell,
    pin::{Pin, pin},
    rc::Rc,
    sync::{Arc, Once},
    task::{Context, Poll},
    time::Duration,
};

use adit_core::{
    failure::Failure,
    id::{Identity, SessionId},
    limits::{CONTROL_FRAME_BYTES_MAX, Limits, Timeouts},
    wire::{
        codec,
        control::{Control, StreamOpen, StreamType},
        exchange::BodyKind,
    },
};
use adit_node::{
    access::Recorder,
    egress::service::{Egress, Routes},
    exchange::{self, Patience},
    link::{Link, control::ControlStream, handshake::Joined, transport},
    meter::{self, Meters},
    push::Pushed,
    session::{self, Answering, Side, Stopping},
    settings::Congestion,
    unread::Unread,
};
use bench_network::{Network, run};
use bytes::{Bytes, BytesMut};
use http::Method;
use http_body::{Body, Frame};
use quinn::Connection;
use tokio::{
    sync::watch,
    task::spawn_local,
    time::{Instant, sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use crate::{
    http1::Sent,
    script::{self, Ask, Hostile},
};

/// A client breaks every rule on its link to a server: exchanges fail alone, the link ends where its own rules are
/// broken, and then the session ends too.
pub fn session_server(data: &[u8]) {
    session(data, true);
}

/// [`session_server`], the other way round: a server breaks the rules, what it pushes included.
pub fn session_client(data: &[u8]) {
    session(data, false);
}

fn session(script: &[u8], is_server: bool) {
    let before = panics();
    let path = "delay=0ms".parse().expect("a path");
    run(path, 1, async |network| play(&network, script, is_server).await);
    assert_eq!(panics(), before, "a task has panicked");
}

async fn play(network: &Network, script: &[u8], is_server: bool) {
    let (left, right) = network.connect_with(transport::config(Congestion::Adaptive)).await;
    // The client is on the left, and opens the control stream.
    let (node, hostile, control, hostile_control) = if is_server {
        let hostile_control = register(&left).await;
        let mut control = ControlStream::accept(&right).await.expect("a control stream");
        control.read().await.expect("a registration");
        (right, left, control, Some(hostile_control))
    } else {
        let control = ControlStream::open(&left).await.expect("a control stream");
        (left, right, control, None)
    };
    let link = Link::new(node, SessionId(1), Identity::certified("peer"), &Limits::default());
    let session = spawn_local(hold(link.clone(), control, is_server));
    let hostile_control = match hostile_control {
        Some(control) => control,
        // The client's first heartbeat shows its control stream.
        None => hostile.accept_bi().await.expect("a control stream"),
    };
    let mut hostile = Hostile::new(hostile, hostile_control);
    let asked = Rc::new(Cell::new(0_usize));
    hostile.play(script, |what| ask(&link, what, &asked)).await;
    sleep(Duration::from_millis(1)).await;

    if hostile.left_the_link_alone() {
        assert!(hostile.closed().is_none(), "the link is gone: {:?}", hostile.closed());
    }
    if hostile.closed().is_none() {
        assert!(hostile.is_answered().await || hostile.closed().is_some(), "others are not answered any more");
    }
    drop(hostile);
    timeout(Duration::from_secs(1), session).await.expect("the end of the session").expect("no panic");
    // What was asked ends with the link.
    for _ in 0..100 {
        if asked.get() == 0 {
            break;
        }
        sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(asked.get(), 0, "exchanges outlive their link");
}

/// Opens the control stream, and says on it what comes first.
async fn register(client: &Connection) -> (quinn::SendStream, quinn::RecvStream) {
    let (mut send, recv) = client.open_bi().await.expect("a control stream");
    let open = Control::StreamOpen(StreamOpen {
        client_id: "client-1".parse().expect("a name"),
        group: "web".parse().expect("a name"),
        stream_type: StreamType::Http,
        version: String::new(),
        features: 0,
        token: None,
        timestamp_ms: 0,
    });
    let mut frame = BytesMut::new();
    codec::encode(&open, CONTROL_FRAME_BYTES_MAX, &mut frame).expect("a short message");
    send.write_all(&frame).await.expect("a stream that is open");
    (send, recv)
}

async fn hold(link: Link, control: ControlStream, is_server: bool) {
    let heartbeat = Duration::from_millis(1);
    let (limits, timeouts) = (Limits::default(), Timeouts::default());
    let pushed = Arc::<Pushed>::default();
    let (_wanted, wanted) = watch::channel(None);
    let side = if is_server {
        Side::Server { sweep: heartbeat, stale: Duration::from_secs(30), wanted }
    } else {
        Side::Client { pushed: Arc::clone(&pushed), config_sync: Duration::from_millis(3) }
    };
    let answering = Answering {
        group: "web".parse().expect("a name"),
        egress: Arc::new(Egress::new("node", Routes::default())),
        pushed,
        limits,
        timeouts: Timeouts { drain: Duration::from_secs(1), ..Timeouts::default() },
        recorder: Recorder::new(Meters::default().meter(meter::Side::Answered, None), None),
        unread: Unread::new(&limits, &timeouts),
    };
    let stopping = Stopping { started: CancellationToken::new(), entries_closed: CancellationToken::new() };
    session::run(Joined { link, control, heartbeat }, answering, side, stopping, ()).await;
}

/// Has the node ask, and read what comes back to its end. `asked` counts those that go on.
fn ask(link: &Link, what: Ask, asked: &Rc<Cell<usize>>) {
    let (link, asked) = (link.clone(), Rc::clone(asked));
    let mut head = script::head();
    let length = (what == Ask::Post).then_some(crate::http1::SMUGGLED.len() as u64);
    if let Some(length) = length {
        (head.method, head.body) = (Method::POST, BodyKind::Length(length));
    }
    asked.set(asked.get() + 1);
    spawn_local(async move {
        let limits = Limits::default();
        let mut record = Recorder::new(Meters::default().meter(meter::Side::Asked, None), None).begin();
        let patience = Patience { deadline: Instant::now() + Duration::from_millis(50), leave: &|_| false };
        let body = Failing(Sent::new(Some(length.unwrap_or(0))));
        if let Ok(response) = exchange::ask(&link, &head, body, limits, patience, &mut record).await {
            let mut body = pin!(response.into_body());
            let read =
                async { while let Some(Ok(_)) = std::future::poll_fn(|cx| body.as_mut().poll_frame(cx)).await {} };
            let _ = timeout(Duration::from_millis(50), read).await;
        }
        asked.set(asked.get() - 1);
    });
}

/// A body of ours that could fail, as those of visitors can.
struct Failing(Sent);

impl Body for Failing {
    type Data = Bytes;
    type Error = Failure;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Failure>>> {
        Pin::new(&mut self.0).poll_frame(cx).map(|frame| frame.map(|frame| frame.map_err(|never| match never {})))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_end_stream()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.0.size_hint()
    }
}

thread_local! {
    static PANICS: Cell<usize> = const { Cell::new(0) };
}

/// Returns how often something has panicked on this thread: a task that does takes nobody with it.
fn panics() -> usize {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            PANICS.with(|panics| panics.set(panics.get() + 1));
            before(panic);
        }));
    });
    PANICS.with(Cell::get)
}
