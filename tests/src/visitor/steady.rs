//! Visitors that never stop asking, whatever happens to the node that they ask.

use std::{net::SocketAddr, time::Duration};

use tokio::{net::TcpStream, task::JoinSet, time::sleep};
use tokio_util::sync::CancellationToken;

use super::Visitor;
use crate::{
    body::full,
    message::Http,
    wait::{LOOK_EVERY, within},
};

/// How visitors use their connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Habit {
    /// One request after another on a connection of this version, as long as it lasts.
    Kept(Http),
    /// A new connection of HTTP/1.1 for every request.
    Fresh,
}

/// Visitors that ask until they are told to stop. Dropping it ends them.
#[derive(Debug)]
pub struct Steady {
    stop: CancellationToken,
    asking: JoinSet<Tally>,
}

/// What became of the requests of visitors.
#[derive(Debug, Default)]
pub struct Tally {
    /// How many were answered with what was sent.
    pub answered: usize,
    /// How often nobody took a connection.
    pub refused: usize,
    /// What became of every other request that was sent.
    pub failed: Vec<String>,
}

impl Steady {
    /// Starts so many visitors, each of which waits for `pause` between two requests.
    ///
    /// They post and expect their body back. Posts may not be done twice, so nobody makes up for one that is lost.
    pub fn start(entry: SocketAddr, habits: &[Habit], count: usize, pause: Duration) -> Self {
        let mut asking = JoinSet::new();
        let stop = CancellationToken::new();
        for (number, habit) in (0..count).flat_map(|number| habits.iter().map(move |habit| (number, *habit))) {
            let name = format!("{habit:?} {number}");
            asking.spawn(keep_asking(entry, habit, name, pause, stop.clone()));
        }
        Self { stop, asking }
    }

    /// Has all of them finish what they ask, and returns what they saw.
    pub async fn tally(mut self) -> Tally {
        self.stop.cancel();
        let mut sum = Tally::default();
        while let Some(tally) = within("a visitor to finish", self.asking.join_next()).await {
            let Tally { answered, refused, failed } = tally.expect("a visitor that did not panic");
            sum.answered += answered;
            sum.refused += refused;
            sum.failed.extend(failed);
        }
        sum
    }
}

async fn keep_asking(entry: SocketAddr, habit: Habit, name: String, pause: Duration, stop: CancellationToken) -> Tally {
    let mut tally = Tally::default();
    let (version, lasts) = match habit {
        Habit::Kept(version) => (version, true),
        Habit::Fresh => (Http::Http1, false),
    };
    let mut request = 0;
    while !stop.is_cancelled() {
        let Ok(tcp) = within("a TCP connection", TcpStream::connect(entry)).await else {
            tally.refused += 1;
            sleep(LOOK_EVERY).await;
            continue;
        };
        let mut visitor = Visitor::on(tcp, version).await;
        while !stop.is_cancelled() {
            let body = format!("{name} {request}");
            request += 1;
            let asked = visitor.request("POST", "/").body(full(body.clone()));
            match visitor.try_ask(asked).await {
                None => break,
                Some(Ok(answer)) if answer.status == 200 && answer.body == body => tally.answered += 1,
                Some(Ok(answer)) => tally.failed.push(format!("{body}: {:?} {}", answer.failure(), answer.text())),
                Some(Err(error)) => tally.failed.push(format!("{body}: {error:?}")),
            }
            sleep(pause).await;
            if !lasts {
                break;
            }
        }
    }
    tally
}
