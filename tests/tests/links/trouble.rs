//! A client that fails or is slow loses its share of the requests, and gets it back.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use adit_tests::{Upstream, body::empty, settings::GROUP, upstream::read_head, within};
use tokio::{io::AsyncWriteExt, time::sleep};

use super::groups::Shared;

/// A server, and two clients of one group, the first of which has trouble.
struct Group {
    shared: Shared,
    /// Whether the first upstream has trouble.
    trouble: Arc<AtomicBool>,
}

impl Group {
    async fn with(first: impl FnOnce(Arc<AtomicBool>) -> Upstream) -> Self {
        let trouble = Arc::new(AtomicBool::new(true));
        let upstreams = [first(Arc::clone(&trouble)), Upstream::answering(|_| async { http::Response::new(empty()) })];
        Self { shared: Shared::with(upstreams).await, trouble }
    }

    /// Asks until the first client has been given so many more requests.
    async fn ask_until_first_has(&self, more: usize) {
        let upstream = &self.shared.upstreams[0];
        let first = || upstream.saw().connections() + upstream.saw().requests();
        let (mut visitor, start) = (self.shared.visitor().await, first());
        let asking = async {
            while first() < start + more {
                assert_eq!(visitor.get("/").await.failure(), (200, ""));
            }
        };
        within("the first client to have its share", asking).await;
    }
}

/// An upstream that resets every connection as long as it has trouble.
fn resetting(trouble: Arc<AtomicBool>) -> Upstream {
    Upstream::raw(move |mut tcp| {
        let trouble = Arc::clone(&trouble);
        async move {
            read_head(&mut tcp).await;
            if trouble.load(Ordering::Relaxed) {
                // What is not reset is closed, which is as bad.
                let _ = tcp.set_zero_linger();
                return;
            }
            let answer = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
            // A client that is gone hears nothing.
            let _ = tcp.write_all(answer.as_bytes()).await;
        }
    })
}

/// An upstream that takes its time as long as it has trouble.
fn slow(trouble: Arc<AtomicBool>) -> Upstream {
    Upstream::answering(move |_| {
        let trouble = Arc::clone(&trouble);
        async move {
            if trouble.load(Ordering::Relaxed) {
                sleep(Duration::from_millis(100)).await;
            }
            http::Response::new(empty())
        }
    })
}

#[tokio::test]
async fn a_client_that_fails_fast_is_set_aside_until_it_answers_again() {
    let group = Group::with(resetting).await;
    let (mut visitor, mut failed) = (group.shared.visitor().await, 0);
    for _ in 0..200 {
        match visitor.get("/").await.failure() {
            (200, "") => {}
            (502, "upstream-reset") => failed += 1,
            other => unreachable!("{other:?}"),
        }
    }
    assert!((5..40).contains(&failed), "{failed} of 200 failed");
    assert_eq!((group.shared.server.clients(GROUP), group.shared.server.members(GROUP)), (1, 2));
    group.trouble.store(false, Ordering::Relaxed);
    // A probe may still have met the trouble.
    let is_back = async {
        while group.shared.server.clients(GROUP) < 2 {
            visitor.get("/").await;
        }
    };
    within("the client to be used again", is_back).await;
    group.ask_until_first_has(20).await;
}

#[tokio::test]
async fn a_client_that_is_slow_gets_less() {
    let group = Group::with(slow).await;
    let mut visitor = group.shared.visitor().await;
    for _ in 0..200 {
        assert_eq!(visitor.get("/").await.failure(), (200, ""));
    }
    let [slow, fast] = group.shared.upstreams.each_ref().map(|upstream| upstream.saw().requests());
    assert_eq!(slow + fast, 200);
    assert!(slow > 0 && slow < 40, "{slow} of 200 went to the slow one");
    group.trouble.store(false, Ordering::Relaxed);
    group.ask_until_first_has(20).await;
}
