//! A client that does not answer any more, and is not known to be dead.

use adit_tests::{
    Upstream, Visitor,
    apart::Apart,
    body::{empty, full, noise},
    eventually,
    node::{ClientNode, ServerNode},
    settings::{self, GROUP, everything_to},
    trust::Trust,
    upstream::{Call, Calls},
    visitor::Pending,
};

/// A server and two clients of one group, the first of which can be stopped in the midst of what it does.
struct Pair {
    server: ServerNode,
    first: Apart,
    _second: ClientNode,
    upstreams: [Upstream; 2],
}

impl Pair {
    async fn with(upstreams: [Upstream; 2]) -> Self {
        let trust = Trust::default();
        let server = ServerNode::start(settings::public_server(&trust)).await;
        let settings = |name, upstream: &Upstream| {
            let mut settings = settings::client(&trust, name, server.tunnel);
            settings.egress = everything_to(upstream.http());
            settings
        };
        let first = Apart::start(settings("web-1", &upstreams[0]));
        let second = ClientNode::start(settings("web-2", &upstreams[1])).await;
        server.has_clients(GROUP, 2).await;
        Self { server, first, _second: second, upstreams }
    }

    /// Starts requests until one of them has reached the first upstream. Returns it there and where it came from.
    async fn ask_first(visitor: &mut Visitor, method: &str, [first, second]: &mut [Calls; 2]) -> (Call, Pending) {
        loop {
            let pending = visitor.start(visitor.request(method, "/").body(full("once"))).await;
            tokio::select! {
                call = first.next() => return (call, pending),
                call = second.next() => call.answer(empty()),
            }
            assert_eq!(pending.head().await.status(), 200);
        }
    }

    /// Says that the first client is still thought to live: whatever has happened has not waited for its end.
    fn has_both(&self) {
        assert_eq!(self.server.members(GROUP), 2, "the link was lost before the test was over");
    }
}

#[tokio::test]
async fn what_may_be_done_twice_does_not_wait_for_a_client_that_stopped_answering() {
    let pair = Pair::with([Upstream::echo(), Upstream::echo()]).await;
    pair.first.freeze();
    let mut asking = Vec::new();
    let mut visitor = Visitor::http2(pair.server.entry()).await;
    for number in 0..100 {
        let method = ["GET", "PUT", "DELETE"][number % 3];
        let request = visitor.request(method, "/").body(full(number.to_string()));
        asking.push((number, visitor.start(request).await));
    }
    for (number, pending) in asking {
        let answer = pending.whole().await;
        assert_eq!((answer.failure(), answer.text()), ((200, ""), &*number.to_string()));
    }
    assert_eq!(pair.upstreams[1].saw().requests(), 100);
    pair.has_both();
}

#[tokio::test]
async fn what_may_not_be_done_twice_waits_and_is_answered_when_the_client_goes_on() {
    let pair = Pair::with([Upstream::echo(), Upstream::echo()]).await;
    pair.first.freeze();
    let mut visitor = Visitor::http2(pair.server.entry()).await;
    let mut asking = Vec::new();
    for number in 0..40 {
        let request = visitor.request("POST", "/").body(full(number.to_string()));
        asking.push((number, visitor.start(request).await));
    }
    // One that may be done twice shows when the link is suspect.
    pair.server.has_clients(GROUP, 1).await;
    for _ in 0..20 {
        assert_eq!(visitor.get("/").await.failure(), (200, ""));
    }
    let elsewhere = pair.upstreams[1].saw().requests();
    assert!((20..60).contains(&elsewhere), "{elsewhere}");
    pair.has_both();
    pair.first.thaw();
    for (number, pending) in asking {
        let answer = pending.whole().await;
        assert_eq!((answer.failure(), answer.text()), ((200, ""), &*number.to_string()));
    }
    let [first, second] = pair.upstreams.each_ref().map(|upstream| upstream.saw().requests());
    assert_eq!(first + second, 60, "something was done twice");
    pair.server.has_clients(GROUP, 2).await;
}

#[tokio::test]
async fn a_body_too_large_to_be_sent_again_waits_for_its_client() {
    let pair = Pair::with([Upstream::echo(), Upstream::echo()]).await;
    pair.first.freeze();
    let large = noise(512 * 1024);
    let mut asking = Vec::new();
    for _ in 0..8 {
        let mut visitor = Visitor::http1(pair.server.entry()).await;
        let pending = visitor.start(visitor.request("PUT", "/").body(full(large.clone()))).await;
        asking.push((visitor, pending));
    }
    pair.server.has_clients(GROUP, 1).await;
    assert_eq!(Visitor::http1(pair.server.entry()).await.get("/").await.failure(), (200, ""));
    pair.has_both();
    pair.first.thaw();
    for (_visitor, pending) in asking {
        let answer = pending.whole().await;
        assert_eq!((answer.failure(), answer.body == large), ((200, ""), true));
    }
}

#[tokio::test]
async fn what_is_given_up_at_one_client_is_cancelled_there() {
    let ((first, first_calls), (second, second_calls)) = (Upstream::by_hand(), Upstream::by_hand());
    let pair = Pair::with([first, second]).await;
    let mut calls = [first_calls, second_calls];
    let mut visitor = Visitor::http2(pair.server.entry()).await;
    let (call, pending) = Pair::ask_first(&mut visitor, "PUT", &mut calls).await;
    pair.first.freeze();
    let again = calls[1].next().await;
    assert_eq!(again.head.method, "PUT");
    again.answer(empty());
    assert_eq!(pending.head().await.status(), 200);
    pair.has_both();
    pair.first.thaw();
    call.abandoned().await;
}

#[tokio::test]
async fn the_only_client_is_waited_for() {
    let pair = Pair::with([Upstream::echo(), Upstream::echo()]).await;
    let Pair { server, first, _second: second, .. } = pair;
    second.stop();
    second.stopped().await;
    eventually("one client to be left", || server.members(GROUP) == 1).await;
    first.freeze();
    let mut visitor = Visitor::http1(server.entry()).await;
    let pending = visitor.start(visitor.request("GET", "/").empty()).await;
    server.has_clients(GROUP, 0).await;
    assert_eq!(server.members(GROUP), 1);
    first.thaw();
    assert_eq!(pending.whole().await.failure(), (200, ""));
}
