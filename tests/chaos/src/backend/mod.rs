//! What answers all requests in the end, in the mood that a fault puts it in.

mod answer;
mod ledger;

use std::{
    convert::Infallible,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use socket2::SockRef;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
    time::sleep,
};

pub(crate) use self::ledger::{Ledger, Seen};

/// How long to wait before a port is tried again that somebody still holds.
const BIND_AGAIN_AFTER: Duration = Duration::from_millis(50);

/// How a backend behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mood {
    /// It answers.
    Well,
    /// It is not there: nobody listens, and all connections are cut.
    Down,
    /// It takes requests and says nothing.
    Hung,
    /// It resets the connection in the middle of every fourth response.
    Breaking,
    /// It takes up to a second for every response.
    Slow,
}

/// A backend on a port of its own. Dropped, it closes all its connections.
#[derive(Debug)]
pub(crate) struct Backend {
    address: SocketAddr,
    mood: watch::Sender<Mood>,
    _task: JoinSet<()>,
}

/// What a connection knows.
#[derive(Clone, Debug)]
struct Context {
    name: &'static str,
    mood: watch::Receiver<Mood>,
    ledger: Arc<Ledger>,
}

impl Backend {
    pub(crate) async fn start(name: &'static str, address: IpAddr, ledger: Arc<Ledger>) -> anyhow::Result<Self> {
        let listener = TcpListener::bind((address, 0)).await?;
        let address = listener.local_addr()?;
        let (mood, moods) = watch::channel(Mood::Well);
        let mut task = JoinSet::new();
        task.spawn(run(listener, Context { name, mood: moods, ledger }));
        Ok(Self { address, mood, _task: task })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn set(&self, mood: Mood) {
        self.mood.send_replace(mood);
    }
}

async fn run(mut listener: TcpListener, mut context: Context) {
    let Ok(address) = listener.local_addr() else { return };
    loop {
        let mut mood = context.mood.clone();
        tokio::select! {
            () = serve(listener, &context) => return,
            down = mood.wait_for(|mood| *mood == Mood::Down) => if down.is_err() { return },
        }
        if context.mood.wait_for(|mood| *mood != Mood::Down).await.is_err() {
            return;
        }
        listener = loop {
            match TcpListener::bind(address).await {
                Ok(listener) => break listener,
                Err(_) => sleep(BIND_AGAIN_AFTER).await,
            }
        };
    }
}

async fn serve(listener: TcpListener, context: &Context) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                if let Ok((tcp, _)) = accepted {
                    connections.spawn(connection(tcp, context.clone()));
                }
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn connection(tcp: TcpStream, context: Context) {
    // What keeps the socket when the connection is dropped, so that it can be reset.
    let Ok(held) = SockRef::from(&tcp).try_clone() else { return };
    if tcp.set_nodelay(true).is_err() {
        return;
    }
    let mut switched = JoinSet::new();
    let (switches, mut switching) = tokio::sync::mpsc::unbounded_channel();
    let answer = service_fn(move |request| {
        let (context, switches) = (context.clone(), switches.clone());
        async move { Ok::<_, Infallible>(answer::answer(request, context, &switches).await) }
    });
    let served = http1::Builder::new().serve_connection(TokioIo::new(tcp), answer).with_upgrades().await;
    if served.is_err() {
        let _ = held.set_linger(Some(Duration::ZERO));
    }
    drop(held);
    while let Ok(echo) = switching.try_recv() {
        switched.spawn(echo);
    }
    while switched.join_next().await.is_some() {}
}
