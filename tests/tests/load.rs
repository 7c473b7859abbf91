//! Many requests, at once and one after another: each gets its own answer.

use std::sync::Arc;

use adit_core::limits::Limits;
use adit_tests::{Direction, Tunnel, Upstream, body::full, both_directions, message::Whole, upstream::echo, within};
use tokio::{sync::Barrier, task::JoinSet};

both_directions! {
    a_thousand_requests_in_flight_at_once_are_each_answered_with_their_own_body,
    a_hundred_connections_with_ten_requests_each_are_answered,
    two_thousand_requests_on_one_connection_are_answered_in_turn,
    more_requests_than_a_link_may_carry_wait_for_their_turn,
}

/// How many streams one HTTP/2 connection of a visitor carries in these tests; entries allow 256.
const STREAMS: usize = 250;

/// Asks `count` requests at once over as few connections as it takes, and returns the answers in order.
async fn ask_at_once(tunnel: &Tunnel, count: usize) -> Vec<Whole> {
    let mut asking = JoinSet::new();
    for first in (0..count).step_by(STREAMS) {
        let mut visitor = tunnel.http2().await;
        for number in first..count.min(first + STREAMS) {
            let request = visitor.request("POST", &format!("/{number}")).body(full(own_body(number)));
            let pending = visitor.start(request).await;
            asking.spawn(async move { (number, pending.whole().await) });
        }
        // Keeps the connection open.
        asking.spawn(async move {
            visitor.hung_up().await;
            unreachable!("the entry hung up");
        });
    }
    let mut answers = Vec::new();
    while answers.len() < count {
        match within("all answers", asking.join_next()).await {
            Some(Ok(answer)) => answers.push(answer),
            other => unreachable!("{other:?} instead of an answer"),
        }
    }
    answers.sort_by_key(|(number, _)| *number);
    answers.into_iter().map(|(_, answer)| answer).collect()
}

fn own_body(number: usize) -> String {
    format!("{number};").repeat(1 + number % 50)
}

async fn a_thousand_requests_in_flight_at_once_are_each_answered_with_their_own_body(direction: Direction) {
    // Nobody is answered before everybody has asked.
    let everybody = Arc::new(Barrier::new(1_000));
    let upstream = Upstream::answering(move |request| {
        let everybody = Arc::clone(&everybody);
        async move {
            everybody.wait().await;
            echo(request).await
        }
    });
    let limits = Limits { exchanges_per_link_max: 1_024, ..Limits::default() };
    let tunnel = Tunnel::to(upstream.http()).limits(limits).start(direction).await;
    let answers = ask_at_once(&tunnel, 1_000).await;
    assert_eq!(answers.len(), 1_000);
    for (number, answer) in answers.iter().enumerate() {
        assert_eq!((answer.status.as_u16(), answer.text()), (200, &*own_body(number)));
    }
}

async fn a_hundred_connections_with_ten_requests_each_are_answered(direction: Direction) {
    let upstream = Upstream::echo();
    let tunnel = Tunnel::to(upstream.http()).start(direction).await;
    let mut visitors = JoinSet::new();
    for connection in 0..100 {
        let mut visitor = tunnel.http1().await;
        visitors.spawn(async move {
            for number in 0..10 {
                let body = own_body(connection * 10 + number);
                assert_eq!(visitor.post("/", full(body.clone())).await.text(), body);
            }
        });
    }
    let mut done = 0;
    while let Some(visitor) = visitors.join_next().await {
        assert!(visitor.is_ok());
        done += 1;
    }
    assert_eq!((done, upstream.saw().requests()), (100, 1_000));
}

async fn two_thousand_requests_on_one_connection_are_answered_in_turn(direction: Direction) {
    let upstream = Upstream::echo();
    let tunnel = Tunnel::to(upstream.http()).start(direction).await;
    let mut visitor = tunnel.http1().await;
    for number in 0..2_000 {
        let body = own_body(number);
        assert_eq!(visitor.post("/", full(body.clone())).await.text(), body);
    }
    assert_eq!(upstream.saw().requests(), 2_000);
}

async fn more_requests_than_a_link_may_carry_wait_for_their_turn(direction: Direction) {
    let upstream = Upstream::echo();
    let limits = Limits { exchanges_per_link_max: 2, ..Limits::default() };
    let tunnel = Tunnel::to(upstream.http()).limits(limits).start(direction).await;
    for (number, answer) in ask_at_once(&tunnel, 200).await.iter().enumerate() {
        assert_eq!((answer.status.as_u16(), answer.text()), (200, &*own_body(number)));
    }
}
